// SGD: plain stochastic gradient descent (Robbins & Monro 1951). See Optimizer.swift.
//
//   p' = p - rate * g
import Compute

/// Stochastic gradient descent; keeps no state.
public struct SGD: Optimizer {
  public let name = "sgd"
  public let parameters: ParameterLayout
  public let state = ParameterLayout([])
  public let thetaLayout: ParameterLayout? = nil
  public let scratchFloats = 0
  /// The learning rate.
  public let learningRate: Float
  private let kernels: OptimizerKernels
  private let floats: Int

  /// An optimizer of `parameters`; the default learning rate is 0.01.
  public init(parameters: ParameterLayout, learningRate: Float = 0.01, level: CPULevel) {
    self.parameters = parameters
    self.learningRate = learningRate
    kernels = OptimizerKernels(level: level)
    floats = parameters.packedFloats
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {}

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    kernels.sgd(parameters, gradients, count: floats, rate: learningRate)
  }
}
