// Adam (Kingma & Ba 2015, arXiv 1412.6980). See Optimizer.swift.
//
//   m' = b1 m + (1 - b1) g               v' = b2 v + (1 - b2) g^2
//   M  = m' / (1 - b1^k)                 V  = v' / (1 - b2^k)              k = t + 1
//   p' = p - rate * M / (sqrt(V + epsilonRoot) + epsilon)
import Compute
import Foundation

/// Adam with bias correction; keeps two slots, `first_moment` and `second_moment`.
public struct Adam: Optimizer {
  public let name = "adam"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  public let thetaLayout: ParameterLayout? = nil
  public let scratchFloats = 0
  /// The constants of the rule; they may change from one step to the next.
  public var configuration: Configuration
  private let kernels: OptimizerKernels
  private let floats: Int

  /// Adam's constants.
  public struct Configuration: Sendable, Hashable {
    /// The learning rate; 0.001.
    public var learningRate: Float = 1e-3
    /// The first moment's decay, b1; 0.9.
    public var beta1: Float = 0.9
    /// The second moment's decay, b2; 0.999.
    public var beta2: Float = 0.999
    /// Added to the root; 1e-8.
    public var epsilon: Float = 1e-8
    /// Added below the root; 0.
    public var epsilonRoot: Float = 0

    /// The usual constants, but for the learning rate given.
    public init(learningRate: Float = 1e-3) { self.learningRate = learningRate }
  }

  /// An optimizer of `parameters`.
  public init(parameters: ParameterLayout, configuration: Configuration = Configuration(), level: CPULevel) {
    self.parameters = parameters
    self.configuration = configuration
    state = parameters.slots(["first_moment", "second_moment"])
    kernels = OptimizerKernels(level: level)
    floats = parameters.packedFloats
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    state.update(repeating: 0, count: self.state.floats)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    let k = Double(step.iteration + 1)
    // In double: 1 - b^k cancels badly in float while k is small.
    let firstCorrection = 1 / (1 - pow(Double(configuration.beta1), k))
    let secondCorrection = 1 / (1 - pow(Double(configuration.beta2), k))
    kernels.adam(
      parameters, gradients, state, state + floats, count: floats, configuration,
      rate: Float(Double(configuration.learningRate) * firstCorrection), correction: Float(secondCorrection))
  }
}
