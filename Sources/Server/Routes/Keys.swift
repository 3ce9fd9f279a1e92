// Keys: made, listed, read, rotated, revoked by holders of `keys:admin`, within their project, or in any with
// `projects:admin` as well. Nobody gets by a key what his own does not have.
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
    let project = wanted.project ?? caller.project
    guard project == caller.project || Self.reachesAll(caller) else {
      throw Self.forbidden("a key for another project needs a key with the scope \(Scope.projectsAdmin.rawValue)")
    }
    try Self.checkEscalation(to: wanted.scopes, by: caller)
    // A typing mistake must not make a project.
    guard try project == caller.project || store.hasProject(project) else {
      throw SpecError([
        Fault(path: "/project", reason: "there is no project \(project); make it first: POST /v1/projects")
      ])
    }
    let made = try store.createKey(
      name: wanted.name, scopes: wanted.scopes, expiresAt: wanted.expiresAt, project: project)
    audit.record(
      "key.create", made.key.id, by: caller, request,
      ["scopes": .array(made.key.scopes.map(\.rawValue).sorted().map(JSON.string)), "for_project": .string(project)])
    return .created(Self.withSecret(made), at: "/v1/keys/\(made.key.id)")
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let (project, place) = try Query.read(
      request.head, texts: Query.Place.texts + ["project"], numbers: Query.Place.numbers
    ) { fields in (fields.projectID("project"), Query.Place.read(&fields)) }
    guard project == nil || project == caller.project || Self.reachesAll(caller) else {
      throw Self.forbidden("another project's keys need a key with the scope \(Scope.projectsAdmin.rawValue)")
    }
    let page = try store.listKeys(project: project ?? caller.project, cursor: place.cursor, limit: place.limit)
    return .json(page.json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    return .json(try find(request, caller).json)
  }

  func rotate(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let wanted = try APIKey.Rotation.decode(request.json())
    let key = try find(request, caller)
    try Self.checkEscalation(to: key.scopes, by: caller)
    guard
      let made = try store.rotateKey(id: key.id, project: key.project, overlapSeconds: wanted.overlapSeconds)
    else { throw ErrorAnswers.missing("key", key.id) }
    authentication.forget(keyID: key.id)
    audit.record(
      "key.rotate", key.id, by: caller, request, ["overlap_seconds": .integer(wanted.overlapSeconds)])
    return .json(Self.withSecret(made))
  }

  func revoke(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("key_id")
    guard let key = try store.revokeKey(id: id, project: Self.reach(of: caller)) else {
      throw ErrorAnswers.missing("key", id)
    }
    authentication.forget(keyID: id)
    audit.record("key.revoke", id, by: caller, request)
    return .json(key.json)
  }

  private func find(_ request: Request, _ caller: APIKey) throws -> APIKey {
    let id = request.parameter("key_id")
    guard let key = try store.key(id: id, project: Self.reach(of: caller)) else {
      throw ErrorAnswers.missing("key", id)
    }
    return key
  }

  private static func reachesAll(_ caller: APIKey) -> Bool { caller.scopes.contains(.projectsAdmin) }

  /// The project whose keys the caller reaches; nil for all.
  private static func reach(of caller: APIKey) -> String? { reachesAll(caller) ? nil : caller.project }

  /// Refuses to hand out a secret that may do more than the caller's own key.
  private static func checkEscalation(to scopes: Set<Scope>, by caller: APIKey) throws {
    let missing = scopes.subtracting(caller.scopes).map(\.rawValue).sorted()
    guard missing.isEmpty else {
      throw forbidden(
        "a key can only give scopes that it has itself; yours lacks \(missing.joined(separator: ", "))")
    }
  }

  private static func forbidden(_ detail: String) -> Problem {
    Problem(.forbidden, status: 403, title: "Forbidden", detail: detail)
  }

  private static func withSecret(_ made: (key: APIKey, secret: String)) -> JSON {
    guard case .object(var members) = made.key.json else { preconditionFailure("a key is written as an object") }
    members["secret"] = .string(made.secret)
    return .object(members)
  }
}
