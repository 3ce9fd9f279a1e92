// Every operation at every CPU level of this machine: results against Reference.swift's Float64 loops, gradients against
// its central differences, at shapes that are no multiples of a vector.
import Testing

@testable import Compute

/// One operation, the shapes it is tried at and how to build it from parameters.
struct OperationCase: Sendable, CustomTestStringConvertible {
  let name: String
  var shapes: [[Shape]]
  var classes = 1 << 30
  /// From a standard normal to the operand's domain.
  var values: @Sendable (Float) -> Float = { $0 }
  let build: @Sendable (inout Graph, [Value]) throws -> Value

  var testDescription: String { name }
}

/// Widths around 4, 8 and 16 lanes, one beyond a block of 512, and tall and flat matrices.
private let plain: [[Shape]] = [
  [[1]], [[3]], [[17]], [[5, 7]], [[16, 16]], [[1, 31]], [[33, 1]], [[3, 521]], [[2, 3, 11]],
]

private let unary: [OperationCase] = [
  OperationCase(name: "relu", shapes: plain) { try $0.relu($1[0]) },
  OperationCase(name: "tanh", shapes: plain) { try $0.tanh($1[0]) },
  OperationCase(name: "sigmoid", shapes: plain) { try $0.sigmoid($1[0]) },
  OperationCase(name: "gelu", shapes: plain) { try $0.gelu($1[0]) },
  OperationCase(name: "silu", shapes: plain) { try $0.silu($1[0]) },
  OperationCase(name: "softplus", shapes: plain) { try $0.softplus($1[0]) },
  OperationCase(name: "exp", shapes: plain) { try $0.exp($1[0]) },
  OperationCase(name: "log", shapes: plain, values: { abs($0) + 0.1 }) { try $0.log($1[0]) },
  OperationCase(name: "sqrt", shapes: plain, values: { abs($0) + 0.1 }) { try $0.sqrt($1[0]) },
  OperationCase(name: "affine", shapes: plain) { try $0.affine($1[0], scale: -1.5, shift: 0.25) },
  OperationCase(name: "sum over all", shapes: plain) { try $0.sum($1[0]) },
  OperationCase(name: "sum over the last axis", shapes: plain) { try $0.sum($1[0], over: .last) },
  OperationCase(name: "sum over the leading axes", shapes: plain) { try $0.sum($1[0], over: .leading) },
  OperationCase(name: "mean over all", shapes: plain) { try $0.mean($1[0]) },
  OperationCase(name: "mean over the last axis", shapes: plain) { try $0.mean($1[0], over: .last) },
  OperationCase(name: "mean over the leading axes", shapes: plain) { try $0.mean($1[0], over: .leading) },
  OperationCase(name: "reshape", shapes: plain) { try $0.reshape($1[0], to: [$1[0].shape.count]) },
  OperationCase(name: "softmax", shapes: plain) { try $0.softmax($1[0]) },
  OperationCase(name: "log-softmax", shapes: plain) { try $0.logSoftmax($1[0]) },
  OperationCase(name: "dropout", shapes: plain) { graph, x in
    let key = try graph.input("key", [2], .int32)
    return try graph.dropout(x[0], rate: 0.3, key: key, stream: 5)
  },
  OperationCase(name: "a chain that is fused", shapes: plain) { graph, x in
    let y = try graph.silu(graph.affine(x[0], scale: 0.5, shift: 1))
    return try graph.multiply(graph.tanh(y), graph.subtract(y, x[0]))
  },
  OperationCase(name: "a chain longer than one program", shapes: [[[5, 7]], [[300]]]) { graph, x in
    var y = x[0]
    for step in 0..<23 { y = try graph.add(graph.tanh(y), graph.scale(x[0], by: Float(step) / 16)) }
    return y
  },
]

/// Equal shapes; a scalar, row and column on either side.
private let pairs: [[Shape]] = [
  [[1], [1]], [[5, 7], [5, 7]], [[5, 7], []], [[], [5, 7]], [[9, 17], [17]], [[17], [9, 17]], [[9, 17], [9, 1]],
  [[9, 1], [9, 17]], [[2, 3, 33], [3, 33]], [[2, 3, 33], [2, 3, 1]], [[3, 521], [521]], [[521, 3], [521, 1]],
  [[2, 700], [2, 1]], [[4, 1], [4, 1]], [[1, 6], [6]],
]

private let binary: [OperationCase] = [
  OperationCase(name: "add", shapes: pairs) { try $0.add($1[0], $1[1]) },
  OperationCase(name: "subtract", shapes: pairs) { try $0.subtract($1[0], $1[1]) },
  OperationCase(name: "multiply", shapes: pairs) { try $0.multiply($1[0], $1[1]) },
  OperationCase(name: "divide", shapes: pairs, values: { $0 < 0 ? $0 - 0.5 : $0 + 0.5 }) {
    try $0.divide($1[0], $1[1])
  },
  OperationCase(name: "maximum", shapes: pairs) { try $0.maximum($1[0], $1[1]) },
  OperationCase(name: "minimum", shapes: pairs) { try $0.minimum($1[0], $1[1]) },
  OperationCase(name: "mean squared error", shapes: pairs.filter { $0[0] == $0[1] }) {
    try $0.meanSquaredError($1[0], target: $1[1])
  },
  OperationCase(name: "softmax with everything around it", shapes: [[[9, 17], [17]]]) { graph, x in
    let shifted = try graph.subtract(x[0], graph.mean(x[0], over: .last))
    let scaled = try graph.divide(shifted, graph.sqrt(graph.mean(graph.multiply(shifted, shifted), over: .last)))
    return try graph.softmax(graph.multiply(scaled, x[1]))
  },
]

/// [M, N, K] around tile heights, vector widths and the block of K.
private let products = [
  (1, 1, 1), (1, 17, 5), (3, 5, 7), (16, 16, 16), (17, 33, 65), (8, 10, 32), (31, 47, 3), (12, 10, 257), (3, 49, 300),
  (23, 70, 2),
]

private let matrices: [OperationCase] =
  [(false, false), (true, false), (false, true), (true, true)].map { left, right in
    OperationCase(
      name: "matmul\(left ? ", left transposed" : "")\(right ? ", right transposed" : "")",
      shapes: products.map { m, n, k in [left ? [k, m] : [m, k], right ? [n, k] : [k, n]] }
    ) { try $0.matmul($1[0], $1[1], transposeLeft: left, transposeRight: right) }
  } + [
    OperationCase(name: "matmul over leading axes", shapes: [[[2, 3, 5], [5, 7]]]) { try $0.matmul($1[0], $1[1]) },
    OperationCase(name: "dense with relu", shapes: products.map { [[$0.0, $0.2], [$0.2, $0.1], [$0.1]] }) {
      try $0.relu($0.add($0.matmul($1[0], $1[1]), $1[2]))
    },
    OperationCase(name: "two layers", shapes: [[[7, 5], [5, 19], [19], [19, 3], [3]]]) { graph, x in
      let hidden = try graph.relu(graph.add(graph.matmul(x[0], x[1]), x[2]))
      return try graph.add(graph.matmul(hidden, x[3]), x[4])
    },
    OperationCase(
      name: "softmax cross-entropy",
      shapes: [
        [[1, 2]], [[5, 2]], [[3, 7]], [[17, 10]], [[64, 10]], [[9, 16]], [[2, 17]], [[5, 100]], [[2, 3, 4]],
      ],
      classes: 2
    ) { graph, x in
      let labels = try graph.input("labels", Shape(Array(x[0].shape.dimensions.dropLast())), .int32)
      return try graph.softmaxCrossEntropy(x[0], labels: labels)
    },
  ]

@Suite("Operations")
struct OperationTests {
  /// The operation as the only output, and as one of several with a loss that weights each element.
  private func experiment(_ test: OperationCase, _ shapes: [Shape], kept: Bool) throws -> Experiment {
    var graph = Graph()
    var operands: [Value] = []
    for (index, shape) in shapes.enumerated() { operands.append(try graph.parameter("p\(index)", shape)) }
    let result = try test.build(&graph, operands)
    let weights = try graph.input("weights", result.shape)
    let loss = try graph.sum(graph.multiply(result, weights))
    if kept { graph.output("result", result) }
    graph.output("loss", loss)
    return Experiment(graph, loss: loss, seed: UInt64(shapes[0].count), classes: test.classes, values: test.values)
  }

  @Test("results are those of loops in Float64", arguments: unary + binary + matrices)
  func forward(_ test: OperationCase) throws {
    for shapes in test.shapes {
      let experiment = try experiment(test, shapes, kept: true)
      let reference = experiment.graph.evaluate(experiment.bindings)
      for level in CPULevel.supported {
        let plan = try Plan(experiment.graph, level: level)
        let (executor, parameters) = experiment.prepare(plan)
        executor.run(parameters: parameters.pointer)
        for (name, id) in experiment.graph.outputs {
          let result = executor.output(name)
          // The loss sums products of either sign, whose rounding errors add up like a random walk.
          let summed = name == "loss" ? Double(executor.output("result").count).squareRoot() : 1
          let scale = max(1, reference[id].map { abs($0) }.max()!) * summed
          let error = zip(result, reference[id]).map { abs(Double($0) - $1) }.max()!
          #expect(error < 4e-6 * scale, "\(shapes) at \(level): \(name)")
        }
      }
    }
  }

  @Test("gradients are central differences", arguments: unary + binary + matrices, [false, true])
  func gradient(_ test: OperationCase, kept: Bool) throws {
    for shapes in test.shapes {
      let experiment = try experiment(test, shapes, kept: kept)
      let slopes = shapes.indices.map { experiment.differences("p\($0)") }
      let scale = max(1, slopes.joined().map { abs($0.slope) }.max()!)
      for level in CPULevel.supported {
        let plan = try Plan(experiment.graph, differentiating: experiment.loss, level: level)
        let (executor, parameters) = experiment.prepare(plan)
        let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
        for i in 0..<gradients.floats { gradients.pointer[i] = .nan }
        executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
        for (tensor, expected) in zip(plan.parameterLayout.tensors, slopes) {
          let got = UnsafeBufferPointer(start: gradients.pointer + tensor.offset, count: tensor.count)
          #expect(got.allSatisfy { $0.isFinite }, "\(shapes) at \(level): \(tensor.name) was not written")
          let error = expected.map { abs(Double(got[$0.index]) - $0.slope) }.max()!
          #expect(error < 2e-5 * scale, "\(shapes) at \(level): \(tensor.name)")
        }
      }
    }
  }
}
