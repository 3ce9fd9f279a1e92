// SGD: plain stochastic gradient descent (Robbins & Monro 1951). See Optimizer.swift.
//
//   p' = p - rate * g
import Compute
import Contract

/// Stochastic gradient descent; keeps no state.
public struct SGD: Optimizer {
  public let name = "sgd"
  public let parameters: ParameterLayout
  public let state = ParameterLayout([])
  private let learningRate: LearningRate
  private let kernels: OptimizerKernels
  private let floats: Int

  /// - Parameter settings: `learning_rate`, `schedule`.
  public init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    self.parameters = parameters
    learningRate = settings.learningRate
    kernels = OptimizerKernels(level: level)
    floats = parameters.packedFloats
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    kernels.sgd(parameters, gradients, count: floats, rate: Float(learningRate.at(step)))
  }
}
