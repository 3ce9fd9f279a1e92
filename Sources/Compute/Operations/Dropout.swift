// Dropout: zeroes random elements. Linear, so it is its own derivative.
import CKernels

/// (x, key [2]): zeroes elements with probability `rate` and divides the others by 1 - rate; `stream` tells the layers of
/// one model apart.
package struct Dropout: KernelOperation {
  package let rate: Float
  package let stream: UInt32

  package var name: String { "dropout" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.dropout, lengths: [result.count, Int(stream)], numbers: [rate], flops: result.count)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    [(operands[0].id, try graph.append(self, [dy, operands[1]], y.shape))]
  }
}

extension Graph {
  /// Zeroes elements with probability `rate` (0..<1) and divides the others by 1 - rate.
  ///
  /// `key` is an int32 input [2] with the two words of a `RandomKey`, new for each step; `stream` tells the layers of
  /// one model apart. Element j is kept where the uniform of word j mod 4 of Philox block (j / 4, 0, stream, 0) is at
  /// least `rate`. Leave the node out for inference.
  public mutating func dropout(_ x: Value, rate: Float, key: Value, stream: UInt32) throws -> Value {
    try floats("dropout", [x])
    guard rate >= 0, rate < 1 else {
      throw ComputeError(op: "dropout", expected: "a rate from 0 to below 1", got: "\(rate)")
    }
    guard key.type == .int32, key.shape.count == 2 else {
      throw ComputeError(op: "dropout", expected: "an int32 key of shape [2]", got: "\(key.type.rawValue) \(key.shape)")
    }
    return try append(Dropout(rate: rate, stream: stream), [x, key], x.shape)
  }
}
