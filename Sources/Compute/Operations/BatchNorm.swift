// Batch normalization (arXiv 1502.03167): y = scale (x - mean) / sqrt(variance + epsilon) + offset, with the statistics of
// the batch, a tensor of their own that both passes read, or with given ones.
import CKernels

/// (x [.., C]): each channel's mean and 1 / deviation, [2, C]. BatchNormalization has the derivative of both.
struct BatchStatistics: KernelOperation {
  let epsilon: Float

  var name: String { "batchStatistics" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.batch_statistics, lengths: [operands[0].rows, operands[0].last], numbers: [epsilon],
      flops: 4 * operands[0].count)
  }
}

/// (x [.., C], statistics [2, C] of x, scale [C], offset [C]).
struct BatchNormalization: KernelOperation {
  var name: String { "batchNorm" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.batch_norm, lengths: [result.rows, result.last], flops: 3 * result.count)
  }

  func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], statistics = operands[1], scale = operands[2], offset = operands[3]
    let sums = try graph.append(BatchNormalizationSums(), [x, dy, statistics], statistics.shape)
    var amounts: [(Int, Value)] = []
    if wants(x) {
      let operation = BatchNormalizationGradient()
      amounts.append((x.id, try graph.append(operation, [x, dy, statistics, scale, sums], x.shape)))
    }
    if wants(offset) { amounts.append((offset.id, try graph.slice(sums, axis: 0, from: 0, count: 1))) }
    if wants(scale) { amounts.append((scale.id, try graph.slice(sums, axis: 0, from: 1, count: 1))) }
    return amounts
  }
}

/// (x, dy, statistics): the gradients of offset and scale, [2, C].
struct BatchNormalizationSums: KernelOperation {
  var name: String { "batchNorm sums" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.batch_norm_sums, lengths: [operands[0].rows, operands[0].last],
      flops: 4 * operands[0].count)
  }
}

/// (x, dy, statistics, scale, sums): the gradient of x, through the statistics too.
struct BatchNormalizationGradient: KernelOperation {
  var name: String { "batchNorm gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.batch_norm_backward, lengths: [result.rows, result.last], flops: 5 * result.count)
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
    let statistics = try append(BatchStatistics(epsilon: epsilon), [x], [2, x.shape.last])
    return try append(BatchNormalization(), [x, statistics, scale, offset], x.shape)
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
