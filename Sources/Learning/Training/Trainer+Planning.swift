// What may change in the middle of a run: how many steps it is planned for, and which optimizer goes on with it. Both
// happen between two steps and follow from the run alone, so a run that is resumed behind them has the same bits.
import Compute
import Contract
import Foundation

extension Trainer {
  /// Plans for more steps from here on, in the optimizer's whole state.
  ///
  /// Optimizers that do not plan go on as if they had been told from the start. Those that do see the progress that the
  /// steps so far are of the new total. Where the new total makes groups of another size (``GradientAccumulation``),
  /// updates are counted as if they had been of that size from the start, and the gradients of a group that is not full
  /// are left out.
  ///
  /// - Parameters:
  ///   - steps: at least as many as planned before.
  ///   - optimizer: the same one, made for the new total.
  public func extend(to steps: Int, with optimizer: any Optimizer) {
    precondition(steps >= configuration.steps, "Trainer: \(steps) steps after \(configuration.steps)")
    let (before, memory) = (self.optimizer, state)
    let next = FiniteGuard(optimizer, level: plans.training.level)
    var configuration = configuration
    configuration.steps = steps
    replace(optimizer: next, theta: theta, configuration: configuration)
    let starts = before.accumulation?.group == next.accumulation?.group ? [] : GradientAccumulation.memoryNames
    for tensor in next.state.tensors where !starts.contains(where: tensor.name.hasPrefix) {
      guard let old = before.state[tensor.name], old.count == tensor.count else {
        preconditionFailure("Trainer: \(before.name) has no \(tensor.name) to go on with")
      }
      (state.pointer + tensor.offset).update(from: memory.pointer + old.offset, count: tensor.count)
    }
  }

  /// Goes back to weights of this run and trains on from there with another, hand-designed optimizer, which begins as in
  /// a run of the steps that are left.
  ///
  /// - Parameters:
  ///   - weights: from ``weights()``; nil for the initial ones, which are made again.
  ///   - step: the steps that made them.
  /// - Throws: when the file is damaged or belongs to another model.
  public func fallBack(to optimizer: any Optimizer, weights: Data?, step: Int) throws {
    if let weights {
      try load(weights: SafetensorsFile(weights))
    } else {
      initialize()
    }
    var configuration = configuration
    configuration.optimizerStart = step
    resume(step: step)
    replace(
      optimizer: FiniteGuard(optimizer, level: plans.training.level), theta: nil, configuration: configuration)
  }
}

extension Optimizer {
  /// The accumulation in it, if it or what it wraps is one.
  var accumulation: GradientAccumulation? {
    self as? GradientAccumulation ?? (self as? any OptimizerWrapper)?.inner.accumulation
  }
}
