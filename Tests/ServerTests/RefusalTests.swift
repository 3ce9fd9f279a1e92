// Every operation of the description with every key that must not do: none, expired, revoked, too weak, another project's.
// What an operation needs is made for it, so that a refusal is one of something that is there; an operation whose path
// this file cannot fill fails, so that no new one is forgotten.
import Contract
import Foundation
import HTTP
import Store
import TestSupport
import Testing

@testable import Server

extension APIDescription.Operation {
  /// Its path with values for its parameters, and the query parameters that it demands; the examples of the description
  /// where `values` has none.
  func target(_ values: [String: String] = [:]) -> String {
    var target = path
    for parameter in parameters {
      guard let name = parameter["name"]?.string, let value = values[name] ?? parameter["example"]?.string else {
        continue
      }
      target = target.replacingOccurrences(of: "{\(name)}", with: value)
    }
    let query = parameters.filter { $0["in"]?.string == "query" && $0["required"]?.bool == true }
      .compactMap { parameter in
        parameter["name"]?.string.flatMap { name in parameter["example"]?.string.map { "\(name)=\($0)" } }
      }
    return query.isEmpty ? target : target + "?" + query.joined(separator: "&")
  }
}

extension ServerUnderTest {
  /// Sends an operation its first example.
  func send(_ operation: APIDescription.Operation, _ target: String, key: String) throws -> RawAnswer {
    guard let type = operation.requestTypes.first else { return try call(operation.method, target, key: key) }
    let example = members(operation.json["requestBody"]?["content"]?[type]?["examples"]).first?.1["value"] ?? .null
    return try call(
      operation.method, target, key: key, type: type, body: example.string.map { Array($0.utf8) } ?? example.bytes)
  }
}

@Suite struct RefusalTests {
  let server: ServerUnderTest
  let api = APIDescription.shared

  init() throws { server = try ServerUnderTest() }

  /// Path parameters that name what a project owns; everything else in a path must stand in one of the next two lists.
  private static let owned: Set<String> = [
    "dataset_id", "job_id", "model_id", "key_id", "checkpoint_id", "campaign_id", "evaluation_id",
  ]
  /// Of all projects: learned optimizers serve everybody, projects are seen by their administrators alone, and the
  /// dashboard's files by `name` hold no data.
  private static let shared: Set<String> = ["optimizer_id", "project_id", "name"]
  /// Parts of what another parameter names.
  private static let inner: Set<String> = ["series", "version"]
  /// Lists that show the same to everybody, by operation.
  private static let sharedLists: Set<String> = ["listOptimizers", "listWorkers", "listProjects", "listTasks"]
  /// Open to everybody by intention, by path: health, the description, and the pages of the dashboard, which hold no data.
  private static func isOpen(_ path: String) -> Bool {
    ["/livez", "/readyz", "/openapi.yaml", "/openapi.json", "/", "/assets/{name}"].contains(path)
  }

  /// One of everything that project `demo` can own.
  private func makeAll() throws -> [String: String] {
    let dataset = try server.readyDataset()
    let job = try server.store.makeJob(on: dataset)
    try server.succeed(#require(try server.store.claimJob()), model: [1, 2, 3])
    let campaign = try server.store.createCampaign(.sample, project: "demo", author: "key_1").campaign.id
    try server.database.run(
      "INSERT INTO campaign_thetas (campaign, version, content, sha256) VALUES ('\(campaign)', 5, 'theta', sha256('theta'))"
    )
    let evaluation = try EvaluationSpec.decode(["optimizers": ["adam"], "tasks": ["quick"], "steps": 100])
    return [
      "dataset_id": dataset.id, "job_id": job.id,
      "model_id": try server.store.createModel(name: "m", spec: .sample, project: "demo").model.id,
      "key_id": try server.store.createKey(name: "k", scopes: [.jobsRead], expiresAt: nil, project: "demo").key.id,
      "checkpoint_id": try server.store.checkpoints(job: job.id)[0].id, "campaign_id": campaign,
      "evaluation_id": try server.store.createEvaluation(evaluation, project: "demo").evaluation.id,
      "optimizer_id": try server.releaseOptimizer(version: Int.random(in: 1...1_000_000)).id, "project_id": "demo",
      "version": "5", "series": "train_loss",
    ]
  }

  @Test func `this file knows every parameter of every path`() {
    let known = Self.owned.union(Self.shared).union(Self.inner)
    for operation in api.operations {
      let unknown = Set(operation.names(in: "path")).subtracting(known)
      #expect(unknown.isEmpty, "\(operation): make \(unknown) in makeAll, and say whose it is")
      #expect(operation.isOpen == Self.isOpen(operation.path), "\(operation): open or not")
    }
  }

  @Test func `without a working key every operation is refused`() throws {
    let ids = try makeAll()
    let all = Set(Scope.allCases)
    let expired = try server.store.createKey(
      name: "expired", scopes: all, expiresAt: Timestamp(Date(timeIntervalSinceNow: -1)), project: "demo"
    ).secret
    let revoked = try server.store.createKey(name: "revoked", scopes: all, expiresAt: nil, project: "demo")
    _ = try server.store.revokeKey(id: revoked.key.id, project: "demo")
    for operation in api.operations {
      for (what, key) in [("no key", ""), ("expired", expired), ("revoked", revoked.secret)] {
        let answer = try server.send(operation, operation.target(ids), key: key)
        guard !operation.isOpen else {
          #expect(answer.status < 400, "\(operation), \(what)")
          continue
        }
        #expect(answer.status == 401, "\(operation), \(what)")
        #expect(answer.headers["www-authenticate"]?.hasPrefix("Bearer") == true, "\(operation), \(what)")
        #expect(answer.json["type"]?.string == "urn:trainyard:problem:unauthenticated", "\(operation), \(what)")
      }
    }
  }

  @Test func `with all scopes but the needed one every operation is refused, and with it alone none is`() throws {
    let ids = try makeAll()
    for operation in api.operations {
      guard let scope = operation.scope.flatMap(Scope.init) else { continue }
      let others = try server.key(Set(Scope.allCases).subtracting([scope]))
      let refused = try server.send(operation, operation.target(ids), key: others)
      #expect(refused.status == 403, "\(operation)")
      #expect(refused.detail.contains(scope.rawValue), "\(operation)")
    }
    for operation in api.operations {
      guard let scope = operation.scope.flatMap(Scope.init) else { continue }
      // A key with one scope gives nothing beyond it, whatever the example of a new key asks for.
      if operation.id == "createKey" { continue }
      let accepted = try server.send(operation, operation.target(), key: try server.key([scope]))
      #expect(accepted.status != 401 && accepted.status != 403, "\(operation): \(accepted.text)")
    }
  }

  @Test func `what a project owns is not there for another one, and is for its owner`() throws {
    // May do everything but look into the keys and projects of others.
    let stranger = try server.key(Set(Scope.allCases).subtracting([.projectsAdmin]), project: "other")
    var walked = 0
    for operation in api.operations where !Self.owned.isDisjoint(with: operation.names(in: "path")) {
      // Made anew each time: some operations end what they are asked about.
      let ids = try makeAll()
      let target = operation.target(ids)
      #expect(try server.send(operation, target, key: stranger).status == 404, "\(operation)")
      let own = try server.send(operation, target, key: server.key)
      // The version that an example names may be one that this campaign does not have.
      let lacksVersion = own.status == 404 && operation.json["requestBody"] != nil && own.detail.contains("version")
      #expect(
        ![401, 403, 404].contains(own.status) || lacksVersion, "\(operation) answers its owner \(own.text)")
      walked += 1
    }
    #expect(walked >= 35)
  }

  @Test func `lists show a project's own things alone`() throws {
    let ids = try makeAll()
    // What the audit log and the keys show is made by a request.
    let model = try server.post("/v1/models", ["name": "m", "model": ["preset": "mlp"]]).json["id"]?.string ?? ""
    let marks = Self.owned.compactMap { ids[$0] } + [model]
    let stranger = try server.key(Set(Scope.allCases).subtracting([.projectsAdmin]), project: "other")
    var walked = 0
    for operation in api.operations {
      let schema = api.response(operation, 200)?["content"]?["application/json"]?["schema"].map(api.resolve)
      guard operation.method == "GET", operation.names(in: "path").isEmpty, schema?["properties"]?["items"] != nil,
        !Self.sharedLists.contains(operation.id)
      else { continue }
      let theirs = try server.send(operation, operation.target(), key: stranger)
      #expect(theirs.status == 200, "\(operation): \(theirs.text)")
      #expect(!marks.contains { theirs.text.contains($0) }, "\(operation) shows \(theirs.text)")
      let own = try server.send(operation, operation.target(), key: server.key)
      #expect(marks.contains { own.text.contains($0) }, "\(operation) shows its owner \(own.text)")
      walked += 1
    }
    #expect(walked >= 7)
    let body = server.jobBody(ids["dataset_id"]!, ["model": .null, "model_id": .string(ids["model_id"]!)])
    #expect(try server.post("/v1/jobs", body, key: stranger).faultPaths == ["/dataset", "/model_id"])
  }
}
