// RMSNorm: every row divided by its root mean square (Zhang and Sennrich 2019, arXiv 1910.07467); LayerNorm also shifts.
import CKernels

/// (x [.., C], scale [C], statistics workspace [rows, 2]).
package struct RMSNorm: KernelOperation {
  package let epsilon: Float

  package var name: String { "rmsNorm" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.rms_norm, lengths: [result.rows, result.last], numbers: [epsilon],
      flops: 4 * result.count)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], scale = operands[1]
    let slopes = try graph.workspace(scale.shape)
    let dx = try graph.append(RMSNormBackward(), [x, scale, operands[2], dy, slopes], x.shape)
    return [(x.id, dx), (scale.id, try graph.sideResult(slopes, of: dx, scale.shape))]
  }
}

/// (x, scale, statistics, dy, workspace for the gradient of scale): the gradient of x.
struct RMSNormBackward: KernelOperation {
  var name: String { "rmsNorm gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.rms_norm_backward, lengths: [result.rows, result.last], flops: 10 * result.count)
  }
}

extension Graph {
  /// x / sqrt(mean(x^2) + epsilon) scale, the mean over the last axis: x [.., C], scale [C] -> [.., C].
  ///
  /// Throws where a shape does not fit or `epsilon` is not positive.
  public mutating func rmsNorm(_ x: Value, scale: Value, epsilon: Float = 1e-6) throws -> Value {
    try checkNorm("rmsNorm", x, [scale], epsilon)
    return try append(RMSNorm(epsilon: epsilon), [x, scale, workspace([x.shape.rows, 2])], x.shape)
  }
}
