// Keys, datasets, models, optimizers, workers, jobs as clients see them: what is kept, whose it is, what is refused.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct ResourceTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
  }

  // MARK: Keys

  @Test func `a key is known by its secret, of which only the hash is kept`() throws {
    let (key, secret) = try store.createKey(
      name: "ci", scopes: [.jobsRead, .jobsWrite], expiresAt: nil, project: "demo")
    #expect(secret.hasPrefix(APIKey.secretPrefix))
    #expect(try store.authenticate(secret: secret)?.id == key.id)
    #expect(try store.authenticate(secret: secret + "a") == nil)
    #expect(try store.authenticate(secret: "") == nil)
    let rows = try database.texts("SELECT row_to_json(k) FROM keys k")
    #expect(rows.count == 1 && !rows[0].contains(secret) && !rows[0].contains(secret.dropFirst(3)))
    let stored = try database.texts("SELECT encode(secret_sha256, 'hex') FROM keys")
    #expect(stored == [SHA256.hexadecimal(secret.utf8)])
    let used = try #require(try store.key(id: key.id, project: "demo"))
    #expect(used.lastUsedAt != nil && used.scopes == [.jobsRead, .jobsWrite])
  }

  @Test func `expired and revoked keys open nothing`() throws {
    let past = Timestamp(Date()).adding(seconds: -60)
    let old = try store.createKey(name: "old", scopes: [.jobsRead], expiresAt: past, project: "demo")
    #expect(old.key.expiresAt == past)
    #expect(try store.authenticate(secret: old.secret) == nil)
    let lost = try store.createKey(
      name: "lost", scopes: [.jobsRead], expiresAt: past.adding(seconds: 3600), project: "demo")
    #expect(try store.authenticate(secret: lost.secret) != nil)
    #expect(try store.revokeKey(id: lost.key.id, project: "other") == nil)
    #expect(try store.activeKeyCount() == 1)
    let revoked = try #require(try store.revokeKey(id: lost.key.id, project: "demo"))
    #expect(try store.revokeKey(id: lost.key.id, project: "demo")?.revokedAt == revoked.revokedAt)
    #expect(try store.authenticate(secret: lost.secret) == nil)
    #expect(try store.activeKeyCount() == 0)
    #expect(try store.listKeys(project: "demo").items.map(\.name) == ["lost", "old"])
  }

  @Test(arguments: ["", "Demo", "a b", "-a", "ä", String(repeating: "a", count: 65)])
  func `a project needs a plain name`(project: String) {
    #expect { try store.makeProject(project) } throws: { if case StoreError.limit = $0 { true } else { false } }
  }

  // MARK: Datasets

  @Test func `a dataset goes from validating to ready with its schema and preview`() throws {
    try store.makeProject()
    let blob = try store.putBlob(Array("a,b\n1,2\n".utf8))
    let options = DatasetOptions(format: .csv, target: "b", task: .regression, heldOutFraction: 0.25)
    let made = try store.createDataset(name: "näme", options: options, blob: blob, project: "demo").dataset
    #expect(made.state == .validating && made.options == options && made.sha256 == blob.sha256 && made.bytes == 8)
    #expect(try store.datasetPreview(id: made.id, project: "demo") == nil)
    let claim = try #require(try store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60))
    guard case .validation(let dataset) = claim.work else { return }
    #expect(dataset == made)
    try store.finishValidation(lease: claim.lease, outcome: .ready(schema: .sample, preview: ["rows": [[1, 2.5]]]))
    // Said twice, since the first answer may be lost.
    try store.finishValidation(lease: claim.lease, outcome: .ready(schema: .sample, preview: ["rows": [[1, 2.5]]]))
    let ready = try #require(try store.dataset(id: made.id, project: "demo"))
    #expect(ready.state == .ready && ready.schema == .sample && ready.validatedAt != nil && ready.problemCount == 0)
    #expect(try store.datasetPreview(id: made.id, project: "demo") == ["rows": [[1, 2.5]]])
  }

  @Test func `a rejected dataset says what is wrong, up to a bound`() throws {
    try store.makeProject()
    let made = try store.createDataset(
      name: "x", options: DatasetOptions(format: .csv), blob: store.putBlob([1]), project: "demo"
    ).dataset
    let lease = try #require(try store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60)).lease
    let problems = (1...150).map { DatasetProblem(row: $0, column: $0 == 1 ? nil : "a", reason: "bad \($0)") }
    try store.finishValidation(lease: lease, outcome: .rejected(problems))
    #expect(try store.dataset(id: made.id, project: "demo")?.state == .rejected)
    #expect(try store.datasetProblems(id: made.id, project: "demo") == Array(problems.prefix(DatasetProblem.countMax)))
    let spec = TrainingSpec(dataset: made.id, model: .sample, steps: 10)
    #expect { try store.createJob(spec: spec, model: .sample, optimizerID: nil, project: "demo") } throws: {
      if case StoreError.conflict(.datasetNotReady, _) = $0 { true } else { false }
    }
  }

  @Test func `a dataset that unfinished jobs need cannot be deleted`() throws {
    let dataset = try store.makeReadyDataset()
    let job = try store.makeJob(on: dataset)
    #expect { try store.deleteDataset(id: dataset.id, project: "demo") } throws: {
      if case StoreError.conflict(.inUse, let text) = $0 { text.contains(job.id) } else { false }
    }
    _ = try store.cancelJob(id: job.id, project: "demo")
    #expect(try store.deleteDataset(id: dataset.id, project: "demo"))
    #expect(try !store.deleteDataset(id: dataset.id, project: "demo"))
    #expect(try store.job(id: job.id, project: "demo") != nil)
  }

  @Test func `deleting a dataset ends its validation`() throws {
    try store.makeProject()
    let made = try store.createDataset(
      name: "x", options: DatasetOptions(format: .csv), blob: store.putBlob([1]), project: "demo"
    ).dataset
    let lease = try #require(try store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60)).lease
    #expect(try store.deleteDataset(id: made.id, project: "demo"))
    #expect(throws: StoreError.staleLease(subject: made.id)) {
      try store.finishValidation(lease: lease, outcome: .ready(schema: .sample, preview: .null))
    }
  }

  @Test func `deleting a dataset while jobs are made on it leaves no job without data`() throws {
    for _ in 0..<10 {
      let dataset = try store.makeReadyDataset()
      let outcomes = try concurrently(2) { index in
        do {
          if index == 0 { return try store.deleteDataset(id: dataset.id, project: "demo") }
          try store.makeJob(on: dataset)
          return true
        } catch is StoreError { return false }
      }
      #expect(outcomes[0] != outcomes[1])
    }
  }

  // MARK: Projects

  @Test func `another project sees nothing of it`() throws {
    let dataset = try store.makeReadyDataset()
    let job = try store.makeJob(on: dataset)
    let key = try store.createKey(name: "k", scopes: [.jobsRead], expiresAt: nil, project: "demo").key
    let model = try store.createModel(name: "m", spec: .sample, project: "demo").model
    try store.makeProject("other")
    #expect(try store.dataset(id: dataset.id, project: "other") == nil)
    #expect(try store.datasetProblems(id: dataset.id, project: "other") == nil)
    #expect(try store.datasetPreview(id: dataset.id, project: "other") == nil)
    #expect(try !store.deleteDataset(id: dataset.id, project: "other"))
    #expect(try store.job(id: job.id, project: "other") == nil)
    #expect(try store.cancelJob(id: job.id, project: "other") == nil)
    #expect(try store.job(id: job.id, project: "demo")?.state == .queued)
    #expect(try store.key(id: key.id, project: "other") == nil)
    #expect(try store.model(id: model.id, project: "other") == nil)
    #expect(try store.jobs(project: "other").items.isEmpty && store.datasets(project: "other").items.isEmpty)
    #expect(try store.models(project: "other").items.isEmpty)
    let spec = TrainingSpec(dataset: dataset.id, model: .sample, steps: 10)
    #expect(throws: StoreError.notFound("dataset \(dataset.id)")) {
      try store.createJob(spec: spec, model: .sample, optimizerID: nil, project: "other")
    }
  }

  // MARK: Lists

  @Test func `pages are newest first and lead through everything once`() throws {
    let dataset = try store.makeReadyDataset()
    let made = try (0..<7).map { _ in try store.makeJob(on: dataset).id }
    var seen: [String] = []
    var cursor: String?
    repeat {
      let page = try store.jobs(project: "demo", cursor: cursor, limit: 3)
      #expect(page.items.count <= 3)
      seen += page.items.map(\.id)
      cursor = page.nextCursor
    } while cursor != nil
    #expect(seen == made.sorted().reversed())
    _ = try store.cancelJob(id: made[2], project: "demo")
    #expect(try store.jobs(project: "demo", state: .cancelled).items.map(\.id) == [made[2]])
    #expect(try store.jobs(project: "demo", state: .queued, limit: 6).nextCursor == nil)
    #expect(throws: StoreError.invalidCursor("x")) { try store.jobs(project: "demo", cursor: "x") }
    #expect(throws: StoreError.limit("limit: expected 1 to 200, got 0")) { try store.jobs(project: "demo", limit: 0) }
  }

  // MARK: Optimizers, workers, audit

  @Test func `the released optimizer is the newest version, and auto the last one released`() throws {
    let blobs = try (0..<4).map { try store.putBlob([UInt8($0)]) }
    func install(_ name: OptimizerName, _ version: Int, _ state: LearnedOptimizerRecord.State, _ blob: Int) throws
      -> LearnedOptimizerRecord
    {
      try store.installOptimizer(
        name: name, version: version, state: state, blob: blobs[blob], parameterCount: 10, provenance: ["by": "test"])
    }
    #expect(try store.releasedOptimizer(named: .auto) == nil)
    let celo2 = try install(.celo, 2, .released, 1)
    let celo1 = try install(.celo, 1, .released, 0)
    let small = try install(.smallFC, 1, .candidate, 2)
    #expect(try install(.celo, 2, .released, 1) == celo2)
    #expect { try install(.celo, 2, .released, 3) } throws: {
      if case StoreError.conflict(.versionExists, _) = $0 { true } else { false }
    }
    #expect(try store.releasedOptimizer(named: .celo) == celo2)
    #expect(try store.releasedOptimizer(named: .celo, version: 1) == celo1)
    #expect(try store.releasedOptimizer(named: .smallFC) == nil)
    #expect(try store.releasedOptimizer(named: .smallFC, version: 1) == small)
    #expect(try store.setOptimizerState(id: small.id, .released)?.state == .released)
    #expect(try store.releasedOptimizer(named: .auto)?.id == small.id)
    _ = try store.setOptimizerState(id: celo2.id, .deprecated)
    #expect(try store.releasedOptimizer(named: .celo) == celo1)
    #expect(try store.optimizers().items.count == 3)
    #expect(try store.optimizer(id: celo1.id) == celo1)
  }

  @Test func `workers come and go`() throws {
    let now = Timestamp(Date())
    let worker = WorkerRecord(
      id: Identifier.make(.worker), host: "here", processID: 42, slots: 2, cpuLevel: "avx2", speed: .sample,
      startedAt: now, seenAt: now
    )
    try store.registerWorker(worker)
    #expect(try store.heartbeatWorker(id: worker.id))
    let listed = try store.workers()
    #expect(listed.map(\.id) == [worker.id] && listed[0].host == "here" && listed[0].slots == 2)
    try database.run("UPDATE workers SET seen_at = now() - interval '2 hours'")
    #expect(try store.workers().isEmpty)
    try store.removeWorker(id: worker.id)
    #expect(try !store.heartbeatWorker(id: worker.id))
  }

  @Test func `the audit log keeps its entries in order`() throws {
    for index in 1...3 {
      try store.recordAudit(
        project: "demo", key: nil, action: "job.create", subject: "job_\(index)", detail: ["n": .integer(index)])
    }
    let newest = try store.audit(project: "demo", limit: 2)
    #expect(newest.items.map(\.subject) == ["job_3", "job_2"])
    let rest = try store.audit(project: "demo", cursor: newest.nextCursor, limit: 2)
    #expect(rest.items.map(\.subject) == ["job_1"] && rest.nextCursor == nil)
    #expect(throws: StoreError.self) { try store.audit(project: "demo", cursor: "job_1") }
    #expect(try store.audit(project: "demo", action: "job.delete").items.isEmpty)
    #expect(
      try store.audit(project: "demo", action: "job.create", subject: "job_2").items.map(\.id) == [newest.items[1].id])
    #expect(try store.audit(project: "demo", since: newest.items[1].at).items.map(\.subject) == ["job_3", "job_2"])
    #expect(
      try store.audit(project: "demo", since: Timestamp(microseconds: newest.items[0].at.microseconds + 1)).items
        .isEmpty)
    #expect(try store.audit(project: "other").items.isEmpty)
  }
}
