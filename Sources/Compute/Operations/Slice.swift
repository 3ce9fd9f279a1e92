// Slice: a range of one axis, and the split of an axis into equal ranges. Its derivative is a Pad with zeros.
import CKernels

/// (x): positions from ..< from + count of one axis, count being the result's length there.
package struct Slice: KernelOperation {
  package let axis: Int
  package let from: Int

  package var name: String { "slice" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let strides = operands[0].strides
    let copy = StridedCopy(lengths: result.dimensions, strides: strides, offset: from * strides[axis])
    return KernelWork(kernel: kernels.table.pointee.strided_copy, lengths: copy.arguments, flops: 0)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0]
    var before = [Int](repeating: 0, count: x.shape.rank), after = before
    before[axis] = from
    after[axis] = x.shape[axis] - from - y.shape[axis]
    return [(x.id, try graph.pad(dy, before: before, after: after))]
  }
}

extension Graph {
  /// Positions `from` ..< `from` + `count` along `axis`; throws where they do not lie within it.
  public mutating func slice(_ x: Value, axis: Int, from: Int, count: Int) throws -> Value {
    try floats("slice", [x])
    try x.shape.check(axis: axis, "slice")
    guard from >= 0, count >= 1, from <= x.shape[axis] - count else {
      throw ComputeError(
        op: "slice", expected: "a range within 0..<\(x.shape[axis]), axis \(axis) of \(x.shape)",
        got: "\(count) from \(from)")
    }
    return count == x.shape[axis]
      ? x : try append(Slice(axis: axis, from: from), [x], x.shape.replacing(axis, by: count))
  }

  /// Equal parts along `axis`, in order; throws where its length is not a multiple of `parts`.
  public mutating func split(_ x: Value, into parts: Int, axis: Int) throws -> [Value] {
    try x.shape.check(axis: axis, "split")
    guard parts >= 1, x.shape[axis] % parts == 0 else {
      throw ComputeError(
        op: "split", expected: "a divisor of \(x.shape[axis]), the length of axis \(axis) of \(x.shape)",
        got: "\(parts) parts")
    }
    let count = x.shape[axis] / parts
    return try (0..<parts).map { try slice(x, axis: axis, from: $0 * count, count: count) }
  }
}
