// Store+JobControl.swift, Store+JobChanges.swift: pausing, resuming, renaming and deleting jobs, against workers that
// notice late, stop, or die.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct JobControlTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
  }

  private func startJob() throws -> (id: String, lease: Lease) {
    let job = try store.makeJob(on: store.makeReadyDataset())
    return (job.id, try #require(try store.claimJob()))
  }

  private func job(_ id: String) throws -> Job { try #require(try store.job(id: id, project: "demo")) }

  private func progress(_ sequence: Int, step: Int, state: Bool = false) throws -> JobProgress {
    JobProgress(
      sequence: sequence, step: step, loss: 1,
      checkpoint: state ? (try store.putBlob([1, UInt8(step % 256)]), step) : nil)
  }

  private func isConflict(_ kind: StoreError.Conflict) -> (any Error) -> Bool {
    { if case StoreError.conflict(kind, _) = $0 { true } else { false } }
  }

  @Test func `a job that waits is paused at once, and queued again behind those that waited meanwhile`() throws {
    let dataset = try store.makeReadyDataset()
    let first = try store.makeJob(on: dataset)
    let second = try store.makeJob(on: dataset)
    let paused = try #require(try store.pauseJob(id: first.id, project: "demo"))
    #expect(paused.state == .paused && paused.reason == .paused && paused.finishedAt == nil)
    #expect(try store.pauseJob(id: first.id, project: "demo") == paused)
    #expect(try store.unfinishedJobCounts(project: "demo") == [.queued: 1, .paused: 1])
    #expect(throws: (any Error).self) { try store.deleteDataset(id: dataset.id, project: "demo") }
    let queued = try #require(try store.resumeJob(id: first.id, project: "demo"))
    #expect(queued.state == .queued && queued.reason == .resumeRequested)
    #expect(try store.resumeJob(id: first.id, project: "demo") == queued)
    #expect(try [store.claimJob()?.subject, store.claimJob()?.subject] == [second.id, first.id])
    #expect(try store.pauseJob(id: "job_01jd3kq5v8m2n4p6r8t0w2y4a6", project: "demo") == nil)
    #expect(try store.pauseJob(id: first.id, project: "other") == nil)
  }

  @Test func `a job that runs pauses when its worker has noticed, and goes on from there as another attempt`() throws {
    let (id, lease) = try startJob()
    #expect(try store.pauseJob(id: id, project: "demo")?.state == .pausing)
    #expect(try store.commit(progress: progress(1, step: 5), lease: lease).pause)
    let last = try progress(2, step: 6, state: true)
    #expect(try store.pause(lease: lease, progress: last) == nil)
    let paused = try job(id)
    #expect(paused.state == .paused && paused.step == 6)
    // A repeated call, as after an answer that was lost on the way.
    #expect(try store.pause(lease: lease, progress: last) == nil)
    #expect(try job(id) == paused)
    #expect(try store.claimJob() == nil)
    #expect(try store.attempts(job: id).map(\.state) == [.released])
    #expect(throws: StoreError.staleLease(subject: id)) { try store.renew(lease: lease) }
    _ = try store.resumeJob(id: id, project: "demo")
    let claim = try #require(try store.claim(worker: "w", kinds: [.job], leaseSeconds: 60))
    guard case .job(let again, _, _, let resume) = claim.work else { return }
    #expect(claim.lease.attempt == 2 && again.step == 6 && resume?.step == 6)
    #expect(
      try store.events(job: id).compactMap { $0.data["state"]?.string } == [
        "queued", "running", "pausing", "paused", "queued", "running",
      ])
  }

  @Test func `a request to pause that is taken back before the worker acts leaves it running`() throws {
    let (id, lease) = try startJob()
    _ = try store.pauseJob(id: id, project: "demo")
    #expect(try store.commit(progress: progress(1, step: 5), lease: lease).pause)
    #expect(try store.resumeJob(id: id, project: "demo")?.state == .running)
    let instead = try store.pause(lease: lease, progress: progress(2, step: 6, state: true))
    #expect(instead == JobWishes(budgets: [1000]))
    #expect(try store.commit(progress: progress(3, step: 7), lease: lease) == JobWishes(budgets: [1000]))
    _ = try store.pauseJob(id: id, project: "demo")
    _ = try store.cancelJob(id: id, project: "demo")
    let cancelled = try store.pause(lease: lease, progress: progress(4, step: 8, state: true))
    #expect(cancelled == JobWishes(cancel: true, budgets: [1000]))
  }

  @Test(arguments: [false, true]) func `a job that is to pause is paused when its worker is lost or stops`(
    isLost: Bool
  ) throws {
    let (id, lease) = try startJob()
    let losses = CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: [4, 3, 2, 1])
    _ = try store.commit(
      progress: JobProgress(
        sequence: 1, step: 4, loss: 1, chunks: [losses], checkpoint: (store.putBlob([1]), 3)), lease: lease)
    _ = try store.pauseJob(id: id, project: "demo")
    if isLost {
      try database.run("UPDATE work SET lease_until = now() - interval '1 second'")
      #expect(try store.sweepExpiredLeases() == 1)
    } else {
      try store.release(lease: lease)
    }
    let paused = try job(id)
    #expect(paused.state == .paused && paused.step == 3)
    #expect(try store.curve(job: id, series: .trainLoss, query: CurveQuery()).points.values == [4, 3, 2])
    #expect(try store.claimJob() == nil)
    _ = try store.resumeJob(id: id, project: "demo")
    #expect(try store.claimJob()?.attempt == 2)
  }

  @Test func `jobs that end or have ended are neither paused nor resumed, and the answer says why`() throws {
    let (id, lease) = try startJob()
    _ = try store.cancelJob(id: id, project: "demo")
    for _ in 0..<2 {
      #expect(performing: { _ = try store.pauseJob(id: id, project: "demo") }, throws: isConflict(.state))
      #expect(performing: { _ = try store.resumeJob(id: id, project: "demo") }, throws: isConflict(.state))
      if try job(id).state == .cancelling { try store.finishJob(lease: lease, outcome: .cancelled, last: nil) }
    }
    // What is paused can be cancelled at once.
    let other = try store.makeJob(on: store.makeReadyDataset())
    _ = try store.pauseJob(id: other.id, project: "demo")
    #expect(try store.cancelJob(id: other.id, project: "demo")?.state == .cancelled)
  }

  @Test func `pausing, resuming and claiming at once leave work and job in agreement`() throws {
    let id = try store.makeJob(on: store.makeReadyDataset()).id
    for _ in 0..<10 {
      _ = try concurrently(4) { index in
        switch index {
        case 0: _ = try store.pauseJob(id: id, project: "demo")
        case 1: _ = try store.resumeJob(id: id, project: "demo")
        case 2: if let lease = try store.claimJob() { try store.release(lease: lease) }
        default: _ = try store.pauseJob(id: id, project: "demo")
        }
      }
      let state = try job(id).state
      let work = try database.texts("SELECT state FROM work WHERE subject = '\(id)'")
      #expect(work == (state == .queued ? ["queued"] : []), "\(state)")
      #expect([.queued, .paused].contains(state))
    }
    let events = try store.events(job: id, limit: 1000)
    #expect(events.map(\.sequence) == Array(1...events.count))
  }

  @Test func `names, tags and priorities change, the specification does not`() throws {
    let dataset = try store.makeReadyDataset()
    let key = Idempotency(key: "k", route: "POST /v1/jobs", requestSHA256: SHA256.hexadecimal([1]))
    let first = try store.makeJob(on: dataset, idempotency: key)
    let second = try store.makeJob(on: dataset)
    let change = JobChange(name: .some("kept"), tags: ["team": "vision"], priority: 0)
    let changed = try #require(try store.changeJob(id: second.id, project: "demo", change))
    #expect(changed.json["name"] == "kept" && changed.json["tags"] == ["team": "vision"])
    #expect(changed.json["priority"] == 0 && changed.revision == 2 && changed.spec == second.spec)
    #expect(try store.events(job: second.id).last?.kind == .change)
    #expect(try store.changeJob(id: second.id, project: "demo", change)?.revision == 2)
    #expect(try store.changeJob(id: second.id, project: "demo", JobChange(name: .some(nil)))?.current.name == nil)
    #expect(try store.claimJob()?.subject == second.id)
    // A priority outlives a pause, and a repeated request gets its first answer.
    _ = try store.changeJob(id: first.id, project: "demo", JobChange(priority: 9))
    _ = try store.pauseJob(id: first.id, project: "demo")
    _ = try store.resumeJob(id: first.id, project: "demo")
    #expect(try database.texts("SELECT priority FROM work WHERE subject = '\(first.id)'") == ["9"])
    #expect(try store.replayedJob(key, project: "demo") == first)
    let conflict = isConflict(.revision)
    #expect(
      performing: { _ = try store.changeJob(id: first.id, project: "demo", change, revision: 1) }, throws: conflict)
    let tagged = try store.jobs(project: "demo", tag: ("team", "vision")).items.map(\.id)
    #expect(tagged == [second.id])
    #expect(
      try store.jobs(project: "demo", state: .queued, tag: ("made", "for \"tests\"")).items.map(\.id) == [first.id])
  }

  @Test func `a deleted job takes all that belongs to it along, and its contents are swept`() throws {
    let (id, lease) = try startJob()
    let chunk = CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: [1])
    _ = try store.commit(
      progress: JobProgress(
        sequence: 1, step: 1, loss: 1, chunks: [chunk], checkpoint: (store.putBlob(Array("state".utf8)), 1)),
      lease: lease)
    #expect(performing: { _ = try store.deleteJob(id: id, project: "demo") }, throws: isConflict(.state))
    let model = try store.putBlob(Array("weights".utf8))
    try store.finishJob(lease: lease, outcome: .succeeded(.sample, model: model), last: nil)
    #expect(try !store.deleteJob(id: id, project: "other"))
    #expect(try store.deleteJob(id: id, project: "demo"))
    #expect(try !store.deleteJob(id: id, project: "demo"))
    for table in ["job_events", "job_attempts", "curve_chunks", "checkpoints"] {
      #expect(try database.texts("SELECT count(*) FROM \(table) WHERE job = '\(id)'") == ["0"], "\(table)")
    }
    #expect(try store.sweepBlobs(graceSeconds: 0) == 2)
    #expect(throws: (any Error).self) { try store.readBlob(sha256: model.sha256) }
  }
}
