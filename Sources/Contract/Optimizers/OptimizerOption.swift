// One constant of an optimizer that a client may set: its key, the other spellings that are understood, its range and
// its default. OptimizerTraits lists the options of each optimizer; OptimizerSettings reads and keeps their values.
import Foundation

/// A constant of an optimizer.
public struct OptimizerOption: Sendable, Hashable {
  /// What values there are, and which is taken when none is given.
  public enum Kind: Sendable, Hashable {
    case number(ClosedRange<Double>, default: Double)
    case integer(ClosedRange<Int>, default: Int)
    case flag(default: Bool)
    case choice([String], default: String)
    /// Text of at most 200 characters.
    case text(default: String)
    /// How the learning rate changes over the run; constant where none is given.
    case schedule
  }

  /// The name of the field.
  public let key: String
  /// Names under which published implementations know it.
  public let aliases: [String]
  public let kind: Kind
  /// What it does, in half a sentence.
  public let summary: String

  /// An option; see the shorter makers below.
  public init(_ key: String, aliases: [String] = [], kind: Kind, _ summary: String) {
    self.key = key
    self.aliases = aliases
    self.kind = kind
    self.summary = summary
  }

  /// The learning rate, and the schedule it follows, which every optimizer with a rate has.
  public static func rate(_ value: Double, aliases: [String] = ["lr"]) -> [OptimizerOption] {
    [
      OptimizerOption(
        "learning_rate", aliases: aliases, kind: .number(1e-12...1e6, default: value), "step size"),
      OptimizerOption("schedule", kind: .schedule, "how the learning rate changes over the run"),
    ]
  }

  /// A share from 0 to 1.
  public static func share(
    _ key: String, _ value: Double, aliases: [String] = [], _ summary: String
  ) -> OptimizerOption {
    OptimizerOption(key, aliases: aliases, kind: .number(0...1, default: value), summary)
  }

  /// A decay of an average that is corrected for its start: below 1, as a Float too, or the correction would divide by
  /// zero.
  static func decay(_ key: String, _ value: Double, aliases: [String] = [], _ summary: String) -> OptimizerOption {
    OptimizerOption(key, aliases: aliases, kind: .number(0...0.999_999, default: value), summary)
  }

  /// A number of at least zero, such as an epsilon.
  public static func amount(
    _ key: String, _ value: Double, aliases: [String] = [], _ summary: String
  ) -> OptimizerOption {
    OptimizerOption(key, aliases: aliases, kind: .number(0...1e12, default: value), summary)
  }

  /// True or false.
  public static func flag(_ key: String, _ value: Bool, aliases: [String] = [], _ summary: String) -> OptimizerOption {
    OptimizerOption(key, aliases: aliases, kind: .flag(default: value), summary)
  }

  /// The first two decays of the Adam family.
  public static func betas(_ first: Double, _ second: Double) -> [OptimizerOption] {
    [
      decay("beta1", first, aliases: ["b1"], "decay of the first moment"),
      decay("beta2", second, aliases: ["b2"], "decay of the second moment"),
    ]
  }

  /// The term that keeps a division finite.
  public static func epsilon(_ value: Double) -> OptimizerOption {
    amount("epsilon", value, aliases: ["eps"], "keeps the division finite")
  }

  /// What every optimizer takes around its rule, in the order in which it acts on a gradient.
  static let common: [OptimizerOption] = [
    amount("clip_value", 0, "bound on each gradient element; 0 for none"),
    amount("clip_norm", 0, "bound on the norm of the whole gradient; 0 for none"),
    amount("weight_decay", 0, "pull of the weights towards zero, added to the gradient (and to the loss that it sees)"),
    OptimizerOption(
      "accumulation", kind: .integer(1...1_000_000, default: 1), "steps whose mean gradient makes one update"),
    OptimizerOption(
      "updates_max", kind: .integer(0...1_000_000_000, default: 0),
      "most updates of a run, longer runs accumulate steps; 0 for none (a learned optimizer's own horizon still holds)"),
  ]

  /// As `GET /v1/capabilities` tells it.
  public var json: JSON {
    var members: [String: JSON] = ["key": .string(key), "summary": .string(summary)]
    switch kind {
    case .number(let range, let value):
      members["type"] = "number"
      members["minimum"] = .number(range.lowerBound)
      members["maximum"] = .number(range.upperBound)
      members["default"] = .number(value)
    case .integer(let range, let value):
      members["type"] = "integer"
      members["minimum"] = .integer(range.lowerBound)
      members["maximum"] = .integer(range.upperBound)
      members["default"] = .integer(value)
    case .flag(let value):
      members["type"] = "boolean"
      members["default"] = .bool(value)
    case .choice(let words, let value):
      members["type"] = "string"
      members["enum"] = .array(words.map(JSON.string))
      members["default"] = .string(value)
    case .text(let value):
      members["type"] = "string"
      members["default"] = .string(value)
    case .schedule: members["type"] = "object"
    }
    return .object(members)
  }

  /// Reads the value out of a request; nil where it is not given or wrong, which is then a fault.
  func read(_ fields: inout Fields) -> JSON? {
    fields.accept(aliases, as: key)
    switch kind {
    case .number(let range, _): return fields.number(key, in: range).map(JSON.number)
    case .integer(let range, _): return fields.integer(key, in: range).map(JSON.integer)
    case .flag: return fields.bool(key).map(JSON.bool)
    case .text: return fields.string(key, lengths: 0...200).map(JSON.string)
    case .schedule:
      guard let json = fields.value(key) else { return nil }
      return LearningRateSchedule.read(json, path: fields.pointer(key), faults: fields.faults)?.json
    case .choice(let words, _):
      guard let value = fields.value(key) else { return nil }
      // Published implementations shout some of them.
      if let text = value.string?.lowercased(), words.contains(text) { return .string(text) }
      fields.fault(
        key, "expected one of \(words.map { "\"\($0)\"" }.joined(separator: ", ")), got \(value.kind)")
      return nil
    }
  }
}
