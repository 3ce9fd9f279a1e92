// ONNX model files, read and checked as a worker checks an upload.
import Foundation
import Learning

extension FuzzedParser {
  static let onnx = FuzzedParser(
    name: "onnx", seeds: ONNXSeeds.all.map { Array($0.encoded()) },
    tokens: ["Conv", "Reshape", "Slice", "Gather", "Transpose", "LSTM", "Pad", "axes", "perm", "pads", "x", "y", "w"],
    isFault: { $0 is FormatError }
  ) { bytes, _ in
    let model = try ONNXImport(Data(bytes))
    precondition(model.summary.parameterCount > 0 && !model.summary.operators.isEmpty)
  }
}

/// Small models that touch many operators.
private enum ONNXSeeds {
  static let all = [image, tokens, recurrent]

  private static func model(
    _ nodes: [ONNXNode], _ initializers: [ONNXTensor], input: [Int], type: ONNXType = .float
  ) -> ONNXModel {
    let dimensions = [ONNXValueInfo.Dimension.symbol("N")] + input.map { .known($0) }
    return ONNXModel(
      irVersion: 8, opset: 17, producer: "fuzz",
      graph: ONNXGraph(
        name: "g", nodes: nodes, initializers: initializers,
        inputs: [ONNXValueInfo(name: "x", type: type, dimensions: dimensions)],
        outputs: [ONNXValueInfo(name: "y", type: .float, dimensions: nil)]))
  }

  private static func weights(_ name: String, _ dimensions: Int...) -> ONNXTensor {
    let count = dimensions.reduce(1, *)
    return ONNXTensor(name: name, dimensions: dimensions, floats: (0..<count).map { Float($0) / Float(count) })
  }

  private static let image = model(
    [
      ONNXNode("Conv", inputs: ["x", "w", "b"], outputs: ["c"], attributes: ["pads": .integers([1, 0, 1, 1])]),
      ONNXNode("Relu", inputs: ["c"], outputs: ["r"]),
      ONNXNode(
        "MaxPool", inputs: ["r"], outputs: ["p"],
        attributes: ["kernel_shape": .integers([2, 2]), "strides": .integers([2, 1])]),
      ONNXNode("Transpose", inputs: ["p"], outputs: ["t"], attributes: ["perm": .integers([0, 2, 3, 1])]),
      ONNXNode("Pad", inputs: ["t", "pad"], outputs: ["q"]),
      ONNXNode("ReduceMean", inputs: ["q"], outputs: ["m"], attributes: ["axes": .integers([1, 2])]),
      ONNXNode("Flatten", inputs: ["m"], outputs: ["f"]),
      ONNXNode("Gemm", inputs: ["f", "v"], outputs: ["z"], attributes: ["transB": .integer(1)]),
      ONNXNode("Softmax", inputs: ["z"], outputs: ["y"]),
    ],
    [
      weights("w", 3, 1, 2, 2), weights("b", 3), weights("v", 2, 3),
      ONNXTensor(name: "pad", dimensions: [8], integers: [0, 1, 0, 0, 0, 1, 2, 0]),
    ], input: [1, 4, 5])

  private static let tokens = model(
    [
      ONNXNode("Gather", inputs: ["w", "x"], outputs: ["e"]),
      ONNXNode("Shape", inputs: ["e"], outputs: ["s"]),
      ONNXNode("Slice", inputs: ["s", "zero", "two"], outputs: ["k"]),
      ONNXNode("Concat", inputs: ["k", "heads"], outputs: ["h"], attributes: ["axis": .integer(0)]),
      ONNXNode("Reshape", inputs: ["e", "h"], outputs: ["r"]),
      ONNXNode("Transpose", inputs: ["r"], outputs: ["q"], attributes: ["perm": .integers([0, 2, 1, 3])]),
      ONNXNode("Transpose", inputs: ["r"], outputs: ["t"], attributes: ["perm": .integers([0, 2, 3, 1])]),
      ONNXNode("MatMul", inputs: ["q", "t"], outputs: ["a"]),
      ONNXNode("Softmax", inputs: ["a"], outputs: ["p"], attributes: ["axis": .integer(-1)]),
      ONNXNode("MatMul", inputs: ["p", "q"], outputs: ["c"]),
      ONNXNode("LayerNormalization", inputs: ["c", "g"], outputs: ["n"]),
      ONNXNode("Split", inputs: ["n"], outputs: ["left", "right"], attributes: ["axis": .integer(1)]),
      ONNXNode("Add", inputs: ["left", "right"], outputs: ["y"]),
    ],
    [
      weights("w", 5, 4), weights("g", 2), ONNXTensor(name: "zero", dimensions: [1], integers: [0]),
      ONNXTensor(name: "two", dimensions: [1], integers: [2]),
      ONNXTensor(name: "heads", dimensions: [2], integers: [2, 2]),
    ], input: [3], type: .int64)

  private static let recurrent = model(
    [
      ONNXNode("Transpose", inputs: ["x"], outputs: ["t"], attributes: ["perm": .integers([1, 0, 2])]),
      ONNXNode("LSTM", inputs: ["t", "w", "r", "b"], outputs: ["h"], attributes: ["hidden_size": .integer(2)]),
      ONNXNode("Squeeze", inputs: ["h", "one"], outputs: ["s"]),
      ONNXNode("Transpose", inputs: ["s"], outputs: ["y"], attributes: ["perm": .integers([1, 0, 2])]),
    ],
    [
      weights("w", 1, 8, 3), weights("r", 1, 8, 2), weights("b", 1, 16),
      ONNXTensor(name: "one", dimensions: [1], integers: [1]),
    ], input: [4, 3])
}
