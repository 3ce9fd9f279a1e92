// Batch normalization at every level against Float64 loops and central differences.
import Testing

@testable import Compute

extension BatchStatistics: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let rows = shapes[0].rows, columns = shapes[0].last
    var means: [Double] = [], inverses: [Double] = []
    for column in 0..<columns {
      let values = (0..<rows).map { x[0][$0 * columns + column] }
      let mean = values.reduce(0, +) / Double(rows)
      let variance = values.map { ($0 - mean) * ($0 - mean) }.reduce(0, +) / Double(rows)
      means.append(mean)
      inverses.append(1 / (variance + Double(epsilon)).squareRoot())
    }
    return means + inverses
  }
}

extension BatchNormalization: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let columns = result.last
    return x[0].enumerated().map { i, value in
      let c = i % columns
      return (value - x[1][c]) * x[1][columns + c] * x[2][c] + x[3][c]
    }
  }
}

@Suite("BatchNorm")
struct BatchNormTests {
  private static let shapes: [[Shape]] = [[5, 1], [2, 3], [7, 17], [3, 2, 33], [270, 1], [2, 71]].map {
    (x: Shape) in
    [x, [x.last], [x.last]]
  }
  static let matrix = [
    OperationCase(name: "batch normalization", shapes: shapes) {
      try $0.batchNorm($1[0], scale: $1[1], offset: $1[2], epsilon: 0.1)
    },
    OperationCase(name: "batch normalization with relu", shapes: shapes) {
      try $0.relu($0.batchNorm($1[0], scale: $1[1], offset: $1[2], epsilon: 0.1))
    },
    OperationCase(
      name: "batch normalization by given statistics", shapes: shapes.map { $0 + [$0[1], $0[1]] },
      values: { abs($0) + 0.1 }
    ) {
      try $0.batchNormInference($1[0], scale: $1[1], offset: $1[2], mean: $1[3], variance: $1[4], epsilon: 0.01)
    },
  ]

  @Test("results are those of loops in Float64", arguments: matrix)
  func forward(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: matrix, [false, true])
  func gradient(_ test: OperationCase, kept: Bool) throws { try test.checkGradients(kept: kept) }

  @Test("a large mean does not drown the variance", arguments: CPULevel.supported)
  func largeMean(_ level: CPULevel) throws {
    var graph = Graph()
    let x = try graph.input("x", [1024, 3])
    let one = try graph.parameter("scale", [3]), zero = try graph.parameter("offset", [3])
    graph.output("y", try graph.batchNorm(x, scale: one, offset: zero, epsilon: 0))
    let plan = try Plan(graph, level: level)
    let executor = Executor(plan)
    let memory = executor.floats("x")
    for i in 0..<memory.count { memory[i] = 1000 + (i / 3 % 2 == 0 ? 0.5 : -0.5) }
    let parameters = AlignedBuffer(floats: plan.parameterLayout.floats)
    for i in 0..<3 { parameters.pointer[plan.parameterLayout.tensors[0].offset + i] = 1 }
    executor.run(parameters: parameters.pointer)
    for (i, y) in executor.output("y").enumerated() { #expect(abs(y - (i / 3 % 2 == 0 ? 1 : -1)) < 1e-3) }
  }

  @Test("shapes and an epsilon that do not fit are refused")
  func refusals() throws {
    var graph = Graph()
    let x = try graph.input("x", [4, 3]), good = try graph.input("good", [3]), bad = try graph.input("bad", [4])
    #expect(throws: ComputeError.self) { try graph.batchNorm(x, scale: bad, offset: good) }
    #expect(throws: ComputeError.self) { try graph.batchNorm(good, scale: good, offset: good) }
    #expect(throws: ComputeError.self) { try graph.batchNorm(x, scale: good, offset: good, epsilon: -1) }
  }
}
