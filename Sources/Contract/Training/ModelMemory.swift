// How much memory training a model takes, before anything is allocated: the server admits jobs by it. It follows what a
// plan keeps at once, step by step; tests hold it against the sizes of real plans.
import Foundation

extension ResolvedModel {
  private var dataFloats: Int { data.input.reduce(1, *) }
  /// Numbers of one row's target.
  private var targetFloats: Int {
    if case .reconstruct = objective { return 0 }
    return switch data.target {
    case .classes: 1
    case .values(let count): count
    case .tokens: dataFloats
    }
  }

  /// Where each step's result is read last; its own index where it is not.
  private var lastReads: [Int] {
    var last = Array(steps.indices)
    for (index, step) in steps.enumerated() { for source in step.sources where source >= 0 { last[source] = index } }
    return last
  }

  private func outputFloats(_ step: Int) -> Int { Size.product(steps[step].output) }

  /// Floats of one example that are alive at once in the backward pass, at most: what the forward pass left for the
  /// layers that are still to come, and the gradients under way.
  private var trainingFloatsPerRow: Int {
    let last = lastReads
    var left = steps.reduce(0) { Size.sum($0, $1.activationFloats) }
    // The loss's own: probabilities or differences.
    var peak = Size.sum(left, 2 * outputFloats(steps.count - 1))
    for index in steps.indices.reversed() {
      // Gradients of results whose first reader's backward pass has run, and whose own has not.
      var gradients = 0
      for other in 0...index where other == index || last[other] >= index {
        let isStarted = other == index || last[other] > index || steps[index].sources.contains(other)
        if isStarted { gradients = Size.sum(gradients, outputFloats(other)) }
      }
      peak = max(peak, Size.sum(left, gradients, steps[index].passingFloats))
      left -= steps[index].activationFloats
    }
    return peak
  }

  /// Floats of one example that are alive at once in a forward pass alone, at most.
  private var judgingFloatsPerRow: Int {
    let last = lastReads
    var peak = 0
    for index in steps.indices {
      var live = Size.sum(steps[index].activationFloats, steps[index].passingFloats)
      for other in 0..<index where last[other] >= index { live = Size.sum(live, outputFloats(other)) }
      peak = max(peak, live)
    }
    return Size.sum(peak, outputFloats(steps.count - 1))
  }

  /// Rows that are judged at once: 256, or fewer where rows are so large that 256 would need more than 64 MiB.
  public var judgedRows: Int {
    max(1, min(256, (16 << 20) / Size.sum(judgingFloatsPerRow, dataFloats, targetFloats)))
  }

  /// Bytes a run holds at once, as good as they can be told before it is planned: parameters, gradients (also summed
  /// up, for long runs), optimizer state, the copies of a checkpoint being written; what a training step and the
  /// judging of rows keep. `Int.max` where it does not fit.
  public func memoryBytes(batchSize: Int, stateFloatsPerParameter: Int) -> Int {
    let held = Size.product([parameterCount, 3 + stateFloatsPerParameter])
    let checkpoint = Size.product([2, parameterCount, 2 + stateFloatsPerParameter])
    let scratch = Size.product([2, steps.map(\.scratchFloats).max() ?? 0])
    let training = Size.product([batchSize, Size.sum(trainingFloatsPerRow, dataFloats, targetFloats)])
    let judging = Size.product([judgedRows, Size.sum(judgingFloatsPerRow, dataFloats)])
    return Size.product([4, Size.sum(held, checkpoint, scratch, training, judging)])
  }
}
