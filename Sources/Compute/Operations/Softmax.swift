// Softmax: softmax and log-softmax over the last axis. Losses.swift has what is usually done with them.
import CKernels

/// (x): exp(x) over its sum along the last axis, or the logarithm of that.
package struct Softmax: KernelOperation {
  package let logarithmic: Bool

  package var name: String { logarithmic ? "logSoftmax" : "softmax" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: logarithmic ? kernels.table.pointee.log_softmax : kernels.table.pointee.softmax,
      lengths: [result.rows, result.last], flops: 5 * result.count)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    [(operands[0].id, try graph.append(SoftmaxBackward(logarithmic: logarithmic), [y, dy], y.shape))]
  }
}

/// (y, dy): dx of `Softmax`.
struct SoftmaxBackward: KernelOperation {
  let logarithmic: Bool

  var name: String { logarithmic ? "logSoftmaxBackward" : "softmaxBackward" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let table = kernels.table.pointee
    return KernelWork(
      kernel: logarithmic ? table.log_softmax_backward : table.softmax_backward, lengths: [result.rows, result.last],
      flops: 4 * result.count)
  }
}

extension Graph {
  /// exp(x) over its sum along the last axis; NaN along a row with a NaN or an infinity above all others.
  public mutating func softmax(_ x: Value) throws -> Value { try overRows(Softmax(logarithmic: false), x) }
  /// The logarithm of `softmax`, without overflow.
  public mutating func logSoftmax(_ x: Value) throws -> Value { try overRows(Softmax(logarithmic: true), x) }

  private mutating func overRows(_ operation: Softmax, _ x: Value) throws -> Value {
    try floats(operation.name, [x])
    guard x.shape.rank >= 1 else {
      throw ComputeError(op: operation.name, expected: "rank 1 or more", got: "\(x.shape)")
    }
    return try append(operation, [x], x.shape)
  }
}
