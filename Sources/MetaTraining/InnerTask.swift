// An inner problem of meta-training: a small model on images, trained by the optimizer under training. The task is
// immutable; a lane holds the memory one thread needs to run it; a member is one inner training.
import Compute
import Contract
import Foundation
import Learning

/// What is fixed about an inner task: model, plan, data, optimizer.
public final class InnerTask: Sendable {
  public let spec: TaskSpec
  public let plans: ModelPlans
  public let images: TaskImages
  public let optimizer: any Optimizer
  /// Normalised losses are clipped here: 1.5 times the loss of guessing.
  public let lossCeiling: Float

  public init(
    _ spec: TaskSpec, images: TaskImages, level: CPULevel,
    optimizer: (ParameterLayout) throws -> any Optimizer
  ) throws {
    self.spec = spec
    self.images = images
    let data = DataShape(input: [images.size * images.size], target: .classes(images.classes))
    let model = try ModelSpec.mlp(hidden: spec.hidden, activation: spec.activation).resolved(for: data)
    plans = try ModelPlans(model, batchSize: spec.batchSize, judgedRows: 1, level: level)
    self.optimizer = try optimizer(plans.layout)
    lossCeiling = 1.5 * Float(log(Double(images.classes)))
  }

  /// The loss as the outer problem sees it: clipped, and at the ceiling where it is not a number.
  func normalise(_ loss: Float) -> Float { loss.isNaN ? lossCeiling : min(max(loss, 0), lossCeiling) }
}

/// One inner training: parameters as the optimizer sees them, and its state.
final class Member {
  let parameters: AlignedBuffer
  let state: AlignedBuffer

  init(_ task: InnerTask) {
    parameters = AlignedBuffer(floats: task.plans.layout.floats)
    state = AlignedBuffer(floats: max(16, task.optimizer.state.floats))
  }
}

/// One thread's memory for running members of one task.
final class InnerLane {
  let task: InnerTask
  let thetaPlus: AlignedBuffer
  let thetaMinus: AlignedBuffer
  private let executor: Executor
  private let gradients: AlignedBuffer
  private let scaled: AlignedBuffer
  private let scratch: AlignedBuffer
  private let inputs: UnsafeMutablePointer<Float>
  private let labels: UnsafeMutablePointer<Int32>
  private let lossOutput: UnsafeBufferPointer<Float>

  init(_ task: InnerTask) {
    self.task = task
    let thetaFloats = max(16, task.optimizer.thetaLayout?.floats ?? 16)
    thetaPlus = AlignedBuffer(floats: thetaFloats)
    thetaMinus = AlignedBuffer(floats: thetaFloats)
    executor = Executor(task.plans.training)
    gradients = AlignedBuffer(floats: task.plans.layout.floats)
    scaled = AlignedBuffer(floats: task.plans.layout.floats)
    scratch = AlignedBuffer(floats: max(16, task.optimizer.scratchFloats))
    inputs = executor.floats("inputs").baseAddress!
    labels = executor.int32("labels").baseAddress!
    lossOutput = executor.output("loss")
  }

  /// Draws a batch (with replacement) and copies it into the plan's input memory; both members of a pair use it.
  func drawBatch(_ key: RandomKey) {
    let images = task.images
    let width = images.size * images.size
    images.pixels.withUnsafeBufferPointer { pixels in
      images.labels.withUnsafeBufferPointer { classes in
        var words: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
        for place in 0..<task.spec.batchSize {
          if place & 3 == 0 { words = key.words(block: UInt32(place >> 2)) }
          let word = place & 3 == 0 ? words.0 : place & 3 == 1 ? words.1 : place & 3 == 2 ? words.2 : words.3
          let row = Int((UInt64(word) * UInt64(images.rows)) >> 32)
          (inputs + place * width).update(from: pixels.baseAddress! + row * width, count: width)
          labels[place] = classes[row]
        }
      }
    }
  }

  /// One inner step of one member on the batch drawn last. Returns the raw loss before the update.
  ///
  /// With `scales`, one for each tensor, the model runs on scale · parameter: the same function seen through
  /// another geometry, so gradients are scaled as well.
  func step(
    _ member: Member, theta: UnsafePointer<Float>?, scales: [Float]?, iteration: Int, totalSteps: Int
  ) -> Float {
    let layout = task.plans.layout
    if let scales {
      for (index, tensor) in layout.tensors.enumerated() {
        scale(scaled.pointer + tensor.offset, member.parameters.pointer + tensor.offset, scales[index], tensor.count)
      }
      executor.run(parameters: scaled.pointer, gradients: gradients.pointer)
      for (index, tensor) in layout.tensors.enumerated() {
        let gradient = gradients.pointer + tensor.offset
        scale(gradient, gradient, scales[index], tensor.count)
      }
    } else {
      executor.run(parameters: member.parameters.pointer, gradients: gradients.pointer)
    }
    let loss = lossOutput[0]
    task.optimizer.update(
      parameters: member.parameters.pointer, gradients: gradients.pointer, state: member.state.pointer,
      scratch: scratch.pointer,
      step: OptimizerStep(iteration: iteration, totalSteps: totalSteps, loss: loss, theta: theta))
    return loss
  }

  /// Puts a member at the start of a training.
  func reset(_ member: Member, key: RandomKey, scales: [Float]?, theta: UnsafePointer<Float>?) {
    let layout = task.plans.layout
    Initializer.fill(member.parameters.pointer, plans: task.plans, key: key)
    if let scales {
      for (index, tensor) in layout.tensors.enumerated() {
        let parameters = member.parameters.pointer + tensor.offset
        scale(parameters, parameters, 1 / scales[index], tensor.count)
      }
    }
    task.optimizer.initialize(state: member.state.pointer, parameters: member.parameters.pointer, theta: theta)
  }

  @inline(__always)
  private func scale(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafeMutablePointer<Float>, _ factor: Float, _ count: Int
  ) {
    for index in 0..<count { out[index] = factor * x[index] }
  }
}
