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
  /// One JSON object a line: documents, labelled documents, or rows of a table; gzip is fine.
  case jsonl
  /// NumPy's archive of arrays: `x` and `y`, and optionally `x_test` and `y_test`.
  case npz
  /// NumPy arrays one after another: inputs, targets, and optionally the held-out inputs and targets; gzip is fine.
  case npy
  /// A ZIP or tar archive (tar.gz too) of PNG and JPEG files in class folders, optionally within train and test.
  case images
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
    /// Arrays: their integers, from 0 to 65,535.
    case integers
  }

  /// What stands between the cells of a CSV file.
  public enum Delimiter: String, Sendable, CaseIterable {
    case comma, semicolon, tab
    /// One space or several.
    case space
  }

  /// How many different characters a vocabulary may have.
  public static let charactersMax = 4096
  /// How many tokens an input row may have.
  public static let sequenceLengths = 2...4096
  /// How long a list of columns may be.
  static let namesLengthMax = 2000
  /// The side of images in pixels.
  public static let imageSizes = 1...1024
  /// How many tokens it has unless the options say otherwise.
  public static let sequenceLengthDefault = 64

  public var format: DatasetFormat
  /// Tables: the column to predict, or several with commas between them; nil takes the last one. Documents: the field
  /// that holds the label; nil takes `label` if there is one.
  public var target: String?
  /// Tables: what the target is; nil decides by its values (text or at most 20 distinct integers: classes).
  public var task: Task?
  /// Tables: columns to leave out, with commas between them.
  public var drop: String?
  /// CSV: what stands between cells; nil means a comma.
  public var delimiter: Delimiter?
  /// CSV: whether the first line holds the names of the columns; nil means yes, unless it is all numbers.
  public var header: Bool?
  /// CSV: lines to pass over at the beginning; nil means none.
  public var skipLines: Int?
  /// JSON Lines: the field that holds the text; nil takes `text` if there is one.
  public var field: String?
  /// Share of rows held out for evaluation where the files bring no held-out part; 0.01 to 0.5, default 0.1.
  public var heldOutFraction: Double
  /// What a token is; nil means bytes for text, and arrays of numbers.
  public var tokens: Tokens?
  /// Text: how many tokens an input row has; nil means ``sequenceLengthDefault``.
  public var sequenceLength: Int?
  /// Images: the side in pixels they are all brought to; nil where all have one size already.
  public var imageSize: Int?
  /// Images: 1 for grey, 3 for colour; nil means colour if any file has colour.
  public var channels: Int?

  public init(format: DatasetFormat, target: String? = nil, task: Task? = nil, heldOutFraction: Double = 0.1) {
    self.format = format
    self.target = target
    self.task = task
    self.heldOutFraction = heldOutFraction
  }

  /// Which formats an option is for; ``held_out_fraction`` is for all.
  static let formats: [String: Set<DatasetFormat>] = [
    "target": [.csv, .jsonl], "task": [.csv, .jsonl, .npz, .npy], "drop": [.csv, .jsonl], "delimiter": [.csv],
    "header": [.csv], "skip_lines": [.csv], "field": [.jsonl], "tokens": [.text, .jsonl, .npz, .npy],
    "sequence_length": [.text, .jsonl, .npz, .npy],
    "image_size": [.images], "channels": [.images],
  ]

  public var json: JSON {
    var members: [String: JSON] = ["format": .string(format.rawValue), "held_out_fraction": .number(heldOutFraction)]
    if let target { members["target"] = .string(target) }
    if let task { members["task"] = .string(task.rawValue) }
    if let drop { members["drop"] = .string(drop) }
    if let delimiter { members["delimiter"] = .string(delimiter.rawValue) }
    if let header { members["header"] = .bool(header) }
    if let skipLines { members["skip_lines"] = .integer(skipLines) }
    if let field { members["field"] = .string(field) }
    if let tokens { members["tokens"] = .string(tokens.rawValue) }
    if let sequenceLength { members["sequence_length"] = .integer(sequenceLength) }
    if let imageSize { members["image_size"] = .integer(imageSize) }
    if let channels { members["channels"] = .integer(channels) }
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
  public static let texts = ["format", "target", "task", "drop", "delimiter", "field", "tokens"]
  public static let truths = ["header"]
  public static let numbers = ["held_out_fraction", "skip_lines", "sequence_length", "image_size", "channels"]

  public static func read(_ fields: inout Fields) -> DatasetOptions? {
    let format = fields.choice("format", of: DatasetFormat.self, required: "the format of the data")
    var options = DatasetOptions(format: format ?? .csv)
    options.target = fields.string("target", lengths: 1...namesLengthMax)
    options.drop = fields.string("drop", lengths: 1...namesLengthMax)
    options.delimiter = fields.choice("delimiter", of: Delimiter.self)
    options.header = fields.bool("header")
    options.skipLines = fields.integer("skip_lines", in: 0...1000)
    options.field = fields.string("field")
    options.task = fields.choice("task", of: Task.self)
    options.heldOutFraction = fields.number("held_out_fraction", in: 0.01...0.5) ?? 0.1
    options.tokens = fields.choice("tokens", of: Tokens.self)
    options.sequenceLength = fields.integer("sequence_length", in: sequenceLengths)
    options.imageSize = fields.integer("image_size", in: imageSizes)
    options.channels = fields.integer("channels", in: 1...3)
    if options.channels == 2 { fields.fault("channels", "expected 1 (grey) or 3 (colour), got 2") }
    guard let format else { return nil }
    for (name, fitting) in formats.sorted(by: { $0.key < $1.key }) where fields.has(name) && !fitting.contains(format) {
      let list = DatasetFormat.allCases.filter(fitting.contains).map(\.rawValue).joined(separator: ", ")
      fields.fault(name, "is an option of the format \(list) and means nothing for \(format.rawValue)")
    }
    let isArrays = format == .npz || format == .npy
    if let tokens = options.tokens, formats["tokens"]!.contains(format), (tokens == .integers) != isArrays {
      fields.fault("tokens", "expected \(isArrays ? "integers" : "bytes or characters") for \(format.rawValue)")
    }
    if isArrays, options.sequenceLength != nil, options.tokens == nil {
      fields.fault("sequence_length", "is for arrays of tokens: add tokens=integers")
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
