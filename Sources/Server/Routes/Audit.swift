// The audit log, for holders of `audit:read`: who changed what in their project. AuditTrail.swift writes it.
import Contract
import HTTP
import Store

struct AuditRoutes: Sendable {
  let store: Store

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let (action, subject, since, place) = try Query.read(
      request.head, texts: Query.Place.texts + ["action", "subject", "since"], numbers: Query.Place.numbers
    ) { fields in
      (
        fields.string("action", lengths: 1...100), fields.string("subject", lengths: 1...64), fields.time("since"),
        Query.Place.read(&fields)
      )
    }
    let page = try store.audit(
      project: caller.project, action: action, subject: subject, since: since, cursor: place.cursor,
      limit: place.limit)
    return .json(page.json(\.json))
  }
}
