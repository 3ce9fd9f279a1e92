// The options, memory and prices of the optimizers that evaluate the batch at other parameters than those being
// trained: mezo and cge, which see losses alone, and adahessian, which measures the curvature.
import Foundation

extension OptimizerOption {
  /// What becomes of an estimated gradient.
  private static let rule = OptimizerOption(
    "rule", kind: .choice(["sgd", "momentum", "adam"], default: "sgd"),
    "the optimizer that takes the estimated gradients, its own options at their defaults")

  private static let decayVectors = flag(
    "decay_vectors", false, "whether weight decay also takes tensors of at most one axis, such as biases and scales")

  /// Distance between points whose losses are compared.
  private static func distance(_ value: Double, aliases: [String], _ summary: String) -> OptimizerOption {
    OptimizerOption("epsilon", aliases: aliases, kind: .number(1e-6...10, default: value), summary)
  }

  fileprivate static let mezo: [OptimizerOption] =
    rate(1e-3) + [
      distance(1e-3, aliases: ["eps", "zo_eps"], "size of the random steps along which losses are compared"),
      OptimizerOption(
        "samples", aliases: ["q"], kind: .integer(1...1000, default: 1),
        "random directions whose mean makes the estimate; two evaluations each"),
      amount("weight_decay", 0, "pull of the weights towards zero, added to the estimate"), decayVectors, rule,
    ]
  fileprivate static let cge: [OptimizerOption] =
    rate(0.1) + [
      distance(
        5e-3, aliases: ["eps", "mu", "zoo_step_size"], "how far a parameter is moved to see what becomes of the loss"),
      OptimizerOption(
        "coordinates", kind: .integer(1...100_000, default: 1000),
        "most parameters whose slope is measured in a step; of more, as many random ones are"),
      flag("one_sided", false, "whether one evaluation above stands against the loss as it is, not one on either side"),
      rule,
    ]
  fileprivate static let adahessian: [OptimizerOption] =
    rate(0.15) + betas(0.9, 0.999) + [
      epsilon(1e-4),
      OptimizerOption(
        "hessian_power", kind: .number(0...2, default: 1), "power of the curvature that steps are divided by"),
      flag("average", true, aliases: ["spatial_averaging"], "whether the inputs of a unit share one curvature"),
      amount("weight_decay", 0, "pull of the weights towards zero, beside the gradient's step"), decayVectors,
    ]
}

extension OptimizerTraits {
  /// An optimizer that hands estimated gradients to the optimizer that the option `rule` names.
  private static func estimating(
    _ options: [OptimizerOption], copies: Int, flops: Double,
    evaluations: @escaping @Sendable (OptimizerSettings, Int) -> (losses: Double, gradients: Double)
  ) -> OptimizerTraits {
    OptimizerTraits(
      isLearned: false, options: options,
      stateFloatsPerParameter: { settings in
        switch settings.text("rule") {
        case "adam": 2 + copies
        case "momentum": 1 + copies
        default: copies
        }
      }, updateFlops: (flops, 0), evaluations: evaluations, parametersMax: nil)
  }

  /// The batch's own loss, then two for each direction.
  static let mezo = estimating(OptimizerOption.mezo, copies: 1, flops: 280) { settings, _ in
    (1 + 2 * Double(settings.integer("samples")), 0)
  }

  static let cge = estimating(OptimizerOption.cge, copies: 0, flops: 30) { settings, parameters in
    let coordinates = Double(min(settings.integer("coordinates"), parameters))
    return (1 + (settings.flag("one_sided") ? 1 : 2) * coordinates, 0)
  }

  static let adahessian = {
    var traits = rule(OptimizerOption.adahessian, state: 5, flops: 310)
    traits.evaluations = { _, _ in (0, 3) }
    return traits
  }()
}
