// GradientSource: a chain of links that give loss and gradient at a member's parameters. The innermost runs the plan;
// the others, in GradientSource+Geometry and GradientSource+Estimates, change what the next one sees.
import Compute

/// What an evaluation is told.
struct EvaluationStep {
  /// How many updates came before.
  var iteration: Int
  /// The step's key; both members of a pair share it.
  var key: RandomKey
}

/// One link. It belongs to a lane; what a member keeps lies in memory that the lane passes in.
protocol GradientSource: AnyObject {
  /// Floats of a member's memory for this link and those inside it.
  var memoryFloats: Int { get }
  /// Writes the parameters of a training that begins, as the next link out sees them, and what the member keeps.
  ///
  /// `initial` is the key of the initial weights, `episode` that of all else about the training.
  func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey)
  /// The loss at `parameters` and, where there is memory for it, its gradient. Allocates nothing.
  func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float
  /// Called after each update of the parameters.
  func settle(_ parameters: UnsafeMutablePointer<Float>)
}

/// An innermost link.
protocol BatchedSource: GradientSource {
  /// Fills the plan's inputs; all evaluations until the next draw are on this batch.
  func drawBatch(_ key: RandomKey)
}

/// The task itself: runs its plan on the batch drawn last.
final class PlanSource: BatchedSource {
  private let task: TrainingTask
  private let executor: Executor
  private let places: BatchPlaces
  private let lossOutput: UnsafePointer<Float>
  /// The plan's own random numbers, such as those of dropout.
  private let keyInput: UnsafeMutablePointer<Int32>?
  /// Float inputs that are rounded to bfloat16 after each draw.
  private let rounded: [UnsafeMutableBufferPointer<Float>]

  init(_ task: TrainingTask) {
    self.task = task
    executor = Executor(task.plan)
    places = BatchPlaces(task.source.inputs, of: executor)
    lossOutput = executor.output("loss").baseAddress!
    let filled = Set(task.source.inputs.map(\.name))
    keyInput =
      task.plan.inputs.contains { $0.name == "key" && !filled.contains("key") }
      ? executor.int32("key").baseAddress : nil
    rounded =
      task.augmentations.contains(.bfloat16)
      ? task.source.inputs.filter { $0.type == .float32 }.map { [executor] in executor.floats($0.name) } : []
  }

  deinit { places.deallocate() }

  var memoryFloats: Int { 0 }

  func drawBatch(_ key: RandomKey) {
    task.source.draw(key, into: places)
    if let keyInput {
      keyInput[0] = Int32(bitPattern: key.low)
      keyInput[1] = Int32(bitPattern: key.high)
    }
    for number in rounded.indices {
      let input = rounded[number]
      for index in input.indices { input[index] = input[index].roundedToBFloat16 }
    }
  }

  func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey
  ) { task.start.fill(parameters, layout: task.layout, key: initial) }

  func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float {
    executor.run(parameters: parameters, gradients: gradients)
    return lossOutput[0]
  }

  func settle(_ parameters: UnsafeMutablePointer<Float>) {}
}

extension TrainingTask {
  /// The chain of one lane: the innermost link, which draws batches, and the outermost, which the optimizer is fed from.
  func gradientSource() -> (innermost: any BatchedSource, outermost: any GradientSource) {
    let innermost: any BatchedSource
    var source: any GradientSource
    if let unroll {
      innermost = UnrolledSource(unroll)
      // A position of its own keeps its directions apart from those of augmentations.
      source = EvolvedSource(
        innermost, layout: layout, deviation: Float(unroll.deviation), pairs: unroll.pairs, position: .max,
        level: plan.level)
    } else {
      innermost = PlanSource(self)
      source = innermost
    }
    for (position, augmentation) in augmentations.enumerated() {
      let place = UInt32(position)
      switch augmentation {
      case .reparametrised(let level, let range):
        source = ReparametrisedSource(source, layout: layout, level: level, range: range, position: place)
      case .bfloat16: source = BFloat16Source(source, layout: layout)
      case .evolved(let deviation, let pairs):
        source = EvolvedSource(
          source, layout: layout, deviation: Float(deviation), pairs: pairs, position: place, level: plan.level)
      case .normalised: source = NormalisedSource(source, layout: layout)
      case .subspace(let directions, let usesSign):
        source = SubspaceSource(
          source, layout: layout, directions: directions, usesSign: usesSign, position: place, level: plan.level)
      case .delayed(let steps): source = DelayedSource(source, layout: layout, steps: steps)
      case .normalisedLoss: source = NormalisedLossSource(source, layout: layout, normaliser: normaliser)
      case .noise(let deviation):
        source = NoisySource(
          source, layout: layout, deviation: Float(deviation), position: place, level: plan.level)
      case .sparse(let share): source = SparseSource(source, layout: layout, share: share, position: place)
      }
    }
    return (innermost, source)
  }
}

extension ParameterLayout {
  /// The places of all tensors, for loops of a step: the tensors themselves carry names and shapes.
  var spans: [Range<Int>] { tensors.map { $0.offset..<$0.offset + $0.count } }
}

extension Float {
  /// The nearest bfloat16, ties to even; what is not finite stays.
  var roundedToBFloat16: Float {
    guard isFinite else { return self }
    let bits = bitPattern
    return Float(bitPattern: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) & 0xFFFF_0000)
  }
}
