// Optimizer: what turns gradients into new parameters. Hand-designed ones stand beside this file, learned ones in
// ../LearnedOptimizers; OptimizerCatalog makes them from their settings,
// OptimizerKernels runs their C kernels; GradientPreparation, GradientAccumulation and FiniteGuard stand around them.
import Compute
import Contract

/// What one update is told besides the gradients.
public struct OptimizerStep {
  /// How many updates have been applied before this one, t; the first update runs with 0.
  public var iteration: Int
  /// How many updates the run is planned for, n; at least 1. Learned optimizers schedule by t/n.
  public var totalSteps: Int
  /// The loss of the batch that gave the gradients.
  public var loss: Float
  /// A learned optimizer's meta-parameters, in its `thetaLayout`; nil for hand-designed ones.
  public var theta: UnsafePointer<Float>?
  /// The run's random numbers for optimizers that draw some; derive from it by `iteration`.
  public var key: RandomKey
  /// The batch at other parameters, for optimizers whose `needs` say so.
  public var problem: BatchProblem?

  /// Describes the update after `iteration` others of a run of `totalSteps`.
  public init(
    iteration: Int, totalSteps: Int, loss: Float = 0, theta: UnsafePointer<Float>? = nil,
    key: RandomKey = RandomKey(seed: 0), problem: BatchProblem? = nil
  ) {
    self.iteration = iteration
    self.totalSteps = totalSteps
    self.loss = loss
    self.theta = theta
    self.key = key
    self.problem = problem
  }
}

/// The loss of the batch at hand as a function of the parameters: same rows, same noise at every call.
public struct BatchProblem {
  /// Returns the loss at the given parameters, which are in the optimizer's layout.
  public let loss: (_ parameters: UnsafePointer<Float>) -> Float
  /// Writes the gradient at the given parameters and returns the loss there. Both are in the optimizer's layout.
  public let evaluate: (_ parameters: UnsafePointer<Float>, _ gradients: UnsafeMutablePointer<Float>) -> Float

  public init(
    loss: @escaping (UnsafePointer<Float>) -> Float,
    evaluate: @escaping (UnsafePointer<Float>, UnsafeMutablePointer<Float>) -> Float
  ) {
    self.loss = loss
    self.evaluate = evaluate
  }
}

/// What an optimizer must be given besides gradients, or without them.
public struct OptimizerNeeds: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }
  /// The batch's loss.
  public static let loss = OptimizerNeeds(rawValue: 1)
  /// The true number of planned updates.
  public static let totalSteps = OptimizerNeeds(rawValue: 2)
  /// The batch at other parameters.
  public static let problem = OptimizerNeeds(rawValue: 4)
  /// Losses on held-out data, whenever they are measured.
  public static let validationLoss = OptimizerNeeds(rawValue: 8)
  /// No gradient: the caller may leave out to compute it, and what it passes is ignored.
  public static let noGradient = OptimizerNeeds(rawValue: 16)
}

/// A rule that updates parameters in place.
///
/// An optimizer is immutable: one instance serves all threads and all members of a population. What changes, its
/// state, is flat memory of the caller's in the layout `state`, so that it can be copied, stored and restored as bytes.
/// The same state, gradients and step give the same bits at one CPU level.
public protocol Optimizer: Sendable {
  /// The name in `OptimizerName`, such as `adam`.
  var name: String { get }
  /// The layout of what it updates, and of the gradients.
  var parameters: ParameterLayout { get }
  /// The layout of its state: slots named `slot/tensor`, such as `momentum/dense_0/w`.
  var state: ParameterLayout { get }
  /// A learned optimizer's meta-parameters in canonical leaf order (paths sorted key by key); nil for hand-designed
  /// ones, which is the default.
  var thetaLayout: ParameterLayout? { get }
  /// The scratch memory that `update` wants, in floats; by default none. Its contents mean nothing between updates.
  var scratchFloats: Int { get }
  /// What it must be given; by default gradients alone.
  var needs: OptimizerNeeds { get }

  /// Writes the state of a run that has made no update; by default zeros. Traps when a learned optimizer gets no theta.
  func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?)

  /// Applies one update to the parameters and the state. Allocates nothing.
  ///
  /// The gradients may be overwritten. Traps when a learned optimizer's step has no theta.
  func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep)

  /// Tells of a loss on held-out data; by default nothing is made of it.
  func observe(validationLoss: Float, state: UnsafeMutablePointer<Float>)

  /// Whether the model is to be judged and kept elsewhere than where its gradients are taken; by default not.
  var evaluatesElsewhere: Bool { get }

  /// Writes the parameters to judge and keep; by default those that it updates.
  func evaluationPoint(
    parameters: UnsafePointer<Float>, state: UnsafePointer<Float>, into point: UnsafeMutablePointer<Float>)
}

extension Optimizer {
  public var thetaLayout: ParameterLayout? { nil }
  public var scratchFloats: Int { 0 }
  public var needs: OptimizerNeeds { [] }
  public var evaluatesElsewhere: Bool { false }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    state.update(repeating: 0, count: self.state.floats)
  }

  public func observe(validationLoss: Float, state: UnsafeMutablePointer<Float>) {}

  public func evaluationPoint(
    parameters: UnsafePointer<Float>, state: UnsafePointer<Float>, into point: UnsafeMutablePointer<Float>
  ) {
    point.update(from: parameters, count: self.parameters.floats)
  }
}

extension ParameterLayout {
  /// The layout of slots of the same shapes as these tensors, one slot after another, each named `slot/tensor`.
  /// All slots of one kind lie as the parameters do, padding included.
  func slots(_ names: [String]) -> ParameterLayout {
    ParameterLayout(names.flatMap { slot in tensors.map { (name: "\(slot)/\($0.name)", shape: $0.shape) } })
  }

  /// The floats from the first tensor's start to the last one's padded end: what one pass over all tensors covers.
  var packedFloats: Int {
    guard let last = tensors.last else { return 0 }
    return last.offset + (last.count + Self.alignment - 1) / Self.alignment * Self.alignment
  }
}

extension LearningRate {
  /// The rate of one update.
  func at(_ step: OptimizerStep) -> Double { at(step.iteration, of: step.totalSteps) }
}
