// What is asked of jobs that exist: pause, resume, cancel, more steps, other names, deletion. Jobs.swift has the rest.
import Contract
import HTTP
import Store

extension JobRoutes {
  func pause(_ request: Request, _ caller: APIKey) throws -> Response {
    try act("pause", request, caller) { try store.pauseJob(id: $0, project: caller.project, revision: $1) }
  }

  func resume(_ request: Request, _ caller: APIKey) throws -> Response {
    try act("resume", request, caller) { try store.resumeJob(id: $0, project: caller.project, revision: $1) }
  }

  func cancel(_ request: Request, _ caller: APIKey) throws -> Response {
    try act("cancel", request, caller) { try store.cancelJob(id: $0, project: caller.project, revision: $1) }
  }

  private func act(
    _ what: String, _ request: Request, _ caller: APIKey, _ body: (String, Int?) throws -> Job?
  ) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("job_id")
    guard let job = try body(id, request.head.expectedRevision()) else { throw ErrorAnswers.missing("job", id) }
    audit.record("job.\(what)", id, by: caller, request)
    return .json(job.json, headers: ["ETag": Self.tag(job)])
  }

  /// More steps: for the job itself, or, if it has succeeded, as a new job.
  func extend(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("job_id")
    // An id that is none is not worth a key.
    guard Identifier.isValid(id, .job) else { throw ErrorAnswers.missing("job", id) }
    let idempotency = try request.idempotency(route: "POST /v1/jobs/\(id)/extend")
    let more = try JobExtension.decode(request.json())
    let extended = try store.extendJob(
      id: id, project: caller.project, more, revision: request.head.expectedRevision(), idempotency: idempotency,
      defaults: admission.limits.quotas)
    switch extended {
    case .inPlace(let job, let replayed):
      if !replayed { audit.record("job.extend", id, by: caller, request, ["steps": .integer(job.steps)]) }
      var headers: ResponseHeaders = ["ETag": Self.tag(job)]
      if replayed { headers["Idempotency-Replayed"] = "true" }
      return .json(job.json, headers: headers)
    case .continued(let job, let replayed):
      if !replayed { audit.record("job.create", job.id, by: caller, request, ["extends": .string(id)]) }
      return created(job, replayed: replayed)
    case nil: throw ErrorAnswers.missing("job", id)
    }
  }

  /// Another name, other tags, another priority.
  func set(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("job_id")
    let change = try JobChange.decode(request.json())
    let changed = try store.changeJob(
      id: id, project: caller.project, change, revision: request.head.expectedRevision())
    guard let job = changed else { throw ErrorAnswers.missing("job", id) }
    audit.record("job.change", id, by: caller, request, ["change": change.json])
    return .json(job.json, headers: ["ETag": Self.tag(job)])
  }

  func delete(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("job_id")
    guard try store.deleteJob(id: id, project: caller.project) else { throw ErrorAnswers.missing("job", id) }
    audit.record("job.delete", id, by: caller, request)
    return Response(status: .noContent)
  }
}
