// A dataset. Its bytes are a content-addressed blob; a worker reads them by the options (DatasetOptions.swift) and
// fills in the schema, or the problems.
import Foundation

/// Where a dataset stands.
public enum DatasetState: String, Sendable, CaseIterable {
  case validating, ready, rejected

  public var isTerminal: Bool { self != .validating }
}

/// What a validated dataset holds.
public struct DatasetSchema: Sendable, Hashable {
  /// One input column of a table, in order.
  public struct Column: Sendable, Hashable {
    public var name: String
    /// The categories of a text column in sorted order, one input each; nil for a number. The empty one, if there is one,
    /// stands for missing cells.
    public var categories: [String]?
    /// A number enters the model as (value - mean) / deviation, both taken over the training rows.
    public var mean: Double
    public var deviation: Double
    /// Whether a number's input is followed by one more, which is 1 where the number is missing.
    public var hasMissing: Bool

    public init(
      name: String, categories: [String]?, mean: Double = 0, deviation: Double = 1, hasMissing: Bool = false
    ) {
      self.name = name
      self.categories = categories
      self.mean = mean
      self.deviation = deviation
      self.hasMissing = hasMissing
    }

    /// How many inputs of the model the column becomes.
    public var width: Int { categories?.count ?? (hasMissing ? 2 : 1) }
  }
  /// What the indices of a token input stand for.
  public struct Tokens: Sendable, Hashable {
    public enum Kind: String, Sendable, CaseIterable {
      /// Indices 0 to 255 are bytes.
      case bytes
      /// Indices from 0 are the ``characters``.
      case characters
      /// Indices are as they stood in the upload.
      case integers
    }
    public var kind: Kind
    /// The vocabulary in index order, one code point each; empty unless tokens are characters.
    public var characters: [String]
    /// Stands for every character that the training part does not have.
    public var unknown: Int?
    /// Stands between two documents.
    public var separator: Int?
    /// Fills rows whose text is shorter.
    public var padding: Int?

    public init(
      kind: Kind, characters: [String] = [], unknown: Int? = nil, separator: Int? = nil, padding: Int? = nil
    ) {
      self.kind = kind
      self.characters = characters
      self.unknown = unknown
      self.separator = separator
      self.padding = padding
    }
  }

  public var shape: DataShape
  public var trainRows: Int
  public var heldOutRows: Int
  /// Names of the classes in label order; empty for regression.
  public var classNames: [String]
  /// Columns of a table; empty for images.
  public var columns: [Column]
  /// Regression: the columns to predict, in order. They are trained on as (value - mean) / deviation, so losses are in
  /// units of their variance.
  public var targetColumns: [Column] = []
  /// What tokens stand for; nil where inputs are numbers.
  public var tokens: Tokens?

  public init(shape: DataShape, trainRows: Int, heldOutRows: Int, classNames: [String], columns: [Column]) {
    self.shape = shape
    self.trainRows = trainRows
    self.heldOutRows = heldOutRows
    self.classNames = classNames
    self.columns = columns
  }

  public var json: JSON {
    let target: JSON
    switch shape.target {
    case .classes(let count):
      target = ["kind": "classes", "count": .integer(count), "names": .array(classNames.map(JSON.string))]
    case .values(let count): target = ["kind": "values", "count": .integer(count), "names": []]
    case .tokens(let count): target = ["kind": "tokens", "count": .integer(count), "names": []]
    }
    let vocabulary: JSON = if case .tokens(let count) = shape.elements { .integer(count) } else { .null }
    return [
      "input_shape": .array(shape.input.map(JSON.integer)), "vocabulary": vocabulary, "target": target,
      "train_rows": .integer(trainRows),
      "held_out_rows": .integer(heldOutRows),
      "columns": .array(columns.map(\.json)), "target_columns": .array(targetColumns.map(\.json)),
      "tokens": tokens?.json ?? .null,
    ]
  }

  /// Reads back what ``json`` wrote; nil for anything else.
  public static func decode(_ json: JSON) -> DatasetSchema? {
    guard let shape = json["input_shape"]?.array?.map({ $0.integer ?? -1 }), let target = json["target"],
      let count = target["count"]?.integer, let trainRows = json["train_rows"]?.integer,
      let heldOutRows = json["held_out_rows"]?.integer, let columns = json["columns"]?.array
    else { return nil }
    let wanted: DataShape.Target =
      switch target["kind"]?.string {
      case "classes": .classes(count)
      case "tokens": .tokens(vocabulary: count)
      default: .values(count)
      }
    var schema = DatasetSchema(
      shape: DataShape(
        input: shape, elements: json["vocabulary"]?.integer.map { .tokens(vocabulary: $0) } ?? .numbers, target: wanted),
      trainRows: trainRows, heldOutRows: heldOutRows, classNames: (target["names"]?.array ?? []).compactMap(\.string),
      columns: columns.map(Column.decode))
    schema.targetColumns = (json["target_columns"]?.array ?? []).map(Column.decode)
    schema.tokens = json["tokens"].flatMap(Tokens.decode)
    return schema
  }
}

extension DatasetSchema.Column {
  var json: JSON {
    [
      "name": .string(name), "kind": .string(categories == nil ? "number" : "category"),
      "categories": .array((categories ?? []).map(JSON.string)), "mean": .number(mean), "deviation": .number(deviation),
      "has_missing": .bool(hasMissing),
    ]
  }

  static func decode(_ json: JSON) -> DatasetSchema.Column {
    DatasetSchema.Column(
      name: json["name"]?.string ?? "",
      categories: json["kind"]?.string == "category" ? (json["categories"]?.array ?? []).compactMap(\.string) : nil,
      mean: json["mean"]?.number ?? 0, deviation: json["deviation"]?.number ?? 1,
      hasMissing: json["has_missing"]?.bool ?? false)
  }
}

extension DatasetSchema.Tokens {
  var json: JSON {
    [
      "kind": .string(kind.rawValue), "characters": .array(characters.map(JSON.string)),
      "unknown": unknown.map(JSON.integer) ?? .null, "separator": separator.map(JSON.integer) ?? .null,
      "padding": padding.map(JSON.integer) ?? .null,
    ]
  }

  static func decode(_ json: JSON) -> DatasetSchema.Tokens? {
    guard let kind = json["kind"]?.string.flatMap(Kind.init) else { return nil }
    return DatasetSchema.Tokens(
      kind: kind, characters: (json["characters"]?.array ?? []).compactMap(\.string), unknown: json["unknown"]?.integer,
      separator: json["separator"]?.integer, padding: json["padding"]?.integer)
  }
}

/// A fault in uploaded data.
public struct DatasetProblem: Sendable, Hashable {
  /// Line of the file or index of the element, from 1; nil where the whole is meant.
  public var row: Int?
  /// Column name, or the part of the file.
  public var column: String?
  public var reason: String

  /// How many problems are kept for one dataset.
  public static let countMax = 100

  public init(row: Int?, column: String?, reason: String) {
    self.row = row
    self.column = column
    self.reason = reason
  }

  public var json: JSON {
    ["row": row.map(JSON.integer) ?? .null, "column": .optional(column), "reason": .string(reason)]
  }

  public static func decode(_ json: JSON) -> DatasetProblem {
    DatasetProblem(row: json["row"]?.integer, column: json["column"]?.string, reason: json["reason"]?.string ?? "")
  }
}

/// An uploaded dataset.
public struct Dataset: Sendable, Hashable {
  public var id: String
  public var project: String
  public var name: String
  public var options: DatasetOptions
  public var state: DatasetState
  /// SHA-256 of the uploaded bytes, lower-case hexadecimal; the blob's name.
  public var sha256: String
  public var bytes: Int
  public var schema: DatasetSchema?
  public var problemCount: Int
  public var createdAt: Timestamp
  public var validatedAt: Timestamp?

  public init(
    id: String, project: String, name: String, options: DatasetOptions, state: DatasetState, sha256: String, bytes: Int,
    schema: DatasetSchema? = nil, problemCount: Int = 0, createdAt: Timestamp, validatedAt: Timestamp? = nil
  ) {
    self.id = id
    self.project = project
    self.name = name
    self.options = options
    self.state = state
    self.sha256 = sha256
    self.bytes = bytes
    self.schema = schema
    self.problemCount = problemCount
    self.createdAt = createdAt
    self.validatedAt = validatedAt
  }

  public var json: JSON {
    [
      "id": .string(id), "object": "dataset", "name": .string(name), "state": .string(state.rawValue),
      "options": options.json, "sha256": .string(sha256), "bytes": .integer(bytes), "schema": schema?.json ?? .null,
      "problem_count": .integer(problemCount), "created_at": .time(createdAt), "validated_at": .time(validatedAt),
    ]
  }
}
