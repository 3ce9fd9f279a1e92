// ONNXExport: what is written computes the same, here and under onnxruntime.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

/// The file of an imported model as our graph has it.
private func exported(_ name: String) throws -> Data {
  let cases = ONNXCases.recorded
  let model = try ONNXImport(cases.model(name))
  let input = try cases.input(name)
  func graph(_ rows: Int) throws -> Graph {
    var graph = Graph()
    let inputs = try graph.input(
      "inputs", Shape([rows] + input.shape.dropFirst()), input.tokens == nil ? .float32 : .int32)
    graph.output("outputs", try model.emit(into: &graph, inputs: inputs, givesLogits: false))
    return graph
  }
  let layout = try Plan(graph(2)).parameterLayout
  let parameters = AlignedBuffer(floats: layout.floats)
  model.fill(parameters.pointer, layout: layout)
  return try ONNXExport.model(
    name: name,
    tensor: { name in
      layout[name].map { Array(UnsafeBufferPointer(start: parameters.pointer + $0.offset, count: $0.count)) }
    }, graph: graph
  ).encoded()
}

@Suite("ONNX export")
struct ONNXExportTests {
  @Test("an imported model that is exported and imported again computes the same", arguments: ONNXCases.recorded.names)
  func roundTrip(name: String) throws {
    let cases = ONNXCases.recorded
    let model = try ONNXImport(exported(name))
    let expected = try cases.output(name)
    let got = try run(model, cases.input(name))
    #expect(got.shape == expected.shape)
    #expect(difference(got.floats, expected.floats) < 1e-5)
  }

  @Test(
    "onnxruntime computes the same with what is exported",
    .enabled(if: ONNXRuntime.here != nil, "needs Python with onnx and onnxruntime; scripts/test makes one"))
  func underOnnxruntime() throws {
    let cases = ONNXCases.recorded
    var models: [String: (file: Data, input: ONNXRuntime.Input)] = [:]
    for name in cases.names {
      let input = try cases.input(name)
      models[name] = (
        try exported(name),
        input.floats.map { .floats(input.shape, $0) } ?? .tokens(input.shape, input.tokens!)
      )
    }
    let (outputs, complaints) = try ONNXRuntime.here!.run(models)
    #expect(complaints == "")
    for name in cases.names {
      let expected = try cases.output(name)
      #expect(outputs[name]?.shape == expected.shape, "\(name)")
      #expect(difference(outputs[name]?.floats ?? [], expected.floats) < 1e-5, "\(name)")
    }
  }
}
