// How an evaluation measures a training: how often, on how many batches, and when it gives up.
import Foundation

/// The settings of measurement.
public struct EvaluationMeasurement: Sendable, Hashable {
  /// Steps between two measurements of the loss; nil for a thousandth of the training, in tens.
  public var every: Int?
  /// Fresh batches whose mean loss is one measurement.
  public var batches: Int
  /// Fresh batches of the measurement after the last update, which results are taken from.
  public var lastBatches: Int
  /// Share of the old value in the running mean of measured losses, after ten steps.
  public var smoothing: Double
  /// Longest time of one training; beyond it, it has failed.
  public var timeLimitSeconds: Double

  /// Points that are kept of a curve, but for the budgets' own.
  public static let pointsMax = 200

  public init(
    every: Int? = nil, batches: Int = 5, lastBatches: Int = 10, smoothing: Double = 0.95,
    timeLimitSeconds: Double = 3600
  ) {
    self.every = every
    self.batches = batches
    self.lastBatches = lastBatches
    self.smoothing = smoothing
    self.timeLimitSeconds = timeLimitSeconds
  }

  /// Steps between two measurements of a training of `steps`; its end is measured in any case.
  public func every(_ steps: Int) -> Int { every ?? max(10, Int((Double(steps) / 10_000).rounded()) * 10) }

  public var json: JSON {
    [
      "every": every.map(JSON.integer) ?? .null, "batches": .integer(batches), "last_batches": .integer(lastBatches),
      "smoothing": .number(smoothing), "time_limit_seconds": .number(timeLimitSeconds),
    ]
  }

  /// Reads it; what is not given has its default.
  public static func read(_ json: JSON, path: String, faults: Faults) -> EvaluationMeasurement? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let standard = EvaluationMeasurement()
    let value = EvaluationMeasurement(
      every: fields.integer("every", in: 1...100_000),
      batches: fields.integer("batches", in: 1...1000) ?? standard.batches,
      lastBatches: fields.integer("last_batches", in: 1...10_000) ?? standard.lastBatches,
      smoothing: fields.number("smoothing", in: 0...0.9999) ?? standard.smoothing,
      timeLimitSeconds: fields.number("time_limit_seconds", in: 0.1...604_800) ?? standard.timeLimitSeconds)
    fields.finish()
    return value
  }
}
