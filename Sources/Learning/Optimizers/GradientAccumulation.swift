// Gradient accumulation: K steps make one update. It lets a learned optimizer train for longer than it was ever
// trained to: beyond its horizon it sees fewer, less noisy updates in place of more of them.
//
//   S <- S + g, L <- L + loss, c <- c + 1;
//   every K-th step: inner update with S/c and L/c at iteration t/K of n/K, then S = L = c = 0
//
// c is K unless steps were skipped because their loss was not finite. Steps that do not fill a last group change
// nothing (as in VeLO's published wrapper, Metz et al. 2022).
import Compute

/// An optimizer that updates once in `group` steps, with the mean of their gradients.
public struct GradientAccumulation: OptimizerWrapper {
  public let group: Int
  public let state: ParameterLayout
  let inner: any Optimizer
  /// How the names of what it adds to the state begin.
  static let memoryNames = ["accumulated/", "accumulated_loss", "accumulated_count"]
  private let sums: [ParameterLayout.Tensor]
  private let lossOffset: Int
  private let countOffset: Int

  /// - Parameter group: steps that make one update, K; at least 1.
  public init(_ inner: any Optimizer, group: Int) {
    precondition(group >= 1, "GradientAccumulation: a group of \(group) steps; expected at least 1")
    self.inner = inner
    self.group = group
    // The inner state comes first, so that its offsets hold in the whole as well.
    let layout = ParameterLayout(
      inner.state.tensors.map { ($0.name, $0.shape) }
        + inner.parameters.tensors.map { ("accumulated/\($0.name)", $0.shape) } + [
          ("accumulated_loss", .scalar), ("accumulated_count", .scalar),
        ])
    state = layout
    sums = inner.parameters.tensors.map { layout["accumulated/\($0.name)"]! }
    lossOffset = layout["accumulated_loss"]!.offset
    countOffset = layout["accumulated_count"]!.offset
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    inner.initialize(state: state, parameters: parameters, theta: theta)
    for sum in sums { (state + sum.offset).update(repeating: 0, count: sum.count) }
    state[lossOffset] = 0
    state[countOffset] = 0
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    let isLast = (step.iteration + 1) % group == 0
    let count = state[countOffset] + 1
    state[countOffset] = isLast ? 0 : count
    let share = 1 / count
    for (sum, tensor) in zip(sums, inner.parameters.tensors) {
      let total = state + sum.offset
      let gradient = gradients + tensor.offset
      if isLast {
        for index in 0..<sum.count {
          gradient[index] = (total[index] + gradient[index]) * share
          total[index] = 0
        }
      } else {
        for index in 0..<sum.count { total[index] += gradient[index] }
      }
    }
    let loss = state[lossOffset] + step.loss
    state[lossOffset] = isLast ? 0 : loss
    guard isLast else { return }
    var update = step
    update.iteration = step.iteration / group
    update.totalSteps = max(1, step.totalSteps / group)
    update.loss = loss * share
    inner.update(parameters: parameters, gradients: gradients, state: state, scratch: scratch, step: update)
  }
}
