// The builders of elementwise operations, which all fuse with each other. Op lists them; Gradient has their derivatives,
// compute_map.inc.h their kernels. Where nothing else is said, NaN gives NaN and infinities give limits.

extension Graph {
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
  /// |x|; the gradient at 0 is 0.
  public mutating func abs(_ x: Value) throws -> Value { try map(.abs, x) }
  /// -1, 0 or 1; its gradient is 0.
  public mutating func sign(_ x: Value) throws -> Value { try map(.sign, x) }
  /// The sine of radians; NaN at infinities.
  public mutating func sin(_ x: Value) throws -> Value { try map(.sin, x) }
  /// The cosine of radians; NaN at infinities.
  public mutating func cos(_ x: Value) throws -> Value { try map(.cos, x) }
  /// The error function.
  public mutating func erf(_ x: Value) throws -> Value { try map(.erf, x) }
  /// The exact form of the Gaussian error linear unit: x (1 + erf(x / sqrt(2))) / 2.
  public mutating func geluExact(_ x: Value) throws -> Value { try map(.geluExact, x) }
  /// x to a constant power; NaN where a negative number has a power that is not whole. Throws on a power that is not
  /// finite.
  public mutating func power(_ x: Value, _ exponent: Float) throws -> Value {
    guard exponent.isFinite else {
      throw ComputeError(op: "power", expected: "a finite exponent", got: "\(exponent)")
    }
    if exponent == 0.5 { return try sqrt(x) }
    if exponent == 2 { return try square(x) }
    return exponent == 1 ? x : try map(.power(exponent), x)
  }
  /// x kept within `min` and `max`; the gradient at and beyond both is 0. Throws unless `min` is at most `max`.
  public mutating func clamp(_ x: Value, min: Float, max: Float) throws -> Value {
    guard min <= max else { throw ComputeError(op: "clamp", expected: "min <= max", got: "\(min) and \(max)") }
    return try map(.clamp(min: min, max: max), x)
  }
  /// x kept within 0 and 6.
  public mutating func relu6(_ x: Value) throws -> Value { try clamp(x, min: 0, max: 6) }
  /// x, times `slope` below 0.
  public mutating func leakyRelu(_ x: Value, slope: Float = 0.01) throws -> Value {
    try map(.leakyRelu(slope: slope), x)
  }
  /// x, or alpha (exp(x) - 1) below 0 (arXiv 1511.07289).
  public mutating func elu(_ x: Value, alpha: Float = 1) throws -> Value { try map(.elu(alpha: alpha), x) }
  /// `elu` with the scales that keep means and variances (arXiv 1706.02515).
  public mutating func selu(_ x: Value) throws -> Value {
    try scale(elu(x, alpha: 1.673_263_24), by: 1.050_700_99)
  }
  /// x / (1 + |x|); NaN at infinities.
  public mutating func softsign(_ x: Value) throws -> Value { try divide(x, affine(abs(x), scale: 1, shift: 1)) }
  /// alpha x + beta kept within 0 and 1.
  public mutating func hardSigmoid(_ x: Value, alpha: Float = 0.2, beta: Float = 0.5) throws -> Value {
    try clamp(affine(x, scale: alpha, shift: beta), min: 0, max: 1)
  }
  /// x times `hardSigmoid` with alpha 1/6 (arXiv 1905.02244).
  public mutating func hardSwish(_ x: Value) throws -> Value { try multiply(x, hardSigmoid(x, alpha: 1 / 6)) }
  /// 1 / x.
  public mutating func reciprocal(_ x: Value) throws -> Value { try divide(constant(1), x) }
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
}
