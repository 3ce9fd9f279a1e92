// The training loop: batch in, plan, optimizer. One value holds everything a run is made of, and everything in it
// follows from the model, the data, the optimizer and the seed. A worker's run wraps it; it knows no database.
// Trainer+Judging measures the model, Trainer+Files writes and reads it, Trainer+Planning gives it more steps or another
// optimizer.
import Compute
import Contract
import Foundation

/// What a run needs to be told.
public struct TrainerConfiguration: Sendable {
  /// Steps that the run is planned for, from step 0 on.
  public var steps: Int
  public var batchSize: Int
  public var seed: Int
  /// The step that is the optimizer's first: it counts and plans from here. Default 0.
  public var optimizerStart: Int

  public init(steps: Int, batchSize: Int, seed: Int, optimizerStart: Int = 0) {
    self.steps = steps
    self.batchSize = batchSize
    self.seed = seed
    self.optimizerStart = optimizerStart
  }
}

/// Trains one model on one dataset with one optimizer. Used by one thread at a time.
public final class Trainer {
  public let plans: ModelPlans
  public let data: TrainingData
  /// Skips what is not finite; the optimizer itself is inside.
  public private(set) var optimizer: FiniteGuard
  public private(set) var configuration: TrainerConfiguration
  /// Steps done.
  public private(set) var step = 0

  /// How many steps in a row whose loss or gradient is not finite are skipped; one more ends the run.
  public static let skippedInARowMax = 5

  let parameters: AlignedBuffer
  private(set) var state: AlignedBuffer
  /// Running averages of batch statistics, which judging and the model file use.
  let statistics: AlignedBuffer
  let judge: Executor
  let key: RandomKey
  /// The parameters to judge and keep, where they are not those being trained.
  private var point: AlignedBuffer?
  private(set) var theta: AlignedBuffer?
  private let gradients: AlignedBuffer
  private var scratch: AlignedBuffer
  private let executor: Executor
  private let inputs: BatchInputs
  private let targets: BatchTargets
  private let noise: BatchNoise?
  private let lossOutput: UnsafeBufferPointer<Float>
  /// What the last batch measured, for each tensor of the statistics.
  private let measured: [UnsafeBufferPointer<Float>]
  private var batches: BatchStream
  private let optimizerKey: RandomKey
  private var problem: BatchProblem?

  /// - Parameter theta: the learned optimizer's meta-parameters in its `thetaLayout`; nil for hand-designed ones.
  public init(
    plans: ModelPlans, data: TrainingData, optimizer: any Optimizer, theta: AlignedBuffer?,
    configuration: TrainerConfiguration
  ) {
    precondition((optimizer.thetaLayout != nil) == (theta != nil), "a learned optimizer needs its theta, others none")
    self.plans = plans
    self.data = data
    let optimizer = FiniteGuard(optimizer, level: plans.training.level)
    self.optimizer = optimizer
    self.theta = theta
    self.configuration = configuration
    key = RandomKey(seed: UInt64(configuration.seed)).derive(RunKey.run.rawValue, 0, 0)
    parameters = AlignedBuffer(floats: plans.layout.floats)
    gradients = AlignedBuffer(floats: plans.layout.floats)
    state = AlignedBuffer(floats: max(optimizer.state.floats, 16))
    scratch = AlignedBuffer(floats: max(optimizer.scratchFloats, 16))
    statistics = AlignedBuffer(floats: plans.statistics.floats)
    point = optimizer.evaluatesElsewhere ? AlignedBuffer(floats: plans.layout.floats) : nil
    let executor = Executor(plans.training)
    self.executor = executor
    problem = optimizer.needs.contains(.problem) ? BatchProblem(executor) : nil
    optimizerKey = key.derive(RunKey.optimizer.rawValue, 0, 0)
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
    initialize()
    optimizer.initialize(state: state.pointer, parameters: parameters.pointer, theta: theta?.pointer)
  }

  /// Writes the weights and averages that the run begins with.
  func initialize() {
    let start = key.derive(RunKey.parameters.rawValue, 0, 0)
    Initializer.fill(parameters.pointer, plans: plans, key: start)
    Initializer.fill(
      statistics.pointer, layout: plans.statistics, initial: plans.statisticsInitializations, key: start)
  }

  /// One training step. Returns the loss of its batch before the update.
  ///
  /// A step whose loss or gradient is not finite changes nothing but counts; see ``isDiverged``.
  public func advance() -> Float {
    let train = data.train, inputs = inputs, targets = targets
    batches.batch(step: step) { place, row in
      inputs.fill(place, train, row)
      targets.fill(place, train, row)
    }
    noise?.fill(key, .noise, step)
    let skipsGradient = optimizer.needs.contains(.noGradient)
    executor.run(parameters: parameters.pointer, gradients: skipsGradient ? nil : gradients.pointer)
    let loss = lossOutput[0]
    if loss.isFinite { average() }
    optimizer.update(
      parameters: parameters.pointer, gradients: gradients.pointer, state: state.pointer, scratch: scratch.pointer,
      step: OptimizerStep(
        iteration: step - configuration.optimizerStart,
        totalSteps: configuration.steps - configuration.optimizerStart, loss: loss,
        theta: theta.map { UnsafePointer($0.pointer) }, key: optimizerKey, problem: problem))
    step += 1
    return loss
  }

  /// The parameters to judge and keep: those being trained, unless the optimizer averages them.
  var evaluated: UnsafePointer<Float> {
    guard let point else { return UnsafePointer(parameters.pointer) }
    optimizer.evaluationPoint(parameters: parameters.pointer, state: state.pointer, into: point.pointer)
    return UnsafePointer(point.pointer)
  }

  /// Tells the optimizer of a loss on held-out data, if it wants to know.
  public func observe(validationLoss: Double) {
    guard optimizer.needs.contains(.validationLoss) else { return }
    optimizer.observe(validationLoss: Float(validationLoss), state: state.pointer)
  }

  /// Moves the running averages towards what the batch measured.
  private func average() {
    let kept = Layer.Normalization.runningDecay
    for (tensor, measured) in zip(plans.statistics.tensors, measured) {
      let averages = statistics.pointer + tensor.offset
      for index in 0..<tensor.count { averages[index] = kept * averages[index] + (1 - kept) * measured[index] }
    }
  }

  /// Steps in a row that were skipped.
  public var skippedInARow: Int { optimizer.skippedInARow(state.pointer) }

  /// Whether more steps in a row have been skipped than may be.
  public var isDiverged: Bool { skippedInARow > Trainer.skippedInARowMax }

  /// Goes on as after `step` steps; the memory has been restored before.
  func resume(step: Int) { self.step = step }

  /// Takes another optimizer with the state of a run that has made no update; everything else stays.
  func replace(optimizer: FiniteGuard, theta: AlignedBuffer?, configuration: TrainerConfiguration) {
    precondition((optimizer.thetaLayout != nil) == (theta != nil), "a learned optimizer needs its theta, others none")
    self.optimizer = optimizer
    self.theta = theta
    self.configuration = configuration
    state = AlignedBuffer(floats: max(optimizer.state.floats, 16))
    scratch = AlignedBuffer(floats: max(optimizer.scratchFloats, 16))
    point = optimizer.evaluatesElsewhere ? AlignedBuffer(floats: plans.layout.floats) : nil
    problem = optimizer.needs.contains(.problem) ? BatchProblem(executor) : nil
    optimizer.initialize(state: state.pointer, parameters: parameters.pointer, theta: theta?.pointer)
  }

  /// Bytes that the run holds: what this value has allocated, and the two copies of a checkpoint being written.
  public var memoryBytes: Int {
    let kept = plans.layout.floats + state.floats + plans.statistics.floats
    let floats = kept + plans.layout.floats + scratch.floats + (theta?.floats ?? 0) + (point?.floats ?? 0) + 2 * kept
    return 4 * (floats + data.train.rows) + plans.arenaBytes
  }
}

/// Tags of the key tree: which random numbers of a run are which.
enum RunKey: UInt32 {
  case run = 1
  case parameters = 4
  case optimizer = 6
  case dataOrder = 7
  /// Dropped numbers and samples of a training step; samples while judging.
  case noise = 8
  case judging = 9
}

extension BatchProblem {
  /// The batch that is bound to the inputs of a training plan with the output `loss`.
  public init(_ executor: Executor) {
    let loss = executor.output("loss")
    self.init(
      loss: { parameters in
        executor.run(parameters: parameters, gradients: nil)
        return loss[0]
      },
      evaluate: { parameters, gradients in
        executor.run(parameters: parameters, gradients: gradients)
        return loss[0]
      })
  }
}
