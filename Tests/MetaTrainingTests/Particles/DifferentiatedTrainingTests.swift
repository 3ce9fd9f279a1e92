// DifferentiatedTraining.swift: derivatives of real trainings against differences of their losses, and what is refused;
// and the smallest learned optimizer, found by every estimator.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

private func spec(
  _ estimator: EstimatorSpec, _ task: TaskConfig, lengths: ClosedRange<Int>, outerSteps: Int = 1,
  optimizer: OptimizerName = .learnedSGDM
) -> CampaignSpec {
  CampaignSpec(
    name: "sgdm", optimizer: optimizer, constants: [:], seed: 2,
    phases: [
      CampaignPhase(
        name: "p", estimator: estimator, lengths: .logUniform(lengths), outerSteps: outerSteps,
        outer: OuterSpec(
          optimizer: OptimizerSettings(.adam, ["learning_rate": 0.1, "schedule": ["kind": "linear", "final": 0.05]]),
          clip: nil), tasks: [CampaignTask(.config(task))])
    ])
}

private let images: JSON = ["obj": "synth_blobs", "args": ["imageSize": 6, "batch": 16, "rows": 128]]

@Suite struct DifferentiatedTrainingTests {
  @Test(
    "the derivative is that of differences of the mean loss",
    arguments: [
      TaskConfig("Quadratic", ["dimensions": 4]),
      TaskConfig("SoftmaxRegression", ["dimensions": 4, "rows": 50]),
      TaskConfig("ImageMLP", ["hidden": [8], "activation": "tanh", "data": images]),
      TaskConfig(
        "ReparamWeights",
        [
          "level": "tensor",
          "family": TaskConfig("ImageMLP", ["hidden": [8], "activation": "tanh", "data": images]).json,
        ]),
    ])
  func derivative(config: TaskConfig) throws {
    var estimator = EstimatorSpec(kind: .tbptt, pairs: 1, window: 12, stagger: .none)
    estimator.weightingPower = 1
    estimator.logFloor = 0.1
    let spec = spec(estimator, config, lengths: 12...12)
    let problem = try PhaseProblem(spec, spec.phases[0], number: 0, data: TaskDataSets([:]), level: .best)
    let lane = CampaignLane(problem)
    let theta = try PhaseProblem.initialTheta(of: spec).aligned()
    let context = WindowContext(version: 0, outerIteration: 0)
    let places = problem.mask.ranges.map(\.lowerBound)
    theta.pointer[places[0]] = log(0.05)
    theta.pointer[places[1]] = 0.3
    func outcome() -> PairOutcome {
      ParticleGroup(problem, problem.groups[0], lane).run(context, theta: theta, lane).outcomes[0]
    }
    /// What the steps count, from a run whose losses are counted one by one.
    func counted() -> Double {
      let particle = ParticleGroup(problem, problem.groups[0], lane).particles[0]
      let lane = lane.lane(0).problem
      let key = problem.key(ofPair: 0).derive(3, 0, 0)
      lane.reset(
        particle.trainings[0], initial: key.derive(4, 0, 0), episode: key.derive(6, 1, 0), theta: theta.pointer)
      var sum = 0.0
      for step in 0..<12 {
        lane.drawBatch(key.derive(7, 0, 0).derive(8, UInt32(step), 0))
        let loss = lane.advance(particle.trainings[0], theta: theta.pointer, iteration: step, totalSteps: 12)
        // (step + 1)/12 is 6.5/12 on average.
        sum += log(0.1 + lane.normalised(loss)) * Double(step + 1) / 6.5
      }
      return sum
    }
    let found = outcome()
    #expect(found.counted == 12 && found.innerSteps == 12 && found.rows.isEmpty)
    for (index, place) in places.enumerated() {
      let start = theta.pointer[place]
      theta.pointer[place] = start + 0.02
      let up = counted()
      theta.pointer[place] = start - 0.02
      let difference = (up - counted()) / 0.04
      theta.pointer[place] = start
      let deviation = abs(Double(found.dense[index]) - difference)
      #expect(deviation < 0.01 * abs(difference) + 1e-3, "coordinate \(index): \(found.dense), \(difference)")
    }
  }

  @Test("all that cannot be differentiated is refused with what would do")
  func refused() throws {
    func reason(_ estimator: EstimatorSpec, _ task: TaskConfig, _ optimizer: OptimizerName = .learnedSGDM) -> String {
      let spec = spec(estimator, task, lengths: 10...10, optimizer: optimizer)
      let error = #expect(throws: SpecError.self) {
        try PhaseProblem(spec, spec.phases[0], number: 0, data: TaskDataSets([:]), level: .best)
      }
      return error?.faults.first.map { "\($0.path) \($0.reason)" } ?? ""
    }
    let quadratic = TaskConfig("Quadratic")
    let plain = EstimatorSpec(kind: .tbptt)
    let delayed = TaskConfig("DelayedGradient", ["delay": 2, "family": quadratic.json])
    let large = TaskConfig("Quadratic", ["dimensions": 1000])
    let reasons: [(said: String, expected: String)] = [
      (reason(plain, quadratic, .smallFC), "learned_sgdm"),
      (reason(EstimatorSpec(kind: .tbptt, sign: 1), quadratic), "no differences"),
      (reason(EstimatorSpec(kind: .tbptt, metaLoss: .validAverage), quadratic), "/estimator/meta_loss"),
      (reason(plain, delayed), "DelayedGradient"),
      (reason(EstimatorSpec(kind: .tbptt, window: 100_000), large), "/estimator/window"),
    ]
    for (said, expected) in reasons { #expect(said.contains(expected), "\(said)") }
  }

  @Test(
    "every estimator finds the constants of momentum for a quadratic",
    arguments: [EstimatorSpec.Kind.nres, .pes, .gpes, .fullES, .tbptt])
  func smoke(kind: EstimatorSpec.Kind) throws {
    let estimator = EstimatorSpec(
      kind: kind, sigma: 0.05, pairs: 16, window: kind == .tbptt ? 50 : 20, refreshEvery: kind == .gpes ? 20 : nil,
      logFloor: 1e-4)
    let spec = spec(estimator, TaskConfig("Quadratic", ["dimensions": 10]), lengths: 50...50, outerSteps: 120)
    let campaign = try LocalCampaign(spec, data: TaskDataSets([:]), threads: 2, level: .best)
    let before = try campaign.theta(provenance: [:])
    try campaign.run { record in record.report.skipped == nil }
    let after = try campaign.theta(provenance: [:])
    #expect(campaign.version == 120)
    let config = TaskConfig("Quadratic", ["dimensions": 10])
    let task = try InnerTask(TaskBuilder(data: TaskDataSets([:]), level: .best).build(config)) {
      LearnedSGDM(parameters: $0, level: .best)
    }
    func loss(_ theta: Theta) -> Float {
      let curve: [Float] = InnerRun.meanCurve(task, theta: theta, steps: 50, seeds: 3)
      return curve.reduce(Float(0)) { $0 + log($1 + 1e-4) } / 50
    }
    #expect(loss(after) < loss(before) - 1, "\(loss(before)) -> \(loss(after)): \(after.values)")
  }
}
