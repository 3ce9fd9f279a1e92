// Files of weights over the wire: imported, waited for, downloaded, released, deprecated; and who may do that.
import Contract
import Foundation
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct OptimizerFileTests {
  let server: ServerUnderTest

  init() throws { server = try ServerUnderTest() }

  private func upload(_ query: String, _ body: [UInt8] = [0x81, 1], key: String? = nil) throws -> RawAnswer {
    try server.call("POST", "/v1/optimizers?\(query)", key: key, type: "application/octet-stream", body: body)
  }

  private func settle(_ rejected: String? = nil, flax: [UInt8] = [0x81, 1]) throws {
    let claim = try #require(try server.store.claim(worker: "w", kinds: [.optimizerValidation], leaseSeconds: 60))
    let outcome: OptimizerOutcome =
      try rejected.map { .rejected($0) }
      ?? .ready(
        theta: server.store.putBlob([7, 7, 7]), flax: server.store.putBlob(flax), parameterCount: 37_089,
        provenance: ["licence": "MIT"])
    try server.store.finishOptimizerValidation(lease: claim.lease, outcome: outcome)
  }

  @Test func `a file is imported, waited for, released, downloaded in both forms, and deprecated`() throws {
    let made = try upload("name=Celo&version=3&provenance=%7B%22licence%22%3A%22MIT%22%7D")
    #expect(made.status == 201, "\(made.text)")
    #expect(made.json["state"] == "validating" && made.json["version"] == 3 && made.json["parameters"] == .null)
    #expect(made.json["provenance"]?["source_sha256"]?.string == SHA256.hexadecimal([0x81, 1]))
    #expect(made.json["provenance"]?["imported_by"]?.string?.hasPrefix("key_") == true)
    let id = try #require(made.json["id"]?.string)
    #expect(try server.get("/v1/optimizers/\(id)/theta").status == 409)
    #expect(try server.call("POST", "/v1/optimizers/\(id)/release").status == 409)
    try settle()
    let ready = try server.get("/v1/optimizers/\(id)?wait=60")
    #expect(ready.json["state"] == "candidate" && ready.json["parameters"] == 37_089)
    #expect(try server.call("POST", "/v1/optimizers/\(id)/release").json["state"] == "released")
    #expect(try server.get("/v1/optimizers/\(id)/theta").body == [7, 7, 7])
    let flax = try server.get("/v1/optimizers/\(id)/theta?format=flax")
    #expect(flax.body == [0x81, 1] && flax.headers["content-disposition"]?.contains("celo-3.theta.state") == true)
    #expect(try server.get("/v1/optimizers/\(id)/theta?format=onnx").faultPaths == ["?format"])
    #expect(try server.call("POST", "/v1/optimizers/\(id)/deprecate").json["state"] == "deprecated")
    #expect(try upload("name=celo&version=3").status == 409)
    #expect(try upload("name=celo").json["version"] == 4)
  }

  @Test func `a rejected file says what is wrong, and has no weights`() throws {
    let id = try #require(try upload("name=celo&state=released").json["id"]?.string)
    try settle("theta: rnn_params/step_size/w: element 3 is nan")
    let answer = try server.get("/v1/optimizers/\(id)")
    #expect(answer.json["state"] == "rejected")
    #expect(answer.json["problem"]?.string?.contains("rnn_params/step_size/w") == true)
    #expect(try server.get("/v1/optimizers/\(id)/theta?format=flax").status == 409)
    let release = try server.call("POST", "/v1/optimizers/\(id)/release")
    #expect(release.status == 409 && release.text.contains("element 3 is nan"))
  }

  @Test func `what is said of a file is checked before it is read`() throws {
    #expect(try upload("").faultPaths == ["?name"])
    #expect(try upload("name=adam").faultPaths == ["?name"])
    #expect(try upload("name=auto").faultPaths == ["?name"])
    #expect(try upload("name=celo&state=deprecated").faultPaths == ["?state"])
    #expect(try upload("name=celo&version=0").faultPaths == ["?version"])
    #expect(try upload("name=celo&config=%5B%5D").faultPaths == ["?config"])
    #expect(try upload("name=celo&provenance=%7B%22source_sha256%22%3A%22x%22%7D").faultPaths == ["?provenance"])
    #expect(try upload("name=celo&provenance=%7B%22a%22%3A1%7D").faultPaths == ["?provenance"])
    #expect(try upload("name=celo&colour=red").faultPaths == ["?colour"])
    for horizon in ["0", "-5", "abc", "5.5", "1000000001", "9223372036854775807"] {
      let answer = try upload("name=celo&provenance=%7B%22horizon_steps%22%3A%22\(horizon)%22%7D")
      #expect(answer.faultPaths == ["?provenance"] && answer.text.contains("horizon_steps"), "\(horizon)")
    }
    #expect(try upload("name=celo", []).status == 400)
    #expect(try server.store.optimizers().items.isEmpty)
  }

  @Test func `only keys of administrators import and release`() throws {
    let reader = try server.key([.optimizersRead, .jobsWrite])
    #expect(try upload("name=celo", key: reader).status == 403)
    let optimizer = try server.releaseOptimizer()
    #expect(try server.call("POST", "/v1/optimizers/\(optimizer.id)/deprecate", key: reader).status == 403)
    #expect(try server.get("/v1/optimizers/\(optimizer.id)/theta", key: reader).status == 200)
  }

  @Test func `an optimizer that trains small models alone refuses a large one with the count and the limit`() throws {
    let bounded = OptimizerName.allCases.filter { $0.traits.parametersMax != nil && !$0.isLearned }
    let dataset = try server.readyDataset()
    for name in bounded {
      let most = try #require(name.traits.parametersMax)
      // Two inputs and two classes: width w has 5 w + 2 parameters and more layers square it.
      let width = Int(Double(most).squareRoot()) + 1
      guard width <= 16_384 else { continue }
      let answer = try server.post(
        "/v1/jobs",
        [
          "dataset": .string(dataset.id), "steps": 10, "optimizer": ["name": .string(name.rawValue)],
          "model": ["preset": "mlp", "hidden": [.integer(width), .integer(width)]],
        ])
      #expect(answer.status == 422 && answer.faultPaths.contains("/optimizer/name"), "\(name.rawValue): \(answer.text)")
      #expect(answer.text.contains("at most \(most) parameters"))
    }
  }
}
