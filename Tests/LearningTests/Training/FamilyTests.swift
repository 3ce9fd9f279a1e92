// Every family of models trained on small data: the loss falls, the measures are those of its objective, and a run that is
// interrupted goes on with the same bits.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

/// The data a family is tried on.
enum Kind: Sendable { case images, colours, table, regression, text }

private func data(_ kind: Kind, _ scratch: Scratch) throws -> TrainingData {
  switch kind {
  case .images: try ModelSamples.images(scratch)
  case .colours: try ModelSamples.images(scratch, channels: 3)
  case .table: try ModelSamples.table(scratch)
  case .regression: try ModelSamples.table(scratch, regression: true)
  case .text: try ModelSamples.text(scratch)
  }
}

@Suite struct FamilyTests {
  @Test(
    "a few dozen steps lower the held-out loss of every family",
    arguments: [
      (.table, #"{"preset":"mlp","hidden":[16]}"#, 0.03), (.regression, #"{"preset":"mlp","hidden":[16]}"#, 0.02),
      (.images, #"{"preset":"softmax_regression"}"#, 0.01),
      (.images, #"{"preset":"cnn","filters":[8,16]}"#, 0.01),
      (.colours, #"{"preset":"cnn","filters":[8,16],"norm":"batch","pool":true}"#, 0.01),
      (.colours, #"{"preset":"cnn","filters":[8,16],"norm":"layer","activation":"leaky_relu"}"#, 0.01),
      (.images, #"{"preset":"resnet","blocks":[1,1],"channels":[8,16]}"#, 0.01),
      (
        .colours, #"{"preset":"resnet","blocks":[1,1],"channels":[8,16],"version":1,"bottleneck":true,"pool":true}"#,
        0.01
      ),
      (.images, #"{"preset":"vit","layers":1,"width":16,"heads":2,"mlp":32,"dropout":0.1}"#, 0.01),
      (.colours, #"{"preset":"mixer","layers":1,"width":16,"tokens":8,"mlp":32}"#, 0.01),
      (.images, #"{"preset":"rnn","cell":"gru","units":16}"#, 0.01),
      (.text, #"{"preset":"rnn","units":24,"embedding":16}"#, 0.02),
      (.text, #"{"preset":"rnn","cell":"vanilla","units":24,"embedding":16}"#, 0.005),
      (.text, #"{"preset":"rnn","cell":"irnn","units":24,"embedding":16,"layers":2}"#, 0.003),
      (.text, #"{"preset":"transformer","layers":1,"width":16,"heads":2,"dropout":0.1}"#, 0.01),
      (.images, #"{"preset":"autoencoder","hidden":[32,8,32]}"#, 0.005),
      (.table, #"{"preset":"autoencoder","hidden":[8,1,8]}"#, 0.01),
      (.images, #"{"preset":"vae","hidden":[32],"latent":4}"#, 0.003),
      (.table, #"{"preset":"vae","hidden":[16],"latent":2}"#, 0.01),
    ] as [(Kind, String, Float)])
  func learns(kind: Kind, text: String, rate: Float) throws {
    let scratch = try Scratch()
    let data = try data(kind, scratch)
    let spec = try ModelSpec(text)
    let trainer = try adam(spec, data, steps: 60, rate: rate)
    let before = trainer.judge(data.heldOut)
    for _ in 0..<60 { #expect(trainer.advance().isFinite) }
    let after = trainer.judge(data.heldOut)
    #expect(after.loss < 0.95 * before.loss, "from \(before.loss) to \(after.loss)")
    let measures: Set<Metric> =
      switch (kind, trainer.plans.model.objective) {
      case (_, .reconstruct):
        text.contains("vae") ? [.loss, .reconstructionError, .negativeELBO] : [.loss, .reconstructionError]
      case (.text, _): [.loss, .accuracy, .perplexity, .bitsPerToken]
      case (.regression, _): [.loss, .mse]
      default: [.loss, .accuracy]
      }
    #expect(Set(after.values.keys) == measures && after.values.values.allSatisfy(\.isFinite))
    #expect(trainer.judge(data.heldOut) == after, "judging draws nothing new")
  }

  @Test("measures are in the units that they say")
  func units() throws {
    let scratch = try Scratch()
    let regression = try data(.regression, scratch)
    let values = try adam(ModelSpec(#"{"preset":"mlp","hidden":[4]}"#), regression).judge(regression.heldOut)
    let deviation = try #require(regression.schema.targetColumns.first?.deviation)
    #expect(abs(values[.mse]! - values.loss * deviation * deviation) < 1e-6 * values[.mse]! && deviation > 2)

    let text = try data(.text, scratch)
    let model = try adam(ModelSpec(#"{"preset":"rnn","units":8,"embedding":8}"#), text).judge(text.heldOut)
    #expect(abs(model.loss - log(256)) < 0.2)
    #expect(abs(model[.perplexity]! - exp(model.loss)) < 1e-9 * model[.perplexity]!)
    #expect(abs(model[.bitsPerToken]! * log(2) - model.loss) < 1e-9)

    let images = try data(.images, scratch)
    let vae = try adam(ModelSpec(#"{"preset":"vae","hidden":[8],"latent":2}"#), images).judge(images.heldOut)
    #expect(abs(vae[.negativeELBO]! - 144 * vae.loss) < 1e-9 * vae[.negativeELBO]!)
    let plain = try adam(ModelSpec(#"{"preset":"autoencoder","hidden":[8]}"#), images).judge(images.heldOut)
    #expect(plain.loss == plain[.reconstructionError])
  }

  @Test(
    "a run with dropout, recurrence, batch normalisation and samples is interrupted without a trace",
    arguments: [
      #"""
      {"layers": [{"type": "rnn", "cell": "lstm", "units": 8, "learns_initial_state": true}, {"type": "batch_norm"},
       {"type": "dropout", "rate": 0.3}, {"type": "rnn", "cell": "gru", "units": 6, "returns": "last"},
       {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": 4}]}
      """#,
      #"{"preset": "vae", "hidden": [16], "latent": 3}"#,
      #"{"preset": "resnet", "blocks": [1], "channels": [4]}"#,
    ])
  func resume(text: String) throws {
    let scratch = try Scratch()
    let data = try data(.images, scratch)
    let spec = try ModelSpec(text)
    let undisturbed = try adam(spec, data, steps: 20)
    let losses = (0..<20).map { _ in undisturbed.advance() }
    for stop in [0, 1, 9, 19] {
      let first = try adam(spec, data, steps: 20)
      var resumed = (0..<stop).map { _ in first.advance() }
      let second = try adam(spec, data, steps: 20)
      try second.restore(first.checkpoint())
      while second.step < 20 { resumed.append(second.advance()) }
      #expect(resumed.map(\.bitPattern) == losses.map(\.bitPattern), "stopped at \(stop)")
      #expect(second.modelFile(metadata: [:]) == undisturbed.modelFile(metadata: [:]))
      #expect(second.judge(data.heldOut) == undisturbed.judge(data.heldOut))
    }
    let other = try adam(spec, data, steps: 20, seed: 1)
    #expect((0..<20).map { _ in other.advance() } != losses)
  }

  @Test("running averages of batch normalisation go to what batches measure, and into the model file")
  func runningAverages() throws {
    let scratch = try Scratch()
    let data = try data(.images, scratch)
    let spec = try ModelSpec(
      #"{"layers": [{"type": "flatten"}, {"type": "batch_norm", "name": "norm"}, {"type": "dense", "units": 4}]}"#)
    let trainer = try adam(spec, data, steps: 100)
    for _ in 0..<100 { _ = trainer.advance() }
    let file = try SafetensorsFile(trainer.modelFile(metadata: [:]))
    let means = try file.floats("norm/mean", shape: [144])
    let variances = try file.floats("norm/variance", shape: [144])
    var row = [Float](repeating: 0, count: 144)
    var sums = [Double](repeating: 0, count: 144), squares = sums
    for index in 0..<data.train.rows {
      data.train.input(index, into: &row)
      for place in 0..<144 {
        sums[place] += Double(row[place])
        squares[place] += Double(row[place]) * Double(row[place])
      }
    }
    let count = Double(data.train.rows)
    for place in 0..<144 {
      let mean = sums[place] / count, variance = squares[place] / count - mean * mean
      #expect(abs(Double(means[place]) - mean) < 0.1 && abs(Double(variances[place]) - variance) < 0.05)
    }
  }
}
