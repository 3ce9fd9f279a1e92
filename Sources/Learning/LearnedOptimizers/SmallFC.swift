// small_fc: AdafacMLP, a per-parameter network on momentum and Adafactor features (Metz et al. 2022, "Practical
// tradeoffs between memory, compute, and performance in learned optimizers", arXiv 2203.11860). Theta.swift holds its
// meta-parameters, AdafactorSlots its state; the arithmetic is in CKernels/optimizer_small_fc.inc.h.
//
//   M_j = momentum_j M_j + (1 - momentum_j) g          j = 1..3, decays 0.9, 0.99, 0.999 moved by theta
//   V   = rms V + (1 - rms) g^2                        decay 0.999 moved by theta
//   R_j, C_j: Adafactor's row and column averages of g^2 + 1e-30, decays as momentum's; D_j for rank 0 and 1
//   a decay moved by an offset o is 1 - (1 - decay) e^(10 o); those of V, R, C and D are clipped to [0, 1]
//   x = [g, p, M, V, M/sqrt(V + 1e-6), 1/sqrt(V + 1e-6), fac g, R, C, 1/sqrt(R + 1e-8), 1/sqrt(C + 1e-8), fac M],
//       each divided by sqrt(1e-5 + mean of its square over the tensor), then tanh(t/tau - 1) for 11 time scales tau
//   (d, a) = W2' relu(W1' relu(W0' x + b0) + b1) + b2
//   p' = p - d * exp(a * expMultiplier) * stepMultiplier
import Compute
import Contract

/// The learned optimizer small_fc: no loss, no schedule, 197 meta-parameters at 4 hidden units.
public struct SmallFC: LearnedOptimizer {
  public static let optimizer = OptimizerName.smallFC
  public static let architecture = "adafac"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  private let rule: SmallFCRule
  private let tensors: AdafactorTensors
  private let kernels: OptimizerKernels

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// Units of each of the two hidden layers, 1 to 64; 4.
    public var hidden = 4
    /// Scales the magnitude in the exponent; 0.001.
    public var expMultiplier = 0.001
    /// Scales every step; 0.001.
    public var stepMultiplier = 0.001

    public init() {}

    public init(hidden: Int = 4, expMultiplier: Double = 0.001, stepMultiplier: Double = 0.001) {
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
      if fields.bool("concat_weights") == false {
        fields.fault("concat_weights", "expected true: the parameter is always among the features here")
      }
    }

    public var json: JSON {
      [
        "hidden": .integer(hidden), "exp_multiplier": .number(expMultiplier),
        "step_multiplier": .number(stepMultiplier),
      ]
    }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    leaves(hidden: configuration.hidden, outputs: 2)
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    hidden(tree, outputs: 2).map { Configuration(hidden: $0) }
  }

  /// Theta of a network of two hidden layers with this many outputs, and the offsets of the decays.
  static func leaves(hidden h: Int, outputs: Int) -> [ThetaLeaf] {
    [
      ThetaLeaf(["adafactor_decays"], [3]), ThetaLeaf(["momentum_decays"], [3]),
      ThetaLeaf(["nn", "~", "b0"], [h]), ThetaLeaf(["nn", "~", "b1"], [h]), ThetaLeaf(["nn", "~", "b2"], [outputs]),
      ThetaLeaf(["nn", "~", "w0"], [39, h], fanIn: 39), ThetaLeaf(["nn", "~", "w1"], [h, h], fanIn: h),
      ThetaLeaf(["nn", "~", "w2"], [h, outputs], fanIn: h), ThetaLeaf(["rms_decays"], [1]),
    ]
  }

  /// The width of such a network in a tree of weights; nil for other weights and widths beyond the limit.
  static func hidden(_ tree: ThetaTree, outputs: Int) -> Int? {
    guard let w0 = tree.shape(["nn", "~", "w0"]), w0.count == 2, w0[0] == 39,
      Configuration.hiddenRange.contains(w0[1]), tree.shape(["nn", "~", "w2"]) == [w0[1], outputs]
    else { return nil }
    return w0[1]
  }

  /// The state's layout: `momentum/…`, `rms/…` and either `row/…` and `column/…` or `diagonal/…` of each tensor.
  public var state: ParameterLayout { tensors.state }

  /// - Parameter configuration: traps on a width that ``Configuration/read(_:)`` would refuse.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    precondition(
      Configuration.hiddenRange.contains(configuration.hidden), "SmallFC: \(configuration.hidden) hidden units")
    let theta = ThetaSchema(SmallFC.self, configuration).layout
    self.parameters = parameters
    thetaLayout = theta
    rule = SmallFCRule(
      hidden: configuration.hidden, expMultiplier: configuration.expMultiplier,
      stepMultiplier: configuration.stepMultiplier, theta: theta)
    tensors = AdafactorTensors(parameters: parameters)
    scratchFloats = tensors.scratchFloats(hidden: configuration.hidden)
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    precondition(theta != nil, "SmallFC: a learned optimizer needs its theta")
    state.update(repeating: 0, count: self.state.floats)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("SmallFC: a learned optimizer needs its theta") }
    kernels.smallFC(
      rule, tensors, parameters, gradients, state: state, theta: theta, scratch: scratch, iteration: step.iteration)
  }
}
