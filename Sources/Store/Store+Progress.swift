// What a worker reports about a job: progress about once a second, and the end. Each report is one transaction, and
// most are one statement.
import Contract
import Foundation

extension Store {
  /// Commits what happened since the last commit and renews the lease: one statement, all or nothing. Safe to repeat:
  /// a sequence number that was committed before only renews the lease.
  ///
  /// - Returns: what users want of the job.
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed; ``StoreError/limit(_:)``.
  public func commit(progress: JobProgress, lease: Lease) throws -> JobWishes {
    let parameters = try Self.encode(progress, lease)
    let wishes = try persist { try pool.with { try Self.commit(parameters, lease, on: $0) } }
    notifier.notify(.job, lease.subject)
    return wishes
  }

  private static func commit(_ parameters: [Parameter], _ lease: Lease, on connection: Connection) throws -> JobWishes {
    guard var row = try connection.run(commitStatement, parameters).first else {
      throw StoreError.staleLease(subject: lease.subject)
    }
    return try decodeWishes(&row)
  }

  private static func encode(_ progress: JobProgress, _ lease: Lease) throws -> [Parameter] {
    precondition(lease.kind == .job, "the lease is for a job")
    guard progress.sequence >= 1, progress.chunks.count <= 256, progress.events.count <= 256 else {
      throw StoreError.limit(
        "progress: expected a sequence from 1, at most 256 chunks and 256 events, "
          + "got \(progress.sequence), \(progress.chunks.count), \(progress.events.count)")
    }
    let chunks = try progress.chunks.map(PackedChunk.init)
    var points: [UInt8] = []
    var offsets: [Int] = []
    for chunk in chunks {
      offsets.append(points.count)
      points.append(contentsOf: chunk.points)
    }
    let states = try [progress.checkpoint, progress.anchor].flatMap { state -> [Parameter] in
      guard let (blob, step) = state else { return [.null, .null, .null] }
      guard let digest = Hexadecimal.digest(blob.sha256) else { throw StoreError.notFound("content \(blob.sha256)") }
      return [.text(Identifier.make(.checkpoint)), .integer(step), .bytes(digest)]
    }
    let loss = progress.loss.flatMap { $0.isFinite ? Parameter.number(Double($0)) : nil } ?? .null
    return holder(lease) + [.number(lease.seconds), .integer(progress.sequence), .integer(progress.step), loss]
      + [
        .array(progress.events.map(\.kind.rawValue)), .array(progress.events.map(\.message)),
        .array(progress.events.map(\.data.text)),
      ]
      + [
        .array(chunks.map(\.series.rawValue)), .array(chunks.map { "\($0.firstStep)" }),
        .array(chunks.map { "\($0.stride)" }), .array(chunks.map { "\($0.count)" }),
        .array(chunks.map { "\($0.minimum)" }), .array(chunks.map { "\($0.maximum)" }), .array(offsets.map { "\($0)" }),
        .bytes(points),
      ] + states
  }

  private static let commitStatement = Statement(
    "job_commit",
    """
    WITH held AS (
      SELECT id, subject, attempt, last_sequence < $4 AS is_new FROM work
      WHERE id = $1 AND fence = $2 FOR UPDATE
    ), renewed AS (
      UPDATE work SET lease_until = clock_timestamp() + make_interval(secs => $3),
        last_sequence = greatest(work.last_sequence, $4),
        -- What a checkpoint saved is no longer lost with the attempt: only attempts without progress count.
        losses = CASE WHEN $18::text IS NULL THEN work.losses ELSE 0 END
      FROM held WHERE work.id = held.id
    ), j AS (
      UPDATE jobs SET step = $5,
        -- A commit without points tells of no other step than the one before.
        loss = coalesce($6, CASE WHEN 'train_loss' = ANY($10::text[]) THEN NULL ELSE jobs.loss END), revision = revision + 1, event_count = event_count + cardinality($7::text[])
      FROM held WHERE jobs.id = held.subject AND held.is_new
      RETURNING jobs.id, jobs.event_count - cardinality($7::text[]) AS event_base, held.attempt
    ), added_events AS (
      INSERT INTO job_events (job, sequence, kind, message, data)
      SELECT j.id, j.event_base + e.position, e.kind, e.message, e.data
      FROM j, unnest($7::text[], $8::text[], $9::jsonb[]) WITH ORDINALITY e(kind, message, data, position)
    ), added_chunks AS (
      INSERT INTO curve_chunks
        (job, series, first_step, last_step, stride, attempt, sequence, minimum, maximum, points)
      SELECT j.id, c.series, c.first_step, c.first_step + c.stride * (c.count - 1), c.stride, j.attempt, $4,
        c.minimum, c.maximum, substring($17::bytea FROM c.start + 1 FOR c.count * 4)
      FROM j, unnest($10::text[], $11::bigint[], $12::bigint[], $13::integer[], $14::real[], $15::real[], $16::integer[])
        c(series, first_step, stride, count, minimum, maximum, start)
    ), older AS (
      SELECT c.id FROM j, checkpoints c WHERE $18::text IS NOT NULL AND c.job = j.id AND c.kind = 'resume'
      ORDER BY c.step DESC, c.id DESC OFFSET 1
    ), pruned AS (
      DELETE FROM checkpoints c USING older WHERE c.id = older.id
    ), added_checkpoint AS (
      INSERT INTO checkpoints (id, job, kind, step, sha256) SELECT $18::text, j.id, 'resume', $19, $20 FROM j
      WHERE $18::text IS NOT NULL
    ), pruned_anchors AS (
      DELETE FROM checkpoints c USING j WHERE $21::text IS NOT NULL AND c.job = j.id AND c.kind = 'anchor'
    ), added_anchor AS (
      INSERT INTO checkpoints (id, job, kind, step, sha256) SELECT $21::text, j.id, 'anchor', $22, $23 FROM j
      WHERE $21::text IS NOT NULL
    )
    SELECT jobs.state, jobs.budgets FROM held JOIN jobs ON jobs.id = held.subject
    """)

  /// Gives a job up because it is to pause, after committing `progress` with the state to go on from; this is no lost
  /// attempt.
  ///
  /// - Returns: nil if the job is paused now; what users want of it instead, if they have changed their minds.
  /// - Throws: ``StoreError/staleLease(subject:)``.
  public func pause(lease: Lease, progress: JobProgress) throws -> JobWishes? {
    let parameters = try Self.encode(progress, lease)
    let wishes = try persist { () -> JobWishes? in
      try pool.transaction { connection in
        do { _ = try Self.commit(parameters, lease, on: connection) } catch StoreError.staleLease {
          // Our own pause, if the answer to it was lost.
          guard try Self.endedHere(lease, "released", on: connection) else {
            throw StoreError.staleLease(subject: lease.subject)
          }
          return nil
        }
        // Asked again under the locks: the request that made us come here may have been taken back.
        let wishes = try Self.wishes(lease, on: connection)
        if wishes.pause { try Self.giveBack(lease, .paused, on: connection) }
        return wishes.pause ? nil : wishes
      }
    }
    notifier.notify(.job, lease.subject)
    return wishes
  }

  /// Whether an attempt ended in that way.
  private static func endedHere(_ lease: Lease, _ state: String, on connection: Connection) throws -> Bool {
    try connection.run(
      attemptEnded, [.text(lease.subject), .integer(lease.attempt), .integer(lease.fence), .text(state)]
    ).count == 1
  }

  private static let attemptEnded = Statement(
    "job_attempt_ended",
    "SELECT job FROM job_attempts WHERE job = $1 AND number = $2 AND fence = $3 AND state = $4")

  /// Ends a job, after committing `last` in the same transaction. Safe to repeat.
  ///
  /// - Returns: nil if the job is over. A job that is to succeed but was extended meanwhile is not: its budgets, of which
  ///   the last one is not used up; `last` is committed then all the same, and the lease is held.
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  @discardableResult
  public func finishJob(lease: Lease, outcome: JobOutcome, last: JobProgress?) throws -> [Int]? {
    let progress = try last.map { try Self.encode($0, lease) }
    let end = try Self.encode(outcome, lease)
    let ended = try persist {
      try pool.with { connection -> Ended in
        guard let progress else { return try Self.finish(end, lease, on: connection) }
        return try connection.transaction {
          do { _ = try Self.commit(progress, lease, on: connection) } catch StoreError.staleLease {
            // Whether that is our own finish, repeated, is for the next statement to find out.
          }
          return try Self.finish(end, lease, on: connection)
        }
      }
    }
    notifier.notify(.job, lease.subject)
    switch ended {
    case .extended(let budgets): return budgets
    case .over(let chunks):
      // The job is done; a curve that stays in many small chunks is only slower to read.
      if chunks >= Self.compactFrom { try? compactCurves(job: lease.subject) }
      return nil
    }
  }

  private enum Ended {
    case over(chunks: Int)
    case extended([Int])
  }

  /// Chunks of a job from which on it pays to merge them.
  private static let compactFrom = 16

  private static func finish(_ parameters: [Parameter], _ lease: Lease, on connection: Connection) throws -> Ended {
    if var row = try connection.run(finishStatement, parameters).first { return .over(chunks: row.integer()) }
    if try endedHere(lease, "finished", on: connection) { return .over(chunks: 0) }
    guard var row = try connection.run(heldBudgets, holder(lease)).first else {
      throw StoreError.staleLease(subject: lease.subject)
    }
    return .extended(try decodeBudgets(row.json()))
  }

  private static func encode(_ outcome: JobOutcome, _ lease: Lease) throws -> [Parameter] {
    let state: JobState
    let reason: StateReason
    var message: String?
    var result: JSON?
    var files: [Parameter] = [.null, .null, .null, .null]
    switch outcome {
    case .succeeded(let trained, let model, let onnx):
      (state, reason, result) = (.succeeded, .budgetReached, trained.json)
      for (place, blob) in [(0, model), (2, onnx)] {
        guard let blob else { continue }
        guard let digest = Hexadecimal.digest(blob.sha256) else { throw StoreError.notFound("content \(blob.sha256)") }
        files[place] = .text(Identifier.make(.checkpoint))
        files[place + 1] = .bytes(digest)
      }
    case .failed(let why, let text): (state, reason, message) = (.failed, why, text)
    case .cancelled: (state, reason) = (.cancelled, .cancelled)
    }
    var data: [String: JSON] = ["attempt": .integer(lease.attempt)]
    if let result { data["result"] = result }
    return holder(lease) + [.text(state.rawValue), .text(reason.rawValue), .optional(message)]
      + [
        .optional(result?.text), .text(message.map { "\(state.rawValue): \($0)" } ?? state.rawValue),
        .text(eventData(state, reason, data).text),
      ] + files + [outcome.steps.map(Parameter.integer) ?? .null]
  }

  private static let heldBudgets = Statement(
    "job_held_budgets", "SELECT j.budgets FROM work w JOIN jobs j ON j.id = w.subject WHERE w.id = $1 AND w.fence = $2")

  // The states to go on from are not needed any more, but for the newest: a job that extends this one starts there.
  private static let finishStatement = Statement(
    "job_finish",
    """
    WITH done AS (
      DELETE FROM work WHERE id = $1 AND fence = $2
        AND ($13::bigint IS NULL OR extended_to IS NULL OR extended_to <= $13)
      RETURNING subject, attempt
    ), j AS (
      UPDATE jobs SET state = $3, reason = $4, message = $5, result = $6, finished_at = now(), revision = revision + 1,
        step = CASE WHEN $6::jsonb IS NULL THEN step ELSE ($6::jsonb ->> 'steps')::bigint END,
        event_count = event_count + 1
      FROM done WHERE jobs.id = done.subject RETURNING jobs.id, jobs.event_count, jobs.step, done.attempt
    ), ended_attempt AS (
      UPDATE job_attempts a SET state = 'finished', ended_at = now() FROM j WHERE a.job = j.id AND a.number = j.attempt
    ), added_event AS (
      INSERT INTO job_events (job, sequence, kind, message, data) SELECT id, event_count, 'state', $7, $8 FROM j
    ), older AS (
      SELECT c.id FROM j, checkpoints c WHERE c.job = j.id AND c.kind = 'resume'
      ORDER BY c.step DESC, c.id DESC OFFSET 1
    ), pruned AS (
      DELETE FROM checkpoints c USING j WHERE c.job = j.id
        AND (c.kind = 'anchor' OR c.id IN (SELECT older.id FROM older))
    ), added_model AS (
      INSERT INTO checkpoints (id, job, kind, step, sha256) SELECT $9::text, id, 'model', step, $10 FROM j
      WHERE $9::text IS NOT NULL
    ), added_onnx AS (
      INSERT INTO checkpoints (id, job, kind, step, sha256) SELECT $11::text, id, 'onnx', step, $12 FROM j
      WHERE $11::text IS NOT NULL
    )
    SELECT (SELECT count(*) FROM (SELECT FROM curve_chunks c WHERE c.job = j.id LIMIT 64) AS few) FROM j
    """)
}
