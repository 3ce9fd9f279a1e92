// GroupNorm: each example's groups of channels shifted and scaled to mean 0 and variance 1 (Wu and He 2018, arXiv
// 1803.08494). LayerNorm treats every row alone.
import CKernels

/// (x [B, .., C], scale [C], offset [C], statistics workspace [B, groups, 2]).
package struct GroupNorm: KernelOperation {
  package let groups: Int
  package let epsilon: Float

  package var name: String { "groupNorm" }

  /// The kernels' lengths: B, positions, C, groups.
  static func lengths(_ shape: Shape, _ groups: Int) -> [Int] {
    [shape[0], shape.rows / shape[0], shape.last, groups]
  }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.group_norm, lengths: Self.lengths(result, groups), numbers: [epsilon],
      scratchFloats: 2 * result.last, flops: 8 * result.count)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], scale = operands[1], offset = operands[2]
    let slopes = try graph.workspace(scale.shape), shifts = try graph.workspace(offset.shape)
    let dx = try graph.append(
      GroupNormBackward(groups: groups), [x, scale, operands[3], dy, slopes, shifts], x.shape)
    return [
      (x.id, dx), (scale.id, try graph.sideResult(slopes, of: dx, scale.shape)),
      (offset.id, try graph.sideResult(shifts, of: dx, offset.shape)),
    ]
  }
}

/// (x, scale, statistics, dy, workspaces for the gradients of scale and offset): the gradient of x.
struct GroupNormBackward: KernelOperation {
  let groups: Int

  var name: String { "groupNorm gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.group_norm_backward, lengths: GroupNorm.lengths(result, groups),
      scratchFloats: 4 * result.last, flops: 14 * result.count)
  }
}

extension Graph {
  /// (x - mean) / sqrt(variance + epsilon) scale + offset, mean and variance over all positions of an example and one of
  /// `groups` runs of neighbouring channels: x [B, .., C], scale [C], offset [C] -> [B, .., C].
  ///
  /// Throws where a shape does not fit, `groups` does not divide C or `epsilon` is not positive.
  public mutating func groupNorm(
    _ x: Value, groups: Int, scale: Value, offset: Value, epsilon: Float = 1e-5
  ) throws -> Value {
    try checkNorm("groupNorm", x, [scale, offset], epsilon)
    guard x.shape.rank >= 2, groups >= 1, x.shape.last % groups == 0 else {
      throw ComputeError(
        op: "groupNorm", expected: "x [B, .., C] and groups that divide C", got: "\(x.shape) and \(groups) groups")
    }
    return try append(
      GroupNorm(groups: groups, epsilon: epsilon), [x, scale, offset, workspace([x.shape[0], groups, 2])], x.shape)
  }
}
