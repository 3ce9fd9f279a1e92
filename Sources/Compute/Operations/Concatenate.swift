// Concatenate: tensors one after another along an axis. Its derivatives are slices.
import CKernels

/// (values ..): one after another along an axis.
package struct Concatenate: KernelOperation {
  package let axis: Int

  /// How many operands one kernel call takes.
  static let operandsMax = Int(CK_OPERANDS) - 1

  package var name: String { "concatenate" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let rows = Shape(Array(result.dimensions.prefix(axis))).count
    return KernelWork(
      kernel: kernels.table.pointee.concatenate, lengths: [rows, operands.count] + operands.map { $0.count / rows },
      flops: 0)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    var amounts: [(Int, Value)] = []
    var from = 0
    for operand in operands {
      let count = operand.shape[axis]
      if wants(operand) { amounts.append((operand.id, try graph.slice(dy, axis: axis, from: from, count: count))) }
      from += count
    }
    return amounts
  }
}

extension Graph {
  /// The values one after another along `axis`; throws where their other axes differ.
  public mutating func concatenate(_ values: [Value], axis: Int) throws -> Value {
    try floats("concatenate", values)
    guard let first = values.first else {
      throw ComputeError(op: "concatenate", expected: "at least one value", got: "none")
    }
    try first.shape.check(axis: axis, "concatenate")
    for value in values {
      guard value.shape.rank == first.shape.rank,
        value.shape.replacing(axis, by: 1) == first.shape.replacing(axis, by: 1)
      else {
        throw ComputeError(
          op: "concatenate", expected: "shapes that differ from \(first.shape) along axis \(axis) alone",
          got: "\(value.shape)")
      }
    }
    // More than a kernel takes go through a tree.
    var values = values
    while values.count > Concatenate.operandsMax {
      values = try stride(from: 0, to: values.count, by: Concatenate.operandsMax).map { start in
        try joined(Array(values[start..<min(start + Concatenate.operandsMax, values.count)]), axis)
      }
    }
    return try joined(values, axis)
  }

  private mutating func joined(_ values: [Value], _ axis: Int) throws -> Value {
    if values.count == 1 { return values[0] }
    var length = 0
    for value in values {
      let (sum, overflow) = length.addingReportingOverflow(value.shape[axis])
      length = overflow ? .max : sum
    }
    return try append(Concatenate(axis: axis), values, values[0].shape.replacing(axis, by: length))
  }
}
