// Broadcast: a tensor repeated along axes of length 1, by numpy's rules. Its derivative is a sum over those axes.
import CKernels

/// (x): x repeated along the axes where it has length 1, and along new outer axes.
package struct Broadcast: KernelOperation {
  package var name: String { "broadcast" }

  static func copy(_ x: Shape, to result: Shape) -> StridedCopy {
    let missing = result.rank - x.rank
    let strides = zip(x.dimensions, x.strides).map { $0 == 1 ? 0 : $1 }
    return StridedCopy(lengths: result.dimensions, strides: [Int](repeating: 0, count: missing) + strides)
  }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.strided_copy, lengths: Self.copy(operands[0], to: result).arguments, flops: 0)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], missing = y.shape.rank - x.shape.rank
    let repeated = y.shape.dimensions.indices.filter { $0 < missing || x.shape[$0 - missing] == 1 }
    let amount = try graph.sum(dy, axes: repeated, keepsAxes: true)
    return [(x.id, try graph.reshape(amount, to: x.shape))]
  }
}

extension Shape {
  /// The shape that two tensors have together by numpy's rules: axes are aligned at the innermost, a length of 1 meets
  /// any other. Nil where two lengths differ otherwise.
  func broadcast(with other: Shape) -> Shape? {
    let rank = max(self.rank, other.rank)
    func padded(_ shape: Shape) -> [Int] { [Int](repeating: 1, count: rank - shape.rank) + shape.dimensions }
    var dimensions: [Int] = []
    for (a, b) in zip(padded(self), padded(other)) {
      guard a == b || a == 1 || b == 1 else { return nil }
      dimensions.append(a == 1 ? b : a)
    }
    return Shape(dimensions)
  }
}

extension Graph {
  /// `x` repeated to `shape` by numpy's rules: axes are aligned at the innermost, those of length 1 are repeated.
  ///
  /// Throws where `shape` has another length than an axis that is not 1.
  public mutating func broadcast(_ x: Value, to shape: Shape) throws -> Value {
    try floats("broadcast", [x])
    guard x.shape.broadcast(with: shape) == shape else {
      throw ComputeError(op: "broadcast", expected: "a shape that \(x.shape) can be repeated to", got: "\(shape)")
    }
    guard shape.count <= Self.elementsMax else {
      throw ComputeError(op: "broadcast", expected: "at most \(Self.elementsMax) elements", got: "\(shape)")
    }
    if x.shape.count == shape.count { return try reshape(x, to: shape) }
    // Elementwise kernels repeat scalars, rows and columns themselves.
    if Spread(of: x.shape, over: shape) != nil { return try map(.copy, x, over: shape) }
    return try repeated(x, to: shape)
  }

  /// `x` written out over `shape`, whatever elementwise kernels could do.
  mutating func repeated(_ x: Value, to shape: Shape) throws -> Value {
    try Broadcast.copy(x.shape, to: shape).check("broadcast")
    return try append(Broadcast(), [x], shape)
  }

  /// Two operands of an elementwise operation so that both spread over the result's shape, along rows of one length.
  mutating func aligned(_ op: String, _ a: Value, _ b: Value) throws -> (Value, Value, Shape) {
    guard let shape = a.shape.broadcast(with: b.shape) else {
      throw ComputeError(
        op: op, expected: "shapes that are equal or 1 along each axis, from the innermost",
        got: "\(a.shape) and \(b.shape)")
    }
    guard shape.count <= Self.elementsMax else {
      throw ComputeError(op: op, expected: "at most \(Self.elementsMax) elements", got: "\(shape)")
    }
    let a = try Spread(of: a.shape, over: shape) == nil ? repeated(a, to: shape) : a
    var b = try Spread(of: b.shape, over: shape) == nil ? repeated(b, to: shape) : b
    if let one = Spread(of: a.shape, over: shape)?.period(in: shape.count),
      let other = Spread(of: b.shape, over: shape)?.period(in: shape.count), one != other
    {
      b = try repeated(b, to: shape)
    }
    return (a, b, shape)
  }
}
