// The builders of products and of other shapes. Graph+Elementwise has those of elementwise operations, the files in
// Operations all others; Gradient has the derivatives.

extension Graph {
  // MARK: Products

  /// The matrix product of `left` [.., K] and `right` [K, N]: [.., N].
  ///
  /// Leading axes of `left` count as rows. With `transposeLeft` a matrix `left` is stored [K, M]; with
  /// `transposeRight`, `right` is stored [N, K]. Throws where the inner lengths differ or a rank does not fit.
  public mutating func matmul(
    _ left: Value, _ right: Value, transposeLeft: Bool = false, transposeRight: Bool = false
  ) throws -> Value {
    guard left.shape.rank >= 2, !transposeLeft || left.shape.rank == 2 else {
      throw ComputeError(
        op: "matmul", expected: transposeLeft ? "a left operand of rank 2" : "a left operand of rank 2 or more",
        got: "\(left.shape)")
    }
    guard right.shape.rank == 2 else {
      throw ComputeError(op: "matmul", expected: "a right operand of rank 2", got: "\(right.shape)")
    }
    let inner = transposeLeft ? left.shape[0] : left.shape.last
    let wanted = transposeRight ? "[N, \(inner)]" : "[\(inner), N]"
    guard (transposeRight ? right.shape[1] : right.shape[0]) == inner else {
      throw ComputeError(
        op: "matmul", expected: "a right operand \(wanted) for the left operand \(left.shape)", got: "\(right.shape)")
    }
    return try product(left, right, transposeLeft, transposeRight)
  }

  /// The product of both operands seen as matrices [all axes but the last, last].
  mutating func product(_ left: Value, _ right: Value, _ transposeLeft: Bool, _ transposeRight: Bool) throws -> Value {
    try floats("matmul", [left, right])
    let columns = transposeRight ? right.shape.rows : right.shape.last
    let shape = transposeLeft ? [left.shape.last, columns] : left.shape.dimensions.dropLast() + [columns]
    return try append(
      .matmul(transposeLeft: transposeLeft, transposeRight: transposeRight), [left, right], Shape(shape))
  }

  // MARK: Shapes

  /// The same elements in the same order under another shape; throws where the counts differ.
  public mutating func reshape(_ x: Value, to shape: Shape) throws -> Value {
    guard shape.count == x.shape.count else {
      throw ComputeError(
        op: "reshape", expected: "a shape of \(x.shape.count) elements for \(x.shape)", got: "\(shape)")
    }
    return x.shape == shape ? x : try append(.reshape, [x], shape, x.type)
  }
}
