// What becomes of a job whose learned optimizer diverged: its last good state, and the one transaction in which another
// optimizer takes over.
import Contract
import Foundation

extension Store {
  /// The weights that a job goes back to should its optimizer diverge.
  ///
  /// - Throws: ``StoreError/notFound(_:)`` if there are none of that step.
  public func anchor(job: String, step: Int) throws -> Data {
    let sha256 = try pool.read { connection in
      try connection.run(
        Statement(
          "job_anchor",
          "SELECT sha256 FROM checkpoints WHERE job = $1 AND kind = 'anchor' AND step = $2 ORDER BY id DESC LIMIT 1"),
        [.text(job), .integer(step)]
      ).map { $0.digest() }.first
    }
    guard let sha256 else { throw StoreError.notFound("the anchor of \(job) at step \(step)") }
    return Data(try readBlob(sha256: sha256))
  }

  /// Lets another optimizer take over from the last good state: its first state takes the place of all states to go on
  /// from, and curves end there. Safe to repeat.
  ///
  /// - Parameters:
  ///   - lease: stays held.
  ///   - state: what the next attempt would go on from, after `fallback.fromStep` steps; stored beforehand.
  /// - Returns: what users want of the job.
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  public func fallBack(lease: Lease, _ fallback: JobFallback, state: BlobReference) throws -> JobWishes {
    guard let digest = Hexadecimal.digest(state.sha256) else { throw StoreError.notFound("content \(state.sha256)") }
    let wishes = try persist {
      try pool.transaction { connection in
        guard try connection.run(Self.lockHeld, Self.holder(lease)).count == 1 else {
          throw StoreError.staleLease(subject: lease.subject)
        }
        let id = lease.subject
        let isNew =
          try connection.run(
            Statement("job_set_fallback", "UPDATE jobs SET fallback = $2 WHERE id = $1 AND fallback IS NULL"),
            [.text(id), .text(fallback.json.text)]
          ).changed == 1
        if isNew {
          try connection.run(
            Statement("job_drop_states", "DELETE FROM checkpoints WHERE job = $1 AND kind IN ('resume', 'anchor')"),
            [.text(id)])
          try connection.run(
            Statement(
              "job_fallback_state",
              "INSERT INTO checkpoints (id, job, kind, step, sha256) VALUES ($1, $2, 'resume', $3, $4)"),
            [.text(Identifier.make(.checkpoint)), .text(id), .integer(fallback.fromStep), .bytes(digest)])
          try Self.rewind(id, on: connection)
          try Self.note(
            id, .warning,
            "\(fallback.reason); \(fallback.optimizer.name.rawValue) goes on from step \(fallback.fromStep)",
            fallback.json, on: connection)
        }
        return try Self.wishes(lease, on: connection)
      }
    }
    notifier.notify(.job, lease.subject)
    return wishes
  }

  /// What users want of a job whose work is locked.
  static func wishes(_ lease: Lease, on connection: Connection) throws -> JobWishes {
    let found = try connection.run(
      Statement("job_wishes", "SELECT state, budgets FROM jobs WHERE id = $1"), [.text(lease.subject)]
    ).map { try decodeWishes(&$0) }
    guard let wishes = found.first else { throw StoreError.staleLease(subject: lease.subject) }
    return wishes
  }

  /// A state and budgets as what they mean for a worker.
  static func decodeWishes(_ row: inout Row) throws -> JobWishes {
    let state = try stored(JobState.self, row.text())
    return try JobWishes(cancel: state == .cancelling, pause: state == .pausing, budgets: decodeBudgets(row.json()))
  }
}
