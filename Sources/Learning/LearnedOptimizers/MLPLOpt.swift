// MLPLOpt: a network for each parameter on the gradient, the parameter and six momenta (Metz et al. 2019,
// "Understanding and correcting pathologies in the training of learned optimizers", arXiv 1810.10180). Theta.swift
// holds its meta-parameters; the arithmetic is in CKernels/optimizer_mlp_lopt.inc.h.
//
//   M_j = decay_j M_j + (1 - decay_j) g                       decays 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999
//   x = [g, p, M], each divided by sqrt(1e-5 + mean of its square over the tensor),
//       then tanh(t/tau - 1) for 11 time scales tau
//   (d, a) = W2' relu(W1' relu(W0' x + b0) + b1) + b2
//   p' = p - d * exp(a * expMultiplier) * stepMultiplier
import Compute
import Contract

/// The learned optimizer MLPLOpt: no loss, no schedule, 1,762 meta-parameters at 32 hidden units.
public struct MLPLOpt: LearnedOptimizer {
  public static let optimizer = OptimizerName.mlpLOpt
  public static let architecture = "mlp"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  /// Momenta [6, shape] of each tensor, `momentum/…`.
  public let state: ParameterLayout
  public let thetaLayout: ParameterLayout?
  private let rule: MLPLOptRule
  private let kernels: OptimizerKernels

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// Units of each of the two hidden layers, 1 to 64; 32.
    public var hidden = 32
    /// Scales the magnitude in the exponent; 0.001.
    public var expMultiplier = 0.001
    /// Scales every step; 0.001.
    public var stepMultiplier = 0.001

    public init() {}

    public init(hidden: Int = 32, expMultiplier: Double = 0.001, stepMultiplier: Double = 0.001) {
      self.hidden = hidden
      self.expMultiplier = expMultiplier
      self.stepMultiplier = stepMultiplier
    }

    /// Widths of the hidden layers that the kernels take.
    static let hiddenRange = 1...SmallFCRule.hiddenMax

    public mutating func read(_ fields: inout Fields) {
      fields.accept(["hidden_size"], as: "hidden")
      fields.accept(["exp_mult"], as: "exp_multiplier")
      fields.accept(["step_mult"], as: "step_multiplier")
      hidden = fields.integer("hidden", in: Self.hiddenRange) ?? hidden
      expMultiplier = fields.number("exp_multiplier", in: 0...1000) ?? expMultiplier
      stepMultiplier = fields.number("step_multiplier", in: 0...1000) ?? stepMultiplier
      _ = fields.integer("hidden_layers", in: 2...2)
    }

    public var json: JSON {
      [
        "hidden": .integer(hidden), "exp_multiplier": .number(expMultiplier),
        "step_multiplier": .number(stepMultiplier),
      ]
    }
  }

  /// The features: gradient, parameter, momenta and times.
  private static let inputs = 19

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    let h = configuration.hidden
    return ThetaLeaf.linear(["mlp/~/linear_0"], inputs, h) + ThetaLeaf.linear(["mlp/~/linear_1"], h, h)
      + ThetaLeaf.linear(["mlp/~/linear_2"], h, 2)
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    guard let w0 = tree.shape(["mlp/~/linear_0", "w"]), w0.count == 2, w0[0] == inputs,
      Configuration.hiddenRange.contains(w0[1]), tree.shape(["mlp/~/linear_2", "w"]) == [w0[1], 2]
    else { return nil }
    return Configuration(hidden: w0[1])
  }

  /// - Parameter configuration: traps on a width that ``Configuration/read(_:)`` would refuse.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    precondition(
      Configuration.hiddenRange.contains(configuration.hidden), "MLPLOpt: \(configuration.hidden) hidden units")
    let theta = ThetaSchema(MLPLOpt.self, configuration).layout
    self.parameters = parameters
    thetaLayout = theta
    state = ParameterLayout(
      parameters.tensors.map { ("momentum/\($0.name)", Shape([MLPLOptRule.decays] + $0.shape.dimensions)) })
    rule = MLPLOptRule(configuration, parameters: parameters, state: state, theta: theta)
    kernels = OptimizerKernels(level: level)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("MLPLOpt: a learned optimizer needs its theta") }
    kernels.mlpLOpt(rule, parameters, gradients, state: state, theta: theta, iteration: step.iteration)
  }
}
