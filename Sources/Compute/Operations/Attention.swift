// Attention: softmax(scale q k') v for many heads at once, without ever storing the scores (Vaswani et al. 2017, arXiv
// 1706.03762; Dao et al. 2022, arXiv 2205.14135). Two forms: q, k and v apart, or side by side in one tensor, which is
// what one product makes in a transformer block.
import CKernels

/// The lengths of an attention, of which the kernels need the same list forward and backward.
package struct AttentionShape: Sendable {
  package let batch, queries, keys, heads, keyWidth, valueWidth: Int
  package let causal: Bool
  package let scale: Float

  package var lengths: [Int] { [batch, queries, keys, heads, keyWidth, valueWidth, causal ? 1 : 0] }
  /// The shape of the logarithms of the softmaxes' sums, which the backward kernel reads.
  package var sums: Shape { [batch, heads, queries] }
  /// The floats that a block of queries takes for each key, ATTENTION_LINE in the kernels.
  private static let line = 80
  /// Scratch for a block of queries, transposed, and its scores; backward also for its gradients.
  package var forwardFloats: Int { Self.line * (keyWidth + keys) }
  package var backwardFloats: Int { Self.line * (keyWidth + valueWidth + 2 * keys) }

  /// The operations of `products` products with the scores' size, half of them hidden where causal.
  func flops(products: Int) -> Int {
    let pairs = batch * heads * queries * keys / (causal ? 2 : 1)
    return pairs * (products * (keyWidth + valueWidth) + 5)
  }
}

/// (q [B, S, H, D], k [B, T, H, D], v [B, T, H, E], log-sums workspace): [B, S, H, E].
package struct Attention: KernelOperation {
  package let shape: AttentionShape

  package var name: String { "attention" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.attention, lengths: shape.lengths, numbers: [shape.scale],
      scratchFloats: shape.forwardFloats, flops: shape.flops(products: 2))
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let q = operands[0], k = operands[1], v = operands[2]
    let others = try graph.workspace([k.shape.count + v.shape.count])
    let dq = try graph.append(
      AttentionBackward(shape: shape), [q, k, v, dy, operands[3], others], q.shape)
    return [
      (q.id, dq), (k.id, try graph.sideResult(others, of: dq, k.shape)),
      (v.id, try graph.sideResult(others, of: dq, first: k.shape.count, v.shape)),
    ]
  }
}

/// (q, k, v, dy, log-sums, workspace for the gradients of k and v): the gradient of q.
struct AttentionBackward: KernelOperation {
  let shape: AttentionShape

  var name: String { "attention gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.attention_backward, lengths: shape.lengths, numbers: [shape.scale],
      scratchFloats: shape.backwardFloats, flops: shape.flops(products: 5))
  }
}

/// (qkv [B, S, 3 H D], log-sums workspace): [B, S, H D].
package struct PackedAttention: KernelOperation {
  package let shape: AttentionShape

  package var name: String { "attention" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.attention_packed, lengths: shape.lengths, numbers: [shape.scale],
      scratchFloats: shape.forwardFloats, flops: shape.flops(products: 2))
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let qkv = operands[0]
    return [(qkv.id, try graph.append(PackedAttentionBackward(shape: shape), [qkv, dy, operands[1]], qkv.shape))]
  }
}

/// (qkv, dy, log-sums): the gradient of qkv.
struct PackedAttentionBackward: KernelOperation {
  let shape: AttentionShape

  var name: String { "attention gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.attention_packed_backward, lengths: shape.lengths, numbers: [shape.scale],
      scratchFloats: shape.backwardFloats, flops: shape.flops(products: 5))
  }
}

extension Graph {
  /// softmax(scale q k') v for each example and head: q [B, S, H, D], k [B, T, H, D], v [B, T, H, E] -> [B, S, H, E].
  ///
  /// `scale` is 1 / sqrt(D) where it is nil. With `causal`, which needs S = T, query i sees the keys 0...i alone.
  /// Throws where the shapes do not fit or `scale` is not finite.
  public mutating func attention(
    _ q: Value, _ k: Value, _ v: Value, causal: Bool, scale: Float? = nil
  ) throws -> Value {
    try floats("attention", [q, k, v])
    guard q.shape.rank == 4, k.shape.rank == 4, v.shape.rank == 4, q.shape[0] == k.shape[0],
      q.shape[2] == k.shape[2], q.shape[3] == k.shape[3],
      k.shape.dimensions.dropLast().elementsEqual(v.shape.dimensions.dropLast())
    else {
      throw ComputeError(
        op: "attention", expected: "q [B, S, H, D], k [B, T, H, D] and v [B, T, H, E]",
        got: "\(q.shape), \(k.shape) and \(v.shape)")
    }
    guard scale?.isFinite != false else {
      throw ComputeError(op: "attention", expected: "a finite scale", got: "\(scale!)")
    }
    guard !causal || q.shape[1] == k.shape[1] else {
      throw ComputeError(
        op: "attention", expected: "as many keys as queries where later keys are hidden",
        got: "\(q.shape[1]) queries and \(k.shape[1]) keys")
    }
    let shape = AttentionShape(
      batch: q.shape[0], queries: q.shape[1], keys: k.shape[1], heads: q.shape[2], keyWidth: q.shape[3],
      valueWidth: v.shape[3], causal: causal, scale: scale ?? 1 / Float(q.shape[3]).squareRoot())
    return try append(
      Attention(shape: shape), [q, k, v, workspace(shape.sums)],
      [shape.batch, shape.queries, shape.heads, shape.valueWidth])
  }

  /// The same with queries, keys and values side by side: qkv [B, S, 3 H D], whose last axis has the queries of all
  /// `heads`, then their keys, then their values -> [B, S, H D].
  ///
  /// Throws where qkv is not of rank 3 or its last axis not a multiple of 3 `heads`.
  public mutating func attention(packed qkv: Value, heads: Int, causal: Bool) throws -> Value {
    try floats("attention", [qkv])
    guard qkv.shape.rank == 3, heads >= 1, qkv.shape.last % (3 * heads) == 0 else {
      throw ComputeError(
        op: "attention", expected: "qkv [B, S, 3 H D] of H = \(heads) heads", got: "\(qkv.shape)")
    }
    let width = qkv.shape.last / (3 * heads), tokens = qkv.shape[1]
    let shape = AttentionShape(
      batch: qkv.shape[0], queries: tokens, keys: tokens, heads: heads, keyWidth: width, valueWidth: width,
      causal: causal, scale: 1 / Float(width).squareRoot())
    return try append(
      PackedAttention(shape: shape), [qkv, workspace(shape.sums)], [shape.batch, tokens, heads * width])
  }
}
