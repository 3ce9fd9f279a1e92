// Transpose: axes in another order. Its derivative is the transpose back.
import CKernels

/// (x): axis i of the result is axis `permutation[i]` of x.
package struct Transpose: KernelOperation {
  package let permutation: [Int]

  package var name: String { "transpose" }

  static func copy(_ x: Shape, _ permutation: [Int]) -> StridedCopy {
    StridedCopy(lengths: permutation.map { x[$0] }, strides: permutation.map { x.strides[$0] })
  }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.strided_copy, lengths: Self.copy(operands[0], permutation).arguments, flops: 0)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    var inverse = permutation
    for (axis, source) in permutation.enumerated() { inverse[source] = axis }
    return [(operands[0].id, try graph.transpose(dy, inverse))]
  }
}

extension Graph {
  /// The axes of `x` in another order: axis i of the result is axis `permutation[i]` of `x`.
  ///
  /// Throws where `permutation` does not name each axis once, and where more than 7 runs of axes move.
  public mutating func transpose(_ x: Value, _ permutation: [Int]) throws -> Value {
    try floats("transpose", [x])
    guard permutation.sorted() == Array(x.shape.dimensions.indices) else {
      throw ComputeError(op: "transpose", expected: "each axis of \(x.shape) once", got: "\(permutation)")
    }
    let copy = Transpose.copy(x.shape, permutation)
    let shape = Shape(permutation.map { x.shape[$0] })
    // Where only axes of length 1 move, the elements stay in order.
    if copy.axes.count <= 1 { return try reshape(x, to: shape) }
    try copy.check("transpose")
    return try append(Transpose(permutation: permutation), [x], shape)
  }
}
