// Evaluations as clients see them: created, read, listed, cancelled. Store+EvaluationRuns.swift has what workers do with
// them.
import Contract
import Foundation

extension Store {
  static let evaluationColumns = """
    e.id, e.project, e.spec, e.campaign, e.campaign_version, e.state, e.message, e.plan, e.summary,
    e.report_json, (SELECT b.bytes FROM blobs b WHERE b.sha256 = e.report_json),
    e.report_html, (SELECT b.bytes FROM blobs b WHERE b.sha256 = e.report_html),
    e.created_at, e.started_at, e.finished_at, e.revision,
    (SELECT count(*) FROM evaluation_runs r WHERE r.evaluation = e.id AND r.state = 'queued'),
    (SELECT count(*) FROM evaluation_runs r WHERE r.evaluation = e.id AND r.state = 'running'),
    (SELECT count(*) FROM evaluation_runs r WHERE r.evaluation = e.id AND r.state = 'done'),
    (SELECT count(*) FROM evaluation_runs r WHERE r.evaluation = e.id AND r.state = 'failed')
    """

  static func decodeEvaluation(_ row: inout Row) throws -> EvaluationRecord {
    var record = try EvaluationRecord(
      id: row.text(), project: row.text(), spec: EvaluationSpec.decode(row.json()), campaign: row.optionalText(),
      campaignVersion: row.optionalInteger(), state: stored(EvaluationState.self, row.text()),
      message: row.optionalText(), plan: row.optionalJSON().flatMap(EvaluationPlan.decode),
      summary: row.optionalJSON(), createdAt: Timestamp(microseconds: 0))
    for format in [EvaluationReportFormat.json, .html] {
      if row.isNull {
        row.skip(2)
      } else {
        record.reports[format] = StoredContent(sha256: row.digest(), bytes: row.integer())
      }
    }
    record.createdAt = row.time()
    record.startedAt = row.optionalTime()
    record.finishedAt = row.optionalTime()
    record.revision = row.integer()
    record.progress = EvaluationProgress(
      queued: row.integer(), running: row.integer(), done: row.integer(), failed: row.integer())
    return record
  }

  /// Creates an evaluation and queues it. Learned optimizers that name no version get the newest released one, for good.
  ///
  /// - Parameters:
  ///   - campaign: of a campaign's own evaluation: its id and the version of theta that the evaluation belongs to.
  ///   - idempotency: with a key seen before, nothing is created and the first answer is given again.
  /// - Returns: the evaluation as it was created, and whether that was an earlier call.
  /// - Throws: ``StoreError/notFound(_:)`` about a dataset, an optimizer or a campaign's theta;
  ///   ``StoreError/conflict(_:_:)`` (`datasetNotReady`); ``StoreError/limit(_:)`` for files, which only the command
  ///   line reads.
  public func createEvaluation(
    _ spec: EvaluationSpec, project: String, campaign: (id: String, version: Int)? = nil,
    idempotency: Idempotency? = nil
  ) throws -> (evaluation: EvaluationRecord, replayed: Bool) {
    if let file = spec.files.first {
      throw StoreError.limit("\"theta\": \"\(file.prefix(80))\" is a file of yours; upload it as an optimizer first")
    }
    let thetas = try putThetas(of: spec, project)
    let id = Identifier.make(.evaluation)
    let created = try pool.transaction { connection -> (EvaluationRecord, Bool) in
      if let made = try claimKey(idempotency, project: project, subject: id, on: connection) {
        guard let evaluation = try Self.evaluation(made, project, connection) else {
          throw Self.subjectGone(idempotency)
        }
        return (evaluation, true)
      }
      var spec = spec
      let weights = try Self.resolve(&spec, thetas, on: connection)
      try Self.checkDatasets(spec, project, on: connection)
      let inserted = try connection.run(
        Statement(
          "evaluation_create",
          """
          INSERT INTO evaluations (id, project, spec, campaign, campaign_version) VALUES ($1, $2, $3, $4, $5)
          ON CONFLICT (campaign, campaign_version) WHERE campaign IS NOT NULL DO NOTHING
          """),
        [
          .text(id), .text(project), .text(spec.json.text), .optional(campaign?.id),
          campaign.map { .integer($0.version) } ?? .null,
        ])
      guard inserted.changed == 1 else {
        throw StoreError.conflict(.versionExists, "that version of the campaign has an evaluation already")
      }
      for weight in weights {
        guard let digest = Hexadecimal.digest(weight.sha256) else {
          throw StoreError.notFound("content \(weight.sha256)")
        }
        try connection.run(
          Statement(
            "evaluation_weight",
            "INSERT INTO evaluation_weights (evaluation, position, sha256, name) VALUES ($1, $2, $3, $4)"
          ), [.text(id), .integer(weight.position), .bytes(digest), .text(weight.name)])
      }
      try connection.run(
        Self.enqueue, [.text(WorkKind.evaluation.rawValue), .text(id), .integer(Self.evaluationPriority)])
      return (try Self.evaluation(id, project, connection)!, false)
    }
    if !created.1 {
      notifier.notify(.work, WorkKind.evaluation.rawValue)
      notifier.notify(.evaluation, id)
    }
    return created
  }

  /// As the last of jobs: evaluations are many and wait well. Campaigns, which never end, make room for them.
  static let evaluationPriority = 9

  /// The weights of an evaluation's optimizers by their place; versions that were left open are filled in.
  private static func resolve(
    _ spec: inout EvaluationSpec, _ thetas: [Int: BlobReference], on connection: Connection
  ) throws -> [(position: Int, sha256: String, name: String)] {
    var weights: [(Int, String, String)] = []
    for (position, optimizer) in spec.optimizers.enumerated() {
      switch optimizer.source {
      case .setting(var asked) where asked.name.isLearned:
        let found = try connection.run(
          findReleased,
          [
            asked.name == .auto ? .null : .text(asked.name.rawValue), asked.version.map(Parameter.integer) ?? .null,
          ]
        ).map { try decodeOptimizer(&$0) }.first
        guard let found else {
          let version = asked.version.map { " of version \($0)" } ?? ""
          throw StoreError.notFound("an optimizer \(asked.name.rawValue)\(version)")
        }
        asked.version = found.version
        if asked.name == .auto { asked = OptimizerSpec(name: found.name, version: found.version) }
        spec.optimizers[position].source = .setting(asked)
        weights.append((position, found.sha256, "\(found.name.rawValue) \(found.version)"))
      case .campaign(let id, let version):
        guard let theta = thetas[position] else { break }
        weights.append((position, theta.sha256, "\(id) at \(version)"))
      case .setting, .tuned, .file: break
      }
    }
    return weights
  }

  /// The thetas of campaigns as contents, by place; a content that is there already is only touched.
  private func putThetas(of spec: EvaluationSpec, _ project: String) throws -> [Int: BlobReference] {
    var blobs: [Int: BlobReference] = [:]
    for (position, optimizer) in spec.optimizers.enumerated() {
      guard case .campaign(let id, let version) = optimizer.source else { continue }
      let content = try bulk.read { connection in
        try connection.run(
          Statement(
            "evaluation_theta",
            """
            SELECT t.content FROM campaign_thetas t JOIN campaigns c ON c.id = t.campaign
            WHERE t.campaign = $1 AND t.version = $2 AND c.project = $3
            """), [.text(id), .integer(version), .text(project)]
        ).map { $0.bytes() }.first
      }
      guard let content else {
        throw StoreError.notFound("a stored theta of campaign \(id) after \(version) outer steps")
      }
      blobs[position] = try putBlob(content)
    }
    return blobs
  }

  private static func checkDatasets(_ spec: EvaluationSpec, _ project: String, on connection: Connection) throws {
    for (name, id) in spec.data.sorted(by: { $0.key < $1.key }) {
      let state = try connection.run(
        Statement(
          "evaluation_dataset", "SELECT state FROM datasets WHERE id = $1 AND project = $2 FOR KEY SHARE"),
        [.text(id), .text(project)]
      ).map { $0.text() }.first
      guard let state else { throw StoreError.notFound("dataset \(id), which stands for \(name),") }
      guard state == DatasetState.ready.rawValue else {
        throw StoreError.conflict(.datasetNotReady, "dataset \(id), which stands for \(name), is \(state)")
      }
    }
  }

  /// A project's evaluation, nil if it has none of that id.
  public func evaluation(id: String, project: String) throws -> EvaluationRecord? {
    try pool.read { try Self.evaluation(id, project, $0) }
  }

  static func evaluation(_ id: String, _ project: String?, _ connection: Connection) throws -> EvaluationRecord? {
    try connection.run(
      Statement(
        "evaluation_get",
        "SELECT \(evaluationColumns) FROM evaluations e WHERE e.id = $1 AND e.project = coalesce($2, e.project)"),
      [.text(id), .optional(project)]
    ).map { try decodeEvaluation(&$0) }.first
  }

  /// A page of a project's evaluations, newest first: all, those in one state, or those of one campaign.
  public func evaluations(
    project: String, state: EvaluationState? = nil, campaign: String? = nil, cursor: String? = nil, limit: Int = 50
  ) throws -> Page<EvaluationRecord> {
    var name = "evaluations_list"
    var condition = "project = $1"
    if state != nil {
      (name, condition) = (name + "_state", condition + " AND state = $2")
    } else {
      condition += " AND $2::text IS NULL"
    }
    if campaign != nil {
      (name, condition) = (name + "_campaign", condition + " AND campaign = $3")
    } else {
      condition += " AND $3::text IS NULL"
    }
    return try page(
      Statement(name, Self.pageSQL(Self.evaluationColumns, from: "evaluations e", where: condition, after: 4)),
      [.text(project), .optional(state?.rawValue), .optional(campaign)], kind: .evaluation, cursor: cursor,
      limit: limit, id: \.id, decode: Self.decodeEvaluation)
  }

  /// The report of an evaluation, whose bytes ``readBlob(sha256:offset:count:)`` gives; nil where there is none (yet).
  public func evaluationReport(
    id: String, project: String, format: EvaluationReportFormat
  ) throws -> StoredContent? {
    try evaluation(id: id, project: project)?.reports[format]
  }

  /// Cancels an evaluation at once; what its workers are training they notice within seconds. In a terminal state
  /// nothing changes.
  ///
  /// - Returns: the evaluation after it, nil if the project has none of that id.
  public func cancelEvaluation(id: String, project: String) throws -> EvaluationRecord? {
    let (evaluation, changed): (EvaluationRecord?, Bool) = try pool.transaction { connection in
      guard let before = try Self.evaluation(id, project, connection) else { return (nil, false) }
      guard !before.state.isTerminal else { return (before, false) }
      // The work first, then what it is about: the order of all that lock both.
      try connection.run(Self.cancelWork, [.text(id)])
      let cancelled = try connection.run(
        Statement(
          "evaluation_cancel",
          """
          UPDATE evaluations SET state = 'cancelled', finished_at = now(), revision = revision + 1
          WHERE id = $1 AND state IN ('queued', 'running')
          """), [.text(id)])
      if cancelled.changed == 1 {
        try connection.run(
          Statement(
            "evaluation_cancel_runs",
            "DELETE FROM evaluation_runs WHERE evaluation = $1 AND state IN ('queued', 'running')"), [.text(id)])
      }
      return (try Self.evaluation(id, project, connection), cancelled.changed == 1)
    }
    if changed { notifier.notify(.evaluation, id) }
    return evaluation
  }

  private static let cancelWork = Statement(
    "evaluation_cancel_work",
    """
    WITH doomed AS (
      SELECT w.id FROM work w WHERE w.subject = $1
        OR w.subject IN (
          SELECT r.id FROM evaluation_runs r WHERE r.evaluation = $1 AND r.state IN ('queued', 'running'))
      ORDER BY w.id FOR UPDATE
    )
    DELETE FROM work USING doomed WHERE work.id = doomed.id
    """)
}
