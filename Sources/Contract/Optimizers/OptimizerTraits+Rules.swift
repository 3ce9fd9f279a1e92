// The options, memory and prices of the hand-designed optimizers whose rules are elementwise or need the norms or axes of
// a tensor. Defaults are what users of today's frameworks expect; where the published baselines of learned optimizers
// differ (epsilon_root, decay_vectors, learning rates) the options reach them.
import Foundation

extension OptimizerOption {
  /// Weight decay of the rule's own, beside the gradient, and whether it takes biases and scales too.
  static func ownDecay(
    _ value: Double, aliases: [String] = [], vectors: Bool = false,
    _ summary: String = "pull of the weights towards zero, beside the gradient's step"
  ) -> [OptimizerOption] {
    [
      amount("weight_decay", value, aliases: aliases, summary),
      flag(
        "decay_vectors", vectors, aliases: ["weight_decay_mask"],
        "whether weight decay also takes tensors of at most one axis, such as biases and scales"),
    ]
  }

  private static func epsilonRoot(_ value: Double) -> OptimizerOption {
    amount("epsilon_root", value, aliases: ["eps_root"], "added below the root")
  }

  private static func momentum(_ value: Double, _ aliases: [String] = []) -> OptimizerOption {
    share("momentum", value, aliases: aliases, "share of the last step that is kept")
  }

  private static let nesterov = flag("nesterov", false, aliases: ["use_nesterov"], "whether momentum looks ahead")

  private static func beta3(_ value: Double, _ summary: String) -> OptimizerOption {
    decay("beta3", value, aliases: ["b3"], summary)
  }

  /// Options of Adam's family: rate, two decays, epsilons.
  private static func family(
    _ rate: Double, _ beta1: Double = 0.9, _ beta2: Double = 0.999, epsilon: Double = 1e-8, root: Double? = 0
  ) -> [OptimizerOption] {
    self.rate(rate) + betas(beta1, beta2) + [self.epsilon(epsilon)] + (root.map { [epsilonRoot($0)] } ?? [])
  }

  fileprivate static let nesterovMomentum: [OptimizerOption] =
    rate(0.01) + [
      share("decay", 0.9, aliases: ["momentum"], "share of the last step that is kept"),
      flag("nesterov", true, aliases: ["use_nesterov"], "false makes it momentum"),
    ]
  fileprivate static let adagrad: [OptimizerOption] =
    rate(0.01) + [
      epsilon(1e-7),
      amount(
        "initial_accumulator", 0.1, aliases: ["initial_accumulator_value"], "what the sums of squares begin at"),
    ]
  fileprivate static let adadelta: [OptimizerOption] =
    rate(1) + [share("rho", 0.9, "decay of the mean squares"), epsilon(1e-6)]
  fileprivate static let rmsprop: [OptimizerOption] =
    rate(1e-3) + [
      share("decay", 0.9, aliases: ["rho"], "decay of the mean square"), epsilon(1e-8), momentum(0), nesterov,
      flag("centered", false, "whether the square of the mean gradient is taken off"),
    ]
  fileprivate static let adamw: [OptimizerOption] = family(1e-3) + ownDecay(0.01)
  fileprivate static let nadam: [OptimizerOption] = family(1e-3) + ownDecay(0)
  fileprivate static let nadamw: [OptimizerOption] =
    family(1e-3, root: nil) + ownDecay(0, aliases: ["adamw_weight_decay"]) + [
      amount("l2_weight_decay", 0, "times the weights, joins the gradient before the moments"),
      flag("l2_subtracts", false, "whether it is taken off the gradient, as in the published baseline, not added"),
      flag("nesterov", true, aliases: ["use_nesterov"], "whether the first moment looks ahead"),
    ]
  fileprivate static let amsgrad: [OptimizerOption] = family(1e-3)
  fileprivate static let radam: [OptimizerOption] =
    family(1e-3) + [
      OptimizerOption(
        "threshold", kind: .number(4.000_001...1e6, default: 5), "length of memory from which the rate is rectified")
    ]
  fileprivate static let adabelief: [OptimizerOption] = family(1e-3, epsilon: 1e-16, root: 1e-16)
  fileprivate static let yogi: [OptimizerOption] =
    family(0.01, epsilon: 1e-3, root: nil) + [
      amount("initial", 1e-6, aliases: ["initial_accumulator_value"], "what both moments begin at")
    ]
  fileprivate static let lamb: [OptimizerOption] = family(1e-3, epsilon: 1e-6) + ownDecay(0)
  fileprivate static let lars: [OptimizerOption] =
    rate(1) + [
      amount("trust_coefficient", 0.001, "length of a step in lengths of the weights"),
      amount("epsilon", 0, aliases: ["eps"], "added to the gradient's norm"), momentum(0.9), nesterov,
    ] + ownDecay(0, "times the weights, joins the gradient")
  fileprivate static let fromage: [OptimizerOption] =
    rate(0.01) + [amount("min_norm", 1e-6, "least norm that is counted")]
  fileprivate static let sm3: [OptimizerOption] =
    rate(0.1) + [
      momentum(0.9, ["b1", "beta1"]),
      share("beta2", 1, aliases: ["b2"], "decay of the accumulators; 1 adds them up"), epsilon(1e-8),
    ]
  fileprivate static let adafactor: [OptimizerOption] =
    rate(0.01) + [
      OptimizerOption(
        "min_dim_size_to_factor", kind: .integer(1...1_000_000_000, default: 128),
        "entries that a matrix' shorter axis must have for its second moments to be factored"),
      amount("decay", 0.8, aliases: ["decay_rate"], "power of time at which the second moments forget"),
      OptimizerOption(
        "decay_offset", kind: .integer(0...1_000_000_000, default: 0), "updates before that time begins"),
      flag("multiply_by_parameter_scale", true, "whether steps are relative to the size of the weights"),
      amount("clipping_threshold", 1, "most root mean square of a step before the rate; 0 for no bound"),
      momentum(0), amount("epsilon", 1e-30, aliases: ["eps"], "added to squared gradients"),
    ] + ownDecay(0, aliases: ["weight_decay_rate"], "share of the weights that each update takes, whatever the rate")
  fileprivate static let adamax: [OptimizerOption] = family(2e-3, root: nil) + ownDecay(0)
  fileprivate static let adan: [OptimizerOption] =
    family(1e-3, 0.98, 0.92) + [beta3(0.99, "decay of the squares")] + ownDecay(0)
  fileprivate static let ademamix: [OptimizerOption] =
    family(1e-3) + [
      beta3(0.9999, "decay of the slow moment"), amount("alpha", 5, "weight of the slow moment"),
      OptimizerOption(
        "slow_warmup_steps", kind: .integer(0...1_000_000_000, default: 0),
        "updates over which alpha and beta3 reach their values; 0 for none"),
    ] + ownDecay(0)
  fileprivate static let novograd: [OptimizerOption] =
    family(0.01, 0.9, 0.25, epsilon: 1e-6) + ownDecay(0, "times the weights, joins the normalised gradient")
  fileprivate static let lion: [OptimizerOption] =
    rate(1e-4) + [
      share("beta1", 0.9, aliases: ["b1"], "share of the momentum in a step"),
      share("beta2", 0.99, aliases: ["b2"], "decay of the momentum"),
    ] + ownDecay(0.1)
  fileprivate static let signSGD: [OptimizerOption] = rate(1e-3)
  private static let firstDistance = OptimizerOption(
    "d0", aliases: ["estim_lr0"], kind: .number(1e-12...1e6, default: 1e-6), "the first guess of the distance to go")
  fileprivate static let prodigy: [OptimizerOption] =
    family(1, root: nil) + [
      beta3(0, "decay of the sums that the distance is found from; 0 for the root of beta2"), firstDistance,
      OptimizerOption(
        "d_coef", aliases: ["estim_lr_coef"], kind: .number(1e-12...1e6, default: 1), "times the distance found"),
      flag("safeguard_warmup", false, "whether a rate that warms up is kept out of the distance"),
    ] + ownDecay(0)
  fileprivate static let dadaptAdamW: [OptimizerOption] = family(1, root: nil) + [firstDistance] + ownDecay(0)
  fileprivate static let scheduleFreeAdamW: [OptimizerOption] =
    rate(0.0025) + [
      OptimizerOption(
        "beta1", aliases: ["b1"], kind: .number(0.001...0.999_999_999, default: 0.9),
        "share of the average in where gradients are taken"),
      decay("beta2", 0.999, aliases: ["b2"], "decay of the second moment"), epsilon(1e-8),
      amount("weight_power", 2, aliases: ["weight_lr_power"], "power of the rate at which the average weighs updates"),
      OptimizerOption(
        "warmup_steps", kind: .integer(0...1_000_000_000, default: 0), "updates over which the rate rises from 0"),
    ] + ownDecay(0)
  fileprivate static let optList: [OptimizerOption] = [
    OptimizerOption("index", aliases: ["idx"], kind: .integer(0...9, default: 0), "entry of the list, best first"),
    flag(
      "decay_vectors", true, aliases: ["weight_decay_mask"],
      "whether weight decay also takes tensors of at most one axis, as it did when the list was made"),
  ]
}

extension OptimizerTraits {
  static let nesterov = rule(OptimizerOption.nesterovMomentum, state: 1, flops: 25)
  static let adagrad = rule(OptimizerOption.adagrad, state: 1, flops: 34)
  static let adadelta = rule(OptimizerOption.adadelta, state: 2, flops: 58)
  static let rmsprop = OptimizerTraits(
    isLearned: false, options: OptimizerOption.rmsprop,
    stateFloatsPerParameter: { 1 + ($0.number("momentum") > 0 ? 1 : 0) + ($0.flag("centered") ? 1 : 0) },
    updateFlops: (42, 0), parametersMax: nil)
  static let adamw = rule(OptimizerOption.adamw, state: 2, flops: 40)
  static let nadam = rule(OptimizerOption.nadam, state: 2, flops: 40)
  static let nadamw = rule(OptimizerOption.nadamw, state: 2, flops: 40)
  static let amsgrad = rule(OptimizerOption.amsgrad, state: 3, flops: 50)
  static let radam = rule(OptimizerOption.radam, state: 2, flops: 40)
  static let adabelief = rule(OptimizerOption.adabelief, state: 2, flops: 40)
  static let yogi = rule(OptimizerOption.yogi, state: 2, flops: 40)
  static let lamb = rule(OptimizerOption.lamb, state: 2, flops: 55, perTensor: 5_000)
  static let lars = rule(OptimizerOption.lars, state: 1, flops: 42, perTensor: 5_000)
  static let fromage = rule(OptimizerOption.fromage, state: 0, flops: 30, perTensor: 5_000)
  static let sm3 = rule(OptimizerOption.sm3, state: 1, flops: 45, perTensor: 5_000)
  static let adafactor = OptimizerTraits(
    isLearned: false, options: OptimizerOption.adafactor,
    // Tensors that are too small to be factored keep one float; they are counted as if all were.
    stateFloatsPerParameter: { 1 + ($0.number("momentum") > 0 ? 1 : 0) }, updateFlops: (50, 10_000),
    parametersMax: nil)
  static let adamax = rule(OptimizerOption.adamax, state: 2, flops: 40)
  static let adan = rule(OptimizerOption.adan, state: 4, flops: 80)
  static let ademamix = rule(OptimizerOption.ademamix, state: 3, flops: 58)
  static let novograd = rule(OptimizerOption.novograd, state: 1, flops: 42, perTensor: 5_000)
  static let lion = rule(OptimizerOption.lion, state: 1, flops: 25)
  static let signSGD = rule(OptimizerOption.signSGD, state: 0, flops: 15)
  static let prodigy = rule(OptimizerOption.prodigy, state: 4, flops: 100, perTensor: 5_000)
  static let dadaptAdamW = rule(OptimizerOption.dadaptAdamW, state: 3, flops: 70, perTensor: 5_000)
  static let scheduleFreeAdamW = rule(OptimizerOption.scheduleFreeAdamW, state: 2, flops: 55)
  static let optList = rule(OptimizerOption.optList, state: 2, flops: 40)
}

extension OptimizerName {
  /// Defaults of published implementations where ours are others, but for learning rates: what a trajectory of theirs
  /// is compared at. They decay all tensors.
  public var publishedDefaults: [String: JSON] {
    var published: [String: JSON] = [:]
    if options.contains(where: { $0.key == "decay_vectors" }) { published["decay_vectors"] = true }
    switch self {
    case .adamw: published["weight_decay"] = 1e-4
    case .lion: published["weight_decay"] = 1e-3
    case .adan: published["epsilon_root"] = 1e-8
    case .nadamw: published["l2_subtracts"] = true
    default: break
    }
    return published
  }
}
