// FiniteGuard: leaves out updates whose loss or gradient is not finite. One such number would stay in a learned
// optimizer's averages for good. Trainer puts it around every optimizer and ends a run that does not recover.
//
//   finite(loss, g): inner update at iteration t - skipped, skippedInARow = 0
//   otherwise:       parameters and inner state stay as they are, skipped += 1, skippedInARow += 1
import Compute

/// An optimizer that skips steps that are not finite.
public struct FiniteGuard: OptimizerWrapper {
  public let state: ParameterLayout
  let inner: any Optimizer
  private let kernels: OptimizerKernels
  private let inARowOffset: Int
  private let totalOffset: Int

  public init(_ inner: any Optimizer, level: CPULevel) {
    self.inner = inner
    kernels = OptimizerKernels(level: level)
    // The inner state comes first, so that its offsets hold in the whole as well. Counts are exact up to 2^24.
    state = ParameterLayout(
      inner.state.tensors.map { ($0.name, $0.shape) } + [("skipped_in_a_row", .scalar), ("skipped", .scalar)])
    inARowOffset = state["skipped_in_a_row"]!.offset
    totalOffset = state["skipped"]!.offset
  }

  /// How many steps in a row have been skipped up to now.
  func skippedInARow(_ state: UnsafePointer<Float>) -> Int { Int(state[inARowOffset]) }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    inner.initialize(state: state, parameters: parameters, theta: theta)
    state[inARowOffset] = 0
    state[totalOffset] = 0
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard step.loss.isFinite, areFinite(gradients) else {
      state[inARowOffset] += 1
      state[totalOffset] += 1
      return
    }
    state[inARowOffset] = 0
    var applied = step
    applied.iteration -= Int(state[totalOffset])
    inner.update(parameters: parameters, gradients: gradients, state: state, scratch: scratch, step: applied)
  }

  private func areFinite(_ gradients: UnsafePointer<Float>) -> Bool {
    // Memory that nothing was computed into says nothing.
    if needs.contains(.noGradient) { return true }
    return parameters.tensors.allSatisfy { kernels.areFinite(gradients + $0.offset, count: $0.count) }
  }

  public func observe(validationLoss: Float, state: UnsafeMutablePointer<Float>) {
    if validationLoss.isFinite { inner.observe(validationLoss: validationLoss, state: state) }
  }
}
