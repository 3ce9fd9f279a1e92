// The operations that rearrange: their cases for OperationTests, their Float64 references, and what their builders refuse.
import Testing

@testable import Compute

/// A shape to transpose, and how.
private let permutations: [(Shape, [Int])] = [
  ([5, 7], [1, 0]), ([17, 33], [1, 0]), ([2, 3, 5], [0, 2, 1]), ([2, 3, 5], [2, 1, 0]), ([4, 3, 19], [1, 0, 2]),
  ([2, 9, 3, 17], [0, 2, 1, 3]), ([2, 9, 3, 17], [0, 2, 3, 1]), ([2, 5, 3, 7], [3, 1, 2, 0]), ([1, 6, 1], [2, 1, 0]),
  ([2, 3, 2, 3, 2, 3, 2], [6, 5, 4, 3, 2, 1, 0]),
]

/// A shape, an axis, and a range of it.
private let ranges: [(Shape, Int, Int, Int)] = [
  ([9], 0, 2, 5), ([9, 17], 0, 3, 1), ([9, 17], 1, 1, 16), ([9, 17], 1, 16, 1), ([2, 5, 19], 1, 1, 3),
  ([3, 4], 1, 0, 4),
]

private let layoutCases: [OperationCase] =
  permutations.map { shape, permutation in
    OperationCase(name: "transpose \(permutation)", shapes: [[shape]]) { try $0.transpose($1[0], permutation) }
  }
  + ranges.map { shape, axis, from, count in
    OperationCase(name: "slice of \(shape) along \(axis) from \(from)", shapes: [[shape]]) {
      try $0.slice($1[0], axis: axis, from: from, count: count)
    }
  } + [
    OperationCase(name: "split in three, joined in another order", shapes: [[[2, 3]], [[5, 51]], [[2, 9, 12]]]) {
      let parts = try $0.split($1[0], into: 3, axis: $1[0].shape.rank - 1)
      return try $0.concatenate([parts[2], parts[0], parts[1]], axis: $1[0].shape.rank - 1)
    },
    OperationCase(name: "parts that meet again", shapes: [[[5, 51]]]) {
      let parts = try $0.split($1[0], into: 3, axis: 1)
      return try $0.add($0.multiply(parts[0], parts[1]), $0.tanh(parts[2]))
    },
    OperationCase(name: "concatenate along the first axis", shapes: [[[3, 5], [2, 5]], [[1], [17]]]) {
      try $0.concatenate($1, axis: 0)
    },
    OperationCase(name: "concatenate along the last axis", shapes: [[[3, 5], [3, 16], [3, 1]]]) {
      try $0.concatenate($1, axis: 1)
    },
    OperationCase(name: "concatenate more than one kernel takes", shapes: [[[2, 3, 2]]]) { graph, x in
      try graph.concatenate((0..<17).map { try graph.scale(x[0], by: Float($0)) }, axis: 1)
    },
    OperationCase(name: "pad a vector", shapes: [[[5]], [[33]]]) { try $0.pad($1[0], before: [2], after: [1]) },
    OperationCase(name: "pad with a number", shapes: [[[5, 1]], [[3, 17]]]) {
      try $0.pad($1[0], before: [0, 1], after: [2, 3], value: -1.5)
    },
    OperationCase(name: "pad an image", shapes: [[[2, 3, 5, 3]]]) {
      try $0.pad($1[0], before: [0, 1, 2, 0], after: [0, 1, 1, 0])
    },
    OperationCase(name: "broadcast to a new axis", shapes: [[[7]], [[1, 7]], [[5, 1]], [[1]], [[]]]) {
      try $0.broadcast($1[0], to: [3, 5, 7])
    },
    OperationCase(name: "broadcast a middle axis", shapes: [[[3, 1, 7]], [[3, 1, 1, 7]], [[1, 4, 1]]]) {
      try $0.broadcast($1[0], to: [3, 3, 4, 7])
    },
    OperationCase(name: "gather along the first axis", shapes: [[[4, 17]], [[5]]]) {
      try $0.gather($1[0], indices: [3, 0, 3, 3, 1], axis: 0)
    },
    OperationCase(name: "gather along another axis", shapes: [[[3, 4]], [[2, 4, 5]], [[1, 6, 1]]]) {
      try $0.gather($1[0], indices: [2, 3, 0], axis: 1)
    },
  ]

extension Shape {
  /// The position along each axis of element i.
  func position(_ i: Int) -> [Int] { zip(dimensions, strides).map { i / $1 % $0 } }

  /// The element at a position.
  func index(_ position: [Int]) -> Int { zip(position, strides).reduce(0) { $0 + $1.0 * $1.1 } }
}

extension Transpose: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    (0..<result.count).map { i in
      var source = [Int](repeating: 0, count: result.rank)
      for (axis, place) in result.position(i).enumerated() { source[permutation[axis]] = place }
      return x[0][shapes[0].index(source)]
    }
  }
}

extension Slice: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    (0..<result.count).map { i in
      var place = result.position(i)
      place[axis] += from
      return x[0][shapes[0].index(place)]
    }
  }
}

extension Pad: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    var padded = [Double](repeating: Double(value), count: result.count)
    for (i, element) in x[0].enumerated() {
      padded[result.index(zip(shapes[0].position(i), before).map { $0 + $1 })] = element
    }
    return padded
  }
}

extension Concatenate: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    (0..<result.count).map { i in
      var place = result.position(i)
      var operand = 0
      while place[axis] >= shapes[operand][axis] {
        place[axis] -= shapes[operand][axis]
        operand += 1
      }
      return x[operand][shapes[operand].index(place)]
    }
  }
}

extension Broadcast: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    (0..<result.count).map { i in
      let place = result.position(i).suffix(shapes[0].rank)
      return x[0][shapes[0].index(zip(place, shapes[0].dimensions).map { $1 == 1 ? 0 : $0 })]
    }
  }
}

extension Gather: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    (0..<result.count).map { i in
      var place = result.position(i)
      place[axis] = Int(x[1][place[axis]])
      return x[0][shapes[0].index(place)]
    }
  }
}

@Suite("Layout")
struct LayoutTests {
  @Test("results are those of loops in Float64", arguments: layoutCases)
  func forward(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: layoutCases, [false, true])
  func gradient(_ test: OperationCase, kept: Bool) throws { try test.checkGradients(kept: kept) }

  private func fails(
    _ op: String, got: String, _ shape: Shape, sourceLocation: SourceLocation = #_sourceLocation,
    _ build: (inout Graph, Value) throws -> Void
  ) throws {
    var graph = Graph()
    let x = try graph.input("x", shape)
    let error = #expect(throws: ComputeError.self, sourceLocation: sourceLocation) { try build(&graph, x) }
    #expect(error?.op == op && error?.got == got, "\(String(describing: error))", sourceLocation: sourceLocation)
  }

  @Test("axes, ranges and shapes that do not fit are refused")
  func refused() throws {
    try fails("transpose", got: "[0, 0]", [2, 3]) { _ = try $0.transpose($1, [0, 0]) }
    try fails("transpose", got: "[0]", [2, 3]) { _ = try $0.transpose($1, [0]) }
    let nine = Shape([Int](repeating: 2, count: 9))
    try fails("transpose", got: "9", nine) { _ = try $0.transpose($1, Array((0..<9).reversed())) }
    try fails("slice", got: "2", [2, 3]) { _ = try $0.slice($1, axis: 2, from: 0, count: 1) }
    try fails("slice", got: "2 from 2", [2, 3]) { _ = try $0.slice($1, axis: 1, from: 2, count: 2) }
    try fails("slice", got: "\(Int.max) from 1", [2, 3]) { _ = try $0.slice($1, axis: 1, from: 1, count: .max) }
    try fails("split", got: "2 parts", [2, 3]) { _ = try $0.split($1, into: 2, axis: 1) }
    try fails("pad", got: "[1] and [0, 0]", [2, 3]) { _ = try $0.pad($1, before: [1], after: [0, 0]) }
    try fails("pad", got: "[0, -1] and [0, 0]", [2, 3]) { _ = try $0.pad($1, before: [0, -1], after: [0, 0]) }
    try fails("pad", got: "[2, \(Int.max)]", [2, 3]) { _ = try $0.pad($1, before: [0, .max], after: [0, 1]) }
    try fails("concatenate", got: "none", [2, 3]) { graph, _ in _ = try graph.concatenate([], axis: 0) }
    try fails("concatenate", got: "[3, 2]", [2, 3]) {
      _ = try $0.concatenate([$1, $0.reshape($1, to: [3, 2])], axis: 0)
    }
    try fails("broadcast", got: "[3, 2]", [2, 3]) { _ = try $0.broadcast($1, to: [3, 2]) }
    try fails("broadcast", got: "[3]", [1, 3]) { _ = try $0.broadcast($1, to: [3]) }
    try fails("broadcast", got: "[\(1 << 40), 3]", [1, 3]) { _ = try $0.broadcast($1, to: [1 << 40, 3]) }
    try fails("gather", got: "3", [2, 3]) { _ = try $0.gather($1, indices: [0, 3], axis: 1) }
    try fails("gather", got: "-1", [2, 3]) { _ = try $0.gather($1, indices: [-1], axis: 1) }
    try fails("gather", got: "none", [2, 3]) { _ = try $0.gather($1, indices: [], axis: 1) }
  }

  @Test("what leaves the elements in their order takes no step")
  func free() throws {
    var graph = Graph()
    let x = try graph.input("x", [1, 6, 1, 4])
    let moved = try graph.transpose(x, [2, 1, 0, 3])
    let same = try graph.slice(
      graph.pad(moved, before: [0, 0, 0, 0], after: [0, 0, 0, 0]), axis: 1, from: 0, count: 6)
    graph.output("y", try graph.tanh(graph.broadcast(same, to: [1, 6, 1, 4])))
    #expect(try Plan(graph).steps == ["map [1, 24] tanh"])
  }
}
