// Jobs: submitted, waited for, listed, cancelled; their events and attempts. Curves.swift and Checkpoints.swift have the
// rest of what belongs to a job.
import Contract
import HTTP
import Store

struct JobRoutes: Sendable {
  let store: Store
  let admission: JobAdmission
  let waiters: Waiters
  let audit: AuditTrail

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let idempotency = try request.idempotency(route: "POST /v1/jobs")
    // Before it is judged: the dataset may be gone or the quota used up since, and the first answer still holds.
    if let idempotency, let job = try store.replayedJob(idempotency, project: caller.project) {
      return created(job, replayed: true)
    }
    let admitted = try admission.admit(request.json(), project: caller.project)
    let (job, replayed) = try store.createJob(
      spec: admitted.spec, model: admitted.model, optimizerID: admitted.optimizerID, project: caller.project,
      idempotency: idempotency)
    if !replayed {
      audit.record("job.create", job.id, by: caller, request, ["dataset": .string(job.spec.dataset)])
    }
    return created(job, replayed: replayed)
  }

  private func created(_ job: Job, replayed: Bool) -> Response {
    .created(job.json, at: "/v1/jobs/\(job.id)", replayed: replayed, tag: Self.tag(job))
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let (state, place) = try Query.read(
      request.head, texts: Query.Place.texts + ["state"], numbers: Query.Place.numbers
    ) { fields in (fields.choice("state", of: JobState.self), Query.Place.read(&fields)) }
    let page = try store.jobs(project: caller.project, state: state, cursor: place.cursor, limit: place.limit)
    return .json(page.json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    let seconds = try Query.wait(request.head)
    let (id, head) = (request.parameter("job_id"), request.head)
    // With an entity tag the client waits for news, else for the end.
    let waitsForNews = head.headers["if-none-match"] != nil
    return try waiters.answer(
      id: id, seconds: Double(seconds), read: { try find(id, caller) },
      isOver: { $0.state.isTerminal || waitsForNews && !head.hasCurrent(Self.tag($0)) },
      answer: { .state($0.json, tag: Self.tag($0), head) })
  }

  func cancel(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("job_id")
    guard let job = try store.cancelJob(id: id, project: caller.project) else { throw ErrorAnswers.missing("job", id) }
    audit.record("job.cancel", id, by: caller, request)
    return .json(job.json, headers: ["ETag": Self.tag(job)])
  }

  func events(_ request: Request, _ caller: APIKey) throws -> Response {
    let (after, limit) = try Query.read(request.head, numbers: ["after", "limit"]) { fields in
      (
        fields.integer("after", in: 0...Int.max) ?? 0,
        fields.integer("limit", in: Page<JobEvent>.limitRange) ?? Limits.pageItemsDefault
      )
    }
    let job = try find(request.parameter("job_id"), caller)
    return .items(try store.events(job: job.id, after: after, limit: limit).map(\.json))
  }

  func attempts(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let job = try find(request.parameter("job_id"), caller)
    return .items(try store.attempts(job: job.id).map(\.json))
  }

  /// The caller's job of that id; 404 for anybody else's.
  func find(_ id: String, _ caller: APIKey) throws -> Job {
    guard Identifier.isValid(id, .job), let job = try store.job(id: id, project: caller.project) else {
      throw ErrorAnswers.missing("job", id)
    }
    return job
  }

  private static func tag(_ job: Job) -> String { "\"\(job.revision)\"" }
}
