// Sums, means, extremes, softmax and losses: their cases for OperationTests, their Float64 references, and their limits.
import Foundation
import Testing

@testable import Compute

/// Shapes and the axes to reduce: neighbours, ends, the middle, several runs, lengths of 1.
private let reduced: [(Shape, [Int])] = [
  ([5, 7], []), ([5, 7], [0, 1]), ([5, 7], [1]), ([5, 7], [0]), ([2, 3, 19], [1]), ([3, 17, 2], [1]),
  ([2, 3, 2, 5], [0, 2]),
  ([2, 3, 2, 5], [3, 1]), ([2, 3, 2, 5], [2, 1]), ([1, 6], [0]), ([2, 70], [1]), ([3, 4, 65], [0, 1]),
]

private let reductionCases: [OperationCase] =
  reduced.flatMap { shape, axes in
    [
      OperationCase(name: "sum of \(shape) over \(axes)", shapes: [[shape]]) { try $0.sum($1[0], axes: axes) },
      OperationCase(name: "mean of \(shape) over \(axes)", shapes: [[shape]]) {
        try $0.mean($1[0], axes: axes, keepsAxes: true)
      },
      OperationCase(name: "maximum of \(shape) over \(axes)", shapes: [[shape]]) { try $0.maximum($1[0], axes: axes) },
      OperationCase(name: "minimum of \(shape) over \(axes)", shapes: [[shape]]) {
        try $0.minimum($1[0], axes: axes, keepsAxes: true)
      },
    ]
  } + [
    OperationCase(name: "sum of more rows than one vector takes", shapes: [[[9000, 1]]]) {
      try $0.sum($0.broadcast($1[0], to: [9000, 3]), axes: [0])
    },
    OperationCase(name: "sum over all", shapes: plainShapes) { try $0.sum($1[0]) },
    OperationCase(name: "sum over the last axis", shapes: plainShapes) { try $0.sum($1[0], over: .last) },
    OperationCase(name: "mean over all", shapes: plainShapes) { try $0.mean($1[0]) },
    OperationCase(name: "mean over the last axis", shapes: plainShapes) { try $0.mean($1[0], over: .last) },
    OperationCase(name: "mean over the leading axes", shapes: plainShapes) { try $0.mean($1[0], over: .leading) },
    OperationCase(name: "softmax", shapes: plainShapes) { try $0.softmax($1[0]) },
    OperationCase(name: "log-softmax", shapes: plainShapes) { try $0.logSoftmax($1[0]) },
  ]

private let logits: [[Shape]] = [
  [[1, 2]], [[5, 2]], [[3, 7]], [[17, 10]], [[64, 10]], [[9, 16]], [[2, 17]], [[5, 100]], [[2, 3, 4]],
]

private let equalShapes: [[Shape]] = plainShapes.map { $0 + $0 }

private let lossCases: [OperationCase] = [
  OperationCase(name: "softmax cross-entropy", shapes: logits, classes: 2) { graph, x in
    let labels = try graph.input("labels", Shape(Array(x[0].shape.dimensions.dropLast())), .int32)
    return try graph.softmaxCrossEntropy(x[0], labels: labels)
  },
  OperationCase(name: "softmax cross-entropy, weighted", shapes: logits, classes: 2) { graph, x in
    let rows = Shape(Array(x[0].shape.dimensions.dropLast()))
    let labels = try graph.input("labels", rows, .int32)
    let weights = try graph.constant((0..<rows.count).map { [1, 0, 0.5][$0 % 3] }, rows)
    return try graph.softmaxCrossEntropy(x[0], labels: labels, weights: weights)
  },
  OperationCase(name: "softmax cross-entropy of probabilities", shapes: logits.map { [$0[0], $0[0]] }) {
    try $0.softmaxCrossEntropy($1[0], targets: $0.softmax($1[1]))
  },
  OperationCase(name: "mean squared error", shapes: equalShapes) { try $0.meanSquaredError($1[0], target: $1[1]) },
  OperationCase(name: "Bernoulli likelihood", shapes: equalShapes) {
    try $0.bernoulliNegativeLogLikelihood($1[0], target: $0.sigmoid($1[1]))
  },
  OperationCase(name: "divergence of Gaussians", shapes: equalShapes, values: { 0.5 * $0 }) {
    try $0.gaussianKL(mean: $1[0], logDeviation: $1[1])
  },
  OperationCase(name: "Gaussian likelihood", shapes: equalShapes.map { $0 + [$0[0]] }, values: { 0.5 * $0 }) {
    try $0.gaussianNegativeLogLikelihood($1[0], mean: $1[1], logDeviation: $1[2])
  },
]

/// Elements of [outer, length, inner] along the middle axis, one list for each of the others.
private func columns(_ x: [Double], _ outer: Int, _ length: Int, _ inner: Int) -> [[Double]] {
  (0..<outer * inner).map { i in (0..<length).map { x[(i / inner * length + $0) * inner + i % inner] } }
}

extension Sum: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    columns(x[0], outer, length, inner).map { $0.reduce(0, +) * Double(scale) }
  }
}

extension Extreme: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    columns(x[0], outer, length, inner).map { largest ? $0.max()! : $0.min()! }
  }
}

private func logProbabilities(_ x: [Double], _ count: Int) -> [[Double]] {
  columns(x, x.count / count, count, 1).map { row in
    let top = row.max()!
    let logarithm = Foundation.log(row.map { Foundation.exp($0 - top) }.reduce(0, +))
    return row.map { $0 - top - logarithm }
  }
}

extension Softmax: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    logProbabilities(x[0], result.last).joined().map { logarithmic ? $0 : Foundation.exp($0) }
  }
}

extension CrossEntropy: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let rows = logProbabilities(x[0], shapes[0].last)
    switch form {
    case .labels: return [-zip(rows, x[1]).map { $0[Int($1)] }.reduce(0, +) / Double(rows.count)]
    case .weightedLabels:
      let losses = rows.indices.map { -rows[$0][Int(x[1][$0])] * x[2][$0] }
      return [losses.reduce(0, +) / x[2].reduce(0, +)]
    case .targets: return [-zip(rows.joined(), x[1]).map { $0 * $1 }.reduce(0, +) / Double(rows.count)]
    }
  }
}

@Suite("Reductions and losses")
struct ReductionTests {
  @Test("results are those of loops in Float64", arguments: reductionCases + lossCases)
  func forward(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: reductionCases + lossCases, [false, true])
  func gradient(_ test: OperationCase, kept: Bool) throws { try test.checkGradients(kept: kept) }

  /// Runs a graph of one input x and gives its output and gradient.
  private func run(
    _ x: [Float], _ shape: Shape, _ level: CPULevel, _ build: (inout Graph, Value) throws -> Value
  ) throws -> (y: [Float], dx: [Float]) {
    var graph = Graph()
    let parameter = try graph.parameter("x", shape)
    let y = try build(&graph, parameter)
    let loss = try graph.sum(y)
    graph.output("y", y)
    graph.output("loss", loss)
    let plan = try Plan(graph, differentiating: loss, level: level)
    let parameters = AlignedBuffer(floats: plan.parameterLayout.floats)
    let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
    for (i, value) in x.enumerated() { parameters.pointer[i] = value }
    let executor = Executor(plan)
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    return (Array(executor.output("y")), Array(gradients.buffer[..<x.count]))
  }

  @Test("elements that tie share an extreme's gradient, and NaN reaches the extreme", arguments: CPULevel.supported)
  func ties(_ level: CPULevel) throws {
    let (y, dx) = try run([2, 5, 5, 1, 5, 7], [2, 3], level) { try $0.maximum($1, axes: [1]) }
    #expect(y == [5, 7] && dx == [0, 0.5, 0.5, 0, 0, 1])
    let (least, slope) = try run([2, 5, 5, 1, 5, 7], [2, 3], level) { try $0.minimum($1, axes: [0]) }
    #expect(least == [1, 5, 5] && slope == [0, 0.5, 1, 1, 0.5, 0])
    for position in 0..<40 {
      var values = (0..<40).map { Float($0) }
      values[position] = .nan
      for axis in [0, 1] {
        let row = axis == 1 ? position / 20 : position % 20
        let (top, gradient) = try run(values, [2, 20], level) { try $0.maximum($1, axes: [axis]) }
        #expect(top.enumerated().allSatisfy { $1.isNaN == ($0 == row) })
        #expect(gradient.enumerated().allSatisfy { $1.isNaN == ((axis == 1 ? $0 / 20 : $0 % 20) == row) })
      }
    }
    let (infinite, _) = try run([-.infinity, -.infinity], [2], level) { try $0.maximum($1, axes: [0]) }
    #expect(infinite == [-.infinity])
  }

  @Test("a position of weight 0 counts for nothing, whatever it holds", arguments: CPULevel.supported, [3, 40])
  func masked(_ level: CPULevel, classes: Int) throws {
    for (weights, rest) in [([1, 0, 3], true), ([0, 0, 0], false)] as [([Float], Bool)] {
      var values = (0..<3 * classes).map { Float($0 % 5) }
      values[classes + 1] = .nan
      let (loss, slope) = try run(values, [3, classes], level) { graph, x in
        let labels = try graph.constant([1, -7, 2])
        return try graph.softmaxCrossEntropy(x, labels: labels, weights: graph.constant(weights, [3]))
      }
      #expect(rest ? loss[0] > 0 && loss[0] < 5 : loss[0] == 0)
      #expect(slope[classes..<2 * classes].allSatisfy { $0 == 0 })
      #expect(slope.allSatisfy { $0.isFinite } && slope.contains { $0 != 0 } == rest)
    }
  }

  @Test("axes and shapes that do not fit are refused")
  func refused() throws {
    var graph = Graph()
    let x = try graph.input("x", [2, 3]), labels = try graph.input("labels", [2], .int32)
    func fails(_ op: String, _ got: String, _ build: (inout Graph) throws -> Value) {
      let error = #expect(throws: ComputeError.self) { try build(&graph) }
      #expect(error?.op == op && error?.got == got, "\(String(describing: error))")
    }
    fails("sum", "2") { try $0.sum(x, axes: [2]) }
    fails("mean", "[1, 1]") { try $0.mean(x, axes: [1, 1]) }
    fails("maximum", "-1") { try $0.maximum(x, axes: [-1]) }
    fails("minimum", "int32") { try $0.minimum(labels, axes: [0]) }
    fails("softmaxCrossEntropy", "int32") { try $0.softmaxCrossEntropy(x, labels: labels, weights: labels) }
    fails("softmaxCrossEntropy", "[2, 3] and [3]") {
      try $0.softmaxCrossEntropy(x, labels: labels, weights: $0.input("w", [3]))
    }
    fails("softmaxCrossEntropy", "[2, 3] and [3, 2]") {
      try $0.softmaxCrossEntropy(x, targets: $0.reshape(x, to: [3, 2]))
    }
    fails("gaussianKL", "[3, 2]") { try $0.gaussianKL(mean: x, logDeviation: $0.reshape(x, to: [3, 2])) }
    var other = graph
    let w = try other.parameter("w", [2])
    let loss = try other.softmaxCrossEntropy(x, labels: labels, weights: w)
    #expect(throws: ComputeError.self) { try other.gradients(of: loss, for: [w]) }
  }
}
