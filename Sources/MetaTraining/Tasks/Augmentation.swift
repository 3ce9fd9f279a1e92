// What a task's gradients go through on their way to the optimizer: descriptions with their JSON and costs.
// GradientSource*.swift do the work; the definitions are those of Metz et al. 2022 (arXiv 2211.09760), appendix.
import Contract
import Foundation

/// A change of the geometry, the estimate or the timing of gradients.
public enum Augmentation: Sendable, Hashable {
  /// The model runs on scale · parameter: the same function in another geometry. Scales are drawn log-uniformly at the
  /// start of each training.
  case reparametrised(ReparametrisationLevel, ClosedRange<Double>)
  /// Gradients estimated from `pairs` antithetic evaluations at normal distances of `deviation`.
  case evolved(deviation: Double, pairs: Int)
  /// Parameters, float data and gradients rounded to bfloat16.
  case bfloat16
  /// Gradients divided by their norm over all tensors; zero gradients stay zero.
  case normalised
  /// Gradients seen through `directions` random unit vectors a step, by their projections or by the signs of these.
  case subspace(directions: Int, usesSign: Bool)
  /// Loss and gradient of the parameters of `steps` steps ago.
  case delayed(steps: Int)
  /// The optimizer is shown the normalised loss and its gradient.
  case normalisedLoss
  /// Normal noise of that deviation added to each coordinate of the gradient.
  case noise(deviation: Double)
  /// A random share of the gradient's coordinates, new for each step; the others are zero.
  case sparse(share: Double)

  /// What shares one scale.
  public enum ReparametrisationLevel: String, Sendable, CaseIterable { case global, tensor, parameter }

  /// The arithmetic of a step around one that takes `inner`.
  func flops(_ inner: Double, parameters: Int) -> Double {
    let p = Double(parameters)
    switch self {
    case .reparametrised, .bfloat16: return inner + 2 * p
    // A forward pass is a third of an evaluation with gradients; a normal costs about 40.
    case .evolved(_, let pairs): return inner / 3 + Double(pairs) * (2 * inner / 3 + 46 * p)
    case .normalised: return inner + 3 * p
    case .subspace(let directions, _): return inner + Double(directions) * 46 * p
    case .delayed: return inner + p
    case .normalisedLoss: return inner + p
    case .noise: return inner + 42 * p
    case .sparse: return inner + 10 * p
    }
  }

  /// The object's name in configurations.
  var object: String {
    switch self {
    case .reparametrised: "ReparamWeights"
    case .evolved: "ESGradient"
    case .bfloat16: "BFloat16"
    case .normalised: "NormalizedGradient"
    case .subspace: "SubspaceGradient"
    case .delayed: "DelayedGradient"
    case .normalisedLoss: "NormalizedLoss"
    case .noise: "GradientNoise"
    case .sparse: "SparseGradient"
    }
  }

  /// The configuration of `family` with this around it.
  public func config(around family: TaskConfig) -> TaskConfig {
    var arguments: [String: JSON] = ["family": family.json]
    switch self {
    case .reparametrised(let level, let range):
      arguments["level"] = .string(level.rawValue)
      arguments["range"] = [.number(range.lowerBound), .number(range.upperBound)]
    case .evolved(let deviation, let pairs):
      arguments["std"] = .number(deviation)
      arguments["pairs"] = .integer(pairs)
    case .subspace(let directions, let usesSign):
      arguments["directions"] = .integer(directions)
      arguments["sign"] = .bool(usesSign)
    case .delayed(let steps): arguments["delay"] = .integer(steps)
    case .noise(let deviation): arguments["std"] = .number(deviation)
    case .sparse(let share): arguments["share"] = .number(share)
    case .bfloat16, .normalised, .normalisedLoss: break
    }
    return TaskConfig(object, arguments)
  }

  /// The names of all augmentations in configurations; a reduced batch is one of the builder's.
  static let objects: Set<String> = [
    "ReparamWeights", "ESGradient", "BFloat16", "NormalizedGradient", "SubspaceGradient", "DelayedGradient",
    "NormalizedLoss", "GradientNoise", "SparseGradient",
  ]

  /// Reads the augmentation of a configuration's node from its arguments, without the task inside it; nil with faults.
  static func read(_ object: String, _ fields: inout Fields) -> Augmentation? {
    switch object {
    case "ReparamWeights":
      let level = fields.choice("level", of: ReparametrisationLevel.self) ?? .global
      return fields.scales("range").map { .reparametrised(level, $0) }
    case "ESGradient":
      return .evolved(
        deviation: fields.number("std", in: 1e-6...10) ?? 0.01, pairs: fields.integer("pairs", in: 1...1024) ?? 1)
    case "BFloat16": return .bfloat16
    case "NormalizedGradient": return .normalised
    case "SubspaceGradient":
      let directions = fields.integer("directions", in: 1...4096, required: "how many directions a step")
      return directions.map { .subspace(directions: $0, usesSign: fields.bool("sign") ?? false) }
    case "DelayedGradient":
      return fields.integer("delay", in: 1...64, required: "the delay in steps").map { .delayed(steps: $0) }
    case "NormalizedLoss": return .normalisedLoss
    case "GradientNoise":
      return fields.number("std", in: 0...1e6, required: "the noise's deviation").map { .noise(deviation: $0) }
    case "SparseGradient":
      return fields.number("share", in: 1e-6...1, required: "the share of coordinates kept").map { .sparse(share: $0) }
    default: return nil
    }
  }
}

extension Fields {
  /// Two positive numbers, the smaller first; 0.001 to 1000 where the field is missing.
  fileprivate mutating func scales(_ key: String) -> ClosedRange<Double>? {
    guard value(key) != nil else { return 0.001...1000 }
    let pair = array(key, counts: 2...2) { json, path, faults -> Double? in
      if let number = json.number, number >= 1e-9, number <= 1e9 { return number }
      faults.add(path, "expected a number from 1e-9 to 1e9, got \(json.kind)")
      return nil
    }
    guard let pair else { return nil }
    guard pair[0] <= pair[1] else {
      fault(key, "expected the smaller number first")
      return nil
    }
    return pair[0]...pair[1]
  }
}
