// Models of layers and from files: exported after some training, they compute what they do here, and a file that was
// exported is trained on from where it was.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

/// A model with the data it is trained on.
private struct Sample: Sendable, CustomTestStringConvertible {
  enum Kind: Sendable { case grey, colours, table, values, text }
  let name: String
  let kind: Kind
  let model: String

  init(_ name: String, _ kind: Kind, _ model: String) {
    self.name = name
    self.kind = kind
    self.model = model
  }

  var testDescription: String { name }

  func data(_ scratch: Scratch) throws -> TrainingData {
    switch kind {
    case .grey: try ModelSamples.images(scratch, rows: 80)
    case .colours: try ModelSamples.images(scratch, rows: 80, channels: 3)
    case .table: try ModelSamples.table(scratch)
    case .values: try ModelSamples.table(scratch, regression: true)
    case .text: try ModelSamples.text(scratch, length: 8)
    }
  }

  static let all = [
    Sample("mlp", .grey, #"{"preset": "mlp", "hidden": [9, 7], "activation": "gelu"}"#),
    Sample("mlp_values", .values, #"{"preset": "mlp", "hidden": [9], "activation": "silu"}"#),
    Sample("softmax_regression", .table, #"{"preset": "softmax_regression"}"#),
    Sample("cnn", .colours, #"{"preset": "cnn", "filters": [5, 7], "norm": "batch"}"#),
    Sample("cnn_pool", .grey, #"{"preset": "cnn", "filters": [5, 7], "pool": true}"#),
    Sample("resnet", .colours, #"{"preset": "resnet", "blocks": [1, 1], "channels": [4, 6]}"#),
    Sample("vit", .colours, #"{"preset": "vit", "patch": 4, "layers": 1, "width": 12, "heads": 3, "mlp": 10}"#),
    Sample("mixer", .grey, #"{"preset": "mixer", "patch": 4, "layers": 1, "width": 12, "tokens": 6, "mlp": 10}"#),
    Sample("lstm", .text, #"{"preset": "rnn", "cell": "lstm", "units": 7, "embedding": 5, "layers": 2}"#),
    Sample("gru", .text, #"{"preset": "rnn", "cell": "gru", "units": 7, "embedding": 5}"#),
    Sample("vanilla", .text, #"{"preset": "rnn", "cell": "vanilla", "units": 7, "embedding": 5}"#),
    Sample("transformer", .text, #"{"preset": "transformer", "layers": 1, "width": 12, "heads": 3, "dropout": 0.1}"#),
    Sample("autoencoder", .grey, #"{"preset": "autoencoder", "hidden": [9, 4, 9]}"#),
    Sample("vae", .grey, #"{"preset": "vae", "hidden": [9], "latent": 3}"#),
    Sample(
      "layers", .colours,
      #"""
      {"layers": [
        {"type": "conv", "filters": 6, "kernel": 3, "stride": 2, "activation": "leaky_relu"},
        {"type": "group_norm", "groups": 2}, {"type": "depthwise_conv", "kernel": 3, "activation": "gelu_exact"},
        {"type": "average_pool"}, {"type": "rms_norm"}, {"type": "dropout", "rate": 0.2},
        {"type": "activation", "activation": "selu"}, {"type": "global_average_pool"}, {"type": "layer_norm"},
        {"type": "dense", "units": 5, "activation": "elu"}, {"type": "activation", "activation": "sin"},
        {"type": "dense", "units": 4}]}
      """#),
    Sample(
      "initial_states", .grey,
      #"""
      {"layers": [{"type": "rnn", "cell": "lstm", "units": 5, "learns_initial_state": true},
        {"type": "rnn", "cell": "gru", "units": 4, "learns_initial_state": true, "returns": "last"},
        {"type": "dense", "units": 4}]}
      """#),
  ]
}

/// What a trained model computes for the first rows of the held-out part, in the form that is exported.
private func outputs(_ trainer: Trainer, rows: Int = 3) throws -> (
  input: ONNXRuntime.Input, shape: [Int], floats: [Float]
) {
  let plan = try Plan(trainer.plans.exportGraph(rows: rows))
  let executor = Executor(plan)
  for tensor in trainer.plans.statistics.tensors where plan.inputs.contains(where: { $0.name == tensor.name }) {
    executor.bind(tensor.name, to: UnsafePointer(trainer.statistics.pointer + tensor.offset))
  }
  let part = trainer.data.heldOut
  let shape = [rows] + trainer.plans.model.data.input
  let input: ONNXRuntime.Input
  if trainer.plans.model.data.vocabulary != nil {
    let tokens = executor.int32("inputs")
    for row in 0..<rows { part.tokens(row, into: tokens.baseAddress! + row * part.width) }
    input = .tokens(shape, tokens.map { Int($0) })
  } else {
    let floats = executor.floats("inputs")
    for row in 0..<rows { part.input(row, into: floats.baseAddress! + row * part.width) }
    input = .floats(shape, Array(floats))
  }
  // A variational model is exported without its noise, which is not what a plan of the same graph computes.
  executor.run(parameters: trainer.parameters.pointer)
  return (input, plan.outputs[0].shape.dimensions, Array(executor.output("outputs")))
}

/// A run that goes on from a file.
private func goesOn(from file: Data, _ data: TrainingData, rate: Float = 0.003) throws -> Trainer {
  let imported = try ONNXImport(file)
  let spec = ModelSpec.imported(ImportedSpec(sha256: "00", facts: imported.summary))
  let model = try ModelSpec.decode(spec.json).resolved(for: data.schema.shape)
  let plans = try ModelPlans(model, imported: imported, batchSize: 16, judgedRows: 19, level: .best)
  return Trainer(
    plans: plans, data: data,
    optimizer: Adam(
      parameters: plans.layout, settings: OptimizerSettings(.adam, ["learning_rate": .number(Double(rate))]),
      level: .best), theta: nil,
    configuration: TrainerConfiguration(steps: 100, batchSize: 16, seed: 5))
}

@Suite("ONNX models")
struct ONNXModelTests {
  @Test("a model is exported, imported and judged the same, and trained on from there", arguments: Sample.all)
  fileprivate func roundTrip(sample: Sample) throws {
    let data = try sample.data(Scratch())
    let trainer = try adam(ModelSpec(sample.model), data, steps: 6, batch: 16)
    for _ in 0..<3 { _ = trainer.advance() }
    let file = try trainer.onnxFile(metadata: ["classes": "4"])
    #expect(try ONNXModel(file).metadata == ["classes": "4"])
    guard case .target = trainer.plans.model.objective else {
      // Reconstructions have no loss of their own after import.
      #expect(try ONNXImport(file).summary.input == data.schema.shape.input)
      return
    }
    let next = try goesOn(from: file, data)
    let before = trainer.judge(data.heldOut), after = next.judge(data.heldOut)
    #expect(abs(before.loss - after.loss) < 1e-4 * max(1, before.loss), "\(before.loss) and \(after.loss)")
    let start = next.judge(data.train).loss
    for _ in 0..<40 { _ = next.advance() }
    let end = next.judge(data.train).loss
    #expect(!next.isDiverged && end < start, "\(start), then \(end)")
    // What was imported is exported by the same code, and its weights have the file's names.
    let again = try goesOn(from: next.onnxFile(metadata: [:]), data)
    #expect(abs(again.judge(data.heldOut).loss - next.judge(data.heldOut).loss) < 1e-4)
    let names = try SafetensorsFile(next.modelFile(metadata: [:])).tensors.map(\.name)
    #expect(Set(names) == Set(next.plans.layout.tensors.map(\.name)) && !names.isEmpty)
  }

  @Test(
    "onnxruntime computes what a trained model does",
    .enabled(if: ONNXRuntime.here != nil, "needs Python with onnx and onnxruntime; scripts/test makes one"))
  func underOnnxruntime() throws {
    var models: [String: (file: Data, input: ONNXRuntime.Input)] = [:]
    var expected: [String: (shape: [Int], floats: [Float])] = [:]
    for sample in Sample.all {
      let scratch = try Scratch()
      let trainer = try adam(ModelSpec(sample.model), sample.data(scratch), steps: 6, batch: 16)
      for _ in 0..<3 { _ = trainer.advance() }
      let own = try outputs(trainer)
      models[sample.name] = (try trainer.onnxFile(metadata: [:]), own.input)
      expected[sample.name] = (own.shape, own.floats)
    }
    let (outputs, complaints) = try ONNXRuntime.here!.run(models)
    #expect(complaints == "")
    for (name, own) in expected where name != "vae" {
      #expect(outputs[name]?.shape == own.shape, "\(name)")
      #expect(difference(outputs[name]?.floats ?? [], own.floats) < 1e-5, "\(name)")
    }
    #expect(outputs["vae"]?.shape == expected["vae"]?.shape)
  }

  @Test("a model that does not fit the data says which shapes meet")
  func misfits() throws {
    let data = try ModelSamples.table(Scratch())
    let facts = try ONNXImport(ONNXCases.recorded.model("conv_classifier")).summary
    let spec = ModelSpec.imported(ImportedSpec(sha256: "00", facts: facts))
    let error = #expect(throws: SpecError.self) { try spec.resolved(for: data.schema.shape) }
    #expect(
      error?.faults.map(\.reason) == [
        "the model takes inputs of shape [1, 8, 6], but the dataset's have shape [2]",
        "the model's output for one example has shape [5], but the dataset asks for [2]",
      ])
    #expect(error?.faults.first?.path == "/model")
    let tokens = DataShape(input: [6], elements: .tokens(vocabulary: 12), target: .classes(5))
    let embedding = try ONNXImport(ONNXCases.recorded.model("embedding")).summary
    let other = #expect(throws: SpecError.self) {
      try ModelSpec.imported(ImportedSpec(sha256: "00", facts: embedding)).resolved(for: tokens)
    }
    #expect(other?.faults.first?.reason == "the model knows 11 tokens, but the dataset has 12")
  }

  @Test("the memory that a job is admitted by covers what the plans take")
  func memory() throws {
    let data = DataShape(input: [8, 6], target: .classes(5))
    let imported = try ONNXImport(ONNXCases.recorded.model("conv_classifier"))
    let model = try ModelSpec.imported(ImportedSpec(sha256: "00", facts: imported.summary)).resolved(for: data)
    for batch in [1, 16, 100] {
      let plans = try ModelPlans(model, imported: imported, batchSize: batch, level: .best)
      let held = 4 * 4 * plans.layout.elements
      let bytes = model.memoryBytes(batchSize: batch, stateFloatsPerParameter: 2)
      #expect(bytes >= plans.arenaBytes + held && bytes < 4 * (plans.arenaBytes + held) + 65536, "\(batch)")
    }
  }
}
