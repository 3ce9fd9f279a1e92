// Store+JobExtensions.swift, Store+JobFallback.swift: more steps against workers that are just finishing, new jobs from
// the ends of old ones, and the transaction in which another optimizer takes over.
import Contract
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Store

@Suite struct JobExtensionTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
  }

  private func job(_ id: String) throws -> Job { try #require(try store.job(id: id, project: "demo")) }

  private func result(_ steps: Int) -> TrainingResult {
    TrainingResult(trainLoss: 0.25, heldOut: Metrics([.loss: 0.5]), steps: steps, cpuLevel: "avx2")
  }

  /// The end of a run of so many steps, with its state.
  private func finish(_ lease: Lease, steps: Int, sequence: Int = 1) throws -> [Int]? {
    let state = try store.putBlob(Array("state at \(steps)".utf8))
    return try store.finishJob(
      lease: lease, outcome: .succeeded(result(steps), model: store.putBlob([7])),
      last: JobProgress(sequence: sequence, step: steps, loss: 1, checkpoint: (state, steps)))
  }

  /// A job of 1,000 steps that has succeeded.
  private func succeededJob(optimizerID: String? = nil) throws -> Job {
    let made = try store.makeJob(on: store.makeReadyDataset(), optimizerID: optimizerID)
    #expect(try finish(#require(try store.claimJob()), steps: 1000) == nil)
    return try job(made.id)
  }

  private func extend(_ id: String, by steps: Int, key: String? = nil) throws -> ExtendedJob? {
    try store.extendJob(
      id: id, project: "demo", JobExtension(steps: steps),
      idempotency: key.map {
        Idempotency(
          key: $0, route: "POST /v1/jobs/\(id)/extend", requestSHA256: SHA256.hexadecimal([UInt8(steps % 256)]))
      })
  }

  private func isConflict(_ kind: StoreError.Conflict) -> (any Error) -> Bool {
    { if case StoreError.conflict(kind, _) = $0 { true } else { false } }
  }

  @Test func `a job that is not over gets another budget, and its worker is told`() throws {
    let made = try store.makeJob(on: store.makeReadyDataset())
    guard case .inPlace(let extended, replayed: false)? = try extend(made.id, by: 500) else {
      Issue.record("expected the same job")
      return
    }
    #expect(extended.budgets == [1000, 1500] && extended.steps == 1500 && extended.revision == 2)
    let event = try #require(try store.events(job: made.id).last)
    #expect(event.kind == .change && event.data["from_step"] == 1000 && event.message.contains("67 %"))
    let lease = try #require(try store.claimJob())
    _ = try extend(made.id, by: 100)
    let wishes = try store.commit(progress: JobProgress(sequence: 1, step: 5, loss: 1), lease: lease)
    #expect(wishes == JobWishes(budgets: [1000, 1500, 1600]))
    // A run that ends too early goes on; what it told of is kept.
    #expect(try finish(lease, steps: 1000, sequence: 2) == [1000, 1500, 1600])
    #expect(try job(made.id).state == .running && job(made.id).step == 1000)
    #expect(try finish(lease, steps: 1600, sequence: 3) == nil)
    #expect(try finish(lease, steps: 1600, sequence: 3) == nil)
    #expect(try job(made.id).state == .succeeded)
  }

  @Test func `steps are limited in all, and jobs without an end to go on from are refused`() throws {
    let made = try store.makeJob(on: store.makeReadyDataset())
    #expect {
      _ = try extend(made.id, by: 100_000_000)
    } throws: { error in
      guard case StoreError.invalid(let faults) = error else { return false }
      return faults.map(\.path) == ["/steps"]
    }
    _ = try store.cancelJob(id: made.id, project: "demo")
    #expect(performing: { _ = try extend(made.id, by: 1) }, throws: isConflict(.state))
    #expect(try store.extendJob(id: made.id, project: "other", JobExtension(steps: 1)) == nil)
    // As versions left it that kept no state of the end.
    let old = try succeededJob()
    try database.run("UPDATE checkpoints SET step = 990 WHERE kind = 'resume'")
    #expect {
      _ = try extend(old.id, by: 1)
    } throws: { error in
      guard case StoreError.conflict(.state, let text) = error else { return false }
      return text.contains("no state at its end")
    }
  }

  @Test func `an extension and a finish at once end in one job or in two, never in neither`() throws {
    let dataset = try store.makeReadyDataset()
    var inPlace = 0
    for round in 0..<20 {
      let made = try store.makeJob(on: dataset)
      let lease = try #require(try store.claimJob())
      let outcomes = try concurrently(2) { index -> String in
        // With the last progress in the same transaction, and without any.
        if index == 0, round % 2 == 0 { return try finish(lease, steps: 1000) == nil ? "over" : "goes on" }
        if index == 0 {
          _ = try store.commit(
            progress: JobProgress(sequence: 1, step: 1000, loss: 1, checkpoint: (store.putBlob([1]), 1000)),
            lease: lease)
          let outcome = JobOutcome.succeeded(result(1000), model: try store.putBlob([7]))
          return try store.finishJob(lease: lease, outcome: outcome, last: nil) == nil ? "over" : "goes on"
        }
        if case .inPlace? = try extend(made.id, by: 10) { return "in place" }
        return "new job"
      }
      #expect([["over", "new job"], ["goes on", "in place"]].contains(outcomes), "round \(round): \(outcomes)")
      if outcomes[0] == "goes on" {
        inPlace += 1
        #expect(try finish(lease, steps: 1010, sequence: 2) == nil)
      } else {
        let next = try #require(try store.claimJob())
        #expect(try job(next.subject).extends == made.id)
        #expect(try finish(next, steps: 1010) == nil)
      }
    }
    #expect(try store.unfinishedJobCounts(project: "demo").isEmpty)
  }

  @Test func `a job that goes on from another's end has its state, also when the other is deleted`() throws {
    let old = try succeededJob()
    _ = try store.changeJob(id: old.id, project: "demo", JobChange(name: .some("kept"), priority: 2))
    guard case .continued(let new, replayed: false)? = try extend(old.id, by: 500) else {
      Issue.record("expected a new job")
      return
    }
    #expect(new.extends == old.id && new.firstStep == 1000 && new.step == 1000 && new.budgets == [1000, 1500])
    #expect(new.spec.name == "kept" && new.spec.priority == 2 && new.model == old.model && new.state == .queued)
    #expect(try job(old.id).state == .succeeded)
    #expect(try store.deleteJob(id: old.id, project: "demo"))
    try store.sweepBlobs(graceSeconds: 0)
    let claim = try #require(try store.claim(worker: "w", kinds: [.job], leaseSeconds: 60))
    guard case .job(let claimed, _, _, let resume?) = claim.work else {
      Issue.record("the new job has no state to begin with")
      return
    }
    #expect(claimed.id == new.id && resume.step == 1000)
    #expect(try store.readBlob(sha256: resume.sha256) == Array("state at 1000".utf8))
    #expect(try store.anchor(job: new.id, step: 1000) == Data("state at 1000".utf8))
    #expect(try store.attempts(job: new.id).map(\.firstStep) == [1000])
    // A lost attempt goes back to where it began.
    let chunk = CurveChunk(series: .trainLoss, firstStep: 1000, stride: 1, values: [3, 2])
    _ = try store.commit(
      progress: JobProgress(sequence: 1, step: 1002, loss: 2, chunks: [chunk]), lease: claim.lease)
    try store.release(lease: claim.lease)
    #expect(try job(new.id).step == 1000)
    #expect(try store.curveSummaries(job: new.id).isEmpty)
  }

  @Test func `a repeated request adds steps once`() throws {
    let made = try store.makeJob(on: store.makeReadyDataset())
    _ = try extend(made.id, by: 5, key: "a")
    guard case .inPlace(let again, replayed: true)? = try extend(made.id, by: 5, key: "a") else {
      Issue.record("expected the same job")
      return
    }
    #expect(again.budgets == [1000, 1005])
    #expect(performing: { _ = try extend(made.id, by: 6, key: "a") }, throws: isConflict(.idempotencyKeyReused))
    #expect(try finish(#require(try store.claimJob()), steps: 1005) == nil)
    // Also after its end, and a new job is made once.
    guard case .inPlace(_, replayed: true)? = try extend(made.id, by: 5, key: "a"),
      case .continued(let first, replayed: false)? = try extend(made.id, by: 7, key: "b")
    else {
      Issue.record("expected the same job, then a new one")
      return
    }
    _ = try extend(first.id, by: 1)
    guard case .continued(let second, replayed: true)? = try extend(made.id, by: 7, key: "b") else {
      Issue.record("expected the new job again")
      return
    }
    #expect(first == second)
    #expect(try store.jobs(project: "demo").items.count == 2)
  }

  @Test func `at most the newest state to go on from outlives a job`() throws {
    let made = try store.makeJob(on: store.makeReadyDataset())
    let lease = try #require(try store.claimJob())
    for step in 1...4 {
      _ = try store.commit(
        progress: JobProgress(
          sequence: step, step: step, loss: 1, checkpoint: (store.putBlob([UInt8(step)]), step),
          anchor: (store.putBlob([100, UInt8(step)]), step)), lease: lease)
    }
    let kinds = try store.checkpoints(job: made.id).map { "\($0.kind) \($0.step)" }
    #expect(Set(kinds) == ["resume 4", "resume 3", "anchor 4"])
    #expect(try finish(lease, steps: 1000, sequence: 5) == nil)
    #expect(Set(try store.checkpoints(job: made.id).map { "\($0.kind) \($0.step)" }) == ["resume 1000", "model 1000"])
    let other = try store.makeJob(on: store.makeReadyDataset())
    let second = try #require(try store.claimJob())
    for step in 1...2 {
      _ = try store.commit(
        progress: JobProgress(
          sequence: step, step: step, loss: 1, checkpoint: (store.putBlob([UInt8(step)]), step),
          anchor: (store.putBlob([100]), step)), lease: second)
    }
    try store.release(lease: second)
    _ = try store.cancelJob(id: other.id, project: "demo")
    #expect(try store.checkpoints(job: other.id).map { "\($0.kind) \($0.step)" } == ["resume 2"])
  }

  @Test func `a fallback takes the place of all states after it, cuts the curves, and is made once`() throws {
    let made = try store.makeJob(on: store.makeReadyDataset())
    let lease = try #require(try store.claimJob())
    let losses = CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: (0..<10).map { Float($0) })
    let heldOut = (1...9).map { CurveChunk(series: .heldOutLoss, firstStep: $0, stride: 1, values: [Float($0)]) }
    _ = try store.commit(
      progress: JobProgress(
        sequence: 1, step: 10, loss: 9, chunks: [losses] + heldOut, checkpoint: (store.putBlob([1]), 9),
        anchor: (store.putBlob([2]), 4)), lease: lease)
    #expect(try store.anchor(job: made.id, step: 4) == Data([2]))
    let fallback = JobFallback(fromStep: 4, reason: "the loss was not finite")
    let state = try store.putBlob([3])
    for _ in 0..<2 {
      #expect(try store.fallBack(lease: lease, fallback, state: state) == JobWishes(budgets: [1000]))
    }
    let after = try job(made.id)
    #expect(after.fallback == fallback && after.state == .running && after.step == 4)
    #expect(after.json["fallback"]?["optimizer"]?["name"] == "adamw")
    let states = try store.checkpoints(job: made.id)
    #expect(states.map(\.kind) == [.resume] && states.map(\.step) == [4] && states[0].sha256 == state.sha256)
    #expect(try store.curve(job: made.id, series: .trainLoss, query: CurveQuery()).points.values == [0, 1, 2, 3])
    #expect(try store.curve(job: made.id, series: .heldOutLoss, query: CurveQuery()).points.steps == [1, 2, 3, 4])
    let warnings = try store.events(job: made.id).filter { $0.kind == .warning }
    #expect(warnings.map(\.data) == [fallback.json])
    #expect(warnings[0].message == "the loss was not finite; adamw goes on from step 4")
    try store.release(lease: lease)
    let next = try #require(try store.claim(worker: "w", kinds: [.job], leaseSeconds: 60))
    guard case .job(let claimed, _, _, let resume?) = next.work else { return }
    #expect(claimed.fallback == fallback && resume.step == 4)
    #expect(throws: StoreError.staleLease(subject: made.id)) {
      try store.fallBack(lease: lease, fallback, state: state)
    }
  }

  @Test func `of many that go on from one job at once only as many are made as the quota has room for`() throws {
    let made = try succeededJob()
    let outcomes = Mutex<[Bool]>([])
    DispatchQueue.concurrentPerform(iterations: 6) { _ in
      let extended = try? store.extendJob(
        id: made.id, project: "demo", JobExtension(steps: 10), defaults: ProjectQuotas(unfinishedJobs: 2))
      outcomes.withLock { $0.append(extended != nil) }
    }
    #expect(outcomes.withLock { $0.filter { $0 }.count } == 2)
    #expect(try store.unfinishedJobCounts(project: "demo") == [.queued: 2])
  }

  @Test func `a repeated request is answered as the first one, though that changed the revision it names`() throws {
    let made = try store.makeJob(on: store.makeReadyDataset())
    let key = Idempotency(key: "once", route: "POST /extend", requestSHA256: SHA256.hexadecimal([1]))
    for replayed in [false, true] {
      let extended = try store.extendJob(
        id: made.id, project: "demo", JobExtension(steps: 10), revision: made.revision, idempotency: key)
      guard case .inPlace(let job, replayed)? = extended else {
        Issue.record("expected the same job, got \(String(describing: extended))")
        return
      }
      #expect(job.budgets == [1000, 1010])
    }
    #expect(throws: StoreError.self) {
      try store.extendJob(id: made.id, project: "demo", JobExtension(steps: 10), revision: made.revision)
    }
  }
}
