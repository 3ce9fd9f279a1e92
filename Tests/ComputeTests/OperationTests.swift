// The operations that are cases of Op, at every CPU level of this machine; those with a file of their own are tested in
// Operations. OperationCase says what is checked.
import Testing

@testable import Compute

/// Widths around 4, 8 and 16 lanes, one beyond a block of 512, and tall and flat matrices.
let plainShapes: [[Shape]] = [
  [[1]], [[3]], [[17]], [[5, 7]], [[16, 16]], [[1, 31]], [[33, 1]], [[3, 521]], [[2, 3, 11]],
]

private let unary: [OperationCase] = [
  OperationCase(name: "relu", shapes: plainShapes) { try $0.relu($1[0]) },
  OperationCase(name: "tanh", shapes: plainShapes) { try $0.tanh($1[0]) },
  OperationCase(name: "sigmoid", shapes: plainShapes) { try $0.sigmoid($1[0]) },
  OperationCase(name: "gelu", shapes: plainShapes) { try $0.gelu($1[0]) },
  OperationCase(name: "silu", shapes: plainShapes) { try $0.silu($1[0]) },
  OperationCase(name: "softplus", shapes: plainShapes) { try $0.softplus($1[0]) },
  OperationCase(name: "exp", shapes: plainShapes) { try $0.exp($1[0]) },
  OperationCase(name: "log", shapes: plainShapes, values: { abs($0) + 0.1 }) { try $0.log($1[0]) },
  OperationCase(name: "sqrt", shapes: plainShapes, values: { abs($0) + 0.1 }) { try $0.sqrt($1[0]) },
  OperationCase(name: "abs", shapes: plainShapes) { try $0.abs($1[0]) },
  OperationCase(name: "sign", shapes: plainShapes) { try $0.multiply($0.sign($1[0]), $1[0]) },
  OperationCase(name: "sin", shapes: plainShapes, values: { 5 * $0 }) { try $0.sin($1[0]) },
  OperationCase(name: "cos", shapes: plainShapes, values: { 5 * $0 }) { try $0.cos($1[0]) },
  OperationCase(name: "erf", shapes: plainShapes) { try $0.erf($1[0]) },
  OperationCase(name: "gelu by the error function", shapes: plainShapes, values: { 2 * $0 }) {
    try $0.geluExact($1[0])
  },
  OperationCase(name: "clamp", shapes: plainShapes) { try $0.clamp($1[0], min: -0.5, max: 0.75) },
  OperationCase(name: "relu6", shapes: plainShapes, values: { 5 * $0 }) { try $0.relu6($1[0]) },
  OperationCase(name: "leaky relu", shapes: plainShapes) { try $0.leakyRelu($1[0], slope: 0.125) },
  OperationCase(name: "elu", shapes: plainShapes) { try $0.elu($1[0], alpha: 1.5) },
  OperationCase(name: "selu", shapes: plainShapes) { try $0.selu($1[0]) },
  OperationCase(name: "softsign", shapes: plainShapes) { try $0.softsign($1[0]) },
  OperationCase(name: "hard sigmoid", shapes: plainShapes, values: { 2 * $0 }) { try $0.hardSigmoid($1[0]) },
  OperationCase(name: "hard swish", shapes: plainShapes, values: { 3 * $0 }) { try $0.hardSwish($1[0]) },
  OperationCase(name: "negate", shapes: plainShapes) { try $0.negate($1[0]) },
  OperationCase(name: "square", shapes: plainShapes) { try $0.square($1[0]) },
  OperationCase(name: "reciprocal", shapes: plainShapes, values: { $0 < 0 ? $0 - 0.5 : $0 + 0.5 }) {
    try $0.reciprocal($1[0])
  },
  OperationCase(name: "whole powers", shapes: plainShapes, values: { $0 < 0 ? $0 - 0.75 : $0 + 0.75 }) {
    let cube = try $0.power($1[0], 3), square = try $0.power($1[0], 2), inverse = try $0.power($1[0], -1)
    return try $0.add($0.multiply(cube, square), $0.multiply(inverse, $0.power($1[0], 1)))
  },
  OperationCase(name: "other powers", shapes: plainShapes, values: { abs($0) + 0.5 }) {
    try $0.add($0.power($1[0], 1.5), $0.add($0.power($1[0], 0.5), $0.power($1[0], -0.25)))
  },
  OperationCase(name: "affine", shapes: plainShapes) { try $0.affine($1[0], scale: -1.5, shift: 0.25) },
  OperationCase(name: "reshape", shapes: plainShapes) { try $0.reshape($1[0], to: [$1[0].shape.count]) },
  OperationCase(name: "dropout", shapes: plainShapes) { graph, x in
    let key = try graph.input("key", [2], .int32)
    return try graph.dropout(x[0], rate: 0.3, key: key, stream: 5)
  },
  OperationCase(name: "a chain that is fused", shapes: plainShapes) { graph, x in
    let y = try graph.silu(graph.affine(x[0], scale: 0.5, shift: 1))
    return try graph.multiply(graph.tanh(y), graph.subtract(y, x[0]))
  },
  OperationCase(name: "a chain longer than one program", shapes: [[[5, 7]], [[300]]]) { graph, x in
    var y = x[0]
    for step in 0..<23 { y = try graph.add(graph.tanh(y), graph.scale(x[0], by: Float(step) / 16)) }
    return y
  },
]

/// Equal shapes; a scalar, row and column on either side; and what has to be written out.
private let pairs: [[Shape]] = [
  [[1], [1]], [[5, 7], [5, 7]], [[5, 7], []], [[], [5, 7]], [[9, 17], [17]], [[17], [9, 17]], [[9, 17], [9, 1]],
  [[9, 1], [9, 17]], [[2, 3, 33], [3, 33]], [[2, 3, 33], [2, 3, 1]], [[3, 521], [521]], [[521, 3], [521, 1]],
  [[2, 700], [2, 1]], [[4, 1], [4, 1]], [[1, 6], [6]],
  [[9, 1], [1, 17]], [[2, 3, 5], [3, 1]], [[2, 1, 1], [5]], [[2, 1, 1], [3, 5]], [[2, 3, 1], [1, 5]],
  [[3, 1, 5, 1], [2, 1, 19]],
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
  OperationCase(name: "softmax with everything around it", shapes: [[[9, 17], [17]]]) { graph, x in
    let shifted = try graph.subtract(x[0], graph.mean(x[0], over: .last))
    let scaled = try graph.divide(shifted, graph.sqrt(graph.mean(graph.multiply(shifted, shifted), over: .last)))
    return try graph.softmax(graph.multiply(scaled, x[1]))
  },
]

/// [M, N, K] around tile heights, vector widths and the block of K; the last ones are narrower than a vector.
private let products = [
  (1, 1, 1), (1, 17, 5), (3, 5, 7), (16, 16, 16), (17, 33, 65), (8, 10, 32), (31, 47, 3), (12, 10, 257), (3, 49, 300),
  (23, 70, 2), (33, 1, 4), (37, 3, 9), (17, 5, 1), (19, 7, 2), (23, 10, 5), (20, 12, 3), (16, 13, 260),
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
  ]

@Suite("Operations")
struct OperationTests {
  @Test("results are those of loops in Float64", arguments: unary + binary + matrices)
  func forward(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: unary + binary + matrices, [false, true])
  func gradient(_ test: OperationCase, kept: Bool) throws { try test.checkGradients(kept: kept) }
}
