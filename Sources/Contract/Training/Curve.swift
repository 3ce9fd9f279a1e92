// Curves: what a job's series are called, how a range of one is asked for, and the points that come back.
// The store reads and down-samples them; the worker writes them in chunks.
import Foundation

/// The series of a job.
public enum CurveSeries: RawRepresentable, Sendable, Hashable, CaseIterable {
  /// Loss of every step's batch, before the update.
  case trainLoss
  /// A measure of the held-out part, at every evaluation.
  case heldOut(Metric)

  /// `train_loss` and `held_out_loss`, `held_out_accuracy` and so on.
  public static var allCases: [CurveSeries] { [.trainLoss] + Metric.allCases.map(CurveSeries.heldOut) }

  public static let heldOutLoss = CurveSeries.heldOut(.loss)
  public static let heldOutAccuracy = CurveSeries.heldOut(.accuracy)

  public init?(rawValue: String) {
    guard let series = Self.allCases.first(where: { $0.rawValue == rawValue }) else { return nil }
    self = series
  }

  public var rawValue: String {
    switch self {
    case .trainLoss: "train_loss"
    case .heldOut(let metric): metric.heldOutName
    }
  }
}

/// What is known of a series without reading it.
public struct CurveSummary: Sendable, Hashable {
  public var series: CurveSeries
  public var points: Int
  public var lastStep: Int
  public var last: Float
  public var minimum: Float
  public var maximum: Float

  public init(series: CurveSeries, points: Int, lastStep: Int, last: Float, minimum: Float, maximum: Float) {
    self.series = series
    self.points = points
    self.lastStep = lastStep
    self.last = last
    self.minimum = minimum
    self.maximum = maximum
  }

  public var json: JSON {
    [
      "series": .string(series.rawValue), "points": .integer(points), "last_step": .integer(lastStep),
      "last": .finite(Double(last)), "min": .finite(Double(minimum)), "max": .finite(Double(maximum)),
    ]
  }
}

/// Points of a series in rising step order.
public struct CurvePoints: Sendable, Hashable {
  public var steps: [Int]
  public var values: [Float]

  public init(steps: [Int] = [], values: [Float] = []) {
    self.steps = steps
    self.values = values
  }
}

/// Which part of a series to read and how densely.
public struct CurveQuery: Sendable, Hashable {
  public enum Sampling: String, Sendable, CaseIterable {
    /// Each bucket gives its minimum and maximum; first and last points always stay.
    case minmax
    /// Every point, up to the page limit.
    case none
  }
  /// First and last step, inclusive.
  public var from: Int
  public var to: Int
  /// 2 to 100,000; default 1,000.
  public var pointsMax: Int
  public var sampling: Sampling

  public static let pointsMaxRange = 2...100_000

  public init(from: Int = 0, to: Int = .max, pointsMax: Int = 1000, sampling: Sampling = .minmax) {
    self.from = from
    self.to = to
    self.pointsMax = pointsMax
    self.sampling = sampling
  }
}

extension CurvePoints {
  /// Down-samples to at most `pointsMax` points: buckets of equal point counts each give their lowest and highest
  /// point, so spikes survive; the first and the last point are always kept. Equal input gives equal output.
  /// NaN counts as highest, so that divergence stays visible.
  public func sampled(pointsMax: Int) -> CurvePoints {
    guard steps.count > pointsMax, pointsMax >= 2 else { return self }
    var kept = CurvePoints()
    func keep(_ index: Int) {
      kept.steps.append(steps[index])
      kept.values.append(values[index])
    }
    keep(0)
    let inner = steps.count - 2
    let buckets = (pointsMax - 2) / 2
    for bucket in 0..<buckets {
      let start = 1 + bucket * inner / buckets
      let end = 1 + (bucket + 1) * inner / buckets
      guard start < end else { continue }
      var low = start, high = start
      for index in start..<end {
        if values[index] < values[low] || values[low].isNaN && !values[index].isNaN { low = index }
        if values[index] > values[high] || values[index].isNaN && !values[high].isNaN { high = index }
      }
      keep(min(low, high))
      if low != high { keep(max(low, high)) }
    }
    keep(steps.count - 1)
    return kept
  }

  /// Columns; a value that is not finite is null, since JSON has no NaN.
  public func json(series: CurveSeries, total: Int) -> JSON {
    [
      "series": .string(series.rawValue), "points_total": .integer(total), "steps": .array(steps.map(JSON.integer)),
      "values": .array(values.map { $0.isFinite ? .number(Double(Double("\($0)")!)) : .null }),
    ]
  }

  /// `step,value` lines with a header; values that are not finite are spelled NaN, Infinity and -Infinity.
  public func csv(series: CurveSeries) -> String {
    var text = "step,\(series.rawValue)\n"
    for (step, value) in zip(steps, values) {
      let spelled = value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Infinity" : "Infinity") : "\(value)"
      text += "\(step),\(spelled)\n"
    }
    return text
  }
}
