// Rows of a table by index: against plain indexing, repeated indices, and indices outside of the table.
import Testing

@testable import Compute

extension Embedding: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    x[1].flatMap { index in (0..<result.last).map { x[0][Int(index) * result.last + $0] } }
  }
}

private let cases = [Shape([1, 1]), [4, 3], [3, 16], [3, 33]].map { table in
  OperationCase(name: "embedding of \(table)", shapes: [[table]], classes: table[0]) { graph, x in
    try graph.embedding(x[0], graph.input("indices", [2, 11], .int32))
  }
}

@Suite("Embedding")
struct EmbeddingTests {
  @Test("results are those of loops in Float64", arguments: cases)
  func results(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: cases)
  func gradients(_ test: OperationCase) throws { try test.checkGradients(kept: false) }

  @Test("an index outside of the table gives NaN and no gradient", arguments: CPULevel.supported)
  func outside(_ level: CPULevel) throws {
    var graph = Graph()
    let table = try graph.parameter("table", [3, 5])
    let indices = try graph.input("indices", [6], .int32)
    let rows = try graph.embedding(table, indices)
    graph.output("rows", rows)
    let loss = try graph.sum(rows)
    let plan = try Plan(graph, differentiating: loss, level: level)
    let executor = Executor(plan)
    _ = executor.int32("indices").update(fromContentsOf: [0, 3, -1, 2, .max, .min])
    let parameters = AlignedBuffer(floats: plan.parameterLayout.floats)
    let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
    for i in 0..<15 { parameters.pointer[i] = Float(i) }
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    let output = executor.output("rows")
    for (row, index) in [0, nil, nil, 2, nil, nil].enumerated() {
      for j in 0..<5 {
        if let index {
          #expect(output[row * 5 + j] == Float(index * 5 + j))
        } else {
          #expect(output[row * 5 + j].isNaN)
        }
      }
    }
    #expect((0..<15).map { gradients.pointer[$0] } == (0..<15).map { $0 / 5 == 1 ? 0 : 1 })
  }

  @Test("indices that are not integers and tables that are not matrices are refused")
  func refusals() throws {
    var graph = Graph()
    let table = try graph.input("table", [3, 5])
    let cube = try graph.input("cube", [3, 5, 2])
    let indices = try graph.input("indices", [2], .int32)
    #expect(throws: ComputeError.self) { try graph.embedding(table, table) }
    #expect(throws: ComputeError.self) { try graph.embedding(cube, indices) }
    #expect(throws: ComputeError.self) { try graph.embedding(indices, indices) }
  }
}
