// What one training of an evaluation measured, and its stored form. EvaluationRun makes it, scores are made from it.
import Contract
import Foundation

/// The measurements of one training.
public struct EvaluationResult: Sendable, Hashable {
  /// How the training ended.
  public enum Ending: Sendable, Hashable {
    case finished
    /// A measured loss was not finite; the training was stopped there.
    case diverged(step: Int)
  }

  /// Losses at a step: means over fresh batches, before the update of that step.
  public struct Point: Sendable, Hashable {
    public var step: Int
    public var loss: Float
    /// The running mean of the measured losses.
    public var smoothed: Float
    /// The mean of the normalised losses.
    public var normalised: Float
    /// Mean loss of the batches trained on since the last measurement; NaN at the start.
    public var training: Float
  }

  /// The movement of tensors in single updates.
  public struct Updates: Sendable, Hashable {
    public var tensors: [String]
    public var steps: [Int]
    /// [step][tensor], norms of the update and of the parameters before it.
    public var moved: [Float]
    public var norms: [Float]
  }

  /// Losses on one batch around the end.
  public struct Landscape: Sendable, Hashable {
    /// Points on each side of the plane; coordinates from -1 to 1.
    public var side: Int
    /// [beta][alpha].
    public var plane: [Float]
    /// On the line from the start (0) to the end (1), from -0.25 to 1.25.
    public var line: [Float]
  }

  public var ending: Ending
  /// At most ``EvaluationMeasurement/pointsMax``, and the budgets.
  public var points: [Point]
  public var updates: Updates?
  public var landscape: Landscape?
  /// The two parameters before every update and at the end, x0, y0, x1, y1, …; of tasks of two parameters.
  public var path: [Float]?
  /// Processor time of the training, without measuring, and of all.
  public var trainingSeconds: Double
  public var totalSeconds: Double

  /// The point at a step; nil where the training did not get there.
  public func point(at step: Int) -> Point? {
    guard let point = points.first(where: { $0.step == step }), point.loss.isFinite else { return nil }
    return point
  }

  // MARK: The stored form

  /// JSON with arrays of floats as base 64 of their little-endian bytes.
  public var json: JSON {
    var members: [String: JSON] = [
      "diverged": .null, "steps": .array(points.map { .integer($0.step) }), "loss": Self.pack(points.map(\.loss)),
      "smoothed": Self.pack(points.map(\.smoothed)), "normalised": Self.pack(points.map(\.normalised)),
      "training": Self.pack(points.map(\.training)), "training_seconds": .finite(trainingSeconds),
      "total_seconds": .finite(totalSeconds),
    ]
    if case .diverged(let step) = ending { members["diverged"] = .integer(step) }
    if let updates {
      members["updates"] = [
        "tensors": .array(updates.tensors.map(JSON.string)), "steps": .array(updates.steps.map(JSON.integer)),
        "moved": Self.pack(updates.moved), "norms": Self.pack(updates.norms),
      ]
    }
    if let landscape {
      members["landscape"] = [
        "side": .integer(landscape.side), "plane": Self.pack(landscape.plane), "line": Self.pack(landscape.line),
      ]
    }
    if let path { members["path"] = Self.pack(path) }
    return .object(members)
  }

  /// Reads the stored form; nil for anything else.
  public init?(json: JSON) {
    guard let steps = json["steps"]?.array?.compactMap(\.integer), let losses = Self.unpack(json["loss"]),
      let smoothed = Self.unpack(json["smoothed"]), let normalised = Self.unpack(json["normalised"]),
      let training = Self.unpack(json["training"]),
      [losses.count, smoothed.count, normalised.count, training.count].allSatisfy({ $0 == steps.count })
    else { return nil }
    ending = json["diverged"]?.integer.map { .diverged(step: $0) } ?? .finished
    points = steps.indices.map {
      Point(
        step: steps[$0], loss: losses[$0], smoothed: smoothed[$0], normalised: normalised[$0], training: training[$0])
    }
    if let stored = json["updates"] {
      guard let tensors = stored["tensors"]?.array?.compactMap(\.string),
        let steps = stored["steps"]?.array?.compactMap(\.integer), let moved = Self.unpack(stored["moved"]),
        let norms = Self.unpack(stored["norms"]), moved.count == steps.count * tensors.count,
        norms.count == moved.count
      else { return nil }
      updates = Updates(tensors: tensors, steps: steps, moved: moved, norms: norms)
    }
    if let stored = json["landscape"] {
      guard let side = stored["side"]?.integer, (1...1000).contains(side), let plane = Self.unpack(stored["plane"]),
        plane.count == side * side, let line = Self.unpack(stored["line"])
      else { return nil }
      landscape = Landscape(side: side, plane: plane, line: line)
    }
    if let stored = json["path"] {
      guard let values = Self.unpack(stored), values.count % 2 == 0 else { return nil }
      path = values
    }
    trainingSeconds = json["training_seconds"]?.number ?? 0
    totalSeconds = json["total_seconds"]?.number ?? 0
  }

  init(ending: Ending, points: [Point], trainingSeconds: Double, totalSeconds: Double) {
    self.ending = ending
    self.points = points
    self.trainingSeconds = trainingSeconds
    self.totalSeconds = totalSeconds
  }

  /// The measurements without the times, which are all that differs when a training is repeated.
  public var withoutTimes: EvaluationResult {
    var copy = self
    (copy.trainingSeconds, copy.totalSeconds) = (0, 0)
    return copy
  }

  private static func pack(_ values: [Float]) -> JSON {
    var data = Data(capacity: 4 * values.count)
    for value in values { withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) } }
    return .string(data.base64EncodedString())
  }

  private static func unpack(_ json: JSON?) -> [Float]? {
    guard let text = json?.string, let data = Data(base64Encoded: text), data.count % 4 == 0 else { return nil }
    let bytes = [UInt8](data)
    return stride(from: 0, to: bytes.count, by: 4).map { place in
      Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[place + $1]) << (8 * UInt32($1)) })
    }
  }
}

extension EvaluationResult.Point {
  /// Equal bits: NaN is itself.
  public static func == (a: Self, b: Self) -> Bool {
    a.step == b.step && a.loss.bitPattern == b.loss.bitPattern && a.smoothed.bitPattern == b.smoothed.bitPattern
      && a.normalised.bitPattern == b.normalised.bitPattern && a.training.bitPattern == b.training.bitPattern
  }
}
