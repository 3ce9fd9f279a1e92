// BatchedProduct: one matrix product for each of a batch, both operands different for each. Op.matmul is the product with
// one right operand for all rows.
import CKernels

/// (a [.., M, K], b [.., K, N]) with equal leading axes.
package struct BatchedProduct: KernelOperation {
  package let transposeLeft: Bool
  package let transposeRight: Bool

  package var name: String { "batchedMatmul" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let m = result[result.rank - 2], n = result.last
    let k = operands[0][operands[0].rank - (transposeLeft ? 2 : 1)]
    let flags = (transposeLeft ? CK_TRANSPOSE_A : 0) | (transposeRight ? CK_TRANSPOSE_B : 0)
    return KernelWork(
      kernel: kernels.table.pointee.batched_product, lengths: [result.count / (m * n), m, n, k, Int(flags)],
      scratchFloats: transposeRight ? k * n : 0, flops: 2 * result.count * k)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let a = operands[0], b = operands[1]
    var amounts: [(Int, Value)] = []
    if wants(a) {
      // C = A B: dA = dC B'; for A stored transposed dA' = B dC'.
      let amount =
        try transposeLeft
        ? graph.batchedMatmul(b, dy, transposeLeft: transposeRight, transposeRight: true)
        : graph.batchedMatmul(dy, b, transposeRight: !transposeRight)
      amounts.append((a.id, amount))
    }
    if wants(b) {
      // dB = A' dC; for B stored transposed dB' = dC' A.
      let amount =
        try transposeRight
        ? graph.batchedMatmul(dy, a, transposeLeft: true, transposeRight: transposeLeft)
        : graph.batchedMatmul(a, dy, transposeLeft: !transposeLeft)
      amounts.append((b.id, amount))
    }
    return amounts
  }
}

extension Graph {
  /// The matrix products of `a` [.., M, K] and `b` [.., K, N], one for each index of the leading axes: [.., M, N].
  ///
  /// With `transposeLeft` the matrices of `a` are stored [K, M]; with `transposeRight` those of `b` [N, K]. Throws where
  /// the leading axes or the inner lengths differ, and for ranks below 2.
  public mutating func batchedMatmul(
    _ a: Value, _ b: Value, transposeLeft: Bool = false, transposeRight: Bool = false
  ) throws -> Value {
    try floats("batchedMatmul", [a, b])
    let rank = a.shape.rank
    guard rank >= 2, b.shape.rank == rank,
      a.shape.dimensions.dropLast(2).elementsEqual(b.shape.dimensions.dropLast(2))
    else {
      throw ComputeError(
        op: "batchedMatmul", expected: "operands of rank 2 or more with equal leading axes",
        got: "\(a.shape) and \(b.shape)")
    }
    let inner = a.shape[rank - (transposeLeft ? 2 : 1)]
    guard b.shape[rank - (transposeRight ? 1 : 2)] == inner else {
      throw ComputeError(
        op: "batchedMatmul",
        expected:
          "a right operand [.., \(transposeRight ? "N, \(inner)" : "\(inner), N")] for the left operand \(a.shape)",
        got: "\(b.shape)")
    }
    let rows = a.shape[rank - (transposeLeft ? 1 : 2)], columns = b.shape[rank - (transposeRight ? 2 : 1)]
    return try append(
      BatchedProduct(transposeLeft: transposeLeft, transposeRight: transposeRight), [a, b],
      Shape(a.shape.dimensions.dropLast(2) + [rows, columns]))
  }
}
