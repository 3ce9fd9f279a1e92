// A model as clients describe it: layers in order, or a preset that expands to them. ModelShapes.swift infers
// the shapes and costs; Learning builds the graph from the same layers.
import Foundation

/// The non-linearities of layers.
public enum Activation: String, Sendable, CaseIterable {
  case linear, relu, tanh, sigmoid, gelu, silu, softplus
}

/// One layer of a model, applied to the output of the one before it.
public enum Layer: Sendable, Hashable {
  /// Turns an element of any shape into a vector.
  case flatten
  /// `activation(x W + b)`; `W` is [inputs, units], initialised truncated-normal with deviation 1/sqrt(inputs).
  case dense(units: Int, activation: Activation)
  /// The non-linearity alone.
  case activation(Activation)

  /// The layer's name in JSON.
  public var type: String {
    switch self {
    case .flatten: return "flatten"
    case .dense: return "dense"
    case .activation: return "activation"
    }
  }

  /// The names that `type` may have.
  public static let types = ["activation", "dense", "flatten"]
}

/// The presets that expand to layers.
public enum Preset: String, Sendable, CaseIterable {
  /// Flatten, hidden dense layers, and a linear layer to the target.
  case mlp
}

/// A model definition: `{"preset": "mlp", "hidden": [128, 128]}` or `{"layers": [...]}`.
public enum ModelSpec: Sendable, Hashable {
  /// `hidden` are the widths of the hidden layers (0 to 16 of them, each 1 to 65,536).
  case mlp(hidden: [Int], activation: Activation)
  /// Layers as given; the last one must produce what the dataset's target needs.
  case layers([Layer])

  /// How many layers a definition may have.
  public static let layersMax = 256
  /// How wide one layer may be.
  public static let unitsMax = 65_536
}

// MARK: JSON

extension Layer {
  public var json: JSON {
    switch self {
    case .flatten: return ["type": "flatten"]
    case .dense(let units, let activation):
      return ["type": "dense", "units": .integer(units), "activation": .string(activation.rawValue)]
    case .activation(let activation): return ["type": "activation", "activation": .string(activation.rawValue)]
    }
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> Layer? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let known = Layer.types.map { "\"\($0)\"" }.joined(separator: ", ")
    guard let type = fields.string("type", required: "one of \(known)") else { return nil }
    switch type {
    case "flatten":
      fields.finish()
      return .flatten
    case "dense":
      let units = fields.integer("units", in: 1...ModelSpec.unitsMax, required: "the layer's number of outputs")
      let activation = fields.choice("activation", of: Activation.self) ?? .linear
      fields.finish()
      return units.map { .dense(units: $0, activation: activation) }
    case "activation":
      let activation = fields.choice("activation", of: Activation.self, required: "the non-linearity")
      fields.finish()
      return activation.map(Layer.activation)
    default:
      fields.fault("type", "expected one of \(known), got \"\(type)\"")
      return nil
    }
  }
}

extension ModelSpec {
  public var json: JSON {
    switch self {
    case .mlp(let hidden, let activation):
      return [
        "preset": "mlp", "hidden": .array(hidden.map(JSON.integer)), "activation": .string(activation.rawValue),
      ]
    case .layers(let layers): return ["layers": .array(layers.map(\.json))]
    }
  }

  /// Reads a definition; faults are collected under `path`.
  public static func read(_ json: JSON, path: String, faults: Faults) -> ModelSpec? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    switch (fields.has("preset"), fields.has("layers")) {
    case (true, true), (false, false):
      faults.add(path, "expected either \"preset\" or \"layers\"")
      return nil
    case (true, false):
      guard fields.choice("preset", of: Preset.self) != nil else { return nil }
      let hidden = fields.array("hidden", counts: 0...16) { json, path, faults -> Int? in
        guard let width = json.integer, (1...unitsMax).contains(width) else {
          faults.add(path, "expected an integer from 1 to \(unitsMax), got \(json.kind)")
          return nil
        }
        return width
      }
      let activation = fields.choice("activation", of: Activation.self) ?? .relu
      fields.finish()
      return .mlp(hidden: hidden ?? [128, 128], activation: activation)
    case (false, true):
      let layers = fields.array("layers", counts: 1...layersMax, read: Layer.read)
      fields.finish()
      return layers.map(ModelSpec.layers)
    }
  }

  /// Reads a definition that must be free of faults, such as a stored one.
  public static func decode(_ json: JSON) throws(SpecError) -> ModelSpec {
    try Faults.collect { read(json, path: "", faults: $0) }
  }
}
