// Keys: made, listed, read, revoked by holders of `keys:admin`, within their project.
import Contract
import HTTP
import Store

struct KeyRoutes: Sendable {
  let store: Store
  let authentication: Authentication
  let audit: AuditTrail
  let now: @Sendable () -> Timestamp

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let wanted = try APIKey.Request.decode(request.json())
    if let expiresAt = wanted.expiresAt, expiresAt <= now() {
      throw SpecError([Fault(path: "/expires_at", reason: "expected a time to come, got \(expiresAt.rfc3339)")])
    }
    let made = try store.createKey(
      name: wanted.name, scopes: wanted.scopes, expiresAt: wanted.expiresAt, project: caller.project)
    audit.record(
      "key.create", made.key.id, by: caller, request,
      ["scopes": .array(made.key.scopes.map(\.rawValue).sorted().map(JSON.string))])
    guard case .object(var members) = made.key.json else { preconditionFailure("a key is written as an object") }
    members["secret"] = .string(made.secret)
    return .created(.object(members), at: "/v1/keys/\(made.key.id)")
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    return .json(try store.listKeys(project: caller.project, cursor: place.cursor, limit: place.limit).json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("key_id")
    guard let key = try store.key(id: id, project: caller.project) else { throw ErrorAnswers.missing("key", id) }
    return .json(key.json)
  }

  func revoke(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("key_id")
    guard let key = try store.revokeKey(id: id, project: caller.project) else { throw ErrorAnswers.missing("key", id) }
    authentication.forget(keyID: id)
    audit.record("key.revoke", id, by: caller, request)
    return .json(key.json)
  }
}
