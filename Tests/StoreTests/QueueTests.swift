// Leases: who gets work, who keeps it, and what becomes of it when a worker is gone.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct QueueTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
  }

  /// Makes the leases of all work expire now.
  private func expireLeases() throws {
    try database.run("UPDATE work SET lease_until = now() - interval '1 second' WHERE state = 'leased'")
  }

  @Test func `many claimers never share work and leave none`() throws {
    let dataset = try store.makeReadyDataset()
    let made = try (0..<120).map { _ in try store.makeJob(on: dataset).id }
    let claimed = try concurrently(8) { index in
      var subjects: [String] = []
      while let lease = try store.claimJob(worker: "worker \(index)") { subjects.append(lease.subject) }
      return subjects
    }.flatMap { $0 }
    #expect(claimed.count == made.count)
    #expect(Set(claimed) == Set(made))
  }

  @Test func `the lowest priority number goes first, then the oldest, and validations before jobs`() throws {
    let dataset = try store.makeReadyDataset()
    let late = try store.makeJob(on: dataset, priority: 9)
    let first = try store.makeJob(on: dataset, priority: 1)
    let second = try store.makeJob(on: dataset, priority: 1)
    let blob = try store.putBlob([1, 2, 3])
    let waiting = try store.createDataset(
      name: "next", options: DatasetOptions(format: .csv), blob: blob, project: "demo"
    ).dataset
    let order = try (0..<4).map { _ in
      try store.claim(worker: "w", kinds: [.validation, .job], leaseSeconds: 60)!.lease.subject
    }
    #expect(order == [waiting.id, first.id, second.id, late.id])
  }

  @Test func `a claim brings everything the work needs`() throws {
    let dataset = try store.makeReadyDataset()
    let theta = try store.putBlob([9, 9])
    let optimizer = try store.installOptimizer(
      name: .celo, version: 1, state: .released, blob: theta, parameterCount: 2, provenance: ["seed": 1])
    let made = try store.makeJob(on: dataset, optimizerID: optimizer.id)
    let claim = try #require(try store.claim(worker: "w", kinds: [.job], cpuLevel: "avx2", leaseSeconds: 60))
    guard case .job(let job, let data, let learned, let resume) = claim.work else {
      Issue.record("expected a job, got \(claim.work)")
      return
    }
    #expect(data == dataset)
    #expect(learned == optimizer)
    #expect(resume == nil)
    #expect(job.spec == made.spec)
    #expect(job.state == .running && job.reason == .claimed && job.attempt == 1 && job.startedAt != nil)
    #expect(job == (try store.job(id: made.id, project: "demo")))
    let attempts = try store.attempts(job: job.id)
    #expect(attempts.map(\.state) == [.running])
    #expect(attempts[0].cpuLevel == "avx2" && attempts[0].worker == "w" && attempts[0].firstStep == 0)
  }

  @Test func `a lease that expired is claimed again, and the old holder changes nothing`() throws {
    let job = try store.makeJob(on: store.makeReadyDataset())
    let old = try #require(try store.claimJob(worker: "old"))
    try expireLeases()
    let new = try #require(try store.claimJob(worker: "new"))
    #expect(new.subject == job.id && new.attempt == 2 && new.fence > old.fence)
    let before = try store.job(id: job.id, project: "demo")
    let events = try store.events(job: job.id)
    let progress = JobProgress(
      sequence: 1, step: 10, loss: 1, chunks: [CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: [1])],
      events: [ProgressEvent(kind: .warning, message: "from the past", data: .null)])
    let stale = StoreError.staleLease(subject: job.id)
    #expect(throws: stale) { _ = try store.commit(progress: progress, lease: old) }
    #expect(throws: stale) { try store.renew(lease: old) }
    #expect(throws: stale) { try store.release(lease: old) }
    #expect(throws: stale) { try store.abandon(lease: old, message: "") }
    #expect(throws: stale) { try store.finishJob(lease: old, outcome: .failed(.diverged, "no"), last: progress) }
    #expect(try store.job(id: job.id, project: "demo") == before)
    #expect(try store.events(job: job.id) == events)
    #expect(try store.curveSummaries(job: job.id).isEmpty)
    #expect(try store.commit(progress: progress, lease: new) == JobWishes(budgets: [1000]))
  }

  @Test func `work that failed waits before the next attempt, and a checkpoint forgives the failures before it`() throws
  {
    _ = try store.makeJob(on: try store.makeReadyDataset())
    for _ in 1..<Store.lossesMax {
      let lease = try #require(try store.claimJob())
      try store.abandon(lease: lease, message: "the disk is full")
      #expect(try store.claimJob() == nil, "it was handed out again at once")
      try database.run("UPDATE work SET not_before = clock_timestamp()")
    }
    let lease = try #require(try store.claimJob())
    let blob = try store.putBlob([1, 2, 3])
    _ = try store.commit(
      progress: JobProgress(sequence: 1, step: 5, loss: 1, chunks: [], checkpoint: (blob, 5)), lease: lease)
    try store.abandon(lease: lease, message: "the disk is full")
    try database.run("UPDATE work SET not_before = clock_timestamp()")
    #expect(try store.claimJob() != nil, "one failure after a checkpoint ended the job")
  }

  @Test func `a lease that is renewed or committed under does not expire`() throws {
    try store.makeJob(on: store.makeReadyDataset())
    let lease = try #require(try store.claimJob(leaseSeconds: 60))
    for renewal in [
      { try store.renew(lease: lease) },
      { _ = try store.commit(progress: JobProgress(sequence: 1, step: 1, loss: nil), lease: lease) },
    ] {
      try expireLeases()
      try renewal()
      #expect(try store.sweepExpiredLeases() == 0)
    }
    try expireLeases()
    #expect(try store.sweepExpiredLeases() == 1)
    #expect(try store.sweepExpiredLeases() == 0)
  }

  @Test func `lost attempts are bounded, and then the job fails with the reason`() throws {
    let job = try store.makeJob(on: store.makeReadyDataset())
    for attempt in 1...Store.lossesMax {
      let lease = try #require(try store.claimJob())
      #expect(lease.attempt == attempt)
      if attempt == Store.lossesMax {
        try store.abandon(lease: lease, message: "out of memory")
      } else {
        try expireLeases()
        #expect(try store.sweepExpiredLeases() == 1)
        let between = try #require(try store.job(id: job.id, project: "demo"))
        #expect(between.state == .queued && between.reason == .workerLost)
      }
    }
    let failed = try #require(try store.job(id: job.id, project: "demo"))
    #expect(failed.state == .failed && failed.reason == .attemptsExhausted && failed.finishedAt != nil)
    #expect(failed.message?.contains("out of memory") == true)
    #expect(try store.claimJob() == nil)
    #expect(try store.attempts(job: job.id).map(\.state) == Array(repeating: .lost, count: Store.lossesMax))
  }

  @Test func `work that is given back is no lost attempt`() throws {
    let job = try store.makeJob(on: store.makeReadyDataset())
    for _ in 0...Store.lossesMax { try store.release(lease: #require(try store.claimJob())) }
    let waiting = try #require(try store.job(id: job.id, project: "demo"))
    #expect(waiting.state == .queued && waiting.reason == .workerStopped)
    #expect(try store.attempts(job: job.id).allSatisfy { $0.state == .released })
  }

  @Test func `a cancelled job that waits is over at once, and one that runs when its worker has noticed`() throws {
    let dataset = try store.makeReadyDataset()
    let running = try store.makeJob(on: dataset)
    let lease = try #require(try store.claimJob())
    let waiting = try store.makeJob(on: dataset)
    #expect(try store.cancelJob(id: waiting.id, project: "demo")?.state == .cancelled)
    #expect(try store.claimJob() == nil)
    #expect(try store.cancelJob(id: running.id, project: "demo")?.state == .cancelling)
    #expect(try store.cancelJob(id: running.id, project: "demo")?.revision == 3)
    #expect(try store.commit(progress: JobProgress(sequence: 1, step: 5, loss: 2), lease: lease).cancel)
    try store.finishJob(lease: lease, outcome: .cancelled, last: nil)
    let over = try #require(try store.cancelJob(id: running.id, project: "demo"))
    #expect(over.state == .cancelled && over.step == 5)
  }

  @Test func `a job that is being cancelled when its worker is lost is cancelled`() throws {
    let job = try store.makeJob(on: store.makeReadyDataset())
    _ = try store.claimJob()
    _ = try store.cancelJob(id: job.id, project: "demo")
    try expireLeases()
    #expect(try store.sweepExpiredLeases() == 1)
    #expect(try store.job(id: job.id, project: "demo")?.state == .cancelled)
    #expect(try store.claimJob() == nil)
  }

  @Test func `cancelling while it is claimed ends in one or the other`() throws {
    let dataset = try store.makeReadyDataset()
    for _ in 0..<20 {
      let job = try store.makeJob(on: dataset)
      let outcomes = try concurrently(2) { index in
        if index == 0 { return try store.claimJob() != nil }
        _ = try store.cancelJob(id: job.id, project: "demo")
        return false
      }
      let state = try store.job(id: job.id, project: "demo")?.state
      #expect(state == (outcomes[0] ? .cancelling : .cancelled))
      _ = try database.run("DELETE FROM work")
    }
  }

  @Test func `a validation that is lost too often rejects the dataset`() throws {
    try store.makeProject()
    let dataset = try store.createDataset(
      name: "bad", options: DatasetOptions(format: .idx), blob: store.putBlob([1]), project: "demo"
    ).dataset
    for _ in 0..<Store.lossesMax {
      _ = try #require(try store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60))
      try expireLeases()
      try store.sweepExpiredLeases()
    }
    #expect(try store.dataset(id: dataset.id, project: "demo")?.state == .rejected)
    #expect(try store.datasetProblems(id: dataset.id, project: "demo")?.count == 1)
    #expect(try store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60) == nil)
  }

  @Test func `the queue is counted by kind`() throws {
    let dataset = try store.makeReadyDataset()
    for _ in 0..<3 { try store.makeJob(on: dataset) }
    _ = try store.claimJob()
    #expect(
      try store.figures().work == [
        Figures.Work(kind: "job", state: "leased", count: 1), Figures.Work(kind: "job", state: "queued", count: 2),
      ])
    #expect(try store.unfinishedJobCounts(project: "demo") == [.queued: 2, .running: 1])
  }
}
