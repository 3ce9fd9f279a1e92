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

/// The learned optimizer small_fc: no loss, no schedule, 197 meta-parameters at 4 hidden units.
public struct SmallFC: Optimizer {
  public let name = "small_fc"
  public let parameters: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  /// The constants of the rule.
  public let configuration: Configuration
  private let rule: SmallFCRule
  private let tensors: AdafactorTensors
  private let kernels: OptimizerKernels

  /// What is fixed before meta-training.
  public struct Configuration: Sendable, Hashable {
    /// Units of each of the two hidden layers, 1 to 64; 4.
    public var hidden: Int = 4
    /// Scales the magnitude in the exponent; 0.001.
    public var expMultiplier: Float = 0.001
    /// Scales every step; 0.001.
    public var stepMultiplier: Float = 0.001

    /// The published constants, but for those given. Traps on a width outside 1...64.
    public init(hidden: Int = 4, expMultiplier: Float = 0.001, stepMultiplier: Float = 0.001) {
      precondition((1...SmallFCRule.hiddenMax).contains(hidden), "SmallFC: \(hidden) hidden units, expected 1 to 64")
      self.hidden = hidden
      self.expMultiplier = expMultiplier
      self.stepMultiplier = stepMultiplier
    }
  }

  /// The state's layout: `momentum/…`, `rms/…` and either `row/…` and `column/…` or `diagonal/…` of each tensor.
  public var state: ParameterLayout { tensors.state }

  /// An optimizer of `parameters`.
  public init(parameters: ParameterLayout, configuration: Configuration = Configuration(), level: CPULevel) {
    let theta = ThetaSchema.smallFC(configuration).layout
    self.parameters = parameters
    self.configuration = configuration
    thetaLayout = theta
    rule = SmallFCRule(configuration, theta: theta)
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
