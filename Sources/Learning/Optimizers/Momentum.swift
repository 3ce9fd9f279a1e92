// Momentum: gradient descent with a heavy ball (Polyak 1964). See Optimizer.swift.
//
//   m' = g + mu * m        (a sum, not an average: no factor 1 - mu)
//   p' = p - rate * m'
import Compute

/// Heavy-ball momentum; keeps one slot, `momentum`.
public struct Momentum: Optimizer {
  public let name = "momentum"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  public let thetaLayout: ParameterLayout? = nil
  public let scratchFloats = 0
  /// The learning rate.
  public let learningRate: Float
  /// The share of the last step's momentum that is kept, mu.
  public let decay: Float
  private let kernels: OptimizerKernels
  private let floats: Int

  /// An optimizer of `parameters`; the defaults are a learning rate of 0.01 and a decay of 0.9.
  public init(parameters: ParameterLayout, learningRate: Float = 0.01, decay: Float = 0.9, level: CPULevel) {
    self.parameters = parameters
    self.learningRate = learningRate
    self.decay = decay
    state = parameters.slots(["momentum"])
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
    kernels.momentum(
      parameters, gradients, state, count: floats, rate: learningRate, decay: decay)
  }
}
