// Reductions: sums, means and extremes over any axes. A sum's derivative repeats, an extreme's goes to the elements that
// equal it.
import CKernels

/// The axes that a sum or mean runs over.
public enum Reduction: Sendable, Hashable {
  /// All axes: the result is a scalar.
  case all
  /// The innermost axis, which keeps length 1: [.., C] -> [.., 1].
  case last
  /// All axes but the innermost: [.., C] -> [C].
  case leading
}

/// (x) seen as [outer, length, inner]: sums over the middle, times `scale`.
package struct Sum: KernelOperation {
  package let outer: Int
  package let length: Int
  package let inner: Int
  package let scale: Float

  package var name: String { "sum" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let table = kernels.table.pointee
    let flops = outer * length * inner
    if inner > 1 {
      return KernelWork(kernel: table.sum_axis, lengths: [outer, length, inner], numbers: [scale], flops: flops)
    }
    return outer > 1
      ? KernelWork(kernel: table.sum_last, lengths: [outer, length], numbers: [scale], flops: flops)
      : KernelWork(kernel: table.sum_all, lengths: [length], numbers: [scale], flops: flops)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    // Written so that an elementwise kernel repeats dy where it can.
    let full = Shape(([outer, length, inner] as [Int]).filter { $0 > 1 })
    let kept = try graph.reshape(
      dy, to: Shape((inner > 1 ? outer > 1 ? [outer, 1, inner] : [inner] : outer > 1 ? [outer, 1] : []) as [Int]))
    let amount =
      if Spread(of: kept.shape, over: full) != nil {
        try graph.map(.affine(scale: scale, shift: 0), kept, over: full)
      } else {
        try graph.repeated(graph.affine(kept, scale: scale), to: full)
      }
    return [(operands[0].id, amount)]
  }
}

/// (x) seen as [outer, length, inner]: the largest or smallest over the middle.
package struct Extreme: KernelOperation {
  package let largest: Bool
  package let outer: Int
  package let length: Int
  package let inner: Int

  package var name: String { largest ? "maximum over axes" : "minimum over axes" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: largest ? kernels.table.pointee.maximum_axis : kernels.table.pointee.minimum_axis,
      lengths: [outer, length, inner], flops: outer * length * inner)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let operation = ExtremeBackward(lengths: [outer, length, inner])
    return [(operands[0].id, try graph.append(operation, [operands[0], y, dy], operands[0].shape))]
  }
}

/// (x, y, dy): dx of `Extreme`.
struct ExtremeBackward: KernelOperation {
  let lengths: [Int]

  var name: String { "extremeBackward" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(kernel: kernels.table.pointee.extreme_backward, lengths: lengths, flops: 2 * result.count)
  }
}

extension Graph {
  /// The sum over all axes, the last one (which keeps length 1) or the leading ones.
  public mutating func sum(_ x: Value, over axes: Reduction = .all) throws -> Value { try sum(x, axes, mean: false) }
  /// The mean over all axes, the last one (which keeps length 1) or the leading ones.
  public mutating func mean(_ x: Value, over axes: Reduction = .all) throws -> Value { try sum(x, axes, mean: true) }

  private mutating func sum(_ x: Value, _ axes: Reduction, mean: Bool) throws -> Value {
    let rank = x.shape.rank
    switch axes {
    case .all: return try sum(x, Array(0..<rank), keepsAxes: false, mean: mean)
    case .last: return try sum(x, rank > 0 ? [rank - 1] : [], keepsAxes: true, mean: mean)
    case .leading:
      let sums = try sum(x, Array(0..<max(rank - 1, 0)), keepsAxes: false, mean: mean)
      return try reshape(sums, to: [x.shape.last])
    }
  }

  /// The sum over `axes`, in any order, which disappear or keep length 1; over none it is `x`.
  ///
  /// Throws where an axis does not exist or appears twice.
  public mutating func sum(_ x: Value, axes: [Int], keepsAxes: Bool = false) throws -> Value {
    try sum(x, axes, keepsAxes: keepsAxes, mean: false)
  }
  /// The mean over `axes`, as `sum`.
  public mutating func mean(_ x: Value, axes: [Int], keepsAxes: Bool = false) throws -> Value {
    try sum(x, axes, keepsAxes: keepsAxes, mean: true)
  }
  /// The largest over `axes`, as `sum`; NaN where one is NaN. Elements that tie share the gradient.
  public mutating func maximum(_ x: Value, axes: [Int], keepsAxes: Bool = false) throws -> Value {
    try reduce("maximum", x, axes, keepsAxes) { Extreme(largest: true, outer: $0, length: $1, inner: $2) }
  }
  /// The smallest over `axes`, as `sum`; NaN where one is NaN. Elements that tie share the gradient.
  public mutating func minimum(_ x: Value, axes: [Int], keepsAxes: Bool = false) throws -> Value {
    try reduce("minimum", x, axes, keepsAxes) { Extreme(largest: false, outer: $0, length: $1, inner: $2) }
  }

  private mutating func sum(_ x: Value, _ axes: [Int], keepsAxes: Bool, mean: Bool) throws -> Value {
    try reduce(mean ? "mean" : "sum", x, axes, keepsAxes) { outer, length, inner in
      Sum(outer: outer, length: length, inner: inner, scale: mean ? 1 / Float(length) : 1)
    }
  }

  /// Reduces one run of neighbouring axes after another, the innermost first.
  private mutating func reduce(
    _ op: String, _ x: Value, _ axes: [Int], _ keepsAxes: Bool, _ operation: (Int, Int, Int) -> some KernelOperation
  ) throws -> Value {
    try floats(op, [x])
    for axis in axes { try x.shape.check(axis: axis, op) }
    guard Set(axes).count == axes.count else {
      throw ComputeError(op: op, expected: "each axis at most once", got: "\(axes)")
    }
    var runs: [(reduced: Bool, length: Int)] = []
    for (axis, length) in x.shape.dimensions.enumerated() where length > 1 {
      let reduced = axes.contains(axis)
      if let last = runs.last, last.reduced == reduced {
        runs[runs.count - 1].length *= length
      } else {
        runs.append((reduced, length))
      }
    }
    var result = x
    while let index = runs.lastIndex(where: \.reduced) {
      func count(_ part: some Sequence<(reduced: Bool, length: Int)>) -> Int { part.reduce(1) { $0 * $1.length } }
      let outer = count(runs[..<index]), inner = count(runs[(index + 1)...])
      let shape = Shape([outer, inner].filter { $0 > 1 })
      result = try append(operation(outer, runs[index].length, inner), [result], shape)
      runs.remove(at: index)
    }
    let kept = x.shape.dimensions.enumerated().compactMap { axis, length in
      axes.contains(axis) ? keepsAxes ? 1 : nil : length
    }
    return try reshape(result, to: Shape(kept))
  }
}
