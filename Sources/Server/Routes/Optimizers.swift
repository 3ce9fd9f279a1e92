// Learned optimizers with their provenance. They belong to no project: whoever may read them reads all.
import Contract
import HTTP
import Store

struct OptimizerRoutes: Sendable {
  let store: Store

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    return .json(try store.optimizers(cursor: place.cursor, limit: place.limit).json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("optimizer_id")
    guard let optimizer = try store.optimizer(id: id) else { throw ErrorAnswers.missing("optimizer", id) }
    return .json(optimizer.json)
  }
}
