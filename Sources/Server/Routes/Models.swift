// Model definitions, and checks of what a model comes to.
import Contract
import HTTP
import Store

struct ModelRoutes: Sendable {
  let store: Store
  let audit: AuditTrail
  let limits: Limits

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let (name, spec) = try ModelDefinition.decodeRequest(request.json())
    let (model, replayed) = try store.createModel(
      name: name, spec: spec, project: caller.project, idempotency: request.idempotency(route: "POST /v1/models"))
    if !replayed { audit.record("model.create", model.id, by: caller, request) }
    return .created(model.json, at: "/v1/models/\(model.id)", replayed: replayed)
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    return .json(try store.models(project: caller.project, cursor: place.cursor, limit: place.limit).json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("model_id")
    guard let model = try store.model(id: id, project: caller.project) else { throw ErrorAnswers.missing("model", id) }
    return .json(model.json)
  }

  func check(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let check = try ModelCheck.decode(request.json())
    return .json(
      try check.answer(store: store, project: caller.project, memoryBytesMax: limits.jobMemoryBytesMax))
  }
}
