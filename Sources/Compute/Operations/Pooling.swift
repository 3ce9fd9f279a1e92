// Pooling: the largest element or the mean of windows over images in NHWC, and of whole images. Convolution has Padding.
import CKernels

/// (x [B, H, W, C]): one number for each window and channel.
package struct Pooling: KernelOperation {
  package enum Rule: Sendable, Hashable {
    case maximum
    /// `countsPadding` divides by the window's full size at the edges too.
    case average(countsPadding: Bool)
  }
  package let rule: Rule
  package let window, stride: (Int, Int)
  package let top, left: Int

  package var name: String { rule == .maximum ? "maxPool" : "averagePool" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let table = kernels.table.pointee
    return KernelWork(
      kernel: rule == .maximum ? table.max_pool : table.average_pool, lengths: lengths(operands[0], result),
      flops: result.count * window.0 * window.1)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0]
    let inputs = rule == .maximum ? [x, y, dy] : [dy]
    return [(x.id, try graph.append(PoolingGradient(pooling: self), inputs, x.shape))]
  }

  /// As compute_pooling.inc.h reads them.
  func lengths(_ x: Shape, _ y: Shape) -> [Int] {
    x.dimensions + [y[1], y[2], window.0, window.1, stride.0, stride.1, top, left]
      + [rule == .average(countsPadding: true) ? 1 : 0]
  }
}

/// (x, y, dy) of the maximum, (dy) of the average.
struct PoolingGradient: KernelOperation {
  let pooling: Pooling

  var name: String { pooling.name + " gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let table = kernels.table.pointee
    return KernelWork(
      kernel: pooling.rule == .maximum ? table.max_pool_backward : table.average_pool_backward,
      lengths: pooling.lengths(result, operands.last!),
      flops: operands.last!.count * pooling.window.0 * pooling.window.1)
  }
}

extension Graph {
  /// The largest element of each window and channel of images `x` [B, H, W, C]: [B, H', W', C].
  ///
  /// `window` and `stride` are (down, right), each 1 to 65536. Cells beyond the edges never win; NaN wins over numbers.
  /// The gradient goes to the first cell, row by row, that holds the maximum. Throws where a window could lie beyond the
  /// image: an explicit padding must be below the window's length.
  public mutating func maxPool(
    _ x: Value, window: (Int, Int), stride: (Int, Int), padding: Padding = .same
  ) throws -> Value {
    try pool(x, .maximum, window, stride, padding)
  }

  /// The mean of each window and channel of images `x` [B, H, W, C]: [B, H', W', C].
  ///
  /// At the edges the mean is that of the cells within the image, or with `countsPadding` of the whole window with zeros
  /// beyond. `window`, `stride` and `padding` are as for `maxPool`.
  public mutating func averagePool(
    _ x: Value, window: (Int, Int), stride: (Int, Int), padding: Padding = .same, countsPadding: Bool = false
  ) throws -> Value {
    try pool(x, .average(countsPadding: countsPadding), window, stride, padding)
  }

  private mutating func pool(
    _ x: Value, _ rule: Pooling.Rule, _ window: (Int, Int), _ stride: (Int, Int), _ padding: Padding
  ) throws -> Value {
    let op = rule == .maximum ? "maxPool" : "averagePool"
    try floats(op, [x])
    guard x.shape.rank == 4 else { throw ComputeError(op: op, expected: "images [B, H, W, C]", got: "\(x.shape)") }
    let limit = ConvolutionGeometry.lengthMax
    for (length, what) in [(window.0, "window"), (window.1, "window"), (stride.0, "stride"), (stride.1, "stride")]
    where !(1...limit).contains(length) {
      throw ComputeError(op: op, expected: "a \(what) of 1 to \(limit)", got: "\(length)")
    }
    if case .explicit(let top, let bottom, let left, let right) = padding {
      guard max(top, bottom) < window.0, max(left, right) < window.1 else {
        throw ComputeError(
          op: op, expected: "a padding below the window's lengths \(window.0) and \(window.1)",
          got: "\(top), \(bottom) and \(left), \(right)")
      }
    }
    let (height, top) = try padding.resolve(op, .down, length: x.shape[1], window: window.0, stride: stride.0)
    let (width, left) = try padding.resolve(op, .right, length: x.shape[2], window: window.1, stride: stride.1)
    let result: Shape = [x.shape[0], height, width, x.shape[3]]
    guard Shape(result.dimensions + [window.0, window.1]).count < .max else {
      throw ComputeError(op: op, expected: "a window for images of this size", got: "\(window) for \(x.shape)")
    }
    return try append(Pooling(rule: rule, window: window, stride: stride, top: top, left: left), [x], result)
  }

  /// The mean of each channel over a whole image: [B, H, W, C] -> [B, C]; throws for another rank.
  public mutating func globalAveragePool(_ x: Value) throws -> Value {
    try floats("globalAveragePool", [x])
    guard x.shape.rank == 4 else {
      throw ComputeError(op: "globalAveragePool", expected: "images [B, H, W, C]", got: "\(x.shape)")
    }
    return try mean(x, axes: [1, 2])
  }
}
