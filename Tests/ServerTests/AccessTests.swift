// Who may do what, walked over every operation of the description, so that a new one cannot be forgotten.
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

  /// A target for an operation, with what its path and its required query parameters need.
  private func target(_ operation: APIDescription.Operation, _ ids: [String: String] = [:]) -> String {
    var path = operation.path
    for parameter in operation.parameters {
      guard let name = parameter["name"]?.string, let example = parameter["example"]?.string else { continue }
      path = path.replacingOccurrences(of: "{\(name)}", with: ids[name] ?? example)
    }
    let query = operation.parameters.filter { $0["in"]?.string == "query" && $0["required"]?.bool == true }
      .compactMap { parameter in
        parameter["name"]?.string.flatMap { name in parameter["example"]?.string.map { "\(name)=\($0)" } }
      }
    return query.isEmpty ? path : path + "?" + query.joined(separator: "&")
  }

  /// Sends an operation its first example.
  private func send(
    _ operation: APIDescription.Operation, _ target: String, key: String
  ) throws -> RawAnswer {
    guard let type = operation.requestTypes.first else {
      return try server.call(operation.method, target, key: key)
    }
    let example = members(operation.json["requestBody"]?["content"]?[type]?["examples"]).first?.1["value"] ?? .null
    return try server.call(
      operation.method, target, key: key, type: type, body: example.string.map { Array($0.utf8) } ?? example.bytes)
  }

  @Test func `without a key every operation is refused, but for health, the description and the dashboard`() throws {
    let open = ["/", "/assets/{name}", "/livez", "/readyz", "/openapi.yaml", "/openapi.json"]
    for operation in APIDescription.shared.operations {
      let answer = try send(operation, target(operation), key: "")
      if open.contains(operation.path) {
        #expect(answer.status == 200, "\(operation)")
      } else {
        #expect(answer.status == 401, "\(operation)")
        #expect(answer.headers["www-authenticate"]?.hasPrefix("Bearer") == true, "\(operation)")
      }
    }
  }

  @Test func `with all scopes but the needed one every operation is refused, and with it alone none is`() throws {
    for operation in APIDescription.shared.operations {
      guard let scope = operation.scope.flatMap(Scope.init) else { continue }
      let others = try server.key(Set(Scope.allCases).subtracting([scope]))
      let refused = try send(operation, target(operation), key: others)
      #expect(refused.status == 403, "\(operation)")
      #expect(refused.detail.contains(scope.rawValue), "\(operation)")
      let accepted = try send(operation, target(operation), key: try server.key([scope]))
      #expect(accepted.status != 401 && accepted.status != 403, "\(operation): \(accepted.text)")
    }
  }

  @Test func `another project's ids are not found, and its lists are empty`() throws {
    let dataset = try server.readyDataset()
    let job = try server.store.makeJob(on: dataset)
    try server.succeed(#require(try server.store.claimJob()), model: [1, 2, 3])
    let model = try server.store.createModel(name: "m", spec: .sample, project: "demo").model
    let ids = [
      "dataset_id": dataset.id, "job_id": job.id, "model_id": model.id,
      "key_id": try server.store.listKeys(project: "demo").items[0].id,
      "checkpoint_id": try server.store.checkpoints(job: job.id)[0].id,
      "campaign_id": try server.store.createCampaign(.sample, project: "demo", author: "key_1").campaign.id,
      "evaluation_id": try server.store.createEvaluation(
        EvaluationSpec.decode(["optimizers": ["adam"], "tasks": ["quick"], "steps": 100]), project: "demo"
      ).evaluation.id,
    ]
    let stranger = try server.key(Set(Scope.allCases), project: "other")
    var walked = 0
    for operation in APIDescription.shared.operations {
      let own = operation.names(in: "path").filter { ids[$0] != nil }
      guard !own.isEmpty else { continue }
      // What is really there answers its owner otherwise.
      #expect(try send(operation, target(operation, ids), key: stranger).status == 404, "\(operation)")
      walked += 1
    }
    #expect(walked >= 33)
    for list in ["/v1/datasets", "/v1/jobs", "/v1/models", "/v1/campaigns", "/v1/evaluations"] {
      #expect(try server.get(list, key: stranger).json["items"]?.array?.isEmpty == true, "\(list)")
      #expect(try server.get(list).json["items"]?.array?.isEmpty == false, "\(list)")
    }
    // Nothing was changed by the attempts.
    #expect(try server.get("/v1/datasets/\(dataset.id)").status == 200)
    #expect(try server.store.listKeys(project: "demo").items.allSatisfy { $0.revokedAt == nil })
    let body = server.jobBody(dataset.id, ["model": .null, "model_id": .string(model.id)])
    #expect(try server.post("/v1/jobs", body, key: stranger).faultPaths == ["/dataset", "/model_id"])
  }

  @Test func `unknown query parameters are refused everywhere behind a key`() throws {
    for operation in APIDescription.shared.operations where !operation.isOpen {
      let target = target(operation)
      let answer = try send(operation, target + (target.contains("?") ? "&" : "?") + "unknown=1", key: server.key)
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
