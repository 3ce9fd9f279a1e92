// TrainingRun.swift, JobTrainer.swift, DivergenceAnchor.swift: what pauses, extensions and fallbacks do to the bits of a
// result, which is nothing but what is documented.
import Compute
import Contract
import Foundation
import Learning
import Store
import TestSupport
import Testing

@testable import Worker

@Suite struct JobCourseTests {
  @Test("a job that is paused and resumed ends with the bits of one that never was")
  func pauses() throws {
    let bench = try WorkerBench()
    let dataset = try bench.upload(WorkerBench.table)
    let spec = TrainingSpec.small(dataset, steps: 60_000, evaluateEvery: 3000)
    let undisturbed = try bench.train(spec)
    let id = try bench.submit(spec).id
    var pauses = 0
    for target in [1, 9_000, 25_000] {
      // Running: one that waits would be paused without an attempt.
      _ = try bench.job(id) { $0.state == .running && $0.step >= target || $0.state.isTerminal }
      guard (try? bench.store.pauseJob(id: id, project: "default")) != nil else { break }
      let paused = try bench.job(id) { $0.state == .paused || $0.state.isTerminal }
      guard paused.state == .paused else { break }
      pauses += 1
      #expect(try !bench.store.figures().work.contains { $0.kind == "job" }, "a paused job holds a place in the queue")
      let state = try #require(try bench.store.checkpoints(job: id).first)
      #expect(state.kind == .resume && state.step == paused.step)
      _ = try bench.store.resumeJob(id: id, project: "default")
    }
    #expect(pauses > 0, "the job was over before it could be paused: make it longer")
    let disturbed = try bench.end(of: id)
    #expect(disturbed.state == .succeeded && disturbed.attempt == pauses + 1)
    #expect(try bench.store.attempts(job: id).dropLast().allSatisfy { $0.state == .released })
    #expect(try bench.weights(disturbed) == bench.weights(undisturbed))
    for series in [CurveSeries.trainLoss, .heldOutLoss] {
      #expect(try bench.curve(disturbed, series) == bench.curve(undisturbed, series))
    }
    #expect(disturbed.result == undisturbed.result)
  }

  /// Extends a job in place, for which it must not be over, and lets it end.
  private func extendedInPlace(
    _ bench: WorkerBench, _ spec: TrainingSpec, by steps: Int, optimizer: LearnedOptimizerRecord? = nil
  ) throws -> Job {
    let id = try bench.submit(spec, optimizer: optimizer).id
    _ = try bench.store.pauseJob(id: id, project: "default")
    let extended = try bench.store.extendJob(id: id, project: "default", JobExtension(steps: steps))
    guard case .inPlace(let job, _)? = extended else { throw StoreError.notFound("a job that is not over") }
    #expect(job.budgets == [spec.steps, spec.steps + steps])
    _ = try bench.store.resumeJob(id: id, project: "default")
    return try bench.end(of: id)
  }

  /// Extends a job that has succeeded, and lets the new one end.
  private func continued(_ bench: WorkerBench, _ job: Job, by steps: Int) throws -> Job {
    #expect(job.state == .succeeded)
    let extended = try bench.store.extendJob(id: job.id, project: "default", JobExtension(steps: steps))
    guard case .continued(let new, replayed: false)? = extended else { throw StoreError.notFound("a new job") }
    #expect(new.extends == job.id && new.firstStep == job.steps && new.step == job.steps && new.state == .queued)
    return try bench.end(of: new.id)
  }

  @Test(
    "steps that are added are those of one long run where nothing is planned, whenever they were asked for",
    arguments: [
      OptimizerSpec(name: .adam, learningRate: 0.01),
      OptimizerSpec(name: .momentum, options: ["learning_rate": 0.01, "accumulation": 7]),
    ])
  func extensions(optimizer: OptimizerSpec) throws {
    let bench = try WorkerBench()
    let dataset = try bench.upload(WorkerBench.table)
    var long = TrainingSpec.small(dataset, steps: 40_000, evaluateEvery: 4000)
    long.optimizer = optimizer
    var short = long
    short.steps = 20_000
    let whole = try bench.train(long)
    let inPlace = try extendedInPlace(bench, short, by: 20_000)
    let first = try bench.train(short)
    let second = try continued(bench, first, by: 20_000)
    #expect(inPlace.state == .succeeded && inPlace.steps == 40_000 && inPlace.step == 40_000)
    #expect(second.state == .succeeded && second.steps == 40_000 && second.firstStep == 20_000)
    let weights = try bench.weights(whole)
    #expect(try !weights.isEmpty && bench.weights(first) != weights)
    #expect(try bench.weights(inPlace) == weights)
    #expect(try bench.weights(second) == weights)
    let curve = try bench.curve(whole)
    #expect(try bench.curve(inPlace) == curve)
    let own = try bench.curve(second)
    #expect(own.steps == Array(20_000..<40_000) && own.values == Array(curve.values[20_000...]))
    #expect(second.result == whole.result)
    // The end of a job that is itself an extension can be gone on from, and without the jobs before it.
    #expect(try bench.store.deleteJob(id: first.id, project: "default"))
    let third = try continued(bench, second, by: 10)
    #expect(third.state == .succeeded && third.budgets == [20_000, 40_000, 40_010])
  }

  @Test("a learned optimizer plans anew at the end of a budget, in larger groups where its horizon wants them")
  func horizons() throws {
    let bench = try WorkerBench()
    let dataset = try bench.upload(WorkerBench.table)
    let schema = try #require(OptimizerCatalog.schema(of: .celo))
    var theta = Theta.initial(schema, key: RandomKey(seed: 4))
    theta.provenance["horizon_steps"] = "2500"
    let optimizer = try bench.release(theta)
    var spec = TrainingSpec.small(dataset, steps: 2001)
    spec.optimizer = OptimizerSpec(name: .celo)
    let inPlace = try extendedInPlace(bench, spec, by: 2000, optimizer: optimizer)
    let first = try bench.train(spec, optimizer: optimizer)
    let second = try continued(bench, first, by: 2000)
    #expect(inPlace.state == .succeeded && second.state == .succeeded)
    #expect(try bench.weights(inPlace) == bench.weights(second))
    #expect(try Array(bench.curve(inPlace).values[2001...]) == bench.curve(second).values)
    // What is planned for 4,001 steps from the start is another run.
    spec.steps = 4001
    #expect(try bench.weights(bench.train(spec, optimizer: optimizer)) != bench.weights(second))
  }

  /// Momentum with a learning rate that no task survives.
  private func wild(_ rate: Double) throws -> Theta {
    let schema = try #require(OptimizerCatalog.schema(of: .learnedSGDM))
    var values = Theta.initial(schema, key: RandomKey(seed: 1)).values
    values[try #require(schema.layout["log_learning_rate"]).offset] = Float(log(rate))
    return try Theta(schema: schema, values: values)
  }

  @Test("a learned optimizer that diverges is replaced once, and the job says by what, from where and why")
  func fallback() throws {
    let bench = try WorkerBench(checkpointSeconds: 3600)
    let options = DatasetOptions(format: .csv, task: .regression)
    let optimizer = try bench.release(wild(1e6))
    var spec = TrainingSpec.small(try bench.upload(WorkerBench.line, options), steps: 3000)
    spec.optimizer = OptimizerSpec(name: .learnedSGDM)
    let job = try bench.train(spec, optimizer: optimizer)
    #expect(job.state == .succeeded, "\(job.message ?? "")")
    let fallback = try #require(job.fallback)
    #expect(fallback.optimizer == .fallback && fallback.fromStep == 0 && fallback.reason.contains("not finite"))
    let events = try bench.store.events(job: job.id, limit: 1000)
    #expect(events.filter { $0.kind == .warning }.map(\.data) == [fallback.json])
    // All of the curve is the fallback's: it is the curve of a job that names it.
    var plain = spec
    plain.optimizer = .fallback
    let reference = try bench.train(plain)
    #expect(try bench.curve(job) == bench.curve(reference))
    #expect(try bench.weights(job) == bench.weights(reference))
    #expect(reference.fallback == nil)
    // Another worker, which stores states all the time, comes to the same bits.
    let other = try WorkerBench(checkpointSeconds: 0)
    let again = try other.release(wild(1e6))
    spec.dataset = try other.upload(WorkerBench.line, options).id
    #expect(try other.weights(other.train(spec, optimizer: again)) == bench.weights(job))
  }

  @Test("a job that extends another falls back to its own first step at the latest")
  func fallbackOfExtension() throws {
    let bench = try WorkerBench()
    let optimizer = try bench.release(wild(30))
    let dataset = try bench.upload(WorkerBench.line, DatasetOptions(format: .csv, task: .regression))
    var spec = TrainingSpec.small(dataset, steps: 1)
    spec.optimizer = OptimizerSpec(name: .learnedSGDM)
    let first = try bench.train(spec, optimizer: optimizer)
    #expect(first.state == .succeeded && first.fallback == nil)
    let second = try continued(bench, first, by: 500)
    #expect(second.state == .succeeded, "\(second.message ?? "")")
    #expect(second.fallback?.fromStep == 1)
    #expect(try bench.curve(second).steps == Array(1..<501))
    // Who goes on from there goes on with what took over.
    let third = try continued(bench, second, by: 5)
    #expect(third.state == .succeeded && third.fallback == second.fallback)
  }

  @Test("the anchor is the end of the tenth with the lowest mean loss, and no end on the way out")
  func anchors() throws {
    let bench = try WorkerBench()
    let dataset = try bench.upload(WorkerBench.table)
    let cache = try DatasetCache(store: bench.store, folder: bench.cache, bytesMax: 1 << 30)
    let spec = TrainingSpec.small(dataset, steps: 100)
    let made = Job(
      id: "job", project: "default", spec: spec, model: spec.model!, optimizerID: nil, state: .running,
      reason: .claimed, budgets: [100, 150], createdAt: Timestamp(Date()))
    let maker = try JobTrainer(
      made, dataset: dataset, optimizer: nil, store: bench.store, cache: cache, level: .best)
    let trainer = try maker.trainer(at: nil)
    // Means of the tenths, and the last loss of each.
    let tenths: [(mean: Float, last: Float)] = [(0.9, 0.9), (0.5, 0.5), (0.6, 0.6), (0.3, 2), (0.4, 0.4), (.nan, 0.1)]
    var anchor = DivergenceAnchor()
    var steps: [Int?] = []
    for (index, tenth) in tenths.enumerated() {
      for place in 0..<10 {
        _ = trainer.advance()
        let isFirst = index == 0 && place == 0
        anchor.add(
          loss: isFirst ? 1 : place == 9 ? tenth.last : tenth.mean, trainer, budgets: [100, 150], firstStep: 0)
        // It may be written down and read again anywhere.
        let unsaved = anchor.unsaved
        let again = DivergenceAnchor(notes: anchor.notes)
        #expect(again.notes == anchor.notes)
        if unsaved == nil { anchor = again }
      }
      steps.append(anchor.step)
    }
    #expect(steps == [10, 20, 20, 20, 50, 50])
    let ends = (1...150).filter { DivergenceAnchor.isEnd($0, budgets: [100, 150], firstStep: 0) }
    #expect(ends == Array(stride(from: 10, through: 100, by: 10)) + Array(stride(from: 105, through: 150, by: 5)))
    #expect((60...75).filter { DivergenceAnchor.isEnd($0, budgets: [60, 75], firstStep: 60) } == Array(60...75))
  }
}
