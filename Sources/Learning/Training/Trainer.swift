// The training loop: batch in, plan, optimizer. One value holds everything a run is made of, and everything in it
// follows from the model, the data, the optimizer and the seed. A worker's run wraps it; it knows no database.
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

/// What judging a model on a part of the data found.
public struct Judgement: Sendable, Equatable {
  /// Mean loss over all rows.
  public var loss: Double
  /// Share of rows classified right; nil for regression.
  public var accuracy: Double?
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
  private let theta: AlignedBuffer?
  private let gradients: AlignedBuffer
  private let scratch: AlignedBuffer
  private let executor: Executor
  private let judge: Executor
  private let inputs: UnsafeMutableBufferPointer<Float>
  private let lossOutput: UnsafeBufferPointer<Float>
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
    let key = RandomKey(seed: UInt64(configuration.seed)).derive(RunKey.run.rawValue, 0, 0)
    parameters = AlignedBuffer(floats: plans.layout.floats)
    gradients = AlignedBuffer(floats: plans.layout.floats)
    state = AlignedBuffer(floats: max(optimizer.state.floats, 16))
    scratch = AlignedBuffer(floats: max(optimizer.scratchFloats, 16))
    executor = Executor(plans.training)
    judge = Executor(plans.inference)
    inputs = executor.floats("inputs")
    lossOutput = executor.output("loss")
    batches = BatchStream(
      rows: data.train.rows, batchSize: configuration.batchSize, key: key.derive(RunKey.dataOrder.rawValue, 0, 0))
    Initializer.fill(
      parameters.pointer, layout: plans.layout, key: key.derive(RunKey.parameters.rawValue, 0, 0))
    optimizer.initialize(state: state.pointer, parameters: parameters.pointer, theta: theta?.pointer)
  }

  /// One training step. Returns the loss of its batch before the update.
  ///
  /// A step whose loss is not finite changes nothing but the count; see ``isDiverged``.
  public func advance() -> Float {
    let train = data.train
    let width = train.width
    let into = inputs.baseAddress!
    let perRow = train.targetsPerRow
    switch train.target {
    case .classes, .tokens:
      let labels = executor.int32("labels").baseAddress!
      batches.batch(step: step) { place, row in
        train.input(row, into: into + place * width)
        train.labels(row, into: labels + place * perRow)
      }
    case .values:
      let targets = executor.floats("targets").baseAddress!
      batches.batch(step: step) { place, row in
        train.input(row, into: into + place * width)
        train.values(row, into: targets + place * perRow)
      }
    }
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    let loss = lossOutput[0]
    if loss.isFinite {
      skippedInARow = 0
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

  /// Whether the loss has been non-finite for longer than can be skipped.
  public var isDiverged: Bool { skippedInARow > Trainer.skippedInARowMax }

  /// Judges the current weights on a part of the data, all rows in order.
  public func judge(_ part: DataPart) -> Judgement {
    let into = judge.floats("inputs").baseAddress!
    let outputs = judge.output("outputs").baseAddress!
    let count = plans.model.data.target.outputs
    let perRow = part.targetsPerRow
    var labels = [Int32](repeating: 0, count: perRow)
    var targets = [Float](repeating: 0, count: perRow)
    var loss = 0.0
    var right = 0
    var row = 0
    while row < part.rows {
      let rows = min(plans.judgedRows, part.rows - row)
      for place in 0..<rows { part.input(row + place, into: into + place * part.width) }
      judge.run(parameters: parameters.pointer, gradients: nil)
      for place in 0..<rows {
        switch part.target {
        case .classes, .tokens:
          part.labels(row + place, into: &labels)
          for position in 0..<perRow {
            let logits = UnsafeBufferPointer(start: outputs + (place * perRow + position) * count, count: count)
            let (rowLoss, isRight) = Trainer.crossEntropy(logits, label: Int(labels[position]))
            loss += rowLoss
            right += isRight ? 1 : 0
          }
        case .values:
          part.values(row + place, into: &targets)
          for (position, target) in targets.enumerated() {
            let difference = Double(outputs[place * count + position]) - Double(target)
            loss += difference * difference
          }
        }
      }
      row += rows
    }
    let isClasses = if case .values = part.target { false } else { true }
    let targetCount = Double(part.rows * perRow)
    return Judgement(loss: loss / targetCount, accuracy: isClasses ? Double(right) / targetCount : nil)
  }

  private static func crossEntropy(_ logits: UnsafeBufferPointer<Float>, label: Int) -> (Double, Bool) {
    var best = 0
    for index in 1..<logits.count where logits[index] > logits[best] { best = index }
    let peak = Double(logits[best])
    var sum = 0.0
    for logit in logits { sum += exp(Double(logit) - peak) }
    return (log(sum) + peak - Double(logits[label]), best == label)
  }
}

/// Tags of the key tree: which random numbers of a run are which.
enum RunKey: UInt32 {
  case run = 1
  case parameters = 4
  case dataOrder = 7
}

// MARK: Durable state

extension Trainer {
  /// Everything needed to go on exactly here, as safetensors: `params.…`, `slots.…`, counters in the metadata.
  public func checkpoint() -> Data {
    SafetensorsWriter.encode(
      tensors("params.", plans.layout, parameters) + tensors("slots.", optimizer.state, state),
      metadata: [
        "format": "trainyard-run", "format_version": "1", "step": String(step), "skipped": String(skippedInARow),
        "steps": String(configuration.steps), "seed": String(configuration.seed), "optimizer": optimizer.name,
      ])
  }

  /// Goes back to a checkpoint of the same run.
  ///
  /// - Throws: when the file is damaged or belongs to another run.
  public func restore(_ file: Data) throws {
    let file = try SafetensorsFile(file)
    let metadata = file.metadata
    guard metadata["format"] == "trainyard-run", let step = metadata["step"].flatMap(Int.init),
      let skipped = metadata["skipped"].flatMap(Int.init), metadata["seed"] == String(configuration.seed),
      metadata["steps"] == String(configuration.steps), metadata["optimizer"] == optimizer.name,
      (0...configuration.steps).contains(step)
    else { throw DataFault("the checkpoint belongs to another run") }
    try load("params.", plans.layout, parameters, from: file)
    try load("slots.", optimizer.state, state, from: file)
    self.step = step
    skippedInARow = skipped
  }

  /// The trained weights as safetensors, with what made them in the metadata.
  public func modelFile(metadata: [String: String]) -> Data {
    var all = metadata
    all["format"] = "trainyard-model"
    all["layout"] = "jax"
    all["steps"] = String(step)
    all["seed"] = String(configuration.seed)
    all["optimizer"] = optimizer.name
    all["input_shape"] = "\(plans.model.data.input)"
    return SafetensorsWriter.encode(tensors("", plans.layout, parameters), metadata: all)
  }

  private func tensors(_ prefix: String, _ layout: ParameterLayout, _ buffer: AlignedBuffer) -> [SafetensorsWriter
    .Tensor]
  {
    layout.tensors.map { tensor in
      SafetensorsWriter.Tensor(
        name: prefix + tensor.name, shape: tensor.shape.dimensions,
        floats: UnsafeBufferPointer(start: buffer.pointer + tensor.offset, count: tensor.count))
    }
  }

  private func load(
    _ prefix: String, _ layout: ParameterLayout, _ buffer: AlignedBuffer, from file: SafetensorsFile
  ) throws {
    for tensor in layout.tensors {
      let floats = try file.floats(prefix + tensor.name, shape: tensor.shape.dimensions)
      for (index, value) in floats.enumerated() { buffer.pointer[tensor.offset + index] = value }
    }
  }
}
