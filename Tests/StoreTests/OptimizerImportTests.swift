// Files of weights: from an upload to candidate, released or rejected, and how long their bytes are kept.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct OptimizerImportTests {
  typealias Upload = LearnedOptimizerRecord.Upload
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
    try store.makeProject()
  }

  private func create(_ upload: Upload, _ bytes: [UInt8], key: Idempotency? = nil) throws -> LearnedOptimizerRecord {
    try store.createOptimizer(
      upload, file: store.putBlob(bytes), provenance: ["imported_by": "key_1"], project: "demo", idempotency: key
    ).optimizer
  }

  private func lease() throws -> (lease: Lease, optimizer: LearnedOptimizerRecord) {
    let claim = try #require(try store.claim(worker: "w", kinds: [.optimizerValidation], leaseSeconds: 60))
    guard case .optimizerValidation(let optimizer) = claim.work else { preconditionFailure("another kind of work") }
    return (claim.lease, optimizer)
  }

  private func accept(_ lease: Lease, _ own: [UInt8], _ flax: [UInt8]) throws {
    try store.finishOptimizerValidation(
      lease: lease,
      outcome: .ready(
        theta: store.putBlob(own), flax: store.putBlob(flax), parameterCount: 7, provenance: ["source": "here"]))
  }

  @Test func `an uploaded file goes from validating to what was wished, and is kept in both forms`() throws {
    let made = try create(
      Upload(name: .celo, state: .released, constants: ["train_phase": 1], provenance: ["source": "here"]), [1, 2])
    #expect(made.state == .validating && made.version == 1 && made.parameterCount == nil && !made.isUsable)
    #expect(made.provenance == ["source": "here", "imported_by": "key_1"] && made.constants == ["train_phase": 1])
    // No job gets it before a worker has read it.
    #expect(try store.releasedOptimizer(named: .celo) == nil)
    #expect(try store.releasedOptimizer(named: .celo, version: 1) == nil)
    #expect(throws: StoreError.self) { try store.setOptimizerState(id: made.id, .released) }
    let (lease, optimizer) = try lease()
    #expect(optimizer == made)
    try accept(lease, [3, 3, 3], [1, 2])
    // Said twice, since the first answer may be lost.
    try accept(lease, [3, 3, 3], [1, 2])
    let ready = try #require(try store.optimizer(id: made.id))
    #expect(ready.state == .released && ready.parameterCount == 7 && ready.bytes == 3 && ready.flax?.bytes == 2)
    #expect(ready.provenance == ["source": "here"])
    #expect(ready.content(.flax)?.bytes == 2 && ready.content(.safetensors)?.bytes == 3)
    #expect(try store.releasedOptimizer(named: .auto) == ready)
    #expect(try store.keepHouse(blobGraceSeconds: 0).contents == 0)
    #expect(try store.setOptimizerState(id: made.id, .deprecated)?.state == .deprecated)
    #expect(try store.releasedOptimizer(named: .celo) == nil)
    #expect(try store.releasedOptimizer(named: .celo, version: 1)?.id == made.id)
  }

  @Test func `a rejected file says why and leaves its version free`() throws {
    let first = try create(Upload(name: .celo, version: 4), [1])
    try store.finishOptimizerValidation(lease: lease().lease, outcome: .rejected("flax msgpack: byte 0: no"))
    let rejected = try #require(try store.optimizer(id: first.id))
    #expect(rejected.state == .rejected && rejected.problem == "flax msgpack: byte 0: no")
    #expect(throws: StoreError.self) { try store.setOptimizerState(id: first.id, .released) }
    let second = try create(Upload(name: .celo, version: 4), [2])
    #expect(second.version == 4 && second.id != first.id)
    #expect(throws: StoreError.self) { try create(Upload(name: .celo, version: 4), [3]) }
    #expect(try create(Upload(name: .celo), [3]).version == 5)
    #expect(try create(Upload(name: .smallFC), [3]).version == 1)
  }

  @Test func `a repeated upload under one key is one optimizer`() throws {
    let key = Idempotency(key: "k", route: "POST /v1/optimizers", requestSHA256: SHA256.hexadecimal([9]))
    let made = try create(Upload(name: .celo), [1], key: key)
    #expect(try create(Upload(name: .celo), [1], key: key).id == made.id)
    #expect(try store.optimizers().items.count == 1)
  }

  @Test func `a file that no worker survives is rejected after some attempts`() throws {
    let made = try create(Upload(name: .celo), [1])
    for _ in 0..<Store.lossesMax {
      try store.pool.run(Statement("test_now", "UPDATE work SET not_before = NULL"))
      try store.abandon(lease: lease().lease, message: "boom")
    }
    let end = try #require(try store.optimizer(id: made.id))
    #expect(end.state == .rejected && end.problem?.contains("boom") == true)
  }

  @Test func `a version that was installed without a flax form gets one, and nothing else changes`() throws {
    let blob = try store.putBlob([5]), flax = try store.putBlob([6])
    let before = try store.installOptimizer(
      name: .celo, version: 1, state: .released, blob: blob, parameterCount: 3, provenance: [:])
    #expect(before.flax == nil)
    let after = try store.installOptimizer(
      name: .celo, version: 1, state: .candidate, blob: blob, flax: flax, parameterCount: 9, provenance: ["a": 1])
    #expect(after.flax?.bytes == 1 && after.id == before.id && after.state == .released && after.parameterCount == 3)
  }
}
