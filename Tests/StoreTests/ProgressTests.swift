// What workers report: commits, ends, events, checkpoints.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct ProgressTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
  }

  private func startJob() throws -> (job: Job, lease: Lease) {
    let job = try store.makeJob(on: store.makeReadyDataset())
    return (job, try #require(try store.claimJob()))
  }

  @Test func `a commit makes step, loss, curve, events and checkpoint durable at once`() throws {
    let (job, lease) = try startJob()
    let state = try store.putBlob([1, 2, 3])
    let progress = JobProgress(
      sequence: 1, step: 3, loss: 0.5,
      chunks: [
        CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: [2, 1, 0.5]),
        CurveChunk(series: .heldOutLoss, firstStep: 3, stride: 1, values: [.nan]),
      ],
      checkpoint: (state, 3),
      events: [
        ProgressEvent(kind: .evaluation, message: "a \"quoted\", {braced} \\ message", data: ["step": 3]),
        ProgressEvent(kind: .warning, message: "held-out loss is not finite", data: .null),
      ])
    #expect(try store.commit(progress: progress, lease: lease) == JobWishes(budgets: [1000]))
    let after = try #require(try store.job(id: job.id, project: "demo"))
    #expect(after.step == 3 && after.loss == 0.5 && after.revision == 3)
    let events = try store.events(job: job.id)
    #expect(events.map(\.sequence) == [1, 2, 3, 4])
    #expect(events[2].message == "a \"quoted\", {braced} \\ message" && events[2].data == ["step": 3])
    #expect(events[3].kind == .warning)
    #expect(try store.events(job: job.id, after: 2, limit: 1) == [events[2]])
    let checkpoint = try #require(try store.checkpoints(job: job.id).first)
    #expect(checkpoint.step == 3 && checkpoint.kind == .resume && checkpoint.sha256 == state.sha256)
    let summaries = try store.curveSummaries(job: job.id)
    #expect(summaries.map(\.series) == [.trainLoss, .heldOutLoss])
    #expect(summaries[0].minimum == 0.5 && summaries[0].maximum == 2 && summaries[0].last == 0.5)
    #expect(summaries[0].points == 3 && summaries[0].lastStep == 2)
    #expect(summaries[1].last.isNaN && summaries[1].minimum.isNaN)
  }

  @Test func `a commit without points leaves the loss, and one whose last loss is none takes it away`() throws {
    let (job, lease) = try startJob()
    func loss(after progress: JobProgress) throws -> Double? {
      _ = try store.commit(progress: progress, lease: lease)
      return try store.job(id: job.id, project: "demo")?.loss
    }
    let points = CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: [2, 0.5])
    #expect(try loss(after: JobProgress(sequence: 1, step: 2, loss: 0.5, chunks: [points])) == 0.5)
    #expect(try loss(after: JobProgress(sequence: 2, step: 2, loss: nil)) == 0.5)
    let none = CurveChunk(series: .trainLoss, firstStep: 2, stride: 1, values: [.nan])
    #expect(try loss(after: JobProgress(sequence: 3, step: 3, loss: .nan, chunks: [none])) == nil)
  }

  @Test func `a commit that is repeated changes nothing but the lease`() throws {
    let (job, lease) = try startJob()
    let progress = JobProgress(
      sequence: 1, step: 2, loss: 1,
      chunks: [CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: [3, 1])],
      events: [ProgressEvent(kind: .evaluation, message: "once", data: .null)])
    _ = try store.commit(progress: progress, lease: lease)
    let job1 = try store.job(id: job.id, project: "demo")
    let events1 = try store.events(job: job.id)
    try database.run("UPDATE work SET lease_until = now() - interval '1 second'")
    _ = try concurrently(4) { _ in try store.commit(progress: progress, lease: lease) }
    #expect(try store.job(id: job.id, project: "demo") == job1)
    #expect(try store.events(job: job.id) == events1)
    #expect(try store.sweepExpiredLeases() == 0)
    #expect(try store.curve(job: job.id, series: .trainLoss, query: CurveQuery()).points.values == [3, 1])
  }

  @Test func `a commit that breaks a rule changes nothing`() throws {
    let (job, lease) = try startJob()
    let first = CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: [3, 1])
    _ = try store.commit(progress: JobProgress(sequence: 1, step: 2, loss: 1, chunks: [first]), lease: lease)
    let before = try store.job(id: job.id, project: "demo")
    let again = JobProgress(
      sequence: 2, step: 4, loss: 1, chunks: [first],
      events: [ProgressEvent(kind: .evaluation, message: "not to be seen", data: .null)])
    #expect { _ = try store.commit(progress: again, lease: lease) } throws: { error in
      guard case StoreError.database(let query, "23505", _) = error else { return false }
      return query == "job_commit"
    }
    let empty = JobProgress(
      sequence: 2, step: 4, loss: 1, chunks: [CurveChunk(series: .trainLoss, firstStep: 9, stride: 1, values: [])])
    #expect { _ = try store.commit(progress: empty, lease: lease) } throws: { error in
      if case StoreError.limit = error { true } else { false }
    }
    #expect(try store.job(id: job.id, project: "demo") == before)
    #expect(try store.events(job: job.id).count == 2)
  }

  @Test func `a job that succeeds has its result, its model and its last progress`() throws {
    let (job, lease) = try startJob()
    let model = try store.putBlob(Array("weights".utf8))
    let last = JobProgress(
      sequence: 7, step: 1000, loss: 0.25,
      chunks: [CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: [1, 0.25])])
    let listenerless = try database.store()
    try listenerless.finishJob(lease: lease, outcome: .succeeded(.sample, model: model), last: last)
    let done = try #require(try store.job(id: job.id, project: "demo"))
    #expect(done.state == .succeeded && done.reason == .budgetReached && done.result == .sample)
    #expect(done.step == 1000 && done.loss == 0.25 && done.message == nil && done.finishedAt != nil)
    let checkpoints = try store.checkpoints(job: job.id)
    #expect(checkpoints.map(\.kind) == [.model])
    #expect(try store.checkpoint(id: checkpoints[0].id, project: "demo") == checkpoints[0])
    #expect(try store.checkpoint(id: checkpoints[0].id, project: "other") == nil)
    #expect(try store.readBlob(sha256: checkpoints[0].sha256) == Array("weights".utf8))
    #expect(try store.curve(job: job.id, series: .trainLoss, query: CurveQuery()).points.values == [1, 0.25])
    #expect(try store.attempts(job: job.id).map(\.state) == [.finished])
    // The answer was lost on the way, so the worker says it again.
    try store.finishJob(lease: lease, outcome: .succeeded(.sample, model: model), last: last)
    #expect(try store.job(id: job.id, project: "demo") == done)
    #expect(try store.events(job: job.id).count == 3)
  }

  @Test func `a failed job says why`() throws {
    let (job, lease) = try startJob()
    try store.finishJob(lease: lease, outcome: .failed(.diverged, "the loss is not finite"), last: nil)
    let failed = try #require(try store.job(id: job.id, project: "demo"))
    #expect(failed.state == .failed && failed.reason == .diverged && failed.message == "the loss is not finite")
    #expect(try store.events(job: job.id).last?.message == "failed: the loss is not finite")
  }

  @Test func `the two newest states to go on from are kept, and one when the job is over`() throws {
    let (job, lease) = try startJob()
    for index in 1...4 {
      let blob = try store.putBlob([UInt8(index)])
      let progress = JobProgress(sequence: index, step: index * 10, loss: nil, checkpoint: (blob, index * 10))
      _ = try store.commit(progress: progress, lease: lease)
    }
    #expect(try store.checkpoints(job: job.id).map(\.step) == [40, 30])
    try store.finishJob(lease: lease, outcome: .failed(.internalError, "x"), last: nil)
    #expect(try store.checkpoints(job: job.id).map(\.step) == [40])
    // The contents of the others belong to nobody; those in use stay.
    #expect(try store.sweepBlobs(graceSeconds: 600) == 0)
    #expect(try store.sweepBlobs(graceSeconds: -1) == 3)
    #expect(try store.readBlob(sha256: store.checkpoints(job: job.id)[0].sha256) == [4])
  }

  @Test func `events of concurrent writers have no gap and no number twice`() throws {
    let (job, lease) = try startJob()
    // A worker that commits, impatient users, and readers all at once.
    _ = try concurrently(6) { index in
      for round in 1...20 {
        if index == 0 {
          let events = (0..<3).map { ProgressEvent(kind: .evaluation, message: "\(round) \($0)", data: .null) }
          _ = try store.commit(
            progress: JobProgress(sequence: round, step: round, loss: 1, events: events), lease: lease)
        } else if index == 1, round == 10 {
          _ = try store.cancelJob(id: job.id, project: "demo")
        } else {
          let seen = try store.events(job: job.id).map(\.sequence)
          #expect(seen == Array(1...seen.count))
        }
      }
    }
    let events = try store.events(job: job.id, limit: 1000)
    #expect(events.map(\.sequence) == Array(1...(2 + 60 + 1)))
    #expect(
      events.filter { $0.kind == .evaluation }.map(\.message) == (1...20).flatMap { r in (0..<3).map { "\(r) \($0)" } })
  }

  @Test func `the database allows exactly the transitions of the contract`() throws {
    let (job, _) = try startJob()
    for old in JobState.allCases {
      for new in JobState.allCases where new != old {
        let allowed = try database.texts("SELECT job_may_become('\(old.rawValue)', '\(new.rawValue)')") == ["t"]
        #expect(allowed == old.canBecome(new), "\(old) to \(new)")
        // And a direct write is held to it.
        func columns(_ state: JobState) -> String {
          "state = '\(state.rawValue)', finished_at = \(state.isTerminal ? "now()" : "NULL"), "
            + "result = \(state == .succeeded ? "'{}'" : "NULL")"
        }
        try database.run(
          "ALTER TABLE jobs DISABLE TRIGGER jobs_transition; UPDATE jobs SET \(columns(old)) WHERE id = '\(job.id)'; "
            + "ALTER TABLE jobs ENABLE TRIGGER jobs_transition")
        let change = Result { try database.run("UPDATE jobs SET \(columns(new)) WHERE id = '\(job.id)'") }
        let isAccepted = (try? change.get()) != nil
        #expect(isAccepted == old.canBecome(new), "\(old) to \(new)")
      }
    }
  }
}
