// OuterGradient.swift, OuterLearner.swift, PlateauWatch.swift: from rows to outer steps.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

@Suite struct OuterGradientTests {
  private let mask = ThetaMask(
    ParameterLayout([("a", Shape([1])), ("b", Shape([1]))]), prefixes: [], multipliers: ["b": 2])

  /// Pairs with these differences over `counts` steps; the noise of pair i is (1 + i, 2).
  private func gradient(
    _ rule: GradientRule, _ differences: [[Double]], counts: [[Int]]? = nil, weights: [Double] = [1, 1],
    staleness: [Double] = [1, 1, 1], losses: [Double] = [1, 2, 6]
  ) -> GradientEstimate {
    var pair = 0
    let tasks = differences.enumerated().map { task, differences in
      differences.enumerated().map { number, difference in
        defer { pair += 1 }
        let count = counts?[task][number] ?? 2
        var outcome = PairOutcome()
        outcome.rows = [
          WindowRow(pair: pair, firstNoise: 0, lastNoise: 0, sum: difference * Double(count), count: count)
        ]
        outcome.counted = count
        outcome.lossSum = losses[number] * Double(count)
        return WeighedOutcome(pair: pair, outcome: outcome, weight: staleness[number])
      }
    }
    let noise = AlignedBuffer(floats: 2)
    var gradient = OuterGradient(mask: mask, rule: rule, taskWeights: Array(weights.prefix(tasks.count)))
    return gradient.estimate(tasks) { row in
      noise.pointer[0] = Float(1 + row.pair)
      noise.pointer[1] = 2
      return UnsafePointer(noise.pointer)
    }
  }

  private func expectEqual(_ estimate: GradientEstimate, _ expected: [Double]) {
    for (value, expected) in zip(estimate.values, expected) {
      #expect(abs(value - expected) < 1e-9 * max(1, abs(expected)), "\(estimate.values)")
    }
  }

  @Test("rows weigh by their steps, and leaves by the square of their sigma")
  func plain() {
    // (1·2·1 + 3·6·2)/(2 · 0.25 · 8) and (2·2 + 18·2)/(2 · 1 · 8)
    expectEqual(gradient(GradientRule(sigma: 0.5), [[1, 3]], counts: [[2, 6]]), [38.0 / 4, 40.0 / 16])
  }

  @Test("differences are cut, reduced to signs or ranks, or divided by the losses' deviation")
  func differences() {
    var rule = GradientRule(sigma: 0.5)
    rule.differenceClip = 2
    expectEqual(gradient(rule, [[1, 3]]), [(1.0 + 2 * 2) / 2 / 0.5, (2.0 + 2 * 2) / 2 / 2])
    rule.sign = 10
    expectEqual(gradient(rule, [[-0.1, 3]]), [(-10.0 + 20) / 2 / 0.5, 0])
    rule = GradientRule(sigma: 0.5)
    rule.usesRanks = true
    expectEqual(gradient(rule, [[5, -1, 7]]), [(0.0 - 0.5 * 2 + 0.5 * 3) / 3 / 0.5, 0])
    expectEqual(gradient(rule, [[5, 5, 7]]), [(-0.25 - 0.25 * 2 + 0.5 * 3) / 3 / 0.5, 0])
    rule = GradientRule(sigma: 0.5)
    rule.dividesByDeviation = true
    // The losses 1 and 2 deviate by 0.5.
    expectEqual(gradient(rule, [[1, 3]]), [(1.0 + 3 * 2) / 2 / 0.5, (2.0 + 3 * 2) / 2 / 2])
  }

  @Test("tasks are averaged by their weights, with length one where that is asked for")
  func tasks() {
    let plain = gradient(GradientRule(sigma: 0.5), [[1], [3]], weights: [1, 3])
    expectEqual(plain, [0.25 * 2 + 0.75 * 12, 0.25 * 1 + 0.75 * 3])
    #expect(plain.meanLoss == 1)
    var rule = GradientRule(sigma: 0.5)
    rule.isUnitLength = true
    let unit = gradient(rule, [[1], [3]], weights: [1, 3]).values
    let expected = [
      0.25 * 2 / 5.0.squareRoot() + 0.75 * 12 / 153.0.squareRoot(),
      0.25 / 5.0.squareRoot() + 0.75 * 3 / 153.0.squareRoot(),
    ]
    for (value, expected) in zip(unit, expected) { #expect(abs(value - expected) < 1e-9) }
  }

  @Test("stale windows count less, as their discount says")
  func stale() {
    // Weights 1 and 1/4: (1·2 + 3·2·2/4)/(0.5 · 2.5)
    expectEqual(
      gradient(GradientRule(sigma: 0.5), [[1, 3]], staleness: [1, 0.25, 1]), [(2.0 + 3) / 1.25, (4.0 + 3) / 5])
  }
}

@Suite struct OuterLearnerTests {
  private func learner(_ phase: CampaignPhase, optimizer: OptimizerName = .rnnMLP) throws -> OuterLearner {
    let spec = smallCampaign(phase, optimizer: optimizer)
    let problem = try PhaseProblem(spec, phase, number: 0, data: TaskDataSets([:]), level: .best)
    return try OuterLearner(problem, theta: PhaseProblem.initialTheta(of: spec).aligned())
  }

  private func results(_ problem: PhaseProblem, _ theta: AlignedBuffer, version: Int = 0) -> [GroupResult] {
    let lane = CampaignLane(problem)
    return problem.groups.map { group in
      ParticleGroup(problem, group, lane).run(
        WindowContext(version: version, outerIteration: version), theta: theta, lane)
    }
  }

  @Test("the order of results changes no bit, and stale ones change the step")
  func order() throws {
    var phase = smallPhase(estimators[0])
    phase.policy.discount = 1
    let first = try learner(phase), second = try learner(phase), third = try learner(phase)
    let results = results(first.problem, first.theta)
    let report = first.step(results.map { ($0, 0) })
    #expect(report.skipped == nil && report.updateNorm > 0 && report.gradientNorm > 0 && report.surviving == 1)
    #expect(second.step(results.reversed().map { ($0, 0) }) == report)
    #expect(second.snapshot() == first.snapshot())
    _ = third.step(results.enumerated().map { ($0.element, $0.offset) })
    #expect(third.snapshot() != first.snapshot())
  }

  @Test(
    "a learner goes on from its snapshot with the same bits",
    arguments: [OptimizerName.adam, .adamw, .muon, .prodigy, .rnnMLP])
  func resume(name: OptimizerName) throws {
    var phase = smallPhase(estimators[1])
    phase.outer = OuterSpec(
      optimizer: OptimizerSettings(name), source: name.isLearned ? .own : .none, normClip: 0.5, accumulate: 2)
    let whole = try learner(phase), other = try learner(phase)
    for step in 0..<5 {
      let results = results(whole.problem, whole.theta, version: step).map { ($0, 0) }
      try other.restore(whole.snapshot())
      #expect(whole.step(results) == other.step(results))
      #expect(whole.snapshot() == other.snapshot())
      if step % 2 == 1 { #expect(whole.snapshot().count > 0 && whole.skipped == 0) }
    }
    var damaged = whole.snapshot()
    damaged[100] ^= 1
    #expect(throws: SnapshotError.self) { try other.restore(damaged) }
  }

  @Test("steps that no pair survives are refused, and five in a row ask for a pause")
  func pause() throws {
    let learner = try learner(smallPhase(estimators[0]))
    let before = learner.theta.buffer.map { $0 }
    let dropped = results(learner.problem, learner.theta).map { result in
      GroupResult(
        group: result.group, window: 0, version: 0,
        outcomes: result.outcomes.map { _ in
          var outcome = PairOutcome()
          outcome.isDropped = true
          return outcome
        })
    }
    for step in 1...5 {
      let report = learner.step(dropped.map { ($0, 0) })
      #expect(report.skipped != nil && report.surviving == 0 && (report.mustPause != nil) == (step == 5))
    }
    #expect(learner.theta.buffer.map { $0 } == before && learner.skipped == 5)
    let report = learner.step(results(learner.problem, learner.theta).map { ($0, 0) })
    #expect(report.skipped == nil && learner.skippedInARow == 0)
  }

  @Test("accumulated gradients move theta once in so many steps")
  func accumulation() throws {
    var phase = smallPhase(estimators[0])
    phase.outer.accumulate = 3
    let learner = try learner(phase)
    let moves = (0..<6).map { step in
      learner.step(results(learner.problem, learner.theta, version: step).map { ($0, 0) }).updateNorm > 0
    }
    #expect(moves == [false, false, true, false, false, true])
  }

  @Test("bounds cut coordinates first and the length after that")
  func bounds() throws {
    var phase = smallPhase(estimators[0])
    phase.outer = OuterSpec(optimizer: OptimizerSettings(.sgd, ["learning_rate": 1]), clip: 1e-3, normClip: 1e-2)
    let learner = try learner(phase)
    let report = learner.step(results(learner.problem, learner.theta).map { ($0, 0) })
    #expect(report.clippedShare > 0 && report.clippedShare <= 1 && report.gradientNorm > 1e-2)
    #expect(abs(report.updateNorm - 1e-2) < 1e-5, "\(report)")
  }

  @Test("outer optimizers that an outer step cannot serve are refused by name")
  func refused() throws {
    func reason(_ outer: OuterSpec) -> String? {
      var phase = smallPhase(estimators[0])
      phase.outer = outer
      let error = #expect(throws: SpecError.self) { try learner(phase) }
      return error?.faults.first?.reason
    }
    #expect(reason(OuterSpec(optimizer: OptimizerSettings(.scheduleFreeAdamW)))?.contains("schedule") == true)
    #expect(reason(OuterSpec(optimizer: OptimizerSettings(.mezo)))?.contains("mezo") == true)
    #expect(reason(OuterSpec(optimizer: OptimizerSettings(.celo), source: .own))?.contains("rnn_mlp") == true)
    #expect(reason(OuterSpec(optimizer: OptimizerSettings(.celo), source: .version(4)))?.contains("version 4") == true)
  }

  @Test("lengths grow when the loss has not improved for the law's patience")
  func plateau() throws {
    guard case .object(var members) = smallPhase(estimators[0]).json else { return }
    members["lengths"] = [
      "kind": "log_uniform", "low": 10, "high": ["growth": "plateau", "from": 10, "to": 80, "patience": 20],
    ]
    var watch = PlateauWatch(try CampaignPhase.decode(.object(members)).lengths)
    for step in 0..<100 { watch.enter(10 - 0.05 * Double(step)) }
    #expect(watch.level == 0)
    for _ in 0..<40 { watch.enter(6) }
    #expect(watch.level == 1)
    for _ in 0..<25 { watch.enter(.nan) }
    #expect(watch.level >= 2)
  }
}
