// ONNXImport and the operators: recorded models of odd shapes against what onnxruntime computes.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

/// The recorded models: for each case its file, an input and the output of onnxruntime. Fixtures/onnx/make.py made them.
struct ONNXCases {
  let file: SafetensorsFile
  let names: [String]

  static let recorded = try! ONNXCases()

  init() throws {
    let place = Bundle.module.url(forResource: "Fixtures/onnx/cases", withExtension: "safetensors")!
    file = try SafetensorsFile(Data(contentsOf: place))
    names = file.tensors.map(\.name).filter { $0.hasSuffix("/model") }.map { String($0.dropLast(6)) }.sorted()
  }

  func model(_ name: String) -> Data { file.withBytes(of: file.tensor(name + "/model")!) { Data($0) } }

  func input(_ name: String) throws -> (shape: [Int], floats: [Float]?, tokens: [Int]?) {
    let tensor = file.tensor(name + "/x")!
    return tensor.dtype == .f32
      ? (tensor.shape, try file.floats(name + "/x"), nil) : (tensor.shape, nil, try file.integers(name + "/x"))
  }

  func output(_ name: String) throws -> (shape: [Int], floats: [Float]) {
    (file.tensor(name + "/y")!.shape, try file.floats(name + "/y"))
  }
}

/// What an imported model computes, with the weights of its file.
func run(
  _ model: ONNXImport, _ input: (shape: [Int], floats: [Float]?, tokens: [Int]?), level: CPULevel = .best
) throws -> (shape: [Int], floats: [Float]) {
  var graph = Graph()
  let inputs = try graph.input("inputs", Shape(input.shape), input.tokens == nil ? .float32 : .int32)
  let output = try model.emit(into: &graph, inputs: inputs, givesLogits: false)
  graph.output("outputs", output)
  let plan = try Plan(graph, level: level)
  let executor = Executor(plan)
  let parameters = AlignedBuffer(floats: plan.parameterLayout.floats)
  model.fill(parameters.pointer, layout: plan.parameterLayout)
  if let floats = input.floats {
    _ = executor.floats("inputs").update(fromContentsOf: floats)
  } else {
    _ = executor.int32("inputs").update(fromContentsOf: input.tokens!.map { Int32($0) })
  }
  executor.run(parameters: parameters.pointer)
  return (output.shape.dimensions, Array(executor.output("outputs")))
}

/// The largest difference, relative to the largest number.
func difference(_ a: [Float], _ b: [Float]) -> Float {
  guard a.count == b.count else { return .infinity }
  let scale = max(1, b.map { abs($0) }.max() ?? 1)
  return zip(a, b).map { abs($0 - $1) }.max().map { $0.isNaN ? .infinity : $0 / scale } ?? 0
}

@Suite("ONNX import")
struct ONNXImportTests {
  @Test("an imported model computes what onnxruntime does", arguments: ONNXCases.recorded.names)
  func matches(name: String) throws {
    let cases = ONNXCases.recorded
    let model = try ONNXImport(cases.model(name))
    let expected = try cases.output(name)
    let got = try run(model, cases.input(name))
    #expect(got.shape == expected.shape)
    #expect(model.summary.output == Array(expected.shape.dropFirst()))
    #expect(difference(got.floats, expected.floats) < 1e-5)
  }
}
