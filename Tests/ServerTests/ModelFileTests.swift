// Model files over the wire: uploaded, waited for, trained, downloaded, deleted.
import Contract
import Foundation
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct ModelFileTests {
  let server: ServerUnderTest

  init() throws { server = try ServerUnderTest { $0.bodyBytesMax = 2000 } }

  private func upload(_ query: String = "name=mine&format=onnx", _ body: [UInt8] = [8, 8]) throws -> RawAnswer {
    try server.call("POST", "/v1/models?\(query)", type: "application/octet-stream", body: body)
  }

  private func settle(_ outcome: ModelOutcome) throws {
    let claim = try #require(try server.store.claim(worker: "w", kinds: [.modelValidation], leaseSeconds: 60))
    try server.store.finishModelValidation(lease: claim.lease, outcome: outcome)
  }

  private func facts(output: Int = 2) -> ImportedModel {
    ImportedModel(
      input: [2], vocabulary: nil, output: [output], operators: ["Gemm": 1], opset: 17, producer: "test",
      parameterCount: 6, flops: 10, trainingFloats: 12, fixedFloats: 100, judgingFloats: 4)
  }

  @Test func `a model file is trained by its id once a worker found it ready`() throws {
    let dataset = try server.readyDataset()
    let made = try upload()
    #expect(made.status == 201)
    #expect(made.json["state"] == "validating" && made.json["model"] == .null)
    #expect(made.json["file"]?["sha256"]?.string == SHA256.hexadecimal([8, 8]))
    let id = try #require(made.json["id"]?.string)
    let job: JSON = [
      "dataset": .string(dataset.id), "model_id": .string(id), "steps": 10, "optimizer": ["name": "adam"],
    ]
    let early = try server.post("/v1/jobs", job)
    #expect(early.status == 409 && early.json["retryable"] == true)
    try settle(.ready(facts()))
    let ready = try server.get("/v1/models/\(id)?wait=60")
    #expect(ready.json["state"] == "ready" && ready.json["file"]?["imported"]?["parameters"] == 6)
    let check = try server.post("/v1/model-checks", ["model_id": .string(id), "dataset": .string(dataset.id)])
    #expect(check.json["parameters"] == 6 && check.json["layers"] == [])
    let queued = try server.post("/v1/jobs", job)
    #expect(queued.status == 201)
    #expect(queued.json["model"]?["imported"]?["sha256"]?.string == SHA256.hexadecimal([8, 8]))
    #expect(try server.call("DELETE", "/v1/models/\(id)").status == 409)
  }

  @Test func `what does not fit the data, and what was rejected, is told with the job`() throws {
    let dataset = try server.readyDataset()
    let misfit = try #require(try upload().json["id"]?.string)
    try settle(.ready(facts(output: 3)))
    let answer = try server.post(
      "/v1/jobs", ["dataset": .string(dataset.id), "model_id": .string(misfit), "steps": 10])
    #expect(answer.status == 422 && answer.faultPaths == ["/model_id"])
    #expect(answer.text.contains("has shape [3], but the dataset asks for [2]"))
    let rejected = try #require(try upload().json["id"]?.string)
    try settle(.rejected("onnx: node 3 (Loop): not supported"))
    let other = try server.post(
      "/v1/jobs", ["dataset": .string(dataset.id), "model_id": .string(rejected), "steps": 10])
    #expect(other.status == 422 && other.text.contains("node 3 (Loop)"))
    #expect(try server.call("DELETE", "/v1/models/\(rejected)").status == 204)
    #expect(try server.get("/v1/models/\(rejected)").status == 404)
  }

  @Test func `a file needs a name and a format, a definition no query and a bounded length`() throws {
    #expect(try upload("name=mine").faultPaths == ["?format"])
    #expect(try upload("name=mine&format=tensorflow").faultPaths == ["?format"])
    #expect(try upload("format=onnx").faultPaths == ["?name"])
    #expect(try upload("name=mine&format=onnx", []).status == 400)
    #expect(try upload("name=mine&format=onnx", [UInt8](repeating: 1, count: 3000)).status == 201)
    let long = JSON.object(["name": .string(String(repeating: "a", count: 3000))])
    #expect(try server.post("/v1/models", long).status == 413)
    // A file without a query, and a definition with one.
    #expect(try server.call("POST", "/v1/models", type: "application/octet-stream", body: [8, 8]).status == 415)
    #expect(try server.post("/v1/models?name=mine&format=onnx", ["model": ["preset": "mlp"]]).status == 415)
  }

  @Test func `a job's model is there as ONNX where its worker could write it`() throws {
    let dataset = try server.readyDataset()
    for onnx in [[UInt8](arrayLiteral: 1, 2, 3), nil] {
      let job = try server.store.makeJob(on: dataset, steps: 10)
      let lease = try #require(try server.store.claimJob())
      try server.store.finishJob(
        lease: lease,
        outcome: .succeeded(.sample, model: server.store.putBlob([9]), onnx: onnx.map { try server.store.putBlob($0) }),
        last: nil)
      let answer = try server.get("/v1/jobs/\(job.id)/model?format=onnx")
      if let onnx {
        #expect(answer.body == onnx)
        #expect(answer.headers["content-disposition"] == "attachment; filename=\"\(job.id).onnx\"")
      } else {
        #expect(answer.status == 404 && answer.text.contains("no form in ONNX"))
      }
      #expect(try server.get("/v1/jobs/\(job.id)/model").body == [9])
    }
  }
}
