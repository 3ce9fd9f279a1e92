// Optimizer: what turns gradients into new parameters. Hand-designed ones stand beside this file, learned ones in
// ../LearnedOptimizers; OptimizerCatalog makes them by name, OptimizerKernels runs their C kernels.
import Compute

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

  /// Describes the update after `iteration` others of a run of `totalSteps`.
  public init(iteration: Int, totalSteps: Int, loss: Float = 0, theta: UnsafePointer<Float>? = nil) {
    self.iteration = iteration
    self.totalSteps = totalSteps
    self.loss = loss
    self.theta = theta
  }
}

/// A rule that updates parameters in place.
///
/// An optimizer is immutable: one instance serves all threads and all members of a population. What changes, its
/// state, is flat memory of the caller's in the layout `state`, so that it can be copied, stored and restored as bytes.
/// The same state, gradients and step give the same bits at one CPU level.
public protocol Optimizer: Sendable {
  /// The name in `OptimizerCatalog`, such as `adam`.
  var name: String { get }
  /// The layout of what it updates, and of the gradients.
  var parameters: ParameterLayout { get }
  /// The layout of its state: slots named `slot/tensor`, such as `momentum/dense_0/w`.
  var state: ParameterLayout { get }
  /// A learned optimizer's meta-parameters in canonical leaf order (paths sorted key by key); nil for hand-designed
  /// ones.
  var thetaLayout: ParameterLayout? { get }
  /// The scratch memory that `update` wants, in floats. Its contents mean nothing between updates.
  var scratchFloats: Int { get }

  /// Writes the state of a run that has made no update. Traps when a learned optimizer gets no theta.
  func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?)

  /// Applies one update to the parameters and the state. Allocates nothing.
  ///
  /// The gradients may be overwritten. Traps when a learned optimizer's step has no theta.
  func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep)
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
