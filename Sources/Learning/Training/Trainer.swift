// The training loop: batch in, plan, optimizer. One value holds everything a run is made of, and everything in it
// follows from the model, the data, the optimizer and the seed. A worker's run wraps it; it knows no database.
// Trainer+Judging measures the model, Trainer+Files writes and reads it.
import Compute
import Contract
import Foundation

/// What a run needs to be told.
public struct TrainerConfiguration: Sendable {
  public var steps: Int
  public var batchSize: Int
  public var seed: Int

  public init(steps: Int, batchSize: Int, seed: Int) {
    self.steps = steps
    self.batchSize = batchSize
    self.seed = seed
  }
}

/// Trains one model on one dataset with one optimizer. Used by one thread at a time.
public final class Trainer {
  public let plans: ModelPlans
  public let data: TrainingData
  public let optimizer: any Optimizer
  public let configuration: TrainerConfiguration
  /// Steps done.
  public private(set) var step = 0
  /// Steps in a row whose loss was not finite; their updates were skipped.
  public private(set) var skippedInARow = 0

  /// How many non-finite losses in a row are skipped; one more ends the run.
  public static let skippedInARowMax = 5

  let parameters: AlignedBuffer
  let state: AlignedBuffer
  /// Running averages of batch statistics, which judging and the model file use.
  let statistics: AlignedBuffer
  let judge: Executor
  let key: RandomKey
  private let theta: AlignedBuffer?
  private let gradients: AlignedBuffer
  private let scratch: AlignedBuffer
  private let executor: Executor
  private let inputs: BatchInputs
  private let targets: BatchTargets
  private let noise: BatchNoise?
  private let lossOutput: UnsafeBufferPointer<Float>
  /// What the last batch measured, for each tensor of the statistics.
  private let measured: [UnsafeBufferPointer<Float>]
  private var batches: BatchStream

  /// - Parameter theta: the learned optimizer's meta-parameters in its `thetaLayout`; nil for hand-designed ones.
  public init(
    plans: ModelPlans, data: TrainingData, optimizer: any Optimizer, theta: AlignedBuffer?,
    configuration: TrainerConfiguration
  ) {
    precondition((optimizer.thetaLayout != nil) == (theta != nil), "a learned optimizer needs its theta, others none")
    self.plans = plans
    self.data = data
    self.optimizer = optimizer
    self.theta = theta
    self.configuration = configuration
    key = RandomKey(seed: UInt64(configuration.seed)).derive(RunKey.run.rawValue, 0, 0)
    parameters = AlignedBuffer(floats: plans.layout.floats)
    gradients = AlignedBuffer(floats: plans.layout.floats)
    state = AlignedBuffer(floats: max(optimizer.state.floats, 16))
    scratch = AlignedBuffer(floats: max(optimizer.scratchFloats, 16))
    statistics = AlignedBuffer(floats: plans.statistics.floats)
    let executor = Executor(plans.training)
    self.executor = executor
    judge = Executor(plans.inference)
    inputs = BatchInputs(executor, plans.model)
    targets = BatchTargets(executor, plans.model)
    noise = BatchNoise(executor)
    lossOutput = executor.output("loss")
    measured = plans.statistics.tensors.map { executor.output($0.name) }
    for tensor in plans.statistics.tensors {
      judge.bind(tensor.name, to: UnsafePointer(statistics.pointer + tensor.offset))
    }
    batches = BatchStream(
      rows: data.train.rows, batchSize: configuration.batchSize, key: key.derive(RunKey.dataOrder.rawValue, 0, 0))
    let start = key.derive(RunKey.parameters.rawValue, 0, 0)
    Initializer.fill(parameters.pointer, plans: plans, key: start)
    Initializer.fill(
      statistics.pointer, layout: plans.statistics, initial: plans.statisticsInitializations, key: start)
    optimizer.initialize(state: state.pointer, parameters: parameters.pointer, theta: theta?.pointer)
  }

  /// One training step. Returns the loss of its batch before the update.
  ///
  /// A step whose loss is not finite changes nothing but the count; see ``isDiverged``.
  public func advance() -> Float {
    let train = data.train, inputs = inputs, targets = targets
    batches.batch(step: step) { place, row in
      inputs.fill(place, train, row)
      targets.fill(place, train, row)
    }
    noise?.fill(key, .noise, step)
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    let loss = lossOutput[0]
    if loss.isFinite {
      skippedInARow = 0
      average()
      optimizer.update(
        parameters: parameters.pointer, gradients: gradients.pointer, state: state.pointer, scratch: scratch.pointer,
        step: OptimizerStep(
          iteration: step, totalSteps: configuration.steps, loss: loss,
          theta: theta.map { UnsafePointer($0.pointer) }))
    } else {
      skippedInARow += 1
    }
    step += 1
    return loss
  }

  /// Moves the running averages towards what the batch measured.
  private func average() {
    let kept = Layer.Normalization.runningDecay
    for (tensor, measured) in zip(plans.statistics.tensors, measured) {
      let averages = statistics.pointer + tensor.offset
      for index in 0..<tensor.count { averages[index] = kept * averages[index] + (1 - kept) * measured[index] }
    }
  }

  /// Whether the loss has been non-finite for longer than can be skipped.
  public var isDiverged: Bool { skippedInARow > Trainer.skippedInARowMax }

  /// Goes on as after `step` steps; the memory has been restored before.
  func resume(step: Int, skippedInARow: Int) {
    self.step = step
    self.skippedInARow = skippedInARow
  }

  /// Bytes that the run holds: what this value has allocated, and the two copies of a checkpoint being written.
  public var memoryBytes: Int {
    let kept = plans.layout.floats + state.floats + plans.statistics.floats
    let floats = kept + plans.layout.floats + scratch.floats + (theta?.floats ?? 0) + 2 * kept
    return 4 * (floats + data.train.rows) + plans.arenaBytes
  }
}

/// Tags of the key tree: which random numbers of a run are which.
enum RunKey: UInt32 {
  case run = 1
  case parameters = 4
  case dataOrder = 7
  /// Dropped numbers and samples of a training step; samples while judging.
  case noise = 8
  case judging = 9
}
