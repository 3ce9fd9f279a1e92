// Projects: made, listed, read and bounded by holders of `projects:admin`, who see all of them.
import Contract
import HTTP
import Store

struct ProjectRoutes: Sendable {
  let store: Store
  let audit: AuditTrail
  let limits: Limits

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let wanted = try Project.Request.decode(request.json())
    guard let project = try store.createProject(id: wanted.id, quotas: wanted.quotas) else {
      throw Problem(
        .conflict, status: 409, title: "Conflict",
        detail: "there is a project \(wanted.id) already; PATCH /v1/projects/\(wanted.id) sets its quotas")
    }
    audit.record("project.create", project.id, by: caller, request, ["quotas": project.quotas.json])
    return .created(project.json(defaults: limits.quotas), at: "/v1/projects/\(project.id)")
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    return .json(
      try store.projects(cursor: place.cursor, limit: place.limit).json { $0.json(defaults: limits.quotas) })
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("project_id")
    guard let project = try store.project(id: id) else { throw ErrorAnswers.missing("project", id) }
    return .json(project.json(defaults: limits.quotas))
  }

  func set(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("project_id")
    let body = try request.json()
    guard let project = try store.changeProject(id: id, { try Project.change(body, of: $0) }) else {
      throw ErrorAnswers.missing("project", id)
    }
    audit.record("project.change", id, by: caller, request, ["quotas": project.quotas.json])
    return .json(project.json(defaults: limits.quotas))
  }
}
