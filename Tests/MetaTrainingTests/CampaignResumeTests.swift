// LocalCampaign.swift, CampaignReplay.swift, and the same work cut up as workers do it: all come to the same theta.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

private let noData = TaskDataSets([:])

/// Two phases, the second with another estimator and with the first one's optimizer going on.
private func campaign(_ estimator: EstimatorSpec) -> CampaignSpec {
  var second = smallPhase(EstimatorSpec(kind: .nres, pairs: 2, window: 4), outerSteps: 3)
  second.resetsOuterOptimizer = false
  return CampaignSpec(
    name: "small", optimizer: .rnnMLP, seed: 4, phases: [smallPhase(estimator, outerSteps: 4), second])
}

/// The records of a whole campaign, its snapshots before each step and at the end, and theta's values.
private func run(
  _ spec: CampaignSpec, threads: Int = 1
) throws -> (records: [StepRecord], states: [[UInt8]], thetas: [[Float]]) {
  let campaign = try LocalCampaign(spec, data: noData, threads: threads, level: .best)
  var records: [StepRecord] = []
  var states = [campaign.snapshot()]
  var thetas = [try campaign.theta(provenance: [:]).values]
  try campaign.run { record in
    records.append(record)
    states.append(campaign.snapshot())
    thetas.append(try campaign.theta(provenance: [:]).values)
    return true
  }
  return (records, states, thetas)
}

@Suite struct CampaignResumeTests {
  @Test("a campaign goes on from any of its states with the same bits, on any threads", arguments: estimators.indices)
  func resume(number: Int) throws {
    let spec = campaign(estimators[number])
    let whole = try run(spec)
    #expect(whole.records.map(\.version) == Array(1...7) && whole.records.map(\.phase) == [0, 0, 0, 0, 1, 1, 1])
    for (start, state) in whole.states.enumerated() {
      let other = try LocalCampaign(spec, data: noData, threads: 1 + start % 3, level: .best)
      try other.restore(state)
      #expect(other.version == start)
      try other.run { record in
        #expect(other.snapshot() == whole.states[record.version])
        return true
      }
      #expect(try other.theta(provenance: [:]).values == whole.thetas[7] && other.version == 7)
    }
  }

  @Test("records alone give theta of every version", arguments: estimators.indices)
  func replay(number: Int) throws {
    let spec = campaign(estimators[number])
    let whole = try run(spec, threads: 2)
    let replay = try CampaignReplay(spec, data: noData, level: .best)
    #expect(try replay.theta().values == whole.thetas[0])
    for record in whole.records {
      let report = try replay.apply(record.bytes, phase: record.phase)
      #expect(report == record.report)
      #expect(try replay.theta().values == whole.thetas[record.version])
    }
    #expect(throws: SnapshotError.self) { try replay.apply(whole.records[3].bytes, phase: 1) }
  }

  @Test("groups that change hands after every window come to the same theta", arguments: estimators.indices)
  func handedOver(number: Int) throws {
    let spec = campaign(estimators[number])
    let whole = try run(spec)
    let problem = try PhaseProblem(spec, spec.phases[0], number: 0, data: noData, level: .best)
    var learner = try OuterLearner(problem, theta: PhaseProblem.initialTheta(of: spec).aligned())
    var states = try problem.groups.map { try ParticleGroup(problem, $0, CampaignLane(problem)).snapshot() }
    for version in 0..<4 {
      var results: [OuterLearner.Input] = []
      for group in problem.groups.reversed() {
        let lane = CampaignLane(problem)
        let pairs = ParticleGroup(problem, group, lane)
        try pairs.restore(states[group.index])
        let result = pairs.run(learner.context(version: version), theta: learner.theta, lane)
        states[group.index] = pairs.snapshot()
        results.append((try GroupResult(bytes: result.bytes, group: group.index, of: problem), 0))
      }
      // So does the learner.
      let other = try OuterLearner(problem, theta: PhaseProblem.initialTheta(of: spec).aligned())
      try other.restore(learner.snapshot())
      learner = other
      _ = learner.step(results)
      #expect(try learner.theta().values == whole.thetas[version + 1])
    }
  }

  @Test("states of other campaigns and damaged ones are refused")
  func refused() throws {
    let spec = campaign(estimators[0])
    let one = try LocalCampaign(spec, data: noData, threads: 1, level: .best)
    try one.run { $0.version < 2 }
    let state = one.snapshot()
    var other = spec
    other.seed = 5
    let second = try LocalCampaign(other, data: noData, threads: 1, level: .best)
    let error = #expect(throws: SnapshotError.self) { try second.restore(state) }
    #expect(error?.description.contains("another campaign") == true)
    let words = RandomKey(seed: 1)
    for trial in 0..<100 {
      var damaged = state
      let random = words.words(block: UInt32(trial))
      damaged[Int(random.0) % damaged.count] ^= UInt8(1 + random.1 % 255)
      #expect(throws: SnapshotError.self) { try one.restore(damaged) }
    }
    #expect(one.snapshot() == state)
  }

  @Test("a campaign whose trainings all diverge is asked to pause")
  func diverging() throws {
    var spec = smallCampaign(smallPhase(estimators[0], outerSteps: 20), optimizer: .smallFC)
    spec.initial = ["nn/~/b2": [1e30]]
    let campaign = try LocalCampaign(spec, data: noData, threads: 1, level: .best)
    var reports: [StepReport] = []
    try campaign.run { record in
      reports.append(record.report)
      return record.report.mustPause == nil
    }
    #expect(reports.last?.mustPause?.contains("5 outer steps") == true && reports.count < 20)
    #expect(reports.last?.surviving == 0)
  }
}
