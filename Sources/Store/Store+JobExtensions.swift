// More steps for a job: another budget at the end of one that is not over, or a new job that goes on from the end of one
// that has succeeded. Both begin where the budget before ends, so nothing depends on when they were asked for.
import Contract
import Foundation

/// What an extension came to.
public enum ExtendedJob: Sendable {
  /// The job itself has another budget; and whether an earlier request with the same key did that.
  case inPlace(Job, replayed: Bool)
  /// A new job goes on from the end of the old one; and whether an earlier request with the same key made it.
  case continued(Job, replayed: Bool)
}

extension Store {
  /// Adds steps to a job.
  ///
  /// - Parameters:
  ///   - revision: of the job as the caller knows it; nil for whatever it is.
  ///   - idempotency: with a key seen before, nothing is added, and the job that the first request was about is given:
  ///     a new one as it was created, the same one as it is now.
  ///   - defaults: bounds for projects without quotas of their own, where a new job is made; nil for none.
  /// - Returns: nil if the project has no job of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`, `state`, `datasetNotReady`, `notUsable`),
  ///   ``StoreError/notFound(_:)`` about what the job is made of, ``StoreError/invalid(_:)`` for too many steps.
  public func extendJob(
    id: String, project: String, _ more: JobExtension, revision: Int? = nil, idempotency: Idempotency? = nil,
    defaults: ProjectQuotas = ProjectQuotas()
  ) throws -> ExtendedJob? {
    // Outside of the transaction below: it asks the database by itself.
    if let idempotency, let before = try replayedExtension(idempotency, of: id, project: project) { return before }
    let made = Identifier.make(.job)
    let extended: ExtendedJob? = try pool.transaction { connection in
      guard let job = try Self.lockJob(id, project, on: connection) else { return nil }
      let subject = job.state == .succeeded ? made : id
      if let before = try claimKey(idempotency, project: project, subject: subject, on: connection) {
        guard let extended = try Self.extended(before, of: id, project, connection) else {
          throw Self.subjectGone(idempotency)
        }
        return extended
      }
      // After the key: the request that it repeats may be what changed the job.
      try Self.check(revision, of: job)
      let total = job.steps + more.steps
      guard total <= TrainingSpec.stepsRange.upperBound else {
        throw StoreError.invalid([
          Fault(
            path: "/steps",
            reason: "expected at most \(TrainingSpec.stepsRange.upperBound) steps in all, \(job.steps) and "
              + "\(more.steps) are \(total)")
        ])
      }
      guard job.budgets.count < Job.budgetsMax else {
        throw StoreError.conflict(.state, "job \(id) was extended \(Job.budgetsMax - 1) times, which is the most")
      }
      switch job.state {
      case .queued, .running, .pausing, .paused:
        try connection.run(
          Statement("job_extend", "UPDATE jobs SET budgets = budgets || to_jsonb($2::bigint) WHERE id = $1"),
          [.text(id), .integer(total)])
        try connection.run(
          Statement("job_extend_work", "UPDATE work SET extended_to = $2 WHERE subject = $1 AND kind = 'job'"),
          [.text(id), .integer(total)])
        try Self.note(
          id, .change, "extended by \(more.steps) to \(total) steps; \(Self.replanned(job, total))",
          ["steps": .integer(total), "added": .integer(more.steps), "from_step": .integer(job.steps)], on: connection)
        return try Self.job(id, project, connection).map { .inPlace($0, replayed: false) }
      case .succeeded:
        try Self.hold(.unfinishedJobs, project, defaults.unfinishedJobs, adding: 1, on: connection)
        return .continued(try Self.continued(job, made, total, on: connection), replayed: false)
      case .cancelling, .failed, .cancelled:
        throw StoreError.conflict(
          .state, "job \(id) is \(job.state.rawValue), so that there is no end to go on from; submit a new job")
      }
    }
    switch extended {
    case .inPlace(let job, replayed: false): notifier.notify(.job, job.id)
    case .continued(let job, replayed: false):
      notifier.notify(.work, WorkKind.job.rawValue)
      notifier.notify(.job, job.id)
    case .inPlace, .continued, nil: break
    }
    return extended
  }

  private func replayedExtension(_ idempotency: Idempotency, of id: String, project: String) throws -> ExtendedJob? {
    try pool.read { connection in
      try Self.replayedSubject(idempotency, project: project, on: connection)
        .flatMap { try Self.extended($0, of: id, project, connection) }
    }
  }

  /// The job that an earlier request was about.
  private static func extended(
    _ subject: String, of id: String, _ project: String, _ connection: Connection
  ) throws -> ExtendedJob? {
    try job(subject, project, connection).map {
      subject == id ? .inPlace($0, replayed: true) : .continued($0.asCreated, replayed: true)
    }
  }

  /// What an optimizer that plans makes of a longer total, for people.
  private static func replanned(_ job: Job, _ total: Int) -> String {
    let share = Int((100 * Double(job.steps) / Double(total)).rounded())
    return "from step \(job.steps) on, what plans over the total sees \(share) % of it done"
  }

  /// Makes the job that goes on from the end of another.
  private static func continued(
    _ job: Job, _ id: String, _ total: Int, on connection: Connection
  ) throws -> Job {
    var spec = job.current
    spec.steps = total
    // A stored definition may be gone; the model it was is in the job. A file is needed itself.
    if case .imported = job.model {} else { (spec.model, spec.modelID) = (job.model, nil) }
    let data = eventData(
      .queued, .submitted, ["extends": .string(job.id), "first_step": .integer(job.steps)])
    let rows = try connection.run(
      insertContinued,
      [
        .text(id), .text(job.project), .text(spec.dataset), .optional(job.optimizerID), .text(spec.json.text),
        .text(job.model.json.text), .integer(spec.priority), .text(data.text), .optional(spec.modelID), .text(job.id),
        .integer(job.steps), .text(JSON.array((job.budgets + [total]).map(JSON.integer)).text),
        .optional(job.fallback?.json.text), .text(Identifier.make(.checkpoint)), .text(Identifier.make(.checkpoint)),
        .text("queued: goes on from the end of \(job.id); \(replanned(job, total))"),
      ]
    ).map { try decodeJob(&$0) }
    if let made = rows.first { return made }
    let states = try connection.run(
      Statement("job_end_state", "SELECT id FROM checkpoints WHERE job = $1 AND kind = 'resume' AND step = $2"),
      [.text(job.id), .integer(job.steps)])
    guard states.count > 0 else {
      throw StoreError.conflict(
        .state,
        "job \(job.id) has no state at its end: it was trained by a version that did not keep it; submit a new job")
    }
    throw try unusable(spec, job.project, connection)
  }

  // KEY SHARE as for any new job: what it needs cannot be deleted before it is there to forbid it.
  private static let insertContinued = Statement(
    "job_continue",
    """
    WITH usable AS (
      SELECT id FROM datasets WHERE id = $3 AND project = $2 AND state = 'ready' FOR KEY SHARE
    ), stored AS (
      SELECT id FROM models WHERE id = $9 AND project = $2 AND state = 'ready' FOR KEY SHARE
    ), ended AS (
      SELECT sha256 FROM checkpoints WHERE job = $10 AND kind = 'resume' AND step = $11 ORDER BY id DESC LIMIT 1
    ), j AS (
      INSERT INTO jobs (id, project, dataset, optimizer, spec, model, event_count, budgets, extends, first_step, step,
        fallback)
      SELECT $1, $2, usable.id, $4, $5, $6, 1, $12::jsonb, $10, $11, $11, $13::jsonb FROM usable, ended
      WHERE $9::text IS NULL OR EXISTS (SELECT FROM stored)
      RETURNING *
    ), states AS (
      -- What it goes on from, and what it goes back to should its optimizer diverge before it has an anchor of its own.
      INSERT INTO checkpoints (id, job, kind, step, sha256)
      SELECT k.id, j.id, k.kind, $11, ended.sha256 FROM j, ended, (VALUES ($14, 'resume'), ($15, 'anchor')) k(id, kind)
    ), event AS (
      INSERT INTO job_events (job, sequence, kind, message, data) SELECT id, 1, 'state', $16, $8 FROM j
    ), queued AS (
      INSERT INTO work (kind, subject, priority) SELECT 'job', id, $7 FROM j
    )
    SELECT \(jobColumns) FROM j
    """)
}
