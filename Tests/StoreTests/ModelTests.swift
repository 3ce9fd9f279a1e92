// Model files: from an upload to ready or rejected, and how long their bytes are kept.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

extension ImportedModel {
  /// Two numbers in, two classes out.
  static var sample: ImportedModel {
    ImportedModel(
      input: [2], vocabulary: nil, output: [2], operators: ["Gemm": 1], opset: 17, producer: "test", parameterCount: 6,
      flops: 10, trainingFloats: 12, fixedFloats: 100, judgingFloats: 4)
  }
}

@Suite struct ModelTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
    try store.makeProject()
  }

  private func file(_ model: ModelDefinition?) -> ModelFile? {
    if case .file(let file)? = model?.source { file } else { nil }
  }

  private func lease() throws -> (lease: Lease, model: ModelDefinition) {
    let claim = try #require(try store.claim(worker: "w", kinds: [.modelValidation], leaseSeconds: 60))
    guard case .modelValidation(let model) = claim.work else { preconditionFailure("another kind of work") }
    return (claim.lease, model)
  }

  @Test func `a model file goes from validating to ready, and is kept with its facts`() throws {
    let blob = try store.putBlob([8, 8])
    let made = try store.createModel(name: "näme", file: blob, project: "demo").model
    #expect(file(made) == ModelFile(sha256: blob.sha256, bytes: 2) && !made.isSettled)
    let (lease, model) = try lease()
    #expect(model == made)
    try store.finishModelValidation(lease: lease, outcome: .ready(.sample))
    // Said twice, since the first answer may be lost.
    try store.finishModelValidation(lease: lease, outcome: .ready(.sample))
    let ready = try #require(try store.model(id: made.id, project: "demo"))
    #expect(file(ready)?.state == .ready && file(ready)?.imported == .sample && file(ready)?.validatedAt != nil)
    #expect(try store.models(project: "demo").items == [ready])
    #expect(try store.project(id: "demo")?.usage.datasetBytes == 2)
    #expect(try store.keepHouse(blobGraceSeconds: 0).contents == 0)
    #expect(try store.deleteModel(id: made.id, project: "demo"))
    #expect(try store.keepHouse(blobGraceSeconds: 0).contents == 1)
  }

  @Test func `a rejected model says why; a repeated upload gives it as it was made`() throws {
    let blob = try store.putBlob([9])
    let key = Idempotency(key: "k", route: "POST /v1/models", requestSHA256: SHA256.hexadecimal([9]))
    let made = try store.createModel(name: "x", file: blob, project: "demo", idempotency: key).model
    try store.finishModelValidation(lease: lease().lease, outcome: .rejected("node 3 (Loop): not supported"))
    #expect(file(try store.model(id: made.id, project: "demo"))?.problem == "node 3 (Loop): not supported")
    let again = try store.createModel(name: "x", file: blob, project: "demo", idempotency: key)
    #expect(again.replayed && again.model == made)
  }

  @Test func `deleting a model ends its validation; too many lost attempts reject it`() throws {
    let blob = try store.putBlob([7])
    let gone = try store.createModel(name: "gone", file: blob, project: "demo").model
    let held = try lease().lease
    #expect(try store.deleteModel(id: gone.id, project: "demo"))
    #expect(throws: StoreError.self) { try store.finishModelValidation(lease: held, outcome: .ready(.sample)) }
    let lost = try store.createModel(name: "lost", file: blob, project: "demo").model
    for _ in 0..<Store.lossesMax {
      try database.run("UPDATE work SET not_before = NULL")
      try store.abandon(lease: lease().lease, message: "the disk is full")
    }
    #expect(file(try store.model(id: lost.id, project: "demo"))?.problem?.contains("the disk is full") == true)
  }

  @Test func `a model that unfinished jobs name cannot be deleted`() throws {
    let dataset = try store.makeReadyDataset()
    let model = try store.createModel(name: "m", spec: .sample, project: "demo").model
    let spec = TrainingSpec(dataset: dataset.id, modelID: model.id, steps: 10)
    let imported = ModelSpec.imported(ImportedSpec(sha256: dataset.sha256, facts: .sample))
    let job = try store.createJob(spec: spec, model: imported, optimizerID: nil, project: "demo").job
    #expect(try store.job(id: job.id, project: "demo")?.model == imported)
    #expect { try store.deleteModel(id: model.id, project: "demo") } throws: {
      if case StoreError.conflict(.inUse, let text) = $0 { text.contains(job.id) } else { false }
    }
    _ = try store.cancelJob(id: job.id, project: "demo")
    #expect(try store.deleteModel(id: model.id, project: "demo"))
    #expect(try !store.deleteModel(id: model.id, project: "demo"))
    // Deleted between a job's admission and its creation: its file would be gone before the job runs.
    #expect {
      try store.createJob(spec: spec, model: imported, optimizerID: nil, project: "demo")
    } throws: {
      if case StoreError.notFound("model \(model.id)") = $0 { true } else { false }
    }
  }
}
