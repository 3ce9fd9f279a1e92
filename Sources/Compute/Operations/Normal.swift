// Normal: standard normals drawn anew for each key, for the noise of variational models. It has no gradient.
import CKernels

/// (key [2]): standard normals number 0 on of a key and stream.
package struct Normal: KernelOperation {
  package let stream: UInt32

  package var name: String { "normal" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(kernel: kernels.table.pointee.normal, lengths: [result.count, Int(stream)], flops: 8 * result.count)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] { [] }
}

extension Graph {
  /// Standard normals, the same at every CPU level; no gradient flows into them.
  ///
  /// `key` is an int32 input [2] with the two words of a `RandomKey`, new for each step; `stream` tells the draws of one
  /// model apart. Elements 4 j to 4 j + 3 come from Philox block (j, 0, stream, 0) by Box-Muller, so that stream 0 gives
  /// what `RandomKey.fillNormals` does.
  public mutating func normal(key: Value, shape: Shape, stream: UInt32) throws -> Value {
    guard key.type == .int32, key.shape.count == 2 else {
      throw ComputeError(op: "normal", expected: "an int32 key of shape [2]", got: "\(key.type.rawValue) \(key.shape)")
    }
    return try append(Normal(stream: stream), [key], shape)
  }
}
