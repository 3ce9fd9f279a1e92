// Momentum: gradient descent with a heavy ball (Polyak 1964). See Optimizer.swift.
//
//   m' = g + mu * m        (a sum, not an average: no factor 1 - mu)
//   p' = p - rate * m'
import Compute
import Contract

/// Heavy-ball momentum; keeps one slot, `momentum`.
public struct Momentum: Optimizer {
  public let name = "momentum"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  private let learningRate: LearningRate
  private let decay: Float
  private let kernels: OptimizerKernels
  private let floats: Int

  /// - Parameter settings: `learning_rate`, `schedule`, and `decay`, the share mu of the last step that is kept.
  public init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    self.parameters = parameters
    learningRate = settings.learningRate
    decay = Float(settings.number("decay"))
    state = parameters.slots(["momentum"])
    kernels = OptimizerKernels(level: level)
    floats = parameters.packedFloats
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    kernels.momentum(
      parameters, gradients, state, count: floats, rate: Float(learningRate.at(step)), decay: decay)
  }
}
