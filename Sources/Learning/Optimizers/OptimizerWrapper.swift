// OptimizerWrapper: an optimizer around another. A wrapper writes down what it changes; everything else is the inner
// one's. FiniteGuard, GradientPreparation, GradientAccumulation and ZerothOrder are the wrappers.
import Compute

protocol OptimizerWrapper: Optimizer {
  var inner: any Optimizer { get }
}

extension OptimizerWrapper {
  public var name: String { inner.name }
  public var parameters: ParameterLayout { inner.parameters }
  public var state: ParameterLayout { inner.state }
  public var thetaLayout: ParameterLayout? { inner.thetaLayout }
  public var scratchFloats: Int { inner.scratchFloats }
  public var needs: OptimizerNeeds { inner.needs }
  public var evaluatesElsewhere: Bool { inner.evaluatesElsewhere }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    inner.initialize(state: state, parameters: parameters, theta: theta)
  }

  public func observe(validationLoss: Float, state: UnsafeMutablePointer<Float>) {
    inner.observe(validationLoss: validationLoss, state: state)
  }

  public func evaluationPoint(
    parameters: UnsafePointer<Float>, state: UnsafePointer<Float>, into point: UnsafeMutablePointer<Float>
  ) {
    inner.evaluationPoint(parameters: parameters, state: state, into: point)
  }
}
