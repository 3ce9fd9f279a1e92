// What an upload says about its data: the format and the options that go with it. Dataset.swift holds the rest of a
// dataset; Learning/Data reads the bytes by these options.
import Foundation

/// The formats a dataset may be uploaded in.
public enum DatasetFormat: String, Sendable, CaseIterable {
  /// IDX files one after another: inputs, labels, and optionally the held-out inputs and labels; gzip is fine.
  case idx
  /// Comma-separated values, with a header line unless the options say otherwise; gzip is fine.
  case csv
  /// UTF-8 text to learn a language model from; gzip is fine.
  case text
}

/// What an upload says about its data.
public struct DatasetOptions: Sendable, Hashable {
  public enum Task: String, Sendable, CaseIterable { case classification, regression }

  /// What the tokens of a text are.
  public enum Tokens: String, Sendable, CaseIterable {
    /// The bytes of the UTF-8 text.
    case bytes
    /// Its characters (code points): the vocabulary is those of the training part, at most ``charactersMax``.
    case characters
  }

  /// How many different characters a vocabulary may have.
  public static let charactersMax = 4096
  /// How many tokens an input row may have.
  public static let sequenceLengths = 2...4096
  /// How many tokens it has unless the options say otherwise.
  public static let sequenceLengthDefault = 64

  public var format: DatasetFormat
  /// Tables: the column to predict; nil takes the last one.
  public var target: String?
  /// Tables: what the target is; nil decides by its values (text or at most 20 distinct integers: classes).
  public var task: Task?
  /// Share of rows held out for evaluation where the files bring no held-out part; 0.01 to 0.5, default 0.1.
  public var heldOutFraction: Double
  /// Text: what a token is; nil means bytes.
  public var tokens: Tokens?
  /// Text: how many tokens an input row has; nil means ``sequenceLengthDefault``.
  public var sequenceLength: Int?

  public init(format: DatasetFormat, target: String? = nil, task: Task? = nil, heldOutFraction: Double = 0.1) {
    self.format = format
    self.target = target
    self.task = task
    self.heldOutFraction = heldOutFraction
  }

  /// Which formats an option is for; ``held_out_fraction`` is for all.
  static let formats: [String: Set<DatasetFormat>] = [
    "target": [.csv], "task": [.csv], "tokens": [.text], "sequence_length": [.text],
  ]

  public var json: JSON {
    var members: [String: JSON] = ["format": .string(format.rawValue), "held_out_fraction": .number(heldOutFraction)]
    if let target { members["target"] = .string(target) }
    if let task { members["task"] = .string(task.rawValue) }
    if let tokens { members["tokens"] = .string(tokens.rawValue) }
    if let sequenceLength { members["sequence_length"] = .integer(sequenceLength) }
    return .object(members)
  }

  /// The options as an upload's query: the format, then by name what was said, as text.
  public var query: [(String, String?)] {
    guard case .object(var members) = json else { return [] }
    members["format"] = nil
    if heldOutFraction == 0.1 { members["held_out_fraction"] = nil }
    return [("format", format.rawValue)]
      + members.sorted { $0.key < $1.key }.map { ($0.key, $0.value.string ?? $0.value.text) }
  }

  /// The names of ``query`` whose values are text, numbers and truths.
  public static let texts = ["format", "target", "task", "tokens"]
  public static let numbers = ["held_out_fraction", "sequence_length"]

  public static func read(_ fields: inout Fields) -> DatasetOptions? {
    let format = fields.choice("format", of: DatasetFormat.self, required: "the format of the data")
    var options = DatasetOptions(format: format ?? .csv)
    options.target = fields.string("target")
    options.task = fields.choice("task", of: Task.self)
    options.heldOutFraction = fields.number("held_out_fraction", in: 0.01...0.5) ?? 0.1
    options.tokens = fields.choice("tokens", of: Tokens.self)
    options.sequenceLength = fields.integer("sequence_length", in: sequenceLengths)
    guard let format else { return nil }
    for (name, fitting) in formats.sorted(by: { $0.key < $1.key }) where fields.has(name) && !fitting.contains(format) {
      let list = DatasetFormat.allCases.filter(fitting.contains).map(\.rawValue).joined(separator: ", ")
      fields.fault(name, "is an option of the format \(list) and means nothing for \(format.rawValue)")
    }
    return options
  }

  public static func decode(_ json: JSON) throws(SpecError) -> DatasetOptions {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let options = read(&fields)
      fields.finish()
      return options
    }
  }
}
