// ModelPlans.swift, the ModelGraph files: models against recordings of the same models in JAX, and what plans take of
// memory against what Contract foresees.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

private let colours = DataShape(input: [8, 8, 3], target: .classes(10))
private let tokens7 = DataShape(input: [7], elements: .tokens(vocabulary: 11), target: .tokens(vocabulary: 11))
private let tokens5 = DataShape(input: [5], elements: .tokens(vocabulary: 11), target: .tokens(vocabulary: 11))

@Suite struct ModelPlansTests {
  @Test(
    "presets compute what the same models in JAX do",
    arguments: [
      ("conv", #"{"preset":"cnn"}"#, colours), ("transformer", #"{"preset":"transformer","width":16}"#, tokens7),
      ("lstm", #"{"preset":"rnn","units":12,"embedding":12}"#, tokens5),
    ], CPULevel.allCases.filter { $0 <= .best })
  func recorded(sample: (name: String, spec: String, data: DataShape), level: CPULevel) throws {
    let url = try #require(Bundle.module.url(forResource: "Fixtures/models", withExtension: "json"))
    let recording = try #require(try JSON.parse(Data(contentsOf: url))[sample.name])
    let model = try ModelSpec(sample.spec).resolved(for: sample.data)
    let rows = sample.name == "conv" ? 2 : 3
    let plans = try ModelPlans(model, batchSize: rows, judgedRows: rows, level: level)
    let parameters = AlignedBuffer(floats: plans.layout.floats)
    for (index, tensor) in plans.layout.tensors.enumerated() {
      let scale: Float = tensor.name.hasSuffix("scale") ? 1 : 0.3
      for element in 0..<tensor.count {
        parameters.pointer[tensor.offset + element] = scale * Float(sin(Double(element) * 0.7 + Double(index)))
      }
    }
    let executor = Executor(plans.training)
    if sample.name == "conv" {
      let inputs = executor.floats("inputs"), labels = executor.int32("labels")
      for index in inputs.indices { inputs[index] = Float(cos(Double(index) * 0.3) * 0.5 + 0.5) }
      (labels[0], labels[1]) = (3, 7)
    } else {
      let inputs = executor.int32("inputs"), labels = executor.int32("labels")
      for index in inputs.indices {
        inputs[index] = Int32(index * 5 % 11)
        labels[index] = Int32(index * 3 % 11)
      }
    }
    let gradients = AlignedBuffer(floats: plans.layout.floats)
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    let loss = try #require(recording["loss"]?.number)
    #expect(abs(Double(executor.output("loss")[0]) - loss) < 2e-5 * loss)
    for tensor in plans.layout.tensors {
      let wanted = try #require(recording["gradients"]?[tensor.name], "\(tensor.name) is not recorded")
      let values = (0..<tensor.count).map { Double(gradients.pointer[tensor.offset + $0]) }
      let norm = try #require(wanted["norm"]?.number)
      // A softmax does not see its keys' bias: that gradient is rounding alone.
      let slack = 2e-4 * norm + 1e-6
      #expect(abs(values.reduce(0) { $0 + $1 * $1 }.squareRoot() - norm) < slack, "\(tensor.name)")
      #expect(try abs(values[0] - #require(wanted["first"]?.number)) < slack, "\(tensor.name)")
      #expect(try abs(values.last! - #require(wanted["last"]?.number)) < slack, "\(tensor.name)")
    }
  }

  @Test("tensors are in the order of their names, and each starts as its layer says")
  func order() throws {
    let model = try ModelSpec(#"{"preset":"transformer","width":16}"#).resolved(for: tokens7)
    let plans = try ModelPlans(model, batchSize: 1, judgedRows: 1, level: .best)
    let names = plans.layout.tensors.map(\.name)
    #expect(names == names.sorted() && names.first == "block0.attention.norm/offset" && names.last == "positions/w")
    let buffer = AlignedBuffer(floats: plans.layout.floats)
    Initializer.fill(buffer.pointer, plans: plans, key: RandomKey(seed: 1))
    let scale = try #require(plans.layout["norm/scale"])
    #expect((0..<scale.count).allSatisfy { buffer.pointer[scale.offset + $0] == 1 })
  }
}
