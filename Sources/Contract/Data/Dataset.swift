// A dataset and the options it is uploaded with. Its bytes are a content-addressed blob; a worker reads them and
// fills in the schema, or the problems.
import Foundation

/// Where a dataset stands.
public enum DatasetState: String, Sendable, CaseIterable {
  case validating, ready, rejected

  public var isTerminal: Bool { self != .validating }
}

/// The formats a dataset may be uploaded in.
public enum DatasetFormat: String, Sendable, CaseIterable {
  /// IDX files one after another: inputs, labels, and optionally the held-out inputs and labels; gzip is fine.
  case idx
  /// Comma-separated values with a header line; gzip is fine.
  case csv
}

/// What an upload says about its data.
public struct DatasetOptions: Sendable, Hashable {
  public enum Task: String, Sendable, CaseIterable { case classification, regression }

  public var format: DatasetFormat
  /// CSV: the column to predict; nil takes the last one.
  public var target: String?
  /// CSV: what the target is; nil decides by its values (text or at most 20 distinct integers: classes).
  public var task: Task?
  /// Share of rows held out for evaluation where the files bring no held-out part; 0.01 to 0.5, default 0.1.
  public var heldOutFraction: Double

  public init(format: DatasetFormat, target: String? = nil, task: Task? = nil, heldOutFraction: Double = 0.1) {
    self.format = format
    self.target = target
    self.task = task
    self.heldOutFraction = heldOutFraction
  }

  public var json: JSON {
    var members: [String: JSON] = ["format": .string(format.rawValue), "held_out_fraction": .number(heldOutFraction)]
    if let target { members["target"] = .string(target) }
    if let task { members["task"] = .string(task.rawValue) }
    return .object(members)
  }

  public static func read(_ fields: inout Fields) -> DatasetOptions? {
    let format = fields.choice("format", of: DatasetFormat.self, required: "the format of the data")
    let target = fields.string("target")
    let task = fields.choice("task", of: Task.self)
    let fraction = fields.number("held_out_fraction", in: 0.01...0.5) ?? 0.1
    if format == .idx {
      if target != nil { fields.fault("target", "is for CSV only: the labels of IDX data are a file of their own") }
      if task != nil { fields.fault("task", "is for CSV only: IDX labels are classes") }
    }
    return format.map { DatasetOptions(format: $0, target: target, task: task, heldOutFraction: fraction) }
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

/// What a validated dataset holds.
public struct DatasetSchema: Sendable, Hashable {
  /// One input column of a table, in order.
  public struct Column: Sendable, Hashable {
    public var name: String
    /// The categories of a text column in sorted order, one input each; nil for a number.
    public var categories: [String]?
    /// A number enters the model as (value - mean) / deviation, both taken over the training rows.
    public var mean: Double
    public var deviation: Double

    public init(name: String, categories: [String]?, mean: Double = 0, deviation: Double = 1) {
      self.name = name
      self.categories = categories
      self.mean = mean
      self.deviation = deviation
    }
  }
  public var shape: DataShape
  public var trainRows: Int
  public var heldOutRows: Int
  /// Names of the classes in label order; empty for regression.
  public var classNames: [String]
  /// Columns of a table; empty for images.
  public var columns: [Column]
  /// Regression: targets are trained on as (value - mean) / deviation, so losses are in units of their variance.
  public var targetMean = 0.0
  public var targetDeviation = 1.0

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
      "columns": .array(
        columns.map { column in
          [
            "name": .string(column.name),
            "kind": .string(column.categories == nil ? "number" : "category"),
            "categories": .array((column.categories ?? []).map(JSON.string)),
            "mean": .number(column.mean), "deviation": .number(column.deviation),
          ]
        }),
      "target_mean": .number(targetMean), "target_deviation": .number(targetDeviation),
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
      columns: columns.map { column in
        Column(
          name: column["name"]?.string ?? "",
          categories: column["kind"]?.string == "category"
            ? (column["categories"]?.array ?? []).compactMap(\.string) : nil,
          mean: column["mean"]?.number ?? 0, deviation: column["deviation"]?.number ?? 1)
      })
    schema.targetMean = json["target_mean"]?.number ?? 0
    schema.targetDeviation = json["target_deviation"]?.number ?? 1
    return schema
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
