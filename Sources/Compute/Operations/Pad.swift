// Pad: a tensor within a larger one of a constant. Its derivative is a slice along each padded axis.
import CKernels

/// (x): x from position `before` on in the result, whose other elements are `value`.
package struct Pad: KernelOperation {
  package let before: [Int]
  package let value: Float

  package var name: String { "pad" }

  func copy(_ x: Shape, into result: Shape) -> StridedCopy {
    let strides = result.strides
    return StridedCopy(
      lengths: x.dimensions, strides: strides, offset: zip(before, strides).reduce(0) { $0 + $1.0 * $1.1 })
  }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.pad, lengths: copy(operands[0], into: result).arguments + [result.count],
      numbers: [value], flops: 0)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0]
    var amount = dy
    for (axis, from) in before.enumerated() {
      amount = try graph.slice(amount, axis: axis, from: from, count: x.shape[axis])
    }
    return [(x.id, amount)]
  }
}

extension Graph {
  /// `x` with `before[i]` and `after[i]` elements of `value` at the ends of axis i.
  ///
  /// Throws where the lists do not have an amount of 0 or more for each axis.
  public mutating func pad(_ x: Value, before: [Int], after: [Int], value: Float = 0) throws -> Value {
    try floats("pad", [x])
    guard before.count == x.shape.rank, after.count == x.shape.rank, (before + after).allSatisfy({ $0 >= 0 }) else {
      throw ComputeError(
        op: "pad", expected: "two amounts of 0 or more for each axis of \(x.shape)", got: "\(before) and \(after)")
    }
    // A length that does not fit an Int is above the limit on elements too.
    let dimensions = x.shape.dimensions.indices.map { axis in
      [before[axis], after[axis]].reduce(x.shape[axis]) {
        let (sum, overflow) = $0.addingReportingOverflow($1)
        return overflow ? .max : sum
      }
    }
    let shape = Shape(dimensions)
    if shape == x.shape { return x }
    guard shape.count <= Self.elementsMax else {
      throw ComputeError(op: "pad", expected: "at most \(Self.elementsMax) elements", got: "\(shape)")
    }
    let operation = Pad(before: before, value: value)
    try operation.copy(x.shape, into: shape).check("pad")
    return try append(operation, [x], shape)
  }
}
