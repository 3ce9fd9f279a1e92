// Tasks whose parameters are an optimizer's: the loss is what a whole inner training with it comes to, and its gradient
// is estimated by evolution strategies through that training. TaskBuilder builds them from the object `LOpt`.
import Compute
import Contract
import Foundation
import Learning

/// A whole training as one evaluation of a loss.
///
/// The parameters are the logarithms of Adam's learning rate, of 1 - b1 and of 1 - b2, and of its epsilon.
public struct UnrolledTraining: Sendable {
  /// What is trained in each evaluation.
  public let inner: TrainingTask
  /// Steps of that training.
  public let steps: Int
  /// Antithetic pairs of trainings behind one gradient.
  public let pairs: Int
  /// How far the parameters of a pair are apart: the deviation of their normal distance from the middle.
  public let deviation: Double

  /// Adam's constants as parameters, in the order of ``starts``.
  static let layout = ParameterLayout(starts.map { ($0.name, Shape([])) })
  /// The names of the parameters and where they start: at the usual constants.
  static let starts: [(name: String, value: Double)] = [
    ("log_epsilon", log(1e-8)), ("log_lr", log(1e-3)), ("one_minus_beta1", log(0.1)), ("one_minus_beta2", log(1e-3)),
  ]

  /// Arithmetic of one training.
  var flops: Double { Double(steps) * inner.flopsPerStep }

  /// Makes `constants` those that parameters stand for; also 1e-8 below the root, as the published tasks have it.
  static func read(_ parameters: UnsafePointer<Float>, into constants: inout Adam.Configuration) {
    func value(_ place: Int) -> Double { exp(Double(parameters[place * ParameterLayout.alignment])) }
    constants.learningRate = LearningRate(base: value(1))
    constants.epsilon = Float(value(0))
    constants.beta1 = Float(1 - value(2))
    constants.beta2 = Float(1 - value(3))
    constants.epsilonRoot = 1e-8
  }

  /// Builds the task of a configuration's node from its arguments.
  static func build(
    _ config: TaskConfig, _ fields: inout Fields, _ inner: TrainingTask?
  ) -> TrainingTask? {
    enum Kind: String, CaseIterable { case adam = "LearnableAdam" }
    _ = fields.choice("optimizer", of: Kind.self, required: "the optimizer whose constants are trained")
    let steps = fields.integer("steps", in: 1...10_000, required: "the steps of one inner training")
    let pairs = fields.integer("pairs", in: 1...1024) ?? 4
    let deviation = fields.number("std", in: 1e-6...10) ?? 0.01
    fields.finish()
    guard let inner, let steps, fields.faults.isEmpty else { return nil }
    return TrainingTask(
      config: config, plan: inner.plan,
      start: .tensors(starts.map { .uniform([Float($0.value)...Float($0.value)]) }),
      chanceLoss: inner.chanceLoss.map { Double(inner.normaliser(Float($0))) }, batchSize: inner.batchSize,
      tags: inner.tags.union(["lopt"]),
      unroll: UnrolledTraining(inner: inner, steps: steps, pairs: pairs, deviation: deviation))
  }
}

/// The loss of a whole training at its optimizer's constants: the mean over its steps of the normalised inner loss.
///
/// All evaluations between two draws start at the same weights and see the same batches. It gives no gradients itself;
/// an `EvolvedSource` around it does. Each draw makes new inner weights, which allocates; evaluations do not.
final class UnrolledSource: BatchedSource {
  private let training: UnrolledTraining
  private let batches: any BatchedSource
  private let inner: any GradientSource
  private var adam: Adam
  private var key = RandomKey(seed: 0)
  private let parameters, gradients, state, scratch: AlignedBuffer
  private let memory: AlignedBuffer
  private let startParameters: AlignedBuffer
  private let startMemory: AlignedBuffer

  init(_ training: UnrolledTraining) {
    self.training = training
    let task = training.inner
    (batches, inner) = task.gradientSource()
    adam = Adam(parameters: task.layout, level: task.plan.level)
    parameters = AlignedBuffer(floats: task.layout.floats)
    startParameters = AlignedBuffer(floats: task.layout.floats)
    gradients = AlignedBuffer(floats: task.layout.floats)
    state = AlignedBuffer(floats: adam.state.floats)
    scratch = AlignedBuffer(floats: max(16, adam.scratchFloats))
    memory = AlignedBuffer(floats: max(16, inner.memoryFloats))
    startMemory = AlignedBuffer(floats: max(16, inner.memoryFloats))
  }

  var memoryFloats: Int { 0 }

  func drawBatch(_ key: RandomKey) {
    self.key = key
    inner.begin(
      startParameters.pointer, memory: startMemory.pointer, initial: key.derive(17, 0, 0),
      episode: key.derive(18, 0, 0))
  }

  func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey
  ) {
    parameters.update(repeating: 0, count: UnrolledTraining.layout.floats)
    for (tensor, start) in zip(UnrolledTraining.layout.tensors, UnrolledTraining.starts) {
      parameters[tensor.offset] = Float(start.value)
    }
  }

  func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float {
    precondition(gradients == nil, "UnrolledSource: an estimate of the gradient stands around it")
    UnrolledTraining.read(parameters, into: &adam.configuration)
    self.parameters.copy(from: startParameters)
    self.memory.copy(from: startMemory)
    adam.initialize(state: state.pointer, parameters: self.parameters.pointer, theta: nil)
    var sum = 0.0
    for iteration in 0..<training.steps {
      let stepKey = key.derive(19, UInt32(iteration), 0)
      batches.drawBatch(stepKey)
      let loss = inner.evaluate(
        self.parameters.pointer, gradients: self.gradients.pointer, memory: self.memory.pointer,
        step: EvaluationStep(iteration: iteration, key: stepKey))
      adam.update(
        parameters: self.parameters.pointer, gradients: self.gradients.pointer, state: state.pointer,
        scratch: scratch.pointer,
        step: OptimizerStep(iteration: iteration, totalSteps: training.steps, loss: loss, theta: nil))
      inner.settle(self.parameters.pointer)
      sum += Double(training.inner.normaliser(loss))
    }
    return Float(sum / Double(training.steps))
  }

  func settle(_ parameters: UnsafeMutablePointer<Float>) {}
}
