// A fixed piece of meta-training for measuring: small_fc on the 64-32-10 network with PES, on random images, in the
// very code that campaigns run.
import Compute
import Contract
import Learning

/// Outer steps to time.
public final class CampaignBenchmark {
  private let lanes: LaneGroup
  private let run: PhaseRun

  /// - Parameters:
  ///   - pairs: antithetic pairs.
  ///   - window: inner steps of one outer step and pair.
  public init(pairs: Int, window: Int, threads: Int, level: CPULevel) throws {
    let rows = 4096
    let key = RandomKey(seed: 1)
    let pixels = (0..<rows * 64).map { Float(RandomKey.uniform(key.words(block: UInt32($0)).0)) }
    let labels = (0..<rows).map { Int32(key.words(block: UInt32($0)).1 % 10) }
    let phase = CampaignPhase(
      name: "benchmark", trainable: [], usesScheduler: true,
      estimator: EstimatorSpec(kind: .pes, sigma: 0.01, pairs: pairs, window: window), lengths: .logUniform(1000...10_000),
      outerSteps: 1_000_000, outer: OuterSpec(optimizer: OptimizerSettings(.adam, ["learning_rate": 0.0001])), tasks: [])
    let images = TaskImages(pixels: pixels, labels: labels, size: 8, classes: 10)
    let data: JSON = ["obj": "random", "args": ["imageSize": 8, "batch": 64]]
    let builder = TaskBuilder(data: TaskDataSets(images: ["random": images]), level: level)
    let task = try InnerTask(builder.build(TaskConfig("ImageMLP", ["hidden": [32], "data": data]))) {
      SmallFC(parameters: $0, level: level)
    }
    let schema = ThetaSchema(SmallFC.self, SmallFC.Configuration())
    lanes = LaneGroup(count: threads)
    run = try PhaseRun(
      phase, tasks: [task], theta: Theta.initial(schema, key: key).aligned(), thetaLayout: schema.layout, key: key,
      lanes: lanes)
  }

  deinit { lanes.stop() }

  /// One outer step: 2 · pairs · window inner steps.
  public func advance() { _ = run.advance() }
}
