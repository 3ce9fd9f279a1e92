// Adam (Kingma & Ba 2015, arXiv 1412.6980). See Optimizer.swift.
//
//   m' = b1 m + (1 - b1) g               v' = b2 v + (1 - b2) g^2
//   M  = m' / (1 - b1^k)                 V  = v' / (1 - b2^k)              k = t + 1
//   p' = p - rate * M / (sqrt(V + epsilonRoot) + epsilon)
import Compute
import Contract
import Foundation

/// Adam with bias correction; keeps two slots, `first_moment` and `second_moment`.
public struct Adam: Optimizer {
  public let name = "adam"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  /// The constants of the rule; they may change from one step to the next.
  public var configuration: Configuration
  private let kernels: OptimizerKernels
  private let floats: Int

  /// Adam's constants.
  public struct Configuration: Sendable, Hashable {
    /// The learning rate; 0.001.
    public var learningRate: LearningRate
    /// The first moment's decay, b1; 0.9.
    public var beta1: Float
    /// The second moment's decay, b2; 0.999.
    public var beta2: Float
    /// Added to the root; 1e-8.
    public var epsilon: Float
    /// Added below the root; 0.
    public var epsilonRoot: Float

    /// The constants set in `settings`.
    public init(_ settings: OptimizerSettings = OptimizerSettings(.adam)) {
      learningRate = settings.learningRate
      beta1 = Float(settings.number("beta1"))
      beta2 = Float(settings.number("beta2"))
      epsilon = Float(settings.number("epsilon"))
      epsilonRoot = Float(settings.number("epsilon_root"))
    }
  }

  /// - Parameter settings: `learning_rate`, `schedule`, `beta1`, `beta2`, `epsilon`, `epsilon_root`.
  public init(
    parameters: ParameterLayout, settings: OptimizerSettings = OptimizerSettings(.adam), level: CPULevel
  ) {
    self.parameters = parameters
    configuration = Configuration(settings)
    state = parameters.slots(["first_moment", "second_moment"])
    kernels = OptimizerKernels(level: level)
    floats = parameters.packedFloats
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
      rate: Float(configuration.learningRate.at(step) * firstCorrection), correction: Float(secondCorrection))
  }
}
