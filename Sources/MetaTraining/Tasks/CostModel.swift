// CostModel: seconds of a step from what a task comes to, with constants that a short probe measures on this machine.
// Samplers reject by arithmetic alone; runs are planned by this.
import Compute
import Contract
import Foundation
import Learning

/// Predicts the time of an inner step with Adam: a price for each kernel, for arithmetic and for memory that is passed.
public struct CostModel: Sendable {
  /// Seconds of a kernel call, of a floating-point operation, and of a byte of the arena.
  public let prices: [Double]

  public init(prices: [Double]) { self.prices = prices }

  /// What a step is priced by.
  static func features(_ task: TrainingTask) -> [Double] {
    let evaluations = max(1, task.flopsPerStep / Double(max(1, task.plan.flops)))
    return [
      Double(task.plan.steps.count + 4) * evaluations, task.flopsPerStep,
      Double(task.plan.arenaBytes) * evaluations + 28 * Double(task.layout.elements),
    ]
  }

  /// The predicted seconds of one step.
  public func seconds(_ task: TrainingTask) -> Double {
    zip(prices, Self.features(task)).reduce(0) { $0 + $1.0 * $1.1 }
  }

  /// Measures a few small tasks, less than two seconds in all, and fits the prices to them.
  public static func probe(level: CPULevel) throws -> CostModel {
    let builder = TaskBuilder(data: TaskDataSets([:]), level: level)
    func images(_ size: Int, _ batch: Int) -> JSON {
      TaskConfig("synth_blobs", ["imageSize": .integer(size), "batch": .integer(batch), "rows": 256]).json
    }
    let text = TaskConfig("synth_text", ["length": 16, "batch": 16, "vocabulary": 200]).json
    let configs = [
      TaskConfig("Quadratic"), TaskConfig("ImageMLP", ["hidden": [32], "data": images(8, 64)]),
      TaskConfig("ImageMLP", ["hidden": [128, 128], "data": images(28, 128)]),
      TaskConfig("ImageMLP", ["hidden": [64, 64, 64, 64], "activation": "tanh", "data": images(8, 512)]),
      TaskConfig("ImageConv", ["filters": [16, 32], "strides": [2], "data": images(16, 32)]),
      TaskConfig("ImageMLP-AE", ["hidden": [64, 32, 64], "data": images(16, 128)]),
      TaskConfig("LM-RNN", ["units": 64, "embedding": 32, "cell": "lstm", "data": text]),
      TaskConfig("LM-transformer", ["heads": 4, "width": 32, "data": text]),
    ]
    let measured = try configs.map { config -> (features: [Double], seconds: Double) in
      let task = try builder.build(config)
      return (features(task), try stepSeconds(task, within: 0.15))
    }
    return CostModel(prices: fit(measured))
  }

  /// The median seconds of a step with Adam, by steps that take about `within` seconds in all.
  public static func stepSeconds(_ task: TrainingTask, within: Double) throws -> Double {
    let inner = try InnerTask(task) { OptimizerCatalog.adam.make(parameters: $0, level: task.plan.level) }
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

/// Corrects predictions by what runs of the same configuration took: a moving mean of actual over predicted, in logarithms.
public struct CostCorrection: Sendable {
  /// The weight of the newest observation.
  public let weight: Double
  private var logarithms: [String: Double] = [:]

  public init(weight: Double = 0.3) { self.weight = weight }

  /// Notes that a configuration took `actual` seconds where `predicted` were expected.
  public mutating func observe(configId: String, predicted: Double, actual: Double) {
    guard predicted > 0, actual > 0 else { return }
    let ratio = log(actual / predicted)
    logarithms[configId] = logarithms[configId].map { (1 - weight) * $0 + weight * ratio } ?? ratio
  }

  /// The prediction with what is known of the configuration.
  public func corrected(configId: String, predicted: Double) -> Double {
    predicted * exp(logarithms[configId] ?? 0)
  }
}
