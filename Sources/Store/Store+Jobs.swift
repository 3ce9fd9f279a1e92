// Jobs as clients see them: created, read, listed; their events, attempts and checkpoints. Store+JobControl.swift has
// what clients ask of a job that exists, Queue.swift what workers do with it.
import Contract
import Foundation

extension Store {
  static let jobColumns = """
    j.id, j.project, j.dataset, j.optimizer, j.spec, j.model, j.state, j.reason, j.message, j.step, j.loss, j.attempt,
    j.result, j.created_at, j.started_at, j.finished_at, j.revision, j.changes, j.budgets, j.extends, j.first_step,
    j.fallback
    """
  static let jobColumnCount = 22

  static func decodeJob(_ row: inout Row) throws -> Job {
    let (id, project) = (row.text(), row.text())
    row.skip(1)
    let optimizer = row.optionalText()
    let spec = try TrainingSpec.decode(row.json())
    var job = try Job(
      id: id, project: project, spec: spec, model: ModelSpec.decode(row.json()), optimizerID: optimizer,
      state: stored(JobState.self, row.text()), reason: stored(StateReason.self, row.text()),
      message: row.optionalText(), step: row.integer(), loss: row.optionalNumber(), attempt: row.integer(),
      result: row.optionalJSON().flatMap(TrainingResult.decode), createdAt: row.time(), startedAt: row.optionalTime(),
      finishedAt: row.optionalTime(), revision: row.integer())
    job.changes = row.json()
    job.budgets = try decodeBudgets(row.json())
    (job.extends, job.firstStep) = (row.optionalText(), row.integer())
    job.fallback = row.optionalJSON().flatMap(JobFallback.decode)
    return job
  }

  static func decodeBudgets(_ json: JSON) throws -> [Int] {
    let budgets = (json.array ?? []).compactMap(\.integer)
    guard !budgets.isEmpty else { throw StoreError.schema("the database holds a job with the budgets \(json.text)") }
    return budgets
  }

  /// Creates a job and queues it, with its first event.
  ///
  /// - Parameters:
  ///   - model: the model that is trained, resolved if the spec names it by id.
  ///   - optimizerID: the learned optimizer's release that trains it; nil for a hand-designed one.
  ///   - idempotency: with a key seen before, nothing is created and the first answer is given again.
  ///   - defaults: bounds for projects without quotas of their own; nil for none.
  /// - Returns: the job as it was created, and whether that was an earlier call.
  /// - Throws: ``StoreError/notFound(_:)`` or ``StoreError/conflict(_:_:)`` (`datasetNotReady`) about the dataset;
  ///   ``StoreError/notFound(_:)`` where the model that the spec names is gone.
  public func createJob(
    spec: TrainingSpec, model: ModelSpec, optimizerID: String?, project: String, idempotency: Idempotency? = nil,
    defaults: ProjectQuotas = ProjectQuotas()
  ) throws -> (job: Job, replayed: Bool) {
    let id = Identifier.make(.job)
    let created: (job: Job, replayed: Bool) = try pool.transaction { connection in
      if let made = try claimKey(idempotency, project: project, subject: id, on: connection) {
        guard let job = try Self.job(made, project, connection) else { throw Self.subjectGone(idempotency) }
        return (job.asCreated, true)
      }
      try Self.hold(.unfinishedJobs, project, defaults.unfinishedJobs, adding: 1, on: connection)
      let rows = try connection.run(
        Self.insertJob,
        [
          .text(id), .text(project), .text(spec.dataset), .optional(optimizerID), .text(spec.json.text),
          .text(model.json.text), .integer(spec.priority), .text(Self.eventData(.queued, .submitted).text),
          .optional(spec.modelID),
        ]
      ).map { try Self.decodeJob(&$0) }
      guard let job = rows.first else { throw try Self.unusable(spec, project, connection) }
      return (job, false)
    }
    if !created.replayed {
      notifier.notify(.work, WorkKind.job.rawValue)
      notifier.notify(.job, id)
    }
    return created
  }

  // KEY SHARE on the dataset and the stored model: they cannot be deleted before the job is there to forbid it.
  private static let insertJob = Statement(
    "job_create",
    """
    WITH usable AS (
      SELECT id FROM datasets WHERE id = $3 AND project = $2 AND state = 'ready' FOR KEY SHARE
    ), stored AS (
      SELECT id FROM models WHERE id = $9 AND project = $2 AND state = 'ready' FOR KEY SHARE
    ), j AS (
      INSERT INTO jobs (id, project, dataset, optimizer, spec, model, event_count, budgets)
      SELECT $1, $2, usable.id, $4, $5, $6, 1, jsonb_build_array(($5::jsonb ->> 'steps')::bigint) FROM usable WHERE $9::text IS NULL OR EXISTS (SELECT FROM stored)
      RETURNING *
    ), event AS (
      INSERT INTO job_events (job, sequence, kind, message, data) SELECT id, 1, 'state', 'queued', $8 FROM j
    ), queued AS (
      INSERT INTO work (kind, subject, priority) SELECT 'job', id, $7 FROM j
    )
    SELECT \(jobColumns) FROM j
    """)

  static func unusable(
    _ spec: TrainingSpec, _ project: String, _ connection: Connection
  ) throws -> StoreError {
    let dataset = spec.dataset
    let state = try connection.run(
      Statement("job_dataset_state", "SELECT state FROM datasets WHERE id = $1 AND project = $2"),
      [.text(dataset), .text(project)]
    ).map { $0.text() }.first
    guard let state else { return .notFound("dataset \(dataset)") }
    if state == "ready", let model = spec.modelID { return .notFound("model \(model)") }
    return .conflict(
      .datasetNotReady,
      state == "rejected"
        ? "dataset \(dataset) was rejected; its problems say what to mend, then upload it again"
        : "dataset \(dataset) is \(state); wait until it is ready")
  }

  /// What the event of a change of state says to programs.
  static func eventData(_ state: JobState, _ reason: StateReason, _ more: [String: JSON] = [:]) -> JSON {
    .object(["state": .string(state.rawValue), "reason": .string(reason.rawValue)].merging(more) { $1 })
  }

  /// A project's job, nil if it has none of that id.
  public func job(id: String, project: String) throws -> Job? {
    try pool.read { try Self.job(id, project, $0) }
  }

  static func job(_ id: String, _ project: String, _ connection: Connection) throws -> Job? {
    try connection.run(
      Statement("job_get", "SELECT \(jobColumns) FROM jobs j WHERE j.id = $1 AND j.project = $2"),
      [.text(id), .text(project)]
    ).map { try decodeJob(&$0) }.first
  }

  /// A page of a project's jobs, newest first: all, or those in one state, with a tag, or both.
  public func jobs(
    project: String, state: JobState? = nil, tag: (name: String, value: String)? = nil, cursor: String? = nil,
    limit: Int = 50
  ) throws -> Page<Job> {
    // Statements of their own, so that each has the plan of its index.
    let (name, inState) =
      switch state {
      case nil: ("", "$2::text IS NULL")
      case .some(let state) where state.isTerminal: ("_outcome", "outcome = $2")
      case .some: ("_state", "finished_at IS NULL AND state = $2")
      }
    let tagged =
      tag == nil ? "$3::jsonb IS NULL" : "coalesce(changes -> 'tags', spec -> 'tags') @> $3::jsonb"
    return try page(
      Statement(
        "jobs_list" + name + (tag == nil ? "" : "_tag"),
        Self.pageSQL(
          Self.jobColumns, from: "jobs j", where: "project = $1 AND \(inState) AND \(tagged)", after: 4)),
      [
        .text(project), .optional(state?.rawValue),
        .optional(tag.map { JSON.object([$0.name: .string($0.value)]).text }),
      ], kind: .job, cursor: cursor, limit: limit, id: \.id, decode: Self.decodeJob)
  }

  /// How many jobs of a project are in each state that is not terminal; for quotas.
  public func unfinishedJobCounts(project: String) throws -> [JobState: Int] {
    try pool.read { connection in
      let counts = try connection.run(
        Statement(
          "jobs_count",
          "SELECT state, count(*) FROM jobs WHERE project = $1 AND finished_at IS NULL GROUP BY state"),
        [.text(project)]
      ).map { (try Self.stored(JobState.self, $0.text()), $0.integer()) }
      return Dictionary(uniqueKeysWithValues: counts)
    }
  }

  // MARK: What belongs to a job. The caller has found the job in the project already.

  /// A job's events after number `after` (0: from the first) in order, at most `limit` (1 to 1,000).
  public func events(job: String, after: Int = 0, limit: Int = 200) throws -> [JobEvent] {
    guard (1...1000).contains(limit) else { throw StoreError.limit("limit: expected 1 to 1000, got \(limit)") }
    return try pool.read { connection in
      try connection.run(
        Statement(
          "job_events",
          """
          SELECT sequence, at, kind, message, data FROM job_events WHERE job = $1 AND sequence > $2
          ORDER BY sequence LIMIT $3
          """), [.text(job), .integer(after), .integer(limit)]
      ).map { row in
        try JobEvent(
          sequence: row.integer(), at: row.time(), kind: Self.stored(JobEvent.Kind.self, row.text()),
          message: row.text(), data: row.json())
      }
    }
  }

  /// A job's attempts from the first on; at most the newest 1,000.
  public func attempts(job: String) throws -> [JobAttempt] {
    try pool.read { connection in
      try connection.run(
        Statement(
          "job_attempts",
          """
          SELECT number, worker, state, first_step, cpu_level, started_at, ended_at FROM job_attempts WHERE job = $1
          ORDER BY number DESC LIMIT 1000
          """), [.text(job)]
      ).map { row in
        try JobAttempt(
          number: row.integer(), worker: row.text(), state: Self.stored(JobAttempt.State.self, row.text()),
          firstStep: row.integer(), cpuLevel: row.text(), startedAt: row.time(), endedAt: row.optionalTime())
      }.reversed()
    }
  }

  static let checkpointColumns = """
    c.id, c.job, c.kind, c.step, c.sha256, (SELECT b.bytes FROM blobs b WHERE b.sha256 = c.sha256), c.created_at
    """

  static func decodeCheckpoint(_ row: inout Row) throws -> Checkpoint {
    try Checkpoint(
      id: row.text(), job: row.text(), kind: stored(Checkpoint.Kind.self, row.text()), step: row.integer(),
      sha256: row.digest(), bytes: row.integer(), createdAt: row.time())
  }

  /// A job's checkpoints, newest first: the trained model, and the last states that a run can go on from.
  public func checkpoints(job: String) throws -> [Checkpoint] {
    try pool.read { connection in
      try connection.run(
        Statement(
          "checkpoints_list",
          "SELECT \(Self.checkpointColumns) FROM checkpoints c WHERE c.job = $1 ORDER BY c.step DESC, c.id DESC"),
        [.text(job)]
      ).map { try Self.decodeCheckpoint(&$0) }
    }
  }

  /// A checkpoint of one of a project's jobs, nil if it has none of that id.
  public func checkpoint(id: String, project: String) throws -> Checkpoint? {
    try pool.read { connection in
      try connection.run(
        Statement(
          "checkpoint_get",
          """
          SELECT \(Self.checkpointColumns) FROM checkpoints c JOIN jobs j ON j.id = c.job
          WHERE c.id = $1 AND j.project = $2
          """), [.text(id), .text(project)]
      ).map { try Self.decodeCheckpoint(&$0) }.first
    }
  }
}
