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

  /// a + b. Here and below one operand may be a scalar, a row (a suffix of the other's dimensions, such as a bias [N]
  /// to [.., N]) or a column (a prefix followed by ones, such as [M, 1] to [M, N]); throws where neither fits.
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
    let larger = (a.shape.count, a.shape.rank) >= (b.shape.count, b.shape.rank) ? a.shape : b.shape
    guard Spread(of: a.shape, over: larger) != nil, Spread(of: b.shape, over: larger) != nil else {
      throw ComputeError(
        op: operation.name, expected: "equal shapes, or a scalar, row or column of the other operand",
        got: "\(a.shape) and \(b.shape)")
    }
    return try append(.elementwise(operation), [a, b], larger)
  }

  // MARK: Shapes and sums

  /// The same elements in the same order under another shape; throws where the counts differ.
  public mutating func reshape(_ x: Value, to shape: Shape) throws -> Value {
    guard shape.count == x.shape.count else {
      throw ComputeError(
        op: "reshape", expected: "a shape of \(x.shape.count) elements for \(x.shape)", got: "\(shape)")
    }
    return x.shape == shape ? x : try append(.reshape, [x], shape, x.type)
  }

  /// The sum over all axes, the last one (which keeps length 1) or the leading ones.
  public mutating func sum(_ x: Value, over axes: Reduction = .all) throws -> Value { try reduce(x, axes, mean: false) }
  /// The mean over all axes, the last one (which keeps length 1) or the leading ones.
  public mutating func mean(_ x: Value, over axes: Reduction = .all) throws -> Value { try reduce(x, axes, mean: true) }

  private mutating func reduce(_ x: Value, _ axes: Reduction, mean: Bool) throws -> Value {
    try floats(mean ? "mean" : "sum", [x])
    let rows = x.shape.rows, columns = x.shape.last
    let (shape, summed): (Shape, Int) =
      switch axes {
      case .all: (.scalar, x.shape.count)
      case .last: (Shape(x.shape.dimensions.dropLast() + (x.shape.rank > 0 ? [1] : [])), columns)
      case .leading: ([columns], rows)
      }
    return try append(.sum(axes, rows: rows, columns: columns, scale: mean ? 1 / Float(summed) : 1), [x], shape)
  }

  // MARK: Probabilities and losses

  /// exp(x) over its sum along the last axis.
  public mutating func softmax(_ x: Value) throws -> Value { try overRows(.softmax, x) }
  /// The logarithm of `softmax`, without overflow.
  public mutating func logSoftmax(_ x: Value) throws -> Value { try overRows(.logSoftmax, x) }

  private mutating func overRows(_ op: Op, _ x: Value) throws -> Value {
    try floats(op.name, [x])
    guard x.shape.rank >= 1 else { throw ComputeError(op: op.name, expected: "rank 1 or more", got: "\(x.shape)") }
    return try append(op, [x], x.shape)
  }

  /// The mean over all rows of -log softmax(logits)[label], in nats: logits [.., C], int32 labels [..] -> scalar.
  ///
  /// A label outside 0..<C makes the loss NaN.
  public mutating func softmaxCrossEntropy(_ logits: Value, labels: Value) throws -> Value {
    try floats("softmaxCrossEntropy", [logits])
    guard labels.type == .int32 else {
      throw ComputeError(op: "softmaxCrossEntropy", expected: "int32 labels", got: labels.type.rawValue)
    }
    guard logits.shape.rank >= 2, labels.shape.dimensions.elementsEqual(logits.shape.dimensions.dropLast()) else {
      throw ComputeError(
        op: "softmaxCrossEntropy", expected: "logits [.., C] and labels [..]",
        got: "\(logits.shape) and \(labels.shape)")
    }
    return try append(.crossEntropy, [logits, labels], .scalar)
  }

  /// The mean over all elements of (prediction - target)^2; the shapes must be equal.
  public mutating func meanSquaredError(_ prediction: Value, target: Value) throws -> Value {
    guard prediction.shape == target.shape else {
      throw ComputeError(
        op: "meanSquaredError", expected: "a target of the prediction's shape \(prediction.shape)",
        got: "\(target.shape)")
    }
    let difference = try subtract(prediction, target)
    return try mean(multiply(difference, difference))
  }
}
