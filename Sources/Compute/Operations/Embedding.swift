// Embedding: rows of a table chosen by integers, such as the vectors of tokens.
import CKernels

/// (table [V, E], int32 indices [..]): [.., E].
package struct Embedding: KernelOperation {
  package var name: String { "embedding" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.embedding, lengths: [operands[1].count, operands[0][0], operands[0][1]], flops: 0)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    [(operands[0].id, try graph.append(EmbeddingBackward(), [dy, operands[1]], operands[0].shape))]
  }
}

/// (dy [.., E], indices): the table's gradient, summed in the order of the indices.
struct EmbeddingBackward: KernelOperation {
  var name: String { "embedding gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.embedding_backward, lengths: [operands[1].count, result[0], result[1]],
      flops: operands[0].count)
  }
}

extension Graph {
  /// The rows of `table` [V, E] that the int32 `indices` [..] name: [.., E].
  ///
  /// An index outside 0..<V gives a row of NaN and no gradient. The table's gradient is summed in the order of the
  /// indices, so that it has the same bits in every run. Throws for a table that is not a matrix of floats and for
  /// indices that are not int32.
  public mutating func embedding(_ table: Value, _ indices: Value) throws -> Value {
    try floats("embedding", [table])
    guard table.shape.rank == 2 else {
      throw ComputeError(op: "embedding", expected: "a table [V, E]", got: "\(table.shape)")
    }
    guard indices.type == .int32 else {
      throw ComputeError(op: "embedding", expected: "int32 indices", got: indices.type.rawValue)
    }
    return try append(Embedding(), [table, indices], Shape(indices.shape.dimensions + [table.shape[1]]))
  }
}
