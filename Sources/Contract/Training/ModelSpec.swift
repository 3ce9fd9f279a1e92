// A model as clients describe it: a preset, or layers with what they are trained for. ModelPreset and ModelLayer have
// the parts, ModelShapes infers shapes and costs; Learning builds the graph from the same layers.
import Foundation

/// What a model is trained for.
public enum Objective: Sendable, Hashable {
  /// The dataset's target: classes and tokens by cross-entropy, values by squared error.
  case target
  /// The input itself, whatever the dataset's target.
  case reconstruct(Reconstruction)

  /// How a reconstruction is measured.
  public enum Reconstruction: String, Sendable, CaseIterable {
    /// Squared error.
    case mse
    /// The last layer gives log-odds of inputs between 0 and 1, such as grey values.
    case bernoulli
  }

  /// The names in JSON.
  public enum Name: String, Sendable, CaseIterable { case target, reconstruct }
}

/// A model definition: `{"preset": "mlp", "hidden": [128, 128]}` or `{"layers": [...]}`.
public enum ModelSpec: Sendable, Hashable {
  /// A family, which expands to layers that fit the data.
  case preset(Preset)
  /// Layers as given; the last one must produce what the objective needs.
  case layers([Layer], objective: Objective = .target)
  /// An uploaded file that a worker found fit: named by a model's id, never given in place.
  case imported(ImportedSpec)

  /// How many layers a model may have, a preset's expansion too.
  public static let layersMax = 256
  /// How wide one layer may be.
  public static let unitsMax = 65_536

  /// The multi-layer perceptron with these hidden widths.
  public static func mlp(hidden: [Int], activation: Activation) -> ModelSpec {
    .preset(.mlp(Preset.MLP(hidden: hidden, activation: activation)))
  }

  /// The layers for the given data, and what they are trained for.
  public func expanded(for data: DataShape) -> (layers: [Layer], objective: Objective) {
    switch self {
    case .layers(let layers, let objective): (layers, objective)
    case .imported: ([], .target)
    case .preset(let preset): (preset.facts.rule.layers(for: data), preset.facts.rule.objective(for: data))
    }
  }
}

// MARK: JSON

extension ModelSpec {
  public var json: JSON {
    switch self {
    case .preset(let preset):
      var members = preset.facts.rule.members
      members["preset"] = .string(preset.facts.name.rawValue)
      return .object(members)
    case .imported(let imported): return ["imported": imported.json]
    case .layers(let layers, let objective):
      var members: [String: JSON] = ["layers": .array(layers.map(\.json))]
      if case .reconstruct(let loss) = objective {
        members["objective"] = .string(Objective.Name.reconstruct.rawValue)
        members["loss"] = .string(loss.rawValue)
      }
      return .object(members)
    }
  }

  /// Reads a definition; faults are collected under `path`.
  public static func read(_ json: JSON, path: String, faults: Faults) -> ModelSpec? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    // Some presets have a number of that name.
    let hasLayers = json["layers"].map { !fields.has("preset") || $0.array != nil } ?? false
    switch (fields.has("preset"), hasLayers) {
    case (true, true), (false, false):
      faults.add(path, "expected either \"preset\" or \"layers\"")
      return nil
    case (true, false):
      guard let name = fields.choice("preset", of: Preset.Name.self) else { return nil }
      let preset = Preset.read(name, &fields)
      fields.finish()
      return preset.map(ModelSpec.preset)
    case (false, true):
      let layers = fields.array("layers", counts: 1...layersMax, read: Layer.read)
      let name = fields.choice("objective", of: Objective.Name.self) ?? .target
      let loss = fields.choice("loss", of: Objective.Reconstruction.self)
      if name == .target, loss != nil {
        fields.fault("loss", "is for \"objective\": \"reconstruct\"; the dataset's target decides the loss otherwise")
      }
      fields.finish()
      return layers.map { .layers($0, objective: name == .target ? .target : .reconstruct(loss ?? .mse)) }
    }
  }

  /// Reads a definition that must be free of faults, such as a stored one.
  public static func decode(_ json: JSON) throws(SpecError) -> ModelSpec {
    if let imported = json["imported"].flatMap(ImportedSpec.decode) { return .imported(imported) }
    return try Faults.collect { read(json, path: "", faults: $0) }
  }
}
