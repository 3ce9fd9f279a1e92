// Jobs: submitted, waited for, listed; their attempts. JobControl.swift has what is asked of them, Events.swift,
// Curves.swift and Checkpoints.swift the rest of what belongs to a job.
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
      idempotency: idempotency, defaults: admission.limits.quotas)
    if !replayed {
      audit.record("job.create", job.id, by: caller, request, ["dataset": .string(job.spec.dataset)])
    }
    return created(job, replayed: replayed)
  }

  func created(_ job: Job, replayed: Bool) -> Response {
    .created(job.json, at: "/v1/jobs/\(job.id)", replayed: replayed, tag: Self.tag(job))
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let (state, tag, place) = try Query.read(
      request.head, texts: Query.Place.texts + ["state", "tag"], numbers: Query.Place.numbers
    ) { fields in (fields.choice("state", of: JobState.self), Self.tag(&fields), Query.Place.read(&fields)) }
    let page = try store.jobs(
      project: caller.project, state: state, tag: tag, cursor: place.cursor, limit: place.limit)
    return .json(page.json(\.json))
  }

  /// `tag=name:value`; the value is what comes after the first colon.
  private static func tag(_ fields: inout Fields) -> (name: String, value: String)? {
    guard let text = fields.string("tag", lengths: 1...265) else { return nil }
    guard let colon = text.firstIndex(of: ":"), colon > text.startIndex else {
      fields.fault("tag", "expected a tag's name, a colon and its value, such as team:vision, got \"\(text)\"")
      return nil
    }
    return (String(text[..<colon]), String(text[text.index(after: colon)...]))
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

  static func tag(_ job: Job) -> String { "\"\(job.revision)\"" }
}
