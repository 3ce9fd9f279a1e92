// Keys: how they are read, remembered, revoked, rotated, and what they can hand on. RefusalTests walks all operations.
import Contract
import Foundation
import HTTP
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct AccessTests {
  let server: ServerUnderTest

  init() throws { server = try ServerUnderTest() }

  @Test func `unknown query parameters are refused everywhere behind a key`() throws {
    for operation in APIDescription.shared.operations where !operation.isOpen {
      let target = operation.target()
      let answer = try server.send(
        operation, target + (target.contains("?") ? "&" : "?") + "unknown=1", key: server.key)
      #expect(answer.status == 422, "\(operation): \(answer.text)")
      #expect(answer.faultPaths == ["?unknown"], "\(operation)")
    }
  }

  @Test func `a malformed authorization header is refused before the database is asked`() throws {
    let good = server.key
    for field in [good, "Basic \(good)", "Bearer", "Bearer  ", "Bearer token", "Bearer \(good) x"] {
      #expect(
        try server.call("GET", "/v1/jobs", key: "", headers: [("Authorization", field)]).status == 401, "\(field)")
    }
    let twice = [("Authorization", "Bearer \(good)"), ("Authorization", "Bearer \(good)")]
    #expect(try server.call("GET", "/v1/jobs", key: "", headers: twice).status == 401)
    #expect(try server.call("GET", "/v1/jobs", key: "", headers: [("Authorization", "bearer \(good)")]).status == 200)
  }

  @Test func `a revoked key stops working at once in this server`() throws {
    let made = try server.post("/v1/keys", ["name": "short", "scopes": ["jobs:read"]])
    let secret = try #require(made.json["secret"]?.string)
    #expect(try server.get("/v1/jobs", key: secret).status == 200)
    let id = try #require(made.json["id"]?.string)
    let revoked = try server.call("DELETE", "/v1/keys/\(id)")
    #expect(revoked.json["revoked_at"]?.string != nil)
    #expect(try server.get("/v1/jobs", key: secret).status == 401)
    let read = try server.get("/v1/keys/\(id)")
    #expect(read.json["revoked_at"] == revoked.json["revoked_at"])
    #expect(read.json["secret"] == nil)
  }

  @Test func `a rotated key works with both secrets until the overlap ends, and with neither once it is revoked`()
    throws
  {
    let made = try server.post("/v1/keys", ["name": "turning", "scopes": ["jobs:read"]]).json
    let id = try #require(made["id"]?.string), old = try #require(made["secret"]?.string)
    let rotated = try server.post("/v1/keys/\(id)/rotate", ["overlap_seconds": 600]).json
    let new = try #require(rotated["secret"]?.string)
    #expect(new != old && rotated["former_until"]?.string != nil)
    for secret in [old, new] { #expect(try server.get("/v1/jobs", key: secret).status == 200) }
    // Another rotation without overlap ends both that were before.
    let last = try #require(try server.post("/v1/keys/\(id)/rotate", .object([:])).json["secret"]?.string)
    for secret in [old, new] { #expect(try server.get("/v1/jobs", key: secret).status == 401) }
    #expect(try server.get("/v1/jobs", key: last).status == 200)

    let again = try #require(try server.post("/v1/keys/\(id)/rotate", ["overlap_seconds": 600]).json["secret"]?.string)
    try server.database.run("UPDATE keys SET former_until = now() WHERE id = '\(id)'")
    #expect(try server.get("/v1/jobs", key: last).status == 401)
    #expect(try server.get("/v1/keys/\(id)").json["former_until"] == .null)
    #expect(try server.post("/v1/keys/\(id)/rotate", ["overlap_seconds": 600]).status == 200)
    #expect(try server.get("/v1/jobs", key: again).status == 200)
    #expect(try server.call("DELETE", "/v1/keys/\(id)").status == 200)
    #expect(try server.get("/v1/jobs", key: again).status == 401)
    #expect(try server.post("/v1/keys/\(id)/rotate", .object([:])).status == 409)
    #expect(try server.post("/v1/keys/\(id)/rotate", ["overlap_seconds": -1]).faultPaths == ["/overlap_seconds"])
  }

  @Test func `nobody gets by a key what his own may not do`() throws {
    let clerk = try server.key([.keysAdmin, .jobsRead])
    let fine = try server.post("/v1/keys", ["name": "a", "scopes": ["jobs:read"]], key: clerk)
    #expect(fine.status == 201)
    let wanted: JSON = ["name": "b", "scopes": ["jobs:read", "jobs:write"]]
    let refused = try server.post("/v1/keys", wanted, key: clerk)
    #expect(refused.status == 403 && refused.detail.contains("jobs:write") && !refused.detail.contains("jobs:read"))
    // Nor by the new secret of a stronger key.
    let strong = try #require(try server.store.listKeys(project: "demo").items.first { $0.name == "all" })
    #expect(try server.post("/v1/keys/\(strong.id)/rotate", .object([:]), key: clerk).status == 403)
    #expect(try server.get("/v1/jobs").status == 200)
  }

  @Test func `keys of other projects are for holders of projects:admin`() throws {
    try server.store.makeProject("other")
    let clerk = try server.key([.keysAdmin, .jobsRead])
    let wanted: JSON = ["name": "theirs", "scopes": ["jobs:read"], "project": "other"]
    #expect(try server.post("/v1/keys", wanted, key: clerk).status == 403)
    #expect(try server.get("/v1/keys?project=other", key: clerk).status == 403)
    let made = try server.post("/v1/keys", wanted)
    #expect(made.status == 201 && made.json["project"] == "other")
    let id = try #require(made.json["id"]?.string)
    #expect(try server.get("/v1/keys/\(id)").status == 200 && server.get("/v1/keys/\(id)", key: clerk).status == 404)
    let listed = try server.get("/v1/keys?project=other").json["items"]?.array ?? []
    #expect(listed.contains { $0["id"]?.string == id })
    let mistyped: JSON = ["name": "theirs", "scopes": ["jobs:read"], "project": "nobody"]
    #expect(try server.post("/v1/keys", mistyped).faultPaths == ["/project"])
    #expect(try server.call("DELETE", "/v1/keys/\(id)").status == 200)
  }

  @Test func `the audit log comes by page, action, subject and time, to holders of audit:read`() throws {
    for name in ["a", "b", "c"] {
      #expect(try server.post("/v1/models", ["name": .string(name), "model": ["preset": "mlp"]]).status == 201)
    }
    let first = try server.get("/v1/audit?limit=2").json
    #expect(first["items"]?.array?.count == 2)
    let cursor = try #require(first["next_cursor"]?.string)
    let rest = try server.get("/v1/audit?limit=2&cursor=\(cursor)").json
    #expect(rest["items"]?.array?.count == 1 && rest["next_cursor"] == .null)
    let subject = try #require(rest["items"]?.array?.first?["subject"]?.string)
    #expect(try server.get("/v1/audit?action=model.create&subject=\(subject)").json["items"]?.array?.count == 1)
    #expect(try server.get("/v1/audit?action=model.delete").json["items"]?.array?.isEmpty == true)
    #expect(try server.get("/v1/audit?since=2999-01-01T00:00:00Z").json["items"]?.array?.isEmpty == true)
    #expect(try server.get("/v1/audit?since=yesterday&cursor=x").faultPaths == ["?since"])
    #expect(try server.get("/v1/audit?cursor=x").faultPaths == ["?cursor"])
  }

  @Test func `a remembered key is asked for again after a second, and at once when it is forgotten`() throws {
    let clock = Guarded(ContinuousClock.now)
    let known = Guarded<APIKey?>(
      APIKey(
        id: "key_a", project: "demo", name: "a", scopes: [.jobsRead], createdAt: Timestamp(microseconds: 0)))
    let asked = Guarded(0)
    let authentication = Authentication(
      find: { _ in
        asked.withLock { $0 += 1 }
        return known.current
      }, now: { clock.current })
    let secret = APIKey.makeSecret()
    func isAccepted() -> Bool { (try? authentication.key(secret: secret)) != nil }

    #expect(isAccepted() && isAccepted())
    #expect(asked.current == 1)
    known.withLock { $0 = nil }
    #expect(isAccepted())
    clock.withLock { $0 = $0.advanced(by: .seconds(Authentication.rememberedSeconds)) }
    #expect(!isAccepted())
    #expect(asked.current == 2)

    known.withLock {
      $0 = APIKey(id: "key_a", project: "demo", name: "a", scopes: [], createdAt: Timestamp(microseconds: 0))
    }
    #expect(isAccepted())
    known.withLock { $0 = nil }
    authentication.forget(keyID: "key_a")
    #expect(!isAccepted())
  }
}
