// How much memory training a model takes, before anything is allocated: the server admits jobs by it. It follows what a
// plan keeps at once, step by step; tests hold it against the sizes of real plans.
import Foundation

extension ResolvedModel {
  /// How a step's result is held: its size, the last step that reads it, and the first one whose gradient does.
  private struct Holding {
    var floats: Int
    /// The last step that reads it in the forward pass.
    var lastRead: Int
    /// In the backward pass it is held until this step's gradient has run; nil where no gradient reads it.
    var firstGradient: Int?
  }

  /// The holdings by step, the data's being the last, and which one a step's result belongs to: those that only reshape
  /// another have none of their own.
  private var holdings: (all: [Holding], owner: [Int]) {
    let data = steps.count
    var all = steps.indices.map { Holding(floats: Size.product(steps[$0].output), lastRead: $0) }
    all.append(Holding(floats: Size.product(self.data.input), lastRead: 0))
    var owner = Array(0...data)
    for (index, step) in steps.enumerated() {
      let sources = step.sources.map { owner[$0 < 0 ? data : $0] }
      for source in sources {
        all[source].lastRead = max(all[source].lastRead, index)
        if step.reads.input { all[source].firstGradient = min(all[source].firstGradient ?? index, index) }
      }
      switch step.layer.kind {
      case .flatten, .reshape:
        owner[index] = sources[0]
        all[index].floats = 0
      default: if step.reads.output { all[index].firstGradient = index }
      }
    }
    return (all, owner)
  }

  /// Numbers of one row's target.
  private var targetFloats: Int {
    if case .reconstruct = objective { return 0 }
    return switch data.target {
    case .classes: 1
    case .values(let count): count
    case .tokens: Size.product(data.input)
    }
  }

  /// Floats of one example that are alive at once while training and while judging, at most; without the data.
  private var floatsPerRow: (training: Int, judging: Int) {
    let (all, owner) = holdings
    let output = Size.product(steps.last?.output ?? [])
    var forward = 0
    var training = 0
    var held = 0
    for (index, step) in steps.enumerated() {
      // Forward: results that are still to be read, and the layer's own.
      var live = Size.sum(step.forwardFloats, all[index].floats)
      for other in 0..<index where all[other].lastRead >= index { live = Size.sum(live, all[other].floats) }
      forward = max(forward, live)
      // Backward: what gradients still to come read, and the gradients under way.
      held = Size.sum(held, step.keptFloats)
      live = Size.sum(held, step.passingFloats, all[index].floats)
      for other in 0...index {
        if let first = all[other].firstGradient, first <= index { live = Size.sum(live, all[other].floats) }
        let isSource = step.sources.contains { $0 >= 0 && owner[$0] == other }
        if other < index, isSource || all[other].lastRead > index { live = Size.sum(live, all[other].floats) }
      }
      training = max(training, live)
    }
    // The loss's own: what outputs become before they are compared, and their gradient.
    let compared = if case .reconstruct = objective { 2 * output } else { output }
    let results = all.indices.dropLast().filter { all[$0].firstGradient != nil }.map { all[$0].floats }
    return (
      max(training, Size.sum(held, Size.sum(results), output, compared)), max(forward, Size.sum(output, compared))
    )
  }

  /// Rows that are judged at once: 256, or fewer where rows are so large that 256 would need more than 64 MiB.
  public var judgedRows: Int {
    if let imported { return imported.judgedRows }
    return max(1, min(256, (16 << 20) / Size.sum(floatsPerRow.judging, Size.product(data.input), targetFloats)))
  }

  /// Bytes that a run with that optimizer holds at once; as ``memoryBytes(batchSize:stateFloatsPerParameter:)``.
  public func memoryBytes(batchSize: Int, optimizer: OptimizerSettings) -> Int {
    memoryBytes(
      batchSize: batchSize, stateFloatsPerParameter: optimizer.stateFloatsPerParameter(of: parameters.map(\.dimensions))
    )
  }

  /// Bytes a run holds at once, as good as they can be told before it is planned: parameters, gradients (also summed
  /// up, for long runs), optimizer state, the copies of a checkpoint being written; what a training step and the
  /// judging of rows keep. `Int.max` where it does not fit.
  public func memoryBytes(batchSize: Int, stateFloatsPerParameter: Int) -> Int {
    if let imported {
      return imported.memoryBytes(batchSize: batchSize, stateFloatsPerParameter: stateFloatsPerParameter)
    }
    let held = Size.product([parameterCount, 3 + stateFloatsPerParameter])
    let checkpoint = Size.product([2, parameterCount, 2 + stateFloatsPerParameter])
    let rows = floatsPerRow
    let dataFloats = Size.product(data.input)
    let training = Size.sum(
      Size.product([batchSize, Size.sum(rows.training, dataFloats, targetFloats)]),
      steps.map(\.scratchFloats).max() ?? 0)
    let judging = Size.product([judgedRows, Size.sum(rows.judging, dataFloats)])
    // Values of different lives do not fill memory without gaps, and each begins a line of the cache.
    let gaps = Size.sum(Size.sum(training, judging) / 12, 64 * steps.count)
    return Size.product([4, Size.sum(held, checkpoint, training, judging, gaps)])
  }
}
