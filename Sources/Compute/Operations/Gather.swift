// Gather: chosen positions of an axis, in any order and number. Its derivative adds to those positions.
import CKernels

/// (x, indices): position i along the axis is position indices[i] of x.
package struct Gather: KernelOperation {
  package let axis: Int
  package let indices: [Int]

  package var name: String { "gather" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(kernel: kernels.table.pointee.gather, lengths: lengths(operands[0]), flops: 0)
  }

  /// [outer, length, inner] of the chosen tensor, and the number of positions chosen.
  fileprivate func lengths(_ x: Shape) -> [Int] {
    [
      Shape(Array(x.dimensions.prefix(axis))).count, x[axis], Shape(Array(x.dimensions.suffix(from: axis + 1))).count,
      indices.count,
    ]
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let operation = GatherBackward(gather: self, x: operands[0].shape)
    return [(operands[0].id, try graph.append(operation, [dy, operands[1]], operands[0].shape))]
  }
}

/// (dy, indices): dx of `Gather`, the sum of dy over the positions that an element was chosen for.
struct GatherBackward: KernelOperation {
  let gather: Gather
  let x: Shape

  var name: String { "gatherBackward" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(kernel: kernels.table.pointee.scatter_add, lengths: gather.lengths(x), flops: operands[0].count)
  }
}

extension Graph {
  /// Positions `indices` along `axis`, in that order: the axis' new length is their number.
  ///
  /// Throws where there is none, and where one lies outside of the axis.
  public mutating func gather(_ x: Value, indices: [Int], axis: Int) throws -> Value {
    try floats("gather", [x])
    try x.shape.check(axis: axis, "gather")
    let range = 0..<min(x.shape[axis], Int(Int32.max))
    let wrong = indices.first { !range.contains($0) }
    guard !indices.isEmpty, wrong == nil else {
      throw ComputeError(
        op: "gather", expected: "at least one index, all in \(range), axis \(axis) of \(x.shape)",
        got: wrong.map { "\($0)" } ?? "none")
    }
    let table = try constant(indices.map { Int32($0) })
    return try append(Gather(axis: axis, indices: indices), [x, table], x.shape.replacing(axis, by: indices.count))
  }

  /// Integers that kernels read, as a vector.
  mutating func constant(_ integers: [Int32]) throws -> Value {
    try append(.numbers(integers.map { Float(bitPattern: UInt32(bitPattern: $0)) }), [], [integers.count], .int32)
  }
}
