// STAR: small_fc's network beside a nominal rule that is stable by itself (Harrison et al. 2022, "A Closer Look at
// Learned Optimization: Stability, Robustness, and Inductive Biases", arXiv 2209.11208; MLPNomLOpt in the published
// implementation). SmallFC.swift has the accumulators, the features and the decays, which theta moves; the arithmetic is
// in CKernels/optimizer_small_fc.inc.h and optimizer_network.inc.h.
//
//   (d, a, b, c) = the network's four outputs; q = 1/sqrt(V + 1e-6)
//   step = d * exp(a e_0) * stepMultiplier, times q if `normaliseStep`, times mean g if `selfNormaliseStep`
//   nominal = nominalStep * exp(b e_1) * ghat; ghat by `nominalEstimator`: g, M_3, mean_j M_j, q M_3, mean_j q M_j
//   p' = (1 - weightDecay * exp(c e_2)) p - step - nominal
//
// Without its controller b is 1 and c is 0. Each of a, b, c may be replaced by its mean over the tensor.
import Compute
import Contract

/// The learned optimizer STAR: 207 meta-parameters at 4 hidden units.
public struct Star: LearnedOptimizer {
  public static let optimizer = OptimizerName.star
  public static let architecture = "star"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  private let rule: StarRule
  private let tensors: AdafactorTensors
  private let kernels: OptimizerKernels

  /// The direction of the nominal rule.
  public enum NominalEstimator: String, Sendable, CaseIterable {
    /// The gradient.
    case sgd = "SGD"
    /// The slowest momentum.
    case sgdm = "SGDM"
    /// The mean of the three momenta.
    case aggMo = "AggMo"
    /// The slowest momentum over the root of the second moment.
    case adam = "Adam"
    /// The mean of the three momenta over the root of the second moment.
    case adamAggMo = "AdamAggMo"
  }

  /// What is fixed before meta-training. The defaults are those of the paper's STAR.
  public struct Configuration: ThetaConfiguration {
    /// Units of each of the two hidden layers, 1 to 64; 4.
    public var hidden = 4
    /// Scales of the outputs a, b and c in their exponents; 0.001 each.
    public var expMultipliers = [0.001, 0.001, 0.001]
    /// Scales the network's own step; 0.001.
    public var stepMultiplier = 0.001
    /// The rate of the nominal rule; 0.001.
    public var nominalStep = 0.001
    /// The share of a parameter that decays at each update; 0.
    public var weightDecay = 0.0
    /// The nominal rule's direction; AdamAggMo.
    public var nominalEstimator = NominalEstimator.adamAggMo
    /// Whether the output b scales the nominal rule; true.
    public var nominalController = true
    /// Whether the output c scales the decay; false.
    public var decayController = false
    /// Whether a tensor's mean of a, b or c acts in place of each element's; false.
    public var aggregateMagnitude = false, aggregateNominal = false, aggregateDecay = false
    /// Whether the network's step is divided by the root of the second moment; true.
    public var normaliseStep = true
    /// Whether the network's step is multiplied by the mean of the gradient; false.
    public var selfNormaliseStep = false

    public init() {}

    /// Names that only the published implementation gives to these constants.
    private static let published = [
      "hidden_size", "exp_mult", "step_mult", "nominal_stepsize", "nominal_grad_estimator", "regularization_controller",
      "aggregate_nom_magnitude", "aggregate_reg_magnitude", "normalize_blackbox", "selfnormalize_blackbox",
    ]

    /// Reads the constants that are given. Where some stand under the published implementation's names, those that are
    /// missing are that implementation's own defaults, which have no nominal rule, rather than the paper's STAR.
    public mutating func read(_ fields: inout Fields) {
      if Self.published.contains(where: fields.has) {
        (nominalStep, nominalController, normaliseStep) = (0, false, false)
      }
      fields.accept(["hidden_size"], as: "hidden")
      fields.accept(["exp_mult"], as: "exp_multipliers")
      fields.accept(["step_mult"], as: "step_multiplier")
      fields.accept(["nominal_stepsize"], as: "nominal_step")
      fields.accept(["nominal_grad_estimator"], as: "nominal_estimator")
      fields.accept(["regularization_controller"], as: "decay_controller")
      fields.accept(["aggregate_nom_magnitude"], as: "aggregate_nominal")
      fields.accept(["aggregate_reg_magnitude"], as: "aggregate_decay")
      fields.accept(["normalize_blackbox"], as: "normalise_step")
      fields.accept(["selfnormalize_blackbox"], as: "self_normalise_step")
      hidden = fields.integer("hidden", in: SmallFC.Configuration.hiddenRange) ?? hidden
      _ = fields.integer("hidden_layers", in: 2...2)
      expMultipliers =
        fields.array("exp_multipliers", counts: 3...3) { json, path, faults in
          if let number = json.number, (0...1000).contains(number) { return number }
          faults.add(path, "expected a number from 0 to 1000, got \(json.kind)")
          return nil
        } ?? expMultipliers
      stepMultiplier = fields.number("step_multiplier", in: 0...1000) ?? stepMultiplier
      nominalStep = fields.number("nominal_step", in: 0...1000) ?? nominalStep
      weightDecay = fields.number("weight_decay", in: 0...1) ?? weightDecay
      nominalEstimator = fields.choice("nominal_estimator", of: NominalEstimator.self) ?? nominalEstimator
      nominalController = fields.bool("nominal_controller") ?? nominalController
      decayController = fields.bool("decay_controller") ?? decayController
      aggregateMagnitude = fields.bool("aggregate_magnitude") ?? aggregateMagnitude
      aggregateNominal = fields.bool("aggregate_nominal") ?? aggregateNominal
      aggregateDecay = fields.bool("aggregate_decay") ?? aggregateDecay
      normaliseStep = fields.bool("normalise_step") ?? normaliseStep
      selfNormaliseStep = fields.bool("self_normalise_step") ?? selfNormaliseStep
    }

    public var json: JSON {
      [
        "hidden": .integer(hidden), "exp_multipliers": .array(expMultipliers.map(JSON.number)),
        "step_multiplier": .number(stepMultiplier), "nominal_step": .number(nominalStep),
        "weight_decay": .number(weightDecay), "nominal_estimator": .string(nominalEstimator.rawValue),
        "nominal_controller": .bool(nominalController), "decay_controller": .bool(decayController),
        "aggregate_magnitude": .bool(aggregateMagnitude), "aggregate_nominal": .bool(aggregateNominal),
        "aggregate_decay": .bool(aggregateDecay), "normalise_step": .bool(normaliseStep),
        "self_normalise_step": .bool(selfNormaliseStep),
      ]
    }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    SmallFC.leaves(hidden: configuration.hidden, outputs: 4)
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    guard let hidden = SmallFC.hidden(tree, outputs: 4) else { return nil }
    var configuration = Configuration()
    configuration.hidden = hidden
    return configuration
  }

  /// The state's layout, that of `SmallFC`.
  public var state: ParameterLayout { tensors.state }

  /// - Parameter configuration: traps on a width that ``Configuration/read(_:)`` would refuse.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    precondition(
      SmallFC.Configuration.hiddenRange.contains(configuration.hidden) && configuration.expMultipliers.count == 3,
      "Star: \(configuration.json.text) is beyond the limits")
    let theta = ThetaSchema(Star.self, configuration).layout
    self.parameters = parameters
    thetaLayout = theta
    rule = StarRule(configuration, theta: theta)
    tensors = AdafactorTensors(parameters: parameters)
    scratchFloats = tensors.scratchFloats(hidden: configuration.hidden)
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    precondition(theta != nil, "Star: a learned optimizer needs its theta")
    state.update(repeating: 0, count: self.state.floats)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("Star: a learned optimizer needs its theta") }
    kernels.star(
      rule, tensors, parameters, gradients, state: state, theta: theta, scratch: scratch, iteration: step.iteration)
  }
}
