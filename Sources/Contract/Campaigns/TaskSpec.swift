// The inner tasks of a campaign: by the name of a registry entry, as a configuration tree, or in the short form of image
// classifiers. MetaTraining builds them.
import Foundation

/// An inner task of a campaign.
public enum TaskSpec: Sendable, Hashable {
  /// `{"data": …, "image_size": …}`: an image classifier.
  case images(ImageTaskSpec)
  /// `{"task": NAME, "draws": n}`: an entry of the registry. A family or sampler stands for `draws` tasks drawn from the
  /// campaign's seed.
  case named(String, draws: Int)
  /// `{"config": {"obj": …, "args": …}}`: a configuration tree.
  case config(TaskConfig)

  /// How many tasks one entry may stand for.
  public static let drawsMax = 64

  public var json: JSON {
    switch self {
    case .images(let spec): spec.json
    case .named(let name, let draws): ["task": .string(name), "draws": .integer(draws)]
    case .config(let config): ["config": config.json]
    }
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> TaskSpec? {
    guard json["task"] != nil || json["config"] != nil else {
      return ImageTaskSpec.read(json, path: path, faults: faults).map(TaskSpec.images)
    }
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    if fields.has("task") {
      let name = fields.string("task", required: "a name that `trainyard task list` shows")
      let draws = fields.integer("draws", in: 1...drawsMax) ?? 8
      fields.finish()
      return name.map { .named($0, draws: draws) }
    }
    let config = fields.required("config", "the configuration tree")
      .flatMap { TaskConfig.read($0, path: fields.pointer("config"), faults: faults) }
    fields.finish()
    return config.map(TaskSpec.config)
  }
}

/// An image classifier of dense layers on a data set at a size, with its augmentation.
public struct ImageTaskSpec: Sendable, Hashable {
  public enum Reparametrisation: String, Sendable, CaseIterable {
    case none
    /// One scale for the whole model.
    case global
    /// One scale for each tensor.
    case tensor
  }
  /// Name of a data set that the campaign is run with.
  public var data: String
  /// Side of the square images after averaging, 4 to 32.
  public var imageSize: Int
  /// How many training rows are used, 64 or more; nil takes all. Few rows make a task that can be learned by heart.
  public var rows: Int?
  public var hidden: [Int]
  public var activation: Activation
  public var batchSize: Int
  public var reparametrisation: Reparametrisation
  /// Scales are drawn log-uniformly from this range.
  public var scales: ClosedRange<Double>

  public init(
    data: String, imageSize: Int, rows: Int? = nil, hidden: [Int], activation: Activation, batchSize: Int,
    reparametrisation: Reparametrisation, scales: ClosedRange<Double>
  ) {
    self.data = data
    self.imageSize = imageSize
    self.rows = rows
    self.hidden = hidden
    self.activation = activation
    self.batchSize = batchSize
    self.reparametrisation = reparametrisation
    self.scales = scales
  }

  public var json: JSON {
    [
      "data": .string(data), "image_size": .integer(imageSize), "rows": rows.map(JSON.integer) ?? .null,
      "hidden": .array(hidden.map(JSON.integer)),
      "activation": .string(activation.rawValue), "batch_size": .integer(batchSize),
      "reparametrisation": .string(reparametrisation.rawValue),
      "scales": [.number(scales.lowerBound), .number(scales.upperBound)],
    ]
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> ImageTaskSpec? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let data = fields.string("data", required: "the name of a data set")
    let size = fields.integer("image_size", in: 4...32) ?? 8
    let rows = fields.integer("rows", in: 64...100_000_000)
    let hidden = fields.integers("hidden") ?? [32]
    if hidden.count > 8 || !hidden.allSatisfy((1...4096).contains) {
      fields.fault("hidden", "expected at most 8 widths from 1 to 4096, got \(hidden)")
    }
    let activation = fields.choice("activation", of: Activation.self) ?? .relu
    let batchSize = fields.integer("batch_size", in: 1...4096) ?? 64
    let reparametrisation = fields.choice("reparametrisation", of: Reparametrisation.self) ?? .none
    let scales = fields.array("scales", counts: 2...2) { json, path, faults -> Double? in
      if let value = json.number, value > 0 { return value }
      faults.add(path, "expected a positive number, got \(json.kind)")
      return nil
    }
    if let scales, scales[0] > scales[1] { fields.fault("scales", "expected the smaller scale first") }
    fields.finish()
    guard faults.isEmpty, let data else { return nil }
    return ImageTaskSpec(
      data: data, imageSize: size, rows: rows, hidden: hidden, activation: activation, batchSize: batchSize,
      reparametrisation: reparametrisation, scales: scales.map { $0[0]...$0[1] } ?? 0.001...1000)
  }
}

extension ImageTaskSpec {
  /// The task as a configuration tree.
  public var config: TaskConfig {
    var arguments: [String: JSON] = ["imageSize": .integer(imageSize), "batch": .integer(batchSize), "area": true]
    if let rows { arguments["rows"] = .integer(rows) }
    let model = TaskConfig(
      "ImageMLP",
      [
        "hidden": .array(hidden.map(JSON.integer)), "activation": .string(activation.rawValue),
        "data": TaskConfig(data, arguments).json,
      ])
    guard reparametrisation != .none else { return model }
    return TaskConfig(
      "ReparamWeights",
      [
        "level": .string(reparametrisation.rawValue), "family": model.json,
        "range": [.number(scales.lowerBound), .number(scales.upperBound)],
      ])
  }
}
