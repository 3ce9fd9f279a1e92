// What Graph refuses, and that its errors name the operation and both shapes.
import Testing

@testable import Compute

@Suite("Graph")
struct GraphTests {
  private func fails(
    _ op: String, got: String, _ build: (inout Graph) throws -> Value, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: ComputeError.self, sourceLocation: sourceLocation) {
      var graph = Graph()
      _ = try build(&graph)
    }
    #expect(error?.op == op && error?.got == got, "\(String(describing: error))", sourceLocation: sourceLocation)
  }

  @Test("an impossible shape is refused by the operation that meets it")
  func impossible() {
    fails("matmul", got: "[4, 5]") { try $0.matmul($0.input("a", [2, 3]), $0.input("b", [4, 5])) }
    fails("matmul", got: "[3]") { try $0.matmul($0.input("a", [2, 3]), $0.input("b", [3])) }
    fails("matmul", got: "[3]") { try $0.matmul($0.input("a", [3]), $0.input("b", [3, 4])) }
    fails("matmul", got: "[3, 4]") {
      try $0.matmul($0.input("a", [2, 3]), $0.input("b", [3, 4]), transposeRight: true)
    }
    fails("add", got: "[2, 3] and [2]") { try $0.add($0.input("a", [2, 3]), $0.input("b", [2])) }
    fails("multiply", got: "[2, 3, 4] and [1, 2, 1]") {
      try $0.multiply($0.input("a", [2, 3, 4]), $0.input("b", [1, 2, 1]))
    }
    fails("reshape", got: "[7]") { try $0.reshape($0.input("a", [2, 3]), to: [7]) }
    fails("softmax", got: "[]") { try $0.softmax($0.input("a", .scalar)) }
    fails("softmaxCrossEntropy", got: "[4, 3] and [3]") {
      try $0.softmaxCrossEntropy($0.input("a", [4, 3]), labels: $0.input("b", [3], .int32))
    }
    fails("softmaxCrossEntropy", got: "float32") {
      try $0.softmaxCrossEntropy($0.input("a", [4, 3]), labels: $0.input("b", [4]))
    }
    fails("meanSquaredError", got: "[3]") {
      try $0.meanSquaredError($0.input("a", [3, 3]), target: $0.input("b", [3]))
    }
    fails("constant", got: "3") { try $0.constant([1, 2, 3], [2, 2]) }
    fails("relu", got: "int32") { try $0.relu($0.input("a", [3], .int32)) }
    fails("dropout", got: "1.0") {
      try $0.dropout($0.input("a", [3]), rate: 1, key: $0.input("key", [2], .int32), stream: 0)
    }
  }

  @Test("sizes and names are checked before anything is allocated")
  func sizes() {
    fails("input x", got: "0 in [4, 0]") { try $0.input("x", [4, 0]) }
    fails("parameter w", got: "-1 in [-1]") { try $0.parameter("w", [-1]) }
    fails("parameter w", got: "[65536, 65536]") { try $0.parameter("w", [65536, 65536]) }
    fails("parameter w", got: "[\(Int.max), 3]") { try $0.parameter("w", [.max, 3]) }
    fails("matmul", got: "[1048576, 1048576]") {
      try $0.matmul($0.input("a", [1 << 20, 1]), $0.input("b", [1, 1 << 20]))
    }
    fails("input x", got: "a second input of that name") {
      _ = try $0.input("x", [1])
      return try $0.input("x", [1])
    }
    fails("parameter w", got: "a second parameter of that name") {
      _ = try $0.parameter("w", [1])
      return try $0.parameter("w", [1])
    }
    fails("relu", got: "one more") {
      var x = try $0.input("x", [1])
      for _ in 0..<Graph.nodesMax { x = try $0.relu(x) }
      return x
    }
  }

  @Test("a loss must be one float, and second derivatives are refused")
  func losses() {
    fails("gradient", got: "float32 [3]") {
      let x = try $0.parameter("x", [3])
      return try $0.gradients(of: x, for: [x])[0]!
    }
    fails("reluBackward", got: "a second derivative") {
      let x = try $0.parameter("x", [3])
      let slope = try $0.gradients(of: $0.sum($0.relu(x)), for: [x])[0]!
      return try $0.gradients(of: $0.sum(slope), for: [x])[0]!
    }
  }
}
