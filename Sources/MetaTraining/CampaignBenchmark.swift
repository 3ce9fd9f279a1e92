// A fixed piece of meta-training for measuring: small_fc on the 64-32-10 network with PES, on random images, in the
// very code that campaigns run.
import Compute
import Contract
import Learning

/// Outer steps to time.
public final class CampaignBenchmark {
  private let lanes: LaneGroup
  private let run: PhaseRun
  private var version = 0

  /// - Parameters:
  ///   - pairs: antithetic pairs.
  ///   - window: inner steps of one outer step and pair.
  public init(pairs: Int, window: Int, threads: Int, level: CPULevel) throws {
    let rows = 4096
    let key = RandomKey(seed: 1)
    let pixels = (0..<rows * 64).map { Float(RandomKey.uniform(key.words(block: UInt32($0)).0)) }
    let labels = (0..<rows).map { Int32(key.words(block: UInt32($0)).1 % 10) }
    let data: JSON = ["obj": "random", "args": ["imageSize": 8, "batch": 64]]
    let phase = CampaignPhase(
      name: "benchmark", estimator: EstimatorSpec(kind: .pes, sigma: 0.01, pairs: pairs, window: window),
      lengths: .logUniform(1000...10_000), outerSteps: 1_000_000,
      outer: OuterSpec(optimizer: OptimizerSettings(.adam, ["learning_rate": 0.0001])),
      tasks: [CampaignTask(.config(TaskConfig("ImageMLP", ["hidden": [32], "data": data])))])
    let spec = CampaignSpec(name: "benchmark", optimizer: .smallFC, phases: [phase])
    let images = TaskImages(pixels: pixels, labels: labels, size: 8, classes: 10)
    let problem = try PhaseProblem(
      spec, phase, number: 0, data: TaskDataSets(images: ["random": images]), level: level)
    run = PhaseRun(
      try OuterLearner(problem, theta: PhaseProblem.initialTheta(of: spec).aligned()), threads: threads)
    lanes = LaneGroup(count: threads)
  }

  deinit { lanes.stop() }

  /// One outer step: 2 · pairs · window inner steps.
  public func advance() {
    _ = run.advance(version: version, lanes)
    version += 1
  }
}
