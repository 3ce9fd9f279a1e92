// CostModel: seconds of a step from what a task comes to, with constants that a short probe measures on this machine.
// Samplers reject by arithmetic alone; runs are planned by this.
import Compute
import Contract
import Foundation
import Learning

/// Predicts the time of an inner step with Adam: a price for each kernel call, for the arithmetic of each kind of kernel,
/// for memory that is passed, and for what augmentations do.
public struct CostModel: Sendable {
  /// Seconds of a kernel call, of an operation in products, in convolutions and elsewhere, of a byte of the arena, and of
  /// an operation around the evaluation, such as drawing a direction.
  public let prices: [Double]

  /// - Parameter prices: as many as ``prices`` lists.
  public init(prices: [Double]) { self.prices = prices }

  /// What a step is priced by.
  static func features(_ task: TrainingTask) -> [Double] {
    let plan = task.plan
    // Evaluations with gradients; those without are a third of one.
    var evaluations = task.unroll.map { Double((1 + 2 * $0.pairs) * $0.steps) } ?? 1
    for case .evolved(_, let pairs) in task.augmentations { evaluations *= (1 + 2 * Double(pairs)) / 3 }
    var products = 0.0, convolutions = 0.0, others = 0.0
    for (step, flops) in zip(plan.steps, plan.stepFlops) {
      if step.hasPrefix("conv") {
        convolutions += Double(flops)
      } else if step.hasPrefix("product") {
        products += Double(flops)
      } else {
        others += Double(flops)
      }
    }
    return [
      Double(plan.steps.count + 4) * evaluations, products * evaluations, convolutions * evaluations,
      others * evaluations, Double(plan.arenaBytes) * evaluations + 28 * Double(task.layout.elements),
      max(0, task.flopsPerStep - evaluations * Double(plan.flops)),
    ]
  }

  /// The predicted seconds of one step.
  public func seconds(_ task: TrainingTask) -> Double {
    zip(prices, Self.features(task)).reduce(0) { $0 + $1.0 * $1.1 }
  }

  /// Measures some small tasks, less than three seconds in all, and fits the prices to them.
  public static func probe(level: CPULevel) throws -> CostModel {
    let builder = TaskBuilder(data: TaskDataSets([:]), level: level)
    func images(_ size: Int, _ batch: Int) -> JSON {
      TaskConfig("synth_blobs", ["imageSize": .integer(size), "batch": .integer(batch), "rows": 256]).json
    }
    let text = TaskConfig("synth_text", ["length": 16, "batch": 16, "vocabulary": 200]).json
    func perceptron(_ hidden: JSON, _ data: JSON, norm: String = "none") -> TaskConfig {
      TaskConfig("ImageMLP", ["hidden": hidden, "norm": .string(norm), "data": data])
    }
    func residual(_ size: Int, _ batch: Int, _ channels: JSON) -> TaskConfig {
      TaskConfig("ImageResNet", ["channels": channels, "version": 1, "data": images(size, batch)])
    }
    let configs = [
      TaskConfig("Quadratic"), perceptron([32], images(8, 64)), perceptron([128, 128], images(28, 128)),
      perceptron([64, 64, 64, 64], images(8, 512), norm: "batch"),
      TaskConfig("ImageConv", ["filters": [16, 32], "strides": [2], "data": images(16, 32)]),
      TaskConfig("ImageConv", ["filters": [8, 8, 8], "data": images(10, 128)]),
      residual(12, 16, [16, 16, 16, 16]), residual(24, 32, [32, 64, 64, 64]),
      TaskConfig(
        "ViT", ["layers": 2, "width": 48, "heads": 3, "mlp": 64, "patch": 4, "data": images(16, 16)]),
      TaskConfig("ImageMLP-AE", ["hidden": [64, 32, 64], "data": images(16, 128)]),
      TaskConfig("ImageMLP-VAE", ["latent": 16, "data": images(12, 64)]),
      TaskConfig("LM-RNN", ["units": 64, "embedding": 32, "cell": "lstm", "data": text]),
      TaskConfig("LM-RNN", ["units": 32, "embedding": 64, "cell": "gru", "data": text]),
      TaskConfig("LM-transformer", ["heads": 4, "width": 32, "data": text]),
      Augmentation.evolved(deviation: 0.01, pairs: 4).config(around: perceptron([32], images(8, 64))),
      Augmentation.subspace(directions: 64, usesSign: false).config(around: perceptron([32], images(8, 64))),
    ]
    let measured = try configs.map { config -> (features: [Double], seconds: Double) in
      let task = try builder.build(config)
      return (features(task), try stepSeconds(task, within: 0.1))
    }
    return CostModel(prices: fit(measured))
  }

  /// The median seconds of a step with Adam, by steps that take about `within` seconds in all.
  public static func stepSeconds(_ task: TrainingTask, within: Double) throws -> Double {
    let inner = try InnerTask(task) { Adam(parameters: $0, level: task.plan.level) }
    let lane = InnerLane(inner)
    let member = Member(lane)
    let key = RandomKey(seed: 3)
    lane.reset(member, initial: key, episode: key, theta: nil)
    let clock = ContinuousClock()
    let end = clock.now + .seconds(within)
    var times: [Double] = []
    var step = 0
    repeat {
      let elapsed = clock.measure {
        lane.drawBatch(key.derive(8, UInt32(step), 0))
        _ = lane.step(member, theta: nil, iteration: step, totalSteps: 1 << 20)
      }
      if step > 0 || elapsed > .seconds(within) { times.append(elapsed / .seconds(1)) }
      step += 1
    } while clock.now < end && step < 10_000 || times.isEmpty
    times.sort()
    return times[times.count / 2]
  }

  /// Prices, none negative, with the least squared relative error: coordinate descent.
  static func fit(_ measured: [(features: [Double], seconds: Double)]) -> [Double] {
    let count = measured[0].features.count
    // Rows divided by their seconds, so that each asks for a prediction of 1.
    let rows = measured.map { row in row.features.map { $0 / row.seconds } }
    var prices = [Double](repeating: 0, count: count)
    for _ in 0..<2000 {
      for column in 0..<count {
        var numerator = 0.0, denominator = 0.0
        for row in rows {
          let others = (0..<count).reduce(0.0) { $1 == column ? $0 : $0 + prices[$1] * row[$1] }
          numerator += row[column] * (1 - others)
          denominator += row[column] * row[column]
        }
        if denominator > 0 { prices[column] = max(0, numerator / denominator) }
      }
    }
    // Relative errors punish predictions that are too high more than too low ones: centre them in logarithms.
    let logarithms = rows.map { row in
      log(max(1e-9, zip(prices, row).reduce(0) { $0 + $1.0 * $1.1 }))
    }
    let factor = exp(-logarithms.reduce(0, +) / Double(rows.count))
    return prices.map { $0 * factor }
  }
}
