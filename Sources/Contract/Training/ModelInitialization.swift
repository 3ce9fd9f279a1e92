// How the weights of a layer start: the rules by name, with their JSON. Learning's Initializer draws the numbers.
import Foundation

/// A rule for initial weights. The fan-in of a tensor is the product of all its axes but the last.
public enum Initialization: Sendable, Hashable {
  case zeros
  case ones
  /// The identity matrix; for hidden maps of recurrent cells.
  case identity
  /// Normals cut at two deviations and not rescaled; without a deviation 1/sqrt(fan-in). The default of most layers.
  case truncatedNormal(deviation: Double? = nil)
  /// The same cut, rescaled so that the variance after cutting is scale/fan-in.
  case varianceScaling(scale: Double)
  /// Normals of a fixed deviation.
  case normal(deviation: Double)
  /// Normals of variance scale/fan-in.
  case normalScaling(scale: Double)
  /// Uniform with variance scale/fan-in: on ±sqrt(3 scale/fan-in).
  case uniformScaling(scale: Double)
  /// Uniform on ±sqrt(6/(fan-in + last axis)) (Glorot and Bengio 2010).
  case xavierUniform
  /// Orthogonal rows or columns times `gain` (Saxe et al. 2014).
  case orthogonal(gain: Double)

  /// The names in JSON.
  public static let types = [
    "identity", "lecun_normal", "normal", "normal_scaling", "ones", "orthogonal", "truncated_normal",
    "uniform_scaling", "variance_scaling", "xavier_uniform", "zeros",
  ]

  /// `{"type": "normal", "deviation": 0.02}`, or the name alone where nothing else is said.
  public var json: JSON {
    switch self {
    case .zeros: "zeros"
    case .ones: "ones"
    case .identity: "identity"
    case .truncatedNormal(nil): "truncated_normal"
    case .truncatedNormal(let deviation?): ["type": "truncated_normal", "deviation": .number(deviation)]
    case .varianceScaling(let scale): ["type": "variance_scaling", "scale": .number(scale)]
    case .normal(let deviation): ["type": "normal", "deviation": .number(deviation)]
    case .normalScaling(let scale): ["type": "normal_scaling", "scale": .number(scale)]
    case .uniformScaling(let scale): ["type": "uniform_scaling", "scale": .number(scale)]
    case .xavierUniform: "xavier_uniform"
    case .orthogonal(let gain): ["type": "orthogonal", "gain": .number(gain)]
    }
  }

  /// Reads a name, or an object with a type and its numbers.
  static func read(_ json: JSON, path: String, faults: Faults) -> Initialization? {
    let object: JSON = json.string == nil ? json : ["type": json]
    guard var fields = Fields(object, path: path, faults: faults) else { return nil }
    let known = types.map { "\"\($0)\"" }.joined(separator: ", ")
    guard let type = fields.string("type", required: "one of \(known)") else { return nil }
    let positive = 1e-6...1e6
    let rule: Initialization?
    switch type {
    case "zeros": rule = .zeros
    case "ones": rule = .ones
    case "identity": rule = .identity
    case "truncated_normal": rule = .truncatedNormal(deviation: fields.number("deviation", in: positive))
    case "variance_scaling": rule = .varianceScaling(scale: fields.number("scale", in: positive) ?? 1)
    case "lecun_normal": rule = .varianceScaling(scale: 1)
    case "normal":
      rule = fields.number("deviation", in: positive, required: "the deviation").map { .normal(deviation: $0) }
    case "normal_scaling": rule = .normalScaling(scale: fields.number("scale", in: positive) ?? 1)
    case "uniform_scaling": rule = .uniformScaling(scale: fields.number("scale", in: positive) ?? 1)
    case "xavier_uniform": rule = .xavierUniform
    case "orthogonal": rule = .orthogonal(gain: fields.number("gain", in: positive) ?? 1)
    default:
      fields.fault("type", "expected one of \(known), got \"\(type)\"")
      return nil
    }
    fields.finish()
    return rule
  }
}
