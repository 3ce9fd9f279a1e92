// The operations' builders and shape rules. Op lists the operations; Gradient has their derivatives.

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

  // MARK: Element by element

  /// max(x, 0); NaN stays NaN.
  public mutating func relu(_ x: Value) throws -> Value { try map(.relu, x) }
  /// The hyperbolic tangent.
  public mutating func tanh(_ x: Value) throws -> Value { try map(.tanh, x) }
  /// 1 / (1 + exp(-x)).
  public mutating func sigmoid(_ x: Value) throws -> Value { try map(.sigmoid, x) }
  /// The tanh form of the Gaussian error linear unit (arXiv 1606.08415).
  public mutating func gelu(_ x: Value) throws -> Value { try map(.gelu, x) }
  /// x sigmoid(x).
  public mutating func silu(_ x: Value) throws -> Value { try map(.silu, x) }
  /// log(1 + exp(x)).
  public mutating func softplus(_ x: Value) throws -> Value { try map(.softplus, x) }
  /// The exponential.
  public mutating func exp(_ x: Value) throws -> Value { try map(.exp, x) }
  /// The natural logarithm; NaN below 0.
  public mutating func log(_ x: Value) throws -> Value { try map(.log, x) }
  /// The square root; NaN below 0.
  public mutating func sqrt(_ x: Value) throws -> Value { try map(.sqrt, x) }
  /// scale x + shift, with constants.
  public mutating func affine(_ x: Value, scale: Float, shift: Float = 0) throws -> Value {
    if case .constant(let number) = nodes[x.id].op { return try constant(scale * number + shift) }
    return try map(.affine(scale: scale, shift: shift), x)
  }
  /// x times a constant.
  public mutating func scale(_ x: Value, by factor: Float) throws -> Value { try affine(x, scale: factor) }
  /// -x.
  public mutating func negate(_ x: Value) throws -> Value { try affine(x, scale: -1) }
  /// x x.
  public mutating func square(_ x: Value) throws -> Value { try multiply(x, x) }

  /// a + b. Here and below shapes meet by numpy's rules: aligned at the innermost axis, a length of 1 is repeated to the
  /// other's; throws where two lengths differ otherwise. A scalar, a row (a suffix of the other's dimensions, such as a
  /// bias [N] to [.., N]) and a column (a prefix followed by ones, such as [M, 1] to [M, N]) are never written out.
  public mutating func add(_ a: Value, _ b: Value) throws -> Value { try combine(.add, a, b) }
  /// a - b, with the broadcasting of `add`.
  public mutating func subtract(_ a: Value, _ b: Value) throws -> Value { try combine(.subtract, a, b) }
  /// a b, with the broadcasting of `add`.
  public mutating func multiply(_ a: Value, _ b: Value) throws -> Value { try combine(.multiply, a, b) }
  /// a / b, with the broadcasting of `add`.
  public mutating func divide(_ a: Value, _ b: Value) throws -> Value { try combine(.divide, a, b) }
  /// The larger, NaN where either is NaN; the gradient of a tie goes to `b`.
  public mutating func maximum(_ a: Value, _ b: Value) throws -> Value { try combine(.maximum, a, b) }
  /// The smaller, NaN where either is NaN; the gradient of a tie goes to `b`.
  public mutating func minimum(_ a: Value, _ b: Value) throws -> Value { try combine(.minimum, a, b) }

  mutating func map(_ operation: Elementwise, _ x: Value, over shape: Shape? = nil) throws -> Value {
    try floats(operation.name, [x])
    return try append(.elementwise(operation), [x], shape ?? x.shape)
  }

  mutating func combine(_ operation: Elementwise, _ a: Value, _ b: Value) throws -> Value {
    try floats(operation.name, [a, b])
    let (left, right, shape) = try aligned(operation.name, a, b)
    return try append(.elementwise(operation), [left, right], shape)
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
