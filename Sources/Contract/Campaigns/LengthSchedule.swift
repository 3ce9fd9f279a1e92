// How long episodes are and how that grows over a campaign. Everything is a function of the outer iteration (and, for
// the plateau law, of a level that the learner keeps), never of time, so that a replay is exact.
import Foundation

/// A number that may change over the outer iterations of a phase.
public indirect enum GrowthLaw: Sendable, Hashable {
  case constant(Double)
  /// The value of the last step that began: pairs of outer iteration and value, rising.
  case steps([Step])
  /// From one value to another between two outer iterations, along a line or by equal factors.
  case linear(Ramp)
  case exponential(Ramp)
  /// `from`, times `factor` whenever the smoothed meta-loss has not improved for `patience` outer iterations, at most
  /// `to`.
  case plateau(Plateau)

  public struct Step: Sendable, Hashable {
    public var iteration: Int
    public var value: Double
  }

  public struct Ramp: Sendable, Hashable {
    public var from: Double
    public var to: Double
    public var begin: Int
    public var end: Int
  }

  public struct Plateau: Sendable, Hashable {
    public var from: Double
    public var to: Double
    public var factor: Double
    public var patience: Int
  }

  /// The value at an outer iteration (from 0 in its phase) with `level` plateaus passed.
  public func value(at iteration: Int, level: Int) -> Double {
    switch self {
    case .constant(let value): return value
    case .steps(let steps): return steps.last { $0.iteration <= iteration }?.value ?? steps[0].value
    case .linear(let ramp): return ramp.from + (ramp.to - ramp.from) * ramp.share(at: iteration)
    case .exponential(let ramp): return ramp.from * pow(ramp.to / ramp.from, ramp.share(at: iteration))
    case .plateau(let law): return min(law.to, law.from * pow(law.factor, Double(level)))
    }
  }

  /// The largest value that it takes.
  public var maximum: Double {
    switch self {
    case .constant(let value): value
    case .steps(let steps): steps.map(\.value).max() ?? 0
    case .linear(let ramp), .exponential(let ramp): max(ramp.from, ramp.to)
    case .plateau(let law): law.to
    }
  }

  private enum Kind: String, CaseIterable { case steps, linear, exponential, plateau }

  public var json: JSON {
    func ramp(_ kind: Kind, _ ramp: Ramp) -> JSON {
      [
        "growth": .string(kind.rawValue), "from": .number(ramp.from), "to": .number(ramp.to),
        "begin": .integer(ramp.begin), "end": .integer(ramp.end),
      ]
    }
    switch self {
    case .constant(let value): return .number(value)
    case .steps(let steps):
      return [
        "growth": "steps", "values": .array(steps.map { [.integer($0.iteration), .number($0.value)] }),
      ]
    case .linear(let law): return ramp(.linear, law)
    case .exponential(let law): return ramp(.exponential, law)
    case .plateau(let law):
      return [
        "growth": "plateau", "from": .number(law.from), "to": .number(law.to), "factor": .number(law.factor),
        "patience": .integer(law.patience),
      ]
    }
  }

  /// Reads a number or a law; every value lies in `range`.
  static func read(_ json: JSON, in range: ClosedRange<Double>, path: String, faults: Faults) -> GrowthLaw? {
    if let value = json.number {
      guard range.contains(value) else {
        faults.add(path, "expected a number from \(range.lowerBound) to \(range.upperBound), got \(json.text)")
        return nil
      }
      return .constant(value)
    }
    guard var fields = Fields(json, path: path, faults: faults),
      let kind = fields.choice("growth", of: Kind.self, required: "how the value grows")
    else { return nil }
    let iterations = 0...10_000_000
    let law: GrowthLaw?
    switch kind {
    case .steps:
      let steps = fields.array("values", counts: 1...100, required: "pairs [outer iteration, value] in order") {
        json, path, faults -> Step? in
        if let pair = json.array, pair.count == 2, let iteration = pair[0].integer, let value = pair[1].number,
          iterations.contains(iteration), range.contains(value)
        {
          return Step(iteration: iteration, value: value)
        }
        faults.add(
          path, "expected [outer iteration, a number from \(range.lowerBound) to \(range.upperBound)], got \(json.text)"
        )
        return nil
      }
      if let steps, zip(steps, steps.dropFirst()).contains(where: { $0.iteration >= $1.iteration }) {
        fields.fault("values", "expected rising outer iterations")
      }
      law = steps.map(GrowthLaw.steps)
    case .linear, .exponential:
      let from = fields.number("from", in: range, required: "the first value")
      let to = fields.number("to", in: range, required: "the last value")
      let begin = fields.integer("begin", in: iterations) ?? 0
      let end = fields.integer("end", in: iterations, required: "the outer iteration of the last value")
      if let end, end <= begin { fields.fault("end", "expected more than begin, \(begin), got \(end)") }
      guard let from, let to, let end else {
        fields.finish()
        return nil
      }
      let ramp = Ramp(from: from, to: to, begin: begin, end: end)
      law = kind == .linear ? .linear(ramp) : .exponential(ramp)
    case .plateau:
      let from = fields.number("from", in: range, required: "the first value")
      let to = fields.number("to", in: range, required: "the largest value")
      let factor = fields.number("factor", in: 1.01...100) ?? 2
      let patience = fields.integer("patience", in: 1...1_000_000) ?? 500
      guard let from, let to else {
        fields.finish()
        return nil
      }
      law = .plateau(Plateau(from: from, to: to, factor: factor, patience: patience))
    }
    fields.finish()
    return law
  }
}

extension GrowthLaw.Ramp {
  fileprivate func share(at iteration: Int) -> Double {
    min(max(Double(iteration - begin) / Double(end - begin), 0), 1)
  }
}

/// How the length of an episode is drawn when it begins.
public struct LengthSchedule: Sendable, Hashable {
  public enum Kind: String, Sendable, CaseIterable {
    /// `low` steps.
    case constant
    /// exp of a uniform draw between the logarithms of `low` and `high`: every octave is as likely.
    case logUniform = "log_uniform"
    /// With a density that falls as 1/length²: every octave gets as many windows, where `log_uniform` gives the longest
    /// one half of them.
    case logUniformWindows = "log_uniform_windows"
    case uniform
    /// `low` plus normal noise of deviation `jitter`, at least 10.
    case scheduled
  }
  public var kind: Kind
  public var low: GrowthLaw
  /// Equal to `low` where there is one bound.
  public var high: GrowthLaw
  public var jitter: Double

  /// Episodes that a campaign may ask for, in inner steps.
  public static let range = 1...1_000_000

  public init(kind: Kind, low: GrowthLaw, high: GrowthLaw, jitter: Double = 0) {
    self.kind = kind
    self.low = low
    self.high = high
    self.jitter = jitter
  }

  public static func logUniform(_ range: ClosedRange<Int>) -> LengthSchedule {
    LengthSchedule(
      kind: .logUniform, low: .constant(Double(range.lowerBound)), high: .constant(Double(range.upperBound)))
  }

  /// The longest episode that it draws, but for jitter.
  public var longest: Int { Int(max(low.maximum, high.maximum)) }

  /// The length for a uniform draw from 0 to 1 (and a normal one, for jitter) at an outer iteration.
  public func length(uniform: Double, normal: Double, at iteration: Int, level: Int) -> Int {
    let low = low.value(at: iteration, level: level)
    let high = max(low, self.high.value(at: iteration, level: level))
    let drawn: Double
    switch kind {
    case .constant: drawn = low
    // The exponential of a logarithm may fall short of what it was taken of.
    case .logUniform: drawn = min(max(exp(log(low) + uniform * (log(high) - log(low))), low), high)
    case .logUniformWindows: drawn = 1 / ((1 - uniform) / low + uniform / high)
    case .uniform: drawn = low + uniform * (high - low)
    case .scheduled: drawn = max(10, low.rounded(.down) + (jitter * normal).rounded(.down))
    }
    // A draw at the upper end may round past a bound by one.
    return min(max(Int(drawn), Self.range.lowerBound), Self.range.upperBound)
  }

  public var json: JSON {
    [
      "kind": .string(kind.rawValue), "low": low.json, "high": high.json, "jitter": .number(jitter),
    ]
  }

  /// Reads `[low, high]`, which is log-uniform, or an object.
  static func read(_ json: JSON, path: String, faults: Faults) -> LengthSchedule? {
    if let pair = json.array {
      guard pair.count == 2, let low = pair[0].integer, let high = pair[1].integer, low <= high, range.contains(low),
        range.contains(high)
      else {
        faults.add(path, "expected [shortest, longest], two rising integers from 1 to \(range.upperBound)")
        return nil
      }
      return .logUniform(low...high)
    }
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let kind = fields.choice("kind", of: Kind.self, required: "how lengths are drawn")
    let values = Double(range.lowerBound)...Double(range.upperBound)
    let low = fields.required("low", "the shortest length in inner steps, or how it grows")
      .flatMap { GrowthLaw.read($0, in: values, path: fields.pointer("low"), faults: faults) }
    let high = fields.value("high").flatMap {
      GrowthLaw.read($0, in: values, path: fields.pointer("high"), faults: faults)
    }
    let jitter = fields.number("jitter", in: 0...1e6) ?? 0
    if let kind, [.logUniform, .logUniformWindows, .uniform].contains(kind), !fields.has("high") {
      fields.fault("high", "\(kind.rawValue) needs the longest length too")
    }
    fields.finish()
    guard let kind, let low else { return nil }
    return LengthSchedule(kind: kind, low: low, high: high ?? low, jitter: jitter)
  }
}
