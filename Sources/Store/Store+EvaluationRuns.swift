// What workers do with evaluations: plan one, train one of its trainings, and report when the last has ended. Results
// are kept under the hash of what they depend on, so that no training is done twice.
import Contract
import Foundation

/// An evaluation that a worker plans or reports.
public struct EvaluationWork: Sendable {
  public let evaluation: EvaluationRecord
  public let inputs: EvaluationInputs
  /// Whether all trainings have ended, so that the report is due; else they are to be planned.
  public let isReportDue: Bool
}

/// One training that a worker does.
public struct EvaluationRunWork: Sendable {
  public let evaluation: String
  /// As the plan wrote it.
  public let run: JSON
  public let inputs: EvaluationInputs
}

/// What the trainings of an evaluation are made from.
public struct EvaluationInputs: Sendable {
  /// The contents of weights by the place of their optimizer in the spec.
  public let weights: [Int: StoredContent]
  /// The uploaded datasets by the names that tasks use.
  public let datasets: [String: Dataset]
}

/// How a training ended.
public struct EvaluationRunEnd: Sendable {
  /// Place in the plan.
  public let position: Int
  /// What was measured; nil where the training failed for a reason of its own.
  public let content: [UInt8]?
  public let reason: String?
}

extension Store {
  /// How many lost attempts at one training count as its failure.
  static let evaluationLossesMax = 3
  /// Bytes of one result at most.
  public static let evaluationResultBytesMax = 16 << 20

  /// What is to be done about a leased evaluation.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)`` where it is over.
  public func evaluationWork(lease: Lease) throws -> EvaluationWork {
    precondition(lease.kind == .evaluation, "the lease is for an evaluation")
    return try pool.read { connection in
      guard let evaluation = try Self.evaluation(lease.subject, nil, connection), !evaluation.state.isTerminal else {
        throw StoreError.staleLease(subject: lease.subject)
      }
      return EvaluationWork(
        evaluation: evaluation, inputs: try Self.inputs(evaluation, connection),
        isReportDue: evaluation.state == .running)
    }
  }

  private static func inputs(_ evaluation: EvaluationRecord, _ connection: Connection) throws -> EvaluationInputs {
    let weights = try connection.run(
      Statement(
        "evaluation_weights",
        """
        SELECT w.position, w.sha256, b.bytes FROM evaluation_weights w JOIN blobs b ON b.sha256 = w.sha256
        WHERE w.evaluation = $1 ORDER BY w.position
        """), [.text(evaluation.id)]
    ).map { ($0.integer(), StoredContent(sha256: $0.digest(), bytes: $0.integer())) }
    var datasets: [String: Dataset] = [:]
    for (name, id) in evaluation.spec.data { datasets[name] = try dataset(id, evaluation.project, connection) }
    return EvaluationInputs(weights: Dictionary(uniqueKeysWithValues: weights), datasets: datasets)
  }

  /// Writes the plan of an evaluation and queues its trainings; the lease ends. Safe to repeat.
  ///
  /// - Parameter runs: at least one, in the order of the plan.
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  public func planEvaluation(lease: Lease, plan: EvaluationPlan, runs: [JSON]) throws {
    precondition(!runs.isEmpty, "an evaluation has at least one training")
    try persist {
      try pool.transaction { connection in
        guard try connection.run(Self.endWork, Self.holder(lease)).count == 1 else {
          let done = try connection.run(
            Statement(
              "evaluation_planned", "SELECT id FROM evaluations WHERE id = $1 AND state = 'running' AND fence = $2"),
            [.text(lease.subject), .integer(lease.fence)])
          guard done.count == 1 else { throw StoreError.staleLease(subject: lease.subject) }
          return
        }
        let started = try connection.run(
          Statement(
            "evaluation_start",
            """
            UPDATE evaluations SET state = 'running', plan = $2, open_runs = $3, started_at = now(), fence = $4,
              revision = revision + 1 WHERE id = $1 AND state = 'queued'
            """), [.text(lease.subject), .text(plan.json.text), .integer(runs.count), .integer(lease.fence)])
        guard started.changed == 1 else { throw StoreError.staleLease(subject: lease.subject) }
        for start in stride(from: 0, to: runs.count, by: Self.runsInsertedMax) {
          let part = runs[start..<min(start + Self.runsInsertedMax, runs.count)]
          try connection.run(
            Self.insertRuns,
            [
              .text(lease.subject), .integer(start), .array(part.map { _ in Identifier.make(.evaluationRun) }),
              .array(part.map(\.text)), .integer(Self.evaluationPriority),
            ])
        }
      }
    }
    notifier.notify(.evaluation, lease.subject)
    notifier.notify(.work, WorkKind.evaluationRun.rawValue)
  }

  private static let runsInsertedMax = 500

  private static let insertRuns = Statement(
    "evaluation_runs_create",
    """
    WITH added AS (
      INSERT INTO evaluation_runs (id, evaluation, position, spec)
      SELECT r.id, $1, $2 + r.place - 1, r.spec FROM unnest($3::text[], $4::jsonb[]) WITH ORDINALITY r(id, spec, place)
      RETURNING id, position
    )
    INSERT INTO work (kind, subject, priority) SELECT 'evaluation_run', id, $5 FROM added ORDER BY position
    """)

  // MARK: One training

  /// What is to be trained under a lease.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)`` where the evaluation is over.
  public func evaluationRunWork(lease: Lease) throws -> EvaluationRunWork {
    precondition(lease.kind == .evaluationRun, "the lease is for a training of an evaluation")
    return try pool.transaction { connection in
      let found = try connection.run(
        Statement(
          "evaluation_run_start",
          """
          UPDATE evaluation_runs r SET state = 'running' FROM work w
          WHERE w.id = $1 AND w.fence = $2 AND r.id = w.subject AND r.state IN ('queued', 'running')
          RETURNING r.evaluation, r.spec
          """), Self.holder(lease)
      ).map { ($0.text(), $0.json()) }.first
      guard let (id, run) = found, let evaluation = try Self.evaluation(id, nil, connection),
        evaluation.state == .running
      else { throw StoreError.staleLease(subject: lease.subject) }
      return EvaluationRunWork(evaluation: id, run: run, inputs: try Self.inputs(evaluation, connection))
    }
  }

  /// What a training of that key measured before; nil where none did.
  public func evaluationResult(key: String) throws -> [UInt8]? {
    guard let digest = Hexadecimal.digest(key) else { return nil }
    return try persist {
      try pool.read { connection in
        try connection.run(
          Statement("evaluation_result", "SELECT content FROM evaluation_results WHERE key = $1"), [.bytes(digest)]
        ).map { $0.bytes() }.first
      }
    }
  }

  /// Ends a training with what it measured. The first result of a key stays. Safe to repeat.
  ///
  /// - Parameters:
  ///   - key: SHA-256, in hexadecimal, of all that the result depends on.
  ///   - content: nil where there is a result of that key already.
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed; ``StoreError/limit(_:)``.
  public func finishEvaluationRun(lease: Lease, key: String, content: [UInt8]?) throws {
    guard let digest = Hexadecimal.digest(key) else { throw StoreError.limit("key: expected 64 hexadecimal digits") }
    if let content, !(1...Self.evaluationResultBytesMax).contains(content.count) {
      throw StoreError.limit(
        "a result of \(content.count) bytes; expected 1 to \(Self.evaluationResultBytesMax)")
    }
    try end(lease, result: digest, reason: nil) { connection in
      guard let content else { return }
      try connection.run(
        Statement(
          "evaluation_result_add",
          "INSERT INTO evaluation_results (key, content) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING"),
        [.bytes(digest), .bytes(content)])
    }
  }

  /// Ends a training that cannot be done, such as one whose task does not exist: it is scored as a failure. Safe to
  /// repeat.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  public func failEvaluationRun(lease: Lease, reason: String) throws {
    try end(lease, result: nil, reason: reason) { _ in }
  }

  private func end(
    _ lease: Lease, result: [UInt8]?, reason: String?, before: (Connection) throws -> Void
  ) throws {
    precondition(lease.kind == .evaluationRun, "the lease is for a training of an evaluation")
    let evaluation = try persist {
      try pool.transaction { connection -> String? in
        guard try connection.run(Self.endWork, Self.holder(lease)).count == 1 else {
          let done = try connection.run(
            Statement("evaluation_run_ended", "SELECT id FROM evaluation_runs WHERE id = $1 AND fence = $2"),
            [.text(lease.subject), .integer(lease.fence)])
          guard done.count == 1 else { throw StoreError.staleLease(subject: lease.subject) }
          return nil
        }
        try before(connection)
        return try Self.endRun(
          lease.subject, result: result, reason: reason, fence: lease.fence, on: connection)
      }
    }
    guard let evaluation else { return }
    notifier.notify(.evaluation, evaluation)
    notifier.notify(.work, WorkKind.evaluation.rawValue)
  }

  /// Ends a training whose work is locked or deleted; the last one queues the report.
  ///
  /// - Returns: its evaluation.
  @discardableResult
  static func endRun(
    _ run: String, result: [UInt8]?, reason: String?, fence: Int?, on connection: Connection
  ) throws -> String? {
    let ended = try connection.run(
      Statement(
        "evaluation_run_end",
        """
        WITH ended AS (
          UPDATE evaluation_runs SET state = CASE WHEN $2::bytea IS NULL THEN 'failed' ELSE 'done' END, result = $2,
            reason = $3, fence = $4 WHERE id = $1 AND state IN ('queued', 'running') RETURNING evaluation
        )
        UPDATE evaluations e SET open_runs = open_runs - 1, revision = revision + 1 FROM ended
        WHERE e.id = ended.evaluation RETURNING e.id, e.open_runs
        """),
      [
        .text(run), result.map(Parameter.bytes) ?? .null, .optional(reason), fence.map(Parameter.integer) ?? .null,
      ]
    ).map { ($0.text(), $0.integer()) }.first
    guard let (evaluation, open) = ended else { return nil }
    if open == 0 {
      try connection.run(
        enqueue, [.text(WorkKind.evaluation.rawValue), .text(evaluation), .integer(evaluationPriority)])
    }
    return evaluation
  }

  /// Shows a training that was given back as waiting again.
  static func requeueRun(_ run: String, on connection: Connection) throws {
    try connection.run(
      Statement(
        "evaluation_run_requeue",
        "UPDATE evaluation_runs SET state = 'queued' WHERE id = $1 AND state = 'running'"), [.text(run)])
  }

  // MARK: The report

  /// How the trainings of an evaluation ended, in the order of the plan, a few at a time.
  ///
  /// - Parameters:
  ///   - from: place of the first.
  ///   - limit: how many at most.
  public func evaluationRunEnds(evaluation: String, from: Int, limit: Int = 200) throws -> [EvaluationRunEnd] {
    try persist {
      try bulk.read { connection in
        try connection.run(
          Statement(
            "evaluation_run_ends",
            """
            SELECT r.position, e.content, r.reason FROM evaluation_runs r LEFT JOIN evaluation_results e ON e.key = r.result
            WHERE r.evaluation = $1 AND r.position >= $2 ORDER BY r.position LIMIT $3
            """), [.text(evaluation), .integer(from), .integer(limit)]
        ).map { row in
          let position = row.integer()
          let content: [UInt8]?
          if row.isNull {
            row.skip(1)
            content = nil
          } else {
            content = row.bytes()
          }
          return EvaluationRunEnd(position: position, content: content, reason: row.optionalText())
        }
      }
    }
  }

  /// Ends an evaluation with its report. Safe to repeat.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  public func finishEvaluation(lease: Lease, json: BlobReference, html: BlobReference, summary: JSON) throws {
    guard let jsonDigest = Hexadecimal.digest(json.sha256), let htmlDigest = Hexadecimal.digest(html.sha256) else {
      throw StoreError.notFound("content \(json.sha256)")
    }
    try settle(lease) { connection in
      try connection.run(
        Statement(
          "evaluation_finish",
          """
          UPDATE evaluations SET state = 'succeeded', summary = $2, report_json = $3, report_html = $4, fence = $5,
            finished_at = now(), revision = revision + 1 WHERE id = $1 AND state = 'running'
          """),
        [
          .text(lease.subject), .text(summary.text), .bytes(jsonDigest), .bytes(htmlDigest), .integer(lease.fence),
        ])
    }
  }

  /// Ends an evaluation that cannot be planned. Safe to repeat.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  public func failEvaluation(lease: Lease, message: String) throws {
    try settle(lease) { try Self.failEvaluation(lease.subject, message, fence: lease.fence, on: $0) }
  }

  private func settle(_ lease: Lease, _ body: (Connection) throws -> Void) throws {
    precondition(lease.kind == .evaluation, "the lease is for an evaluation")
    try persist {
      try pool.transaction { connection in
        guard try connection.run(Self.endWork, Self.holder(lease)).count == 1 else {
          let done = try connection.run(
            Statement(
              "evaluation_decided",
              "SELECT id FROM evaluations WHERE id = $1 AND fence = $2 AND finished_at IS NOT NULL"),
            [.text(lease.subject), .integer(lease.fence)])
          guard done.count == 1 else { throw StoreError.staleLease(subject: lease.subject) }
          return
        }
        try body(connection)
      }
    }
    notifier.notify(.evaluation, lease.subject)
  }

  /// Fails an evaluation whose work is locked or deleted.
  static func failEvaluation(_ id: String, _ message: String, fence: Int?, on connection: Connection) throws {
    try connection.run(
      Statement(
        "evaluation_fail",
        """
        UPDATE evaluations SET state = 'failed', message = $2, fence = $3, finished_at = now(), revision = revision + 1
        WHERE id = $1 AND state IN ('queued', 'running')
        """), [.text(id), .text(message), fence.map(Parameter.integer) ?? .null])
  }
}
