// Gradient: reverse-mode differentiation, by adding nodes to the graph. One table of rules, `pullback`, has a line for
// each operation; Plan drops what turns out not to be needed.

extension Graph {
  /// Adds the gradients of a scalar with respect to `targets`, in their shapes; nil where it does not depend on one.
  ///
  /// Throws `ComputeError` where `loss` is not a single float or passes through an operation without a gradient.
  public mutating func gradients(of loss: Value, for targets: [Value]) throws -> [Value?] {
    guard loss.shape.count == 1, loss.type == .float32 else {
      throw ComputeError(op: "gradient", expected: "a loss of one float", got: "\(loss.type.rawValue) \(loss.shape)")
    }
    // Only nodes that a target flows into get a gradient.
    var depends = [Bool](repeating: false, count: nodes.count)
    for target in targets { depends[target.id] = true }
    for id in nodes.indices where nodes[id].operands.contains(where: { depends[$0] }) { depends[id] = true }

    var gradient = [Value?](repeating: nil, count: nodes.count)
    gradient[loss.id] = try reshape(constant(1), to: loss.shape)
    for id in stride(from: loss.id, through: 0, by: -1) where depends[id] {
      guard let upstream = gradient[id] else { continue }
      for (operand, amount) in try pullback(id, upstream, { depends[$0] }) {
        let shaped = try reshape(amount, to: nodes[operand].shape)
        gradient[operand] = try gradient[operand].map { try add($0, shaped) } ?? shaped
      }
    }
    return targets.map { gradient[$0.id] }
  }

  /// What each operand of a node that `wants` a gradient receives from `dy`, the gradient of the node's value.
  private mutating func pullback(_ id: Int, _ dy: Value, _ wants: (Int) -> Bool) throws -> [(Int, Value)] {
    let node = nodes[id]
    let x = node.operands.first.map(value)
    switch node.op {
    case .input, .parameter, .constant, .numbers, .workspace:
      return []
    case .reshape:
      return [(x!.id, dy)]
    case .elementwise(let operation):
      return try pullback(of: operation, id, dy, wants)
    case .matmul(let transposeLeft, let transposeRight):
      let left = value(node.operands[0]), right = value(node.operands[1])
      var amounts: [(Int, Value)] = []
      if wants(left.id) {
        // C = A B: dA = dC B'; for A stored transposed dA' = B dC'.
        let amount =
          try transposeLeft
          ? product(right, dy, transposeRight, true) : product(dy, right, false, !transposeRight)
        amounts.append((left.id, amount))
      }
      if wants(right.id) {
        // dB = A' dC; for B stored transposed dB' = dC' A.
        let amount =
          try transposeRight
          ? product(dy, left, true, transposeLeft) : product(left, dy, !transposeLeft, false)
        amounts.append((right.id, amount))
      }
      return amounts
    case .kernel(let operation):
      return try operation.pullback(
        &self, operands: node.operands.map(value), y: value(id), dy: dy, wants: { wants($0.id) })
    }
  }

  private mutating func pullback(
    of operation: Elementwise, _ id: Int, _ dy: Value, _ wants: (Int) -> Bool
  ) throws -> [(Int, Value)] {
    let y = value(id), x = value(nodes[id].operands[0])
    func one(_ amount: Value) -> [(Int, Value)] { [(x.id, amount)] }
    switch operation {
    case .copy: return one(try gathered(dy, as: x.shape))
    case .affine(let scale, _): return one(try gathered(affine(dy, scale: scale), as: x.shape))
    case .relu: return one(try combine(.reluBackward, dy, y))
    case .tanh: return one(try combine(.tanhBackward, dy, y))
    case .sigmoid: return one(try combine(.sigmoidBackward, dy, y))
    case .gelu: return one(try combine(.geluBackward, dy, x))
    case .silu: return one(try combine(.siluBackward, dy, x))
    case .softplus: return one(try multiply(dy, sigmoid(x)))
    case .exp: return one(try multiply(dy, y))
    case .log: return one(try divide(dy, x))
    case .sqrt: return one(try affine(divide(dy, y), scale: 0.5))
    case .abs: return one(try multiply(dy, sign(x)))
    case .sign: return []
    case .sin: return one(try multiply(dy, cos(x)))
    case .cos: return one(try negate(multiply(dy, sin(x))))
    case .erf:
      // 2 / sqrt(pi) exp(-x^2)
      return one(try multiply(dy, scale(exp(negate(square(x))), by: 1.128_379_17)))
    case .geluExact: return one(try combine(.geluExactBackward, dy, x))
    case .power(let exponent):
      return one(try multiply(dy, scale(power(x, exponent - 1), by: exponent)))
    case .clamp(let least, let most): return one(try combine(.clampBackward(min: least, max: most), dy, x))
    case .leakyRelu(let slope): return one(try combine(.leakyReluBackward(slope: slope), dy, x))
    case .elu(let alpha): return one(try combine(.eluBackward(alpha: alpha), dy, x))
    case .reluBackward, .tanhBackward, .sigmoidBackward, .geluBackward, .siluBackward, .geluExactBackward,
      .clampBackward, .leakyReluBackward, .eluBackward:
      throw ComputeError(op: operation.name, expected: "an operation with a gradient", got: "a second derivative")
    case .add, .subtract, .multiply, .divide, .maximum, .minimum: break
    }
    // Both amounts in the result's shape, then summed where the operand was spread.
    let a = x, b = value(nodes[id].operands[1])
    var amounts: [(Int, Value)] = []
    func choice() throws -> Value {
      // Where a won, dy passes to it; the rest is b's.
      let lead = try operation == .maximum ? subtract(a, b) : subtract(b, a)
      return try combine(.reluBackward, spread(dy, over: y.shape), lead)
    }
    if wants(a.id) {
      let amount: Value =
        switch operation {
        case .multiply: try multiply(dy, b)
        case .divide: try divide(dy, b)
        case .maximum, .minimum: try choice()
        default: dy
        }
      amounts.append((a.id, try gathered(spread(amount, over: y.shape), as: a.shape)))
    }
    if wants(b.id) {
      let amount: Value =
        switch operation {
        case .subtract: try affine(dy, scale: -1)
        case .multiply: try multiply(dy, a)
        case .divide: try affine(divide(multiply(dy, y), b), scale: -1)
        case .maximum, .minimum: try subtract(dy, choice())
        default: dy
        }
      amounts.append((b.id, try gathered(spread(amount, over: y.shape), as: b.shape)))
    }
    return amounts
  }

  /// A gradient written out over `shape`; itself where it already has as many elements.
  private mutating func spread(_ x: Value, over shape: Shape) throws -> Value {
    x.shape.count == shape.count ? x : try map(.copy, x, over: shape)
  }

  /// A gradient in the shape of an operand that was spread: summed over the elements that each of its own met.
  private mutating func gathered(_ dy: Value, as shape: Shape) throws -> Value {
    guard shape.count != dy.shape.count else { return dy }
    let count = dy.shape.count
    let (outer, length, inner): (Int, Int, Int) =
      switch Spread(of: shape, over: dy.shape) {
      case .row(let columns): (1, count / columns, columns)
      case .column(let rows): (rows, count / rows, 1)
      case .full, .scalar, nil: (1, count, 1)
      }
    precondition(outer * inner == shape.count, "Gradient: \(shape) cannot be gathered from \(dy.shape)")
    return try append(Sum(outer: outer, length: length, inner: inner, scale: 1), [dy], shape)
  }
}
