// LayerNorm: every row shifted and scaled to mean 0 and variance 1 (Ba et al. 2016, arXiv 1607.06450). RMSNorm does
// without the shift; both share compute_norm.inc.h.
import CKernels

/// (x [.., C], scale [C], offset [C], statistics workspace [rows, 2]).
package struct LayerNorm: KernelOperation {
  package let epsilon: Float

  package var name: String { "layerNorm" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.layer_norm, lengths: [result.rows, result.last], numbers: [epsilon],
      flops: 8 * result.count)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], scale = operands[1], offset = operands[2]
    let slopes = try graph.workspace(scale.shape), shifts = try graph.workspace(offset.shape)
    let dx = try graph.append(LayerNormBackward(), [x, scale, operands[3], dy, slopes, shifts], x.shape)
    return [
      (x.id, dx), (scale.id, try graph.sideResult(slopes, of: dx, scale.shape)),
      (offset.id, try graph.sideResult(shifts, of: dx, offset.shape)),
    ]
  }
}

/// (x, scale, statistics, dy, workspaces for the gradients of scale and offset): the gradient of x.
struct LayerNormBackward: KernelOperation {
  var name: String { "layerNorm gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.layer_norm_backward, lengths: [result.rows, result.last],
      flops: 14 * result.count)
  }
}

extension Graph {
  /// (x - mean) / sqrt(variance + epsilon) scale + offset, mean and variance over the last axis: x [.., C], scale [C],
  /// offset [C] -> [.., C].
  ///
  /// Throws where a shape does not fit or `epsilon` is not positive.
  public mutating func layerNorm(
    _ x: Value, scale: Value, offset: Value, epsilon: Float = 1e-5
  ) throws -> Value {
    try checkNorm("layerNorm", x, [scale, offset], epsilon)
    return try append(
      LayerNorm(epsilon: epsilon), [x, scale, offset, workspace([x.shape.rows, 2])], x.shape)
  }

  /// Throws where operands of a normalisation do not fit: `x` [.., C], the others [C].
  func checkNorm(_ op: String, _ x: Value, _ weights: [Value], _ epsilon: Float) throws {
    try floats(op, [x] + weights)
    guard epsilon > 0, epsilon.isFinite else {
      throw ComputeError(op: op, expected: "an epsilon above 0", got: "\(epsilon)")
    }
    guard x.shape.rank >= 1, weights.allSatisfy({ $0.shape == [x.shape.last] }) else {
      throw ComputeError(
        op: op, expected: "x [.., C] with weights of shape [C]",
        got: ([x] + weights).map { "\($0.shape)" }.joined(separator: ", "))
    }
  }
}
