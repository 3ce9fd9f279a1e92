// How long a training step takes on a core of known speed, foreseen from the layers alone: the server tells it before a
// job is made. MachineSpeed is what workers measured of themselves.
import Foundation

extension ResolvedModel {
  /// What products reach of the speed that the probe's product has, on the whole.
  private static let productShare = 0.95
  /// Times that a float which a layer leaves behind is computed, read or written like an element of a function.
  private static let passes = 2.0
  /// Seconds that a kernel's call takes beside its work, and how many calls a layer makes forward and backward.
  private static let callSeconds = 5e-8
  private static let callsPerStep = 5.0

  /// Seconds of one training step on one core, within a factor of 1.5 where the core does nothing else and the
  /// optimizer's options are at their defaults.
  public func secondsPerStep(batchSize: Int, optimizer: OptimizerName, speed: MachineSpeed) -> Double {
    let settings = OptimizerSettings(optimizer)
    let (losses, gradients) = optimizer.traits.evaluations(settings, parameterCount)
    // A loss without its gradient is about half of the calls and passes.
    let runs = gradients + losses / 2
    var flops = 0.0
    var kept = 0.0
    for step in steps {
      // A layer that reads the data alone has no gradient to hand back.
      let readsData = step.sources.allSatisfy { $0 < 0 }
      flops += Double(step.flops) * (losses + gradients * (readsData ? 2 : 3))
      // Layers without arithmetic only rename what is there.
      if step.flops > 0 { kept += Double(Size.sum(Size.product(step.output), step.keptFloats)) }
    }
    let rows = Double(batchSize)
    let products = rows * flops / (speed.productFlopsPerSecond * Self.productShare)
    let functions = rows * kept * Self.passes * runs / speed.functionsPerSecond
    let calls = Double(steps.count) * Self.callsPerStep * Self.callSeconds * runs
    let tensors = Double(steps.reduce(0) { $0 + $1.parameters.count })
    let (flopsPerParameter, flopsPerTensor) = optimizer.traits.updateFlops
    let update =
      (Double(parameterCount) * flopsPerParameter + tensors * flopsPerTensor) / speed.productFlopsPerSecond
    return products + functions + calls + update
  }
}
