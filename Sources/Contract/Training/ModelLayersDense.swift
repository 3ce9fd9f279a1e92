// Layers for data of any kind: dense, activation, flatten, reshape, dropout. ModelLayer lists all kinds.
import Foundation

extension Layer {
  /// `activation(x W + b)` over the last axis; `w` is [inputs, units].
  public struct Dense: LayerRule {
    public var units: Int
    public var activation: Activation
    public var bias: Bool
    /// How `w` starts; nil takes truncated normals of deviation 1/sqrt(inputs).
    public var initial: Initialization?

    public init(units: Int, activation: Activation = .linear, bias: Bool = true, initial: Initialization? = nil) {
      self.units = units
      self.activation = activation
      self.bias = bias
      self.initial = initial
    }

    init?(_ fields: inout Fields) {
      let units = fields.integer("units", in: 1...ModelSpec.unitsMax, required: "the layer's number of outputs")
      let activation = fields.choice("activation", of: Activation.self) ?? .linear
      let bias = fields.bool("bias") ?? true
      let initial = fields.initialization()
      guard let units else { return nil }
      self.init(units: units, activation: activation, bias: bias, initial: initial)
    }

    var members: [String: JSON] {
      var members: [String: JSON] = ["units": .integer(units), "activation": .string(activation.rawValue)]
      if !bias { members["bias"] = false }
      if let initial { members["init"] = initial.json }
      return members
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      guard let inputs = site.shape.last else {
        throw LayerFault("needs an input of at least one axis, got a single number")
      }
      try site.needsNumbers()
      let output = site.shape.dropLast() + [units]
      let rows = Size.product(site.shape.dropLast()), count = Size.product(output)
      var facts = LayerFacts(output: Array(output))
      if bias { facts.parameters = [("b", [units], .zeros)] }
      facts.parameters.append(("w", [inputs, units], initial ?? .truncatedNormal()))
      facts.flops = Size.sum(Size.product([2, rows, inputs, units]), bias ? count : 0)
      facts.reads = .init(input: true, output: activation.readsOutput)
      facts.kept = activation.readsOperand ? count : 0
      // The gradient of the input reads `w` transposed.
      facts.scratch = Size.product([inputs, units])
      return facts
    }
  }

  /// The non-linearity alone.
  public struct ActivationLayer: LayerRule {
    public var activation: Activation
    /// Of `leaky_relu` below 0; nil is 0.01.
    public var slope: Double?

    public init(_ activation: Activation, slope: Double? = nil) {
      self.activation = activation
      self.slope = slope
    }

    init?(_ fields: inout Fields) {
      let activation = fields.choice("activation", of: Activation.self, required: "the non-linearity")
      let slope = fields.number("slope", in: -10...10)
      if slope != nil, activation != .leakyRelu { fields.fault("slope", "is for leaky_relu only") }
      guard let activation else { return nil }
      self.init(activation, slope: slope)
    }

    var members: [String: JSON] {
      var members: [String: JSON] = ["activation": .string(activation.rawValue)]
      if let slope { members["slope"] = .number(slope) }
      return members
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      return LayerFacts(
        output: site.shape, flops: Size.product(site.shape),
        reads: .init(input: activation.readsOperand, output: activation.readsOutput))
    }
  }

  /// Turns an element of any shape into a vector.
  public struct Flatten: LayerRule {
    public init() {}
    var members: [String: JSON] { [:] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      return LayerFacts(output: [Size.product(site.shape)])
    }
  }

  /// The same numbers under another shape.
  public struct Reshape: LayerRule {
    public var shape: [Int]

    public init(_ shape: [Int]) { self.shape = shape }

    init?(_ fields: inout Fields) {
      let shape = fields.array("shape", counts: 1...6, required: "the shape of one example") { json, path, faults in
        let side = json.integer.flatMap { (1...Size.floatsMax).contains($0) ? $0 : nil }
        if side == nil { faults.add(path, "expected an integer from 1 to \(Size.floatsMax), got \(json.kind)") }
        return side
      }
      guard let shape else { return nil }
      self.init(shape)
    }

    var members: [String: JSON] { ["shape": .array(shape.map(JSON.integer))] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      let count = Size.product(site.shape)
      guard Size.product(shape) == count else {
        throw LayerFault("needs a shape of \(count) numbers for the input \(site.shape), got \(shape)")
      }
      return LayerFacts(output: shape)
    }
  }

  /// Zeroes numbers with probability `rate` while training and divides the others by 1 - rate.
  public struct Dropout: LayerRule {
    public var rate: Double

    public init(rate: Double) { self.rate = rate }

    init?(_ fields: inout Fields) {
      guard let rate = fields.number("rate", in: 0...0.99, required: "the share of numbers to drop") else { return nil }
      self.init(rate: rate)
    }

    var members: [String: JSON] { ["rate": .number(rate)] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      return LayerFacts(output: site.shape, flops: Size.product(site.shape))
    }
  }

  /// A dense layer, as code describes it.
  public static func dense(units: Int, activation: Activation = .linear, bias: Bool = true) -> Layer {
    Layer(.dense(Dense(units: units, activation: activation, bias: bias)))
  }

  /// A flatten layer, as code describes it.
  public static let flatten = Layer(.flatten(Flatten()))

  /// An activation layer, as code describes it.
  public static func activation(_ activation: Activation, slope: Double? = nil) -> Layer {
    Layer(.activation(ActivationLayer(activation, slope: slope)))
  }
}

extension Activation {
  /// Whether its derivative is taken from its result.
  var readsOutput: Bool {
    switch self {
    case .relu, .tanh, .sigmoid: true
    default: false
    }
  }

  /// Whether its derivative is taken from its operand.
  var readsOperand: Bool { !readsOutput && self != .linear }
}

extension LayerSite {
  /// Refuses tokens, which only an embedding can read.
  func needsNumbers() throws(LayerFault) {
    if let vocabulary {
      throw LayerFault(
        "needs numbers, but the data are tokens of a vocabulary of \(vocabulary); put an embedding layer before it")
    }
  }

  /// The one input as [height, width, channels]; a grey image among the data has one channel.
  func image() throws(LayerFault) -> (height: Int, width: Int, channels: Int) {
    try needsNumbers()
    if shape.count == 3 { return (shape[0], shape[1], shape[2]) }
    if shape.count == 2, readsData { return (shape[0], shape[1], 1) }
    throw LayerFault(
      "needs an input of rank 3 [height, width, channels], got \(shape); put a reshape layer before it, or take another "
        + "model where the data are no images")
  }

  /// The one input as [positions, width].
  func sequence() throws(LayerFault) -> (positions: Int, width: Int) {
    try needsNumbers()
    guard shape.count == 2 else {
      throw LayerFault(
        "needs an input of rank 2 [positions, width], got \(shape); put a reshape layer before it, or an embedding "
          + "layer where the data are tokens")
    }
    return (shape[0], shape[1])
  }

  /// An axis counted from 0, or from the end where negative.
  func axis(_ axis: Int) throws(LayerFault) -> Int {
    let from = axis < 0 ? axis + shape.count : axis
    guard shape.indices.contains(from) else {
      throw LayerFault("has no axis \(axis): its input has shape \(shape), without the batch")
    }
    return from
  }
}

/// Sizes that cannot overflow: they stop at `Int.max`, far beyond every limit.
enum Size {
  /// The most numbers in one example of anything.
  static let floatsMax = 1 << 28

  static func product(_ factors: some Sequence<Int>) -> Int {
    var product = 1
    for factor in factors {
      let (next, overflow) = product.multipliedReportingOverflow(by: factor)
      if overflow { return .max }
      product = next
    }
    return product
  }

  static func sum(_ terms: Int...) -> Int { sum(terms) }

  static func sum(_ terms: some Sequence<Int>) -> Int {
    var sum = 0
    for term in terms {
      let (next, overflow) = sum.addingReportingOverflow(term)
      if overflow { return .max }
      sum = next
    }
    return sum
  }
}
