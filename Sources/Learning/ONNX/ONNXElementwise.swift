// ONNXElementwise: operators on single elements, with ONNX's broadcasting. ONNXOperators joins the tables.
import Compute
import Foundation

extension ONNXOperator {
  static let elementwise: [ONNXOperator] =
    [
      unary("Relu") { graph, x, _ in try graph.relu(x) },
      unary("Tanh") { graph, x, _ in try graph.tanh(x) },
      unary("Sigmoid") { graph, x, _ in try graph.sigmoid(x) },
      unary("Softplus") { graph, x, _ in try graph.softplus(x) },
      unary("Exp") { graph, x, _ in try graph.exp(x) },
      unary("Log") { graph, x, _ in try graph.log(x) },
      unary("Sqrt") { graph, x, _ in try graph.sqrt(x) },
      unary("Neg") { graph, x, _ in try graph.negate(x) },
      unary("Abs") { graph, x, _ in try graph.abs(x) },
      unary("Sign") { graph, x, _ in try graph.sign(x) },
      unary("Sin") { graph, x, _ in try graph.sin(x) },
      unary("Cos") { graph, x, _ in try graph.cos(x) },
      unary("Erf") { graph, x, _ in try graph.erf(x) },
      unary("Reciprocal") { graph, x, _ in try graph.reciprocal(x) },
      unary("Softsign") { graph, x, _ in try graph.softsign(x) },
      unary("HardSwish") { graph, x, _ in try graph.hardSwish(x) },
      unary("HardSigmoid") { graph, x, site in
        try graph.hardSigmoid(x, alpha: site.float("alpha", 0.2), beta: site.float("beta", 0.5))
      },
      unary("LeakyRelu") { graph, x, site in try graph.leakyRelu(x, slope: site.float("alpha", 0.01)) },
      unary("Elu") { graph, x, site in try graph.elu(x, alpha: site.float("alpha", 1)) },
      unary("Selu") { graph, x, site in
        let alpha = try site.float("alpha", 1.673_263_2), gamma = try site.float("gamma", 1.050_701)
        return try graph.scale(graph.elu(x, alpha: alpha), by: gamma)
      },
      unary("Gelu", "of operator set 20; exact, or approximate = tanh") { graph, x, site in
        switch try site.string("approximate", "none") {
        case "none": return try graph.geluExact(x)
        case "tanh": return try graph.gelu(x)
        case let other: throw ONNXRefusal("the approximation \"\(other)\" is not known")
        }
      },
      unary("Clip", "between constants") { graph, x, site in
        let low = try site.numbers(1)?.first ?? -.infinity, high = try site.numbers(2)?.first ?? .infinity
        return try graph.clamp(x, min: low, max: high)
      },
      unary("Pow", "to a constant power of one element") { graph, x, site in
        let exponents: [Float]? =
          if case .integers(let values, _)? = site.optional(1) { values.map { Float($0) } } else { try site.numbers(1) }
        guard let exponents, exponents.count == 1 else { throw ONNXRefusal("expected a power of one element") }
        return try graph.power(x, exponents[0])
      },
      ONNXOperator("Identity") { _, site in [try site.input(0)] },
      ONNXOperator("Cast", "between floats (nothing is done), and of known integers", cast),
      ONNXOperator("Dropout", "the ratio must be constant; it acts in training, whatever training_mode says", dropout),
      binary("Add", integers: { $0 &+ $1 }) { graph, a, b in try graph.add(a, b) },
      binary("Sub", integers: { $0 &- $1 }) { graph, a, b in try graph.subtract(a, b) },
      binary("Mul", integers: { $0 &* $1 }) { graph, a, b in try graph.multiply(a, b) },
      binary("Div", integers: { $1 == 0 ? 0 : $0.dividedReportingOverflow(by: $1).partialValue }) { graph, a, b in
        try graph.divide(a, b)
      },
      several("Max") { graph, a, b in try graph.maximum(a, b) },
      several("Min") { graph, a, b in try graph.minimum(a, b) },
      several("Sum") { graph, a, b in try graph.add(a, b) },
    ]

  /// An operator that keeps its input's shape.
  static func unary(
    _ name: String, _ limits: String = "",
    _ apply: @escaping @Sendable (inout Graph, Value, ONNXSite) throws -> Value
  ) -> ONNXOperator {
    ONNXOperator(name, limits) { translation, site in
      let operand = try site.input(0)
      if case .value(let value, let layout) = operand {
        return [.value(try apply(&translation.graph, value, site), layout)]
      }
      return [.value(try apply(&translation.graph, translation.plain(operand), site), .plain)]
    }
  }

  private static func binary(
    _ name: String, integers: @escaping @Sendable (Int, Int) -> Int,
    _ apply: @escaping @Sendable (inout Graph, Value, Value) throws -> Value
  ) -> ONNXOperator {
    ONNXOperator(name) { translation, site in
      let a = try site.input(0), b = try site.input(1)
      if case .integers(let left, let lengths) = a, case .integers(let right, let others) = b {
        try translation.spend(max(left.count, right.count))
        return [try fold(left, lengths, right, others, integers)]
      }
      return [try combine(&translation, a, b, apply)]
    }
  }

  /// An operator on any number of inputs, two by two.
  private static func several(
    _ name: String, _ apply: @escaping @Sendable (inout Graph, Value, Value) throws -> Value
  ) -> ONNXOperator {
    ONNXOperator(name) { translation, site in
      var result = try site.input(0)
      for index in site.inputs.indices.dropFirst() {
        result = try combine(&translation, result, site.input(index), apply)
      }
      return [result]
    }
  }

  /// Two operands in one layout, then `apply`, which repeats axes of length 1.
  static func combine(
    _ translation: inout ONNXTranslation, _ a: ONNXOperand, _ b: ONNXOperand,
    _ apply: (inout Graph, Value, Value) throws -> Value
  ) throws -> ONNXOperand {
    let rank = max(a.dimensions.count, b.dimensions.count)
    var isLast = false
    for case .value(let value, .channelsLast) in [a, b] where value.shape.rank == rank { isLast = true }
    if isLast {
      let left = try translation.channelsLast(a, rank: rank), right = try translation.channelsLast(b, rank: rank)
      return .value(try apply(&translation.graph, left, right), .channelsLast)
    }
    let left = try translation.plain(a), right = try translation.plain(b)
    return .value(try apply(&translation.graph, left, right), .plain)
  }

  /// Integers element by element, repeated along axes of length 1.
  private static func fold(
    _ left: [Int], _ lengths: [Int], _ right: [Int], _ others: [Int], _ apply: (Int, Int) -> Int
  ) throws -> ONNXOperand {
    if left.count == 1, lengths.count <= others.count { return .integers(right.map { apply(left[0], $0) }, others) }
    if right.count == 1, others.count <= lengths.count { return .integers(left.map { apply($0, right[0]) }, lengths) }
    guard lengths == others else {
      throw ONNXRefusal("integers of the shapes \(lengths) and \(others) are not combined before the model runs")
    }
    return .integers(zip(left, right).map(apply), lengths)
  }

  private static func cast(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard let type = ONNXType(rawValue: try site.integer("to", 0)) else {
      throw ONNXRefusal("the type it casts to is not known")
    }
    switch try site.input(0) {
    case .integers(let values, let dimensions):
      try translation.spend(values.count)
      return [type.isFloating ? .numbers(values.map { Float($0) }, dimensions) : .integers(values, dimensions)]
    case .numbers(let values, let dimensions):
      if type.isFloating { return [.numbers(values, dimensions)] }
      try translation.spend(values.count)
      let integers = try values.map { value in
        guard let integer = Int(exactly: value.rounded(.towardZero)) else {
          throw ONNXRefusal("\(value) does not fit an integer")
        }
        return integer
      }
      return [.integers(integers, dimensions)]
    case .tokens(let value):
      guard type == .int64 || type == .int32 else { throw ONNXRefusal("the input's tokens cannot become floats") }
      return [.tokens(value)]
    case let operand:
      guard type.isFloating else { throw ONNXRefusal("floats of a running model cannot become integers") }
      return [operand]
    }
  }

  private static func dropout(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let operand = try site.input(0)
    let rate = try site.numbers(1)?.first ?? 0.5
    guard (0..<1).contains(rate) else { throw ONNXRefusal("expected a ratio from 0 to below 1, got \(rate)") }
    guard let key = translation.dropoutKey, rate > 0 else { return [operand] }
    translation.dropouts += 1
    let stream = translation.dropouts
    func drop(_ value: Value) throws -> Value {
      try translation.graph.dropout(value, rate: rate, key: key, stream: stream)
    }
    if case .value(let value, let layout) = operand { return [.value(try drop(value), layout)] }
    return [.value(try drop(translation.plain(operand)), .plain)]
  }
}
