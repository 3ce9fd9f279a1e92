// What is asked of jobs that exist: pause, resume, cancel, other names, deletion. Jobs.swift has the rest.
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
