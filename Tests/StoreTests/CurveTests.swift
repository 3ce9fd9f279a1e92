// Curves: reading by range, thinning out, what a resumed run supersedes, merging.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct CurveTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase()
    store = try database.store()
  }

  private func startJob() throws -> Lease {
    try store.makeJob(on: store.makeReadyDataset(), steps: 1_000_000)
    return try #require(try store.claimJob())
  }

  /// Commits train losses of steps `range`, whose value is a noisy function of the step, in commits of `size`.
  @discardableResult
  private func train(
    _ range: Range<Int>, by size: Int, from sequence: Int = 1, under lease: Lease, checkpointAt: Int? = nil
  ) throws -> CurvePoints {
    var all = CurvePoints()
    var sequence = sequence
    for start in stride(from: range.lowerBound, to: range.upperBound, by: size) {
      let steps = start..<min(start + size, range.upperBound)
      let values = steps.map { Float(($0 &* 2_654_435_761) % 10_007) / Float($0 + 1) }
      var progress = JobProgress(
        sequence: sequence, step: steps.upperBound, loss: values.last,
        chunks: [CurveChunk(series: .trainLoss, firstStep: start, stride: 1, values: values)])
      progress.chunks.append(
        CurveChunk(series: .heldOutLoss, firstStep: steps.upperBound, stride: 1, values: [Float(steps.upperBound)]))
      if checkpointAt == steps.upperBound {
        progress.checkpoint = (try store.putBlob([1]), steps.upperBound)
      }
      _ = try store.commit(progress: progress, lease: lease)
      all.steps += steps
      all.values += values
      sequence += 1
    }
    return all
  }

  @Test(arguments: [2, 3, 10, 999, 1000, 5000, 100_000])
  func `a curve is thinned out as the contract says`(pointsMax: Int) throws {
    let lease = try startJob()
    let all = try train(0..<10_000, by: 777, under: lease)
    let read = try store.curve(job: lease.subject, series: .trainLoss, query: CurveQuery(pointsMax: pointsMax))
    #expect(read.total == 10_000)
    #expect(read.points == all.sampled(pointsMax: pointsMax))
    #expect(read.points.steps.count <= pointsMax)
  }

  @Test func `a range is read before it is thinned out`() throws {
    let lease = try startJob()
    let all = try train(0..<3000, by: 400, under: lease)
    for (from, to) in [(0, 2999), (399, 400), (401, 1999), (2999, 5000), (1234, 1234), (3000, 9000), (7, 3)] {
      let kept = all.steps.indices.filter { all.steps[$0] >= from && all.steps[$0] <= to }
      let expected = CurvePoints(steps: kept.map { all.steps[$0] }, values: kept.map { all.values[$0] })
      let query = CurveQuery(from: from, to: to, pointsMax: 100)
      let read = try store.curve(job: lease.subject, series: .trainLoss, query: query)
      #expect(read.total == kept.count)
      #expect(read.points == expected.sampled(pointsMax: 100))
      let first = try store.curve(
        job: lease.subject, series: .trainLoss, query: CurveQuery(from: from, to: to, pointsMax: 100, sampling: .none))
      #expect(first.total == kept.count)
      #expect(first.points.steps == Array(expected.steps.prefix(100)))
    }
  }

  @Test func `points of a series with strides keep their steps`() throws {
    let lease = try startJob()
    let chunk = CurveChunk(series: .heldOutAccuracy, firstStep: 50, stride: 50, values: [0.1, 0.2, 0.3, 0.4])
    _ = try store.commit(progress: JobProgress(sequence: 1, step: 210, loss: nil, chunks: [chunk]), lease: lease)
    let query = CurveQuery(from: 51, to: 199)
    let read = try store.curve(job: lease.subject, series: .heldOutAccuracy, query: query)
    #expect(read.points == CurvePoints(steps: [100, 150], values: [0.2, 0.3]))
  }

  @Test func `a resumed run supersedes what lies beyond its checkpoint`() throws {
    let lease = try startJob()
    try train(0..<1000, by: 250, under: lease, checkpointAt: 500)
    // One more chunk that the resume step falls into.
    _ = try store.commit(
      progress: JobProgress(
        sequence: 9, step: 1000, loss: 1,
        chunks: [CurveChunk(series: .heldOutAccuracy, firstStep: 300, stride: 100, values: [3, 4, 5, 6, 7])]),
      lease: lease)
    try store.release(lease: lease)
    let again = try #require(try store.claim(worker: "w", kinds: [.job], leaseSeconds: 60))
    guard case .job(let job, _, _, let resume) = again.work else { return }
    #expect(resume?.step == 500 && job.step == 500 && job.loss == nil)
    #expect(try store.attempts(job: job.id).map(\.firstStep) == [0, 500])
    let summaries = try store.curveSummaries(job: job.id)
    #expect(summaries.map(\.points) == [500, 2, 3])
    #expect(summaries.map(\.lastStep) == [499, 500, 500])
    #expect(summaries[2].last == 5)
    // The new attempt writes the same steps again; each stands once.
    let more = try train(500..<900, by: 133, under: again.lease)
    let read = try store.curve(job: job.id, series: .trainLoss, query: CurveQuery(pointsMax: 100_000)).points
    #expect(read.steps == Array(0..<900))
    #expect(Array(read.values[500...]) == more.values)
  }

  @Test func `an attempt without a checkpoint starts the curves anew`() throws {
    let lease = try startJob()
    try train(0..<100, by: 30, under: lease)
    try store.abandon(lease: lease, message: "gone")
    _ = try store.claimJob()
    #expect(try store.curveSummaries(job: lease.subject).isEmpty)
    #expect(try store.job(id: lease.subject, project: "demo")?.step == 0)
  }

  @Test func `chunks cut by a resume inside of them keep the steps before it`() throws {
    let lease = try startJob()
    let state = try store.putBlob([1])
    let losses = CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: (0..<100).map(Float.init))
    let progress = JobProgress(sequence: 1, step: 100, loss: 1, chunks: [losses], checkpoint: (state, 40))
    _ = try store.commit(progress: progress, lease: lease)
    try store.release(lease: lease)
    _ = try store.claimJob()
    let read = try store.curve(job: lease.subject, series: .trainLoss, query: CurveQuery())
    #expect(read.points.steps == Array(0..<40) && read.points.values == (0..<40).map(Float.init))
    let summary = try #require(try store.curveSummaries(job: lease.subject).first)
    #expect(summary.maximum == 39 && summary.minimum == 0)
  }

  @Test func `the curves of a finished job are merged and read the same`() throws {
    let lease = try startJob()
    let all = try train(0..<70_000, by: 1500, under: lease)
    let model = try store.putBlob([1])
    let before = try store.curve(job: lease.subject, series: .heldOutLoss, query: CurveQuery())
    let summaries = try store.curveSummaries(job: lease.subject)
    try store.finishJob(lease: lease, outcome: .succeeded(.sample, model: model), last: nil)
    let counts = try database.texts("SELECT count(*) FROM curve_chunks GROUP BY series ORDER BY series DESC")
    #expect(counts == ["2", "2"])
    let read = try store.curve(job: lease.subject, series: .trainLoss, query: CurveQuery(pointsMax: 100_000))
    #expect(read.points == all)
    #expect(try store.curve(job: lease.subject, series: .heldOutLoss, query: CurveQuery()) == before)
    #expect(try store.curveSummaries(job: lease.subject) == summaries)
    try store.compactCurves(job: lease.subject)
    #expect(try store.curveSummaries(job: lease.subject) == summaries)
  }

  @Test func `the sampler keeps NaN and infinities in sight`() {
    var points = CurvePoints(steps: Array(0..<1000), values: (0..<1000).map { Float($0 % 7) })
    points.values[313] = .nan
    points.values[500] = .infinity
    points.values[501] = -.infinity
    var sampler = CurveSampler(total: 1000, pointsMax: 50)
    points.values.withUnsafeBytes { sampler.add($0, count: 1000, firstStep: 0, stride: 1) }
    let expected = points.sampled(pointsMax: 50)
    #expect(sampler.points.steps == expected.steps)
    #expect(sampler.points.values.map(\.bitPattern) == expected.values.map(\.bitPattern))
    #expect(sampler.points.steps.contains(313) && sampler.points.steps.contains(501))
  }
}
