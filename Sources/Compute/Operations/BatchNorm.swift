// Batch normalization (arXiv 1502.03167): y = scale (x - mean) / sqrt(variance + epsilon) + offset, with the statistics of
// the batch or with given ones. The kernel normalizes; scale and offset are elementwise and fuse with what follows.
import CKernels

/// (x [.., C], workspace [C]): each channel brought to mean 0 and variance 1; the workspace keeps 1 / deviation.
struct BatchNormalization: KernelOperation {
  let epsilon: Float

  var name: String { "batchNorm" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.batch_norm, lengths: [result.rows, result.last], numbers: [epsilon],
      flops: 6 * result.count)
  }

  func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    [(operands[0].id, try graph.append(BatchNormalizationGradient(), [y, dy, operands[1]], y.shape))]
  }
}

/// (y, dy, workspace).
struct BatchNormalizationGradient: KernelOperation {
  var name: String { "batchNorm gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.batch_norm_backward, lengths: [result.rows, result.last], flops: 8 * result.count)
  }
}

extension Graph {
  /// Batch normalization of `x` [.., C] by the mean and (biased) variance of each channel over all other axes, then times
  /// `scale` [C] plus `offset` [C].
  ///
  /// `epsilon`, 0 or more, is added to the variance. Throws where a shape does not fit.
  public mutating func batchNorm(
    _ x: Value, scale: Value, offset: Value, epsilon: Float = 1e-5
  ) throws -> Value {
    try channels(x, [("scale", scale), ("offset", offset)], epsilon)
    let normal = try append(
      BatchNormalization(epsilon: epsilon), [x, workspace([x.shape.last])], x.shape)
    return try add(multiply(normal, scale), offset)
  }

  /// Batch normalization of `x` [.., C] by given statistics, all of shape [C]; the running means of training for
  /// inference. Made of elementwise operations; throws as `batchNorm` does.
  public mutating func batchNormInference(
    _ x: Value, scale: Value, offset: Value, mean: Value, variance: Value, epsilon: Float
  ) throws -> Value {
    try channels(x, [("scale", scale), ("offset", offset), ("mean", mean), ("variance", variance)], epsilon)
    let factor = try divide(scale, sqrt(affine(variance, scale: 1, shift: epsilon)))
    return try add(multiply(subtract(x, mean), factor), offset)
  }

  private func channels(_ x: Value, _ operands: [(name: String, value: Value)], _ epsilon: Float) throws {
    try floats("batchNorm", [x] + operands.map(\.value))
    guard x.shape.rank >= 2 else { throw ComputeError(op: "batchNorm", expected: "[.., C]", got: "\(x.shape)") }
    for (name, value) in operands where value.shape != [x.shape.last] {
      throw ComputeError(op: "batchNorm", expected: "\(name) [\(x.shape.last)]", got: "\(value.shape)")
    }
    guard epsilon >= 0, epsilon.isFinite else {
      throw ComputeError(op: "batchNorm", expected: "an epsilon of 0 or more", got: "\(epsilon)")
    }
  }
}
