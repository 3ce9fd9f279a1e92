// Idempotency keys: the same request makes one thing, however often and however concurrently it comes.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct IdempotencyTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
  }

  private func key(_ text: String, _ body: String = "body", route: String = "POST /v1/jobs") -> Idempotency {
    Idempotency(key: text, route: route, requestSHA256: SHA256.hexadecimal(body.utf8))
  }

  @Test func `the same request gets the answer of the first one, even when the job has moved on`() throws {
    let dataset = try store.makeReadyDataset()
    let spec = TrainingSpec(dataset: dataset.id, model: .sample, steps: 10)
    func create() throws -> (job: Job, replayed: Bool) {
      try store.createJob(spec: spec, model: .sample, optimizerID: nil, project: "demo", idempotency: key("a"))
    }
    let first = try create()
    _ = try store.claimJob()
    let second = try create()
    #expect(!first.replayed && second.replayed)
    #expect(second.job == first.job)
    #expect(try store.jobs(project: "demo").items.count == 1)
  }

  @Test func `a key used for another request is a conflict`() throws {
    let dataset = try store.makeReadyDataset()
    try store.makeJob(on: dataset, idempotency: key("a"))
    for other in [key("a", "other body"), key("a", route: "POST /v1/models")] {
      #expect { try store.makeJob(on: dataset, idempotency: other) } throws: {
        if case StoreError.conflict(.idempotencyKeyReused, _) = $0 { true } else { false }
      }
    }
    // Keys belong to their project.
    try store.makeJob(on: store.makeReadyDataset(project: "other"), idempotency: key("a", "other body"))
  }

  @Test func `concurrent requests with one key make one job`() throws {
    let dataset = try store.makeReadyDataset()
    let made = try concurrently(8) { _ in try store.makeJob(on: dataset, idempotency: key("k")).id }
    #expect(Set(made).count == 1)
    #expect(try store.jobs(project: "demo").items.count == 1)
    #expect(try store.events(job: made[0]).count == 1)
    #expect(try store.figures().work == [Figures.Work(kind: "job", state: "queued", count: 1)])
  }

  @Test func `a request that fails leaves its key free`() throws {
    let dataset = try store.makeReadyDataset()
    let missing = Identifier.make(.dataset)
    let spec = TrainingSpec(dataset: missing, model: .sample, steps: 10)
    #expect(throws: StoreError.notFound("dataset \(missing)")) {
      try store.createJob(spec: spec, model: .sample, optimizerID: nil, project: "demo", idempotency: key("a", "1"))
    }
    try store.makeJob(on: dataset, idempotency: key("a", "2"))
  }

  @Test func `a key expires after a day, and expired ones are collected`() throws {
    let dataset = try store.makeReadyDataset()
    let first = try store.makeJob(on: dataset, idempotency: key("a"))
    try store.makeJob(on: dataset, idempotency: key("b"))
    try database.run("UPDATE idempotency SET created_at = now() - interval '25 hours'")
    let second = try store.makeJob(on: dataset, idempotency: key("a", "another body"))
    #expect(second.id != first.id)
    #expect(try store.sweepIdempotency() == 1)
  }

  @Test func `datasets and models are made once too`() throws {
    try store.makeProject()
    let blob = try store.putBlob([1])
    func dataset() throws -> (dataset: Dataset, replayed: Bool) {
      try store.createDataset(
        name: "x", options: DatasetOptions(format: .csv), blob: blob, project: "demo",
        idempotency: key("d", route: "POST /v1/datasets"))
    }
    let first = try dataset()
    let lease = try #require(try store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60)).lease
    try store.finishValidation(lease: lease, outcome: .ready(schema: .sample, preview: .null))
    let second = try dataset()
    #expect(second.replayed && second.dataset == first.dataset)
    _ = try store.deleteDataset(id: first.dataset.id, project: "demo")
    #expect { try dataset() } throws: {
      if case StoreError.conflict(.idempotencySubjectGone, _) = $0 { true } else { false }
    }
    let models = try (0..<2).map { _ in
      try store.createModel(name: "m", spec: .sample, project: "demo", idempotency: key("m"))
    }
    #expect(models[0].model == models[1].model && models.map(\.replayed) == [false, true])
  }

  @Test func `a key that is too long or a hash that is none is refused`() throws {
    let dataset = try store.makeReadyDataset()
    let bad = [key(""), key(String(repeating: "k", count: 256)), Idempotency(key: "a", route: "", requestSHA256: "zz")]
    for idempotency in bad {
      #expect { try store.makeJob(on: dataset, idempotency: idempotency) } throws: {
        if case StoreError.limit = $0 { true } else { false }
      }
    }
  }
}
