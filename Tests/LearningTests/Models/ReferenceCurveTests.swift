// Learning curves of one small model of each family against the same model in JAX: the same initial weights, batches and
// Adam. Fixtures/record_curves.py made the recording and has the models as their papers write them.
import Compute
import Contract
import Foundation
import Learning
import Testing

@Suite struct ReferenceCurveTests {
  static let families = [
    "mlp", "regression", "softmax_regression", "cnn", "cnn_batch_norm", "resnet", "rnn_vanilla", "rnn_gru", "rnn_lstm",
    "transformer", "vit", "mixer", "autoencoder", "vae",
  ]

  @Test("fifty losses agree with JAX to 1e-4", arguments: families)
  func curve(family: String) throws {
    let url = try #require(Bundle.module.url(forResource: "Fixtures/curves", withExtension: "safetensors"))
    let recording = try SafetensorsFile(Data(contentsOf: url))
    let description = try JSON.parse(Data(try #require(recording.metadata[family]).utf8))
    let model = try ModelSpec.decode(try #require(description["model"]))
    let resolved = try model.resolved(for: try shape(try #require(description["data"])))
    let wanted = try recording.floats("\(family)/losses")
    let batches = recording.tensors.filter { $0.name.hasPrefix("\(family)/batch/") }
    let batchSize = try #require(batches.first { $0.name.hasSuffix("/inputs") }).shape[1]

    for level in CPULevel.supported {
      let plans = try ModelPlans(resolved, batchSize: batchSize, judgedRows: 1, level: level)
      let layout = plans.layout
      let parameters = AlignedBuffer(floats: layout.floats), gradients = AlignedBuffer(floats: layout.floats)
      for tensor in layout.tensors {
        let initial = try recording.floats("\(family)/init/\(tensor.name)", shape: tensor.shape.dimensions)
        (parameters.pointer + tensor.offset).update(from: initial, count: tensor.count)
      }
      let adam = Adam(parameters: layout, level: level)
      let state = AlignedBuffer(floats: max(16, adam.state.floats))
      let scratch = AlignedBuffer(floats: max(16, adam.scratchFloats))
      adam.initialize(state: state.pointer, parameters: parameters.pointer, theta: nil)
      let executor = Executor(plans.training)
      for (step, expected) in wanted.enumerated() {
        try fill(executor, of: plans.training, batches: batches, step: step, recording, family)
        executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
        let loss = executor.output("loss")[0]
        guard abs(loss - expected) <= 1e-4 * abs(expected) else {
          Issue.record("\(level.rawValue): step \(step) has loss \(loss), expected \(expected)")
          break
        }
        adam.update(
          parameters: parameters.pointer, gradients: gradients.pointer, state: state.pointer, scratch: scratch.pointer,
          step: OptimizerStep(iteration: step, totalSteps: wanted.count, loss: loss, theta: nil))
      }
    }
  }

  /// Copies the step's batch, and its random words where the plan draws any.
  private func fill(
    _ executor: Executor, of plan: Plan, batches: [SafetensorsFile.Tensor], step: Int, _ recording: SafetensorsFile,
    _ family: String
  ) throws {
    for batch in batches {
      let port = String(batch.name.dropFirst("\(family)/batch/".count))
      let count = batch.count / batch.shape[0]
      let range = step % batch.shape[0] * count..<(step % batch.shape[0] + 1) * count
      if batch.dtype == .i32 {
        _ = executor.int32(port).update(fromContentsOf: try recording.integers(batch.name)[range].map(Int32.init))
      } else {
        _ = executor.floats(port).update(fromContentsOf: try recording.floats(batch.name)[range])
      }
    }
    if plan.inputs.contains(where: { $0.name == "key" }) {
      let keys = try recording.integers("\(family)/keys").map(Int32.init)
      _ = executor.int32("key").update(fromContentsOf: keys[2 * step..<2 * step + 2])
    }
  }

  private func shape(_ json: JSON) throws -> DataShape {
    let input = try #require(json["input"]?.array).map { $0.integer! }
    if let vocabulary = json["vocabulary"]?.integer {
      return DataShape(
        input: input, elements: .tokens(vocabulary: vocabulary), target: .tokens(vocabulary: vocabulary))
    }
    if let outputs = json["outputs"]?.integer { return DataShape(input: input, target: .values(outputs)) }
    return DataShape(input: input, target: .classes(try #require(json["classes"]?.integer)))
  }
}
