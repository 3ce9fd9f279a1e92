// ONNXTranslation: an ONNX graph's nodes to nodes of ours, one after another. ONNXOperators has the table of operators and
// the files beside it what each does; ONNXImport checks the graph, and knows the parameters.
import Compute
import Foundation

/// How a value's axes lie in memory.
enum ONNXLayout: Sendable {
  /// As the file has them.
  case plain
  /// Axis 1, the channels, innermost: what the file calls [N, C, H, W] lies as [N, H, W, C].
  case channelsLast

  /// The place in memory of each of `rank` axes of the file.
  func places(rank: Int) -> [Int] {
    self == .plain ? Array(0..<rank) : [0, rank - 1] + Array(1..<rank - 1)
  }

  /// The file's axis at each place in memory.
  func axes(rank: Int) -> [Int] {
    self == .plain ? Array(0..<rank) : [0] + Array(2..<rank) + [1]
  }
}

/// What a name of the file stands for.
enum ONNXOperand: Sendable {
  /// Computed at each step.
  case value(Value, ONNXLayout)
  /// The input, where it is of integers.
  case tokens(Value)
  /// Integers that are known already, such as shapes.
  case integers([Int], [Int])
  /// Floats that are known and not trained.
  case numbers([Float], [Int])
  /// A float initializer: a parameter where a node uses it as one.
  case weight(ONNXTensor)

  /// The dimensions as the file sees them.
  var dimensions: [Int] {
    switch self {
    case .value(let value, let layout):
      layout.places(rank: value.shape.rank).map { value.shape[$0] }
    case .tokens(let value): value.shape.dimensions
    case .integers(_, let dimensions), .numbers(_, let dimensions): dimensions
    case .weight(let tensor): tensor.dimensions
    }
  }
}

/// How a parameter differs from the initializer it comes from.
struct ONNXWeightForm: Sendable {
  /// Equal keys are equal forms.
  let key: String
  let dimensions: [Int]
  let convert: @Sendable ([Float]) -> [Float]

  /// The initializer as it stands.
  static func same(_ dimensions: [Int]) -> ONNXWeightForm {
    ONNXWeightForm(key: "same", dimensions: dimensions, convert: { $0 })
  }

  /// Axis i of the parameter is axis `axes[i]` of the initializer.
  static func permuted(_ dimensions: [Int], _ axes: [Int]) -> ONNXWeightForm {
    ONNXWeightForm(key: "permuted \(axes)", dimensions: axes.map { dimensions[$0] }) { elements in
      Self.permute(elements, dimensions, axes)
    }
  }

  static func permute(_ elements: [Float], _ dimensions: [Int], _ axes: [Int]) -> [Float] {
    var strides = [Int](repeating: 1, count: dimensions.count)
    for axis in dimensions.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * dimensions[axis + 1] }
    var out: [Float] = []
    out.reserveCapacity(elements.count)
    var position = [Int](repeating: 0, count: dimensions.count)
    for _ in elements.indices {
      out.append(elements[zip(position, axes).reduce(0) { $0 + $1.0 * strides[$1.1] }])
      for place in axes.indices.reversed() {
        position[place] += 1
        if position[place] < dimensions[axes[place]] { break }
        position[place] = 0
      }
    }
    return out
  }
}

/// A translation under way: the graph that grows and what every name stands for.
struct ONNXTranslation {
  var graph: Graph
  let opset: Int
  /// The rows of a batch.
  let rows: Int
  /// The batch size that the file was exported with, where it names one.
  let fileRows: Int?
  /// The key of dropout, in training alone.
  let dropoutKey: Value?
  /// How often nodes read each initializer.
  let uses: [String: Int]
  var operands: [String: ONNXOperand] = [:]
  /// The parameters that nodes asked for, and their forms.
  var parameters: [String: (value: Value, form: ONNXWeightForm)] = [:]
  /// The smallest table that tokens of the input choose from.
  var vocabulary: Int?
  var dropouts: UInt32 = 0
  /// Elements of constants that nodes may still make up.
  private var constantsLeft = 1 << 25
  /// Values in the other layout, so that none is turned around twice.
  private var turned: [Int: Value] = [:]

  init(graph: Graph, opset: Int, rows: Int, fileRows: Int?, dropoutKey: Value?, uses: [String: Int]) {
    self.graph = graph
    self.opset = opset
    self.rows = rows
    self.fileRows = fileRows
    self.dropoutKey = dropoutKey
    self.uses = uses
  }

  /// Takes memory for constants that a node makes up, before it does.
  mutating func spend(_ elements: Int) throws {
    constantsLeft -= min(elements, constantsLeft + 1)
    guard constantsLeft >= 0 else {
      throw ONNXRefusal("the graph makes up more constants than are held; store them as initializers or simplify it")
    }
  }

  // MARK: Parameters

  /// The parameter of an initializer in a form of its own; where other nodes read it too, it stays as it is and is
  /// turned at each step.
  mutating func parameter(_ tensor: ONNXTensor, permuted axes: [Int]) throws -> Value {
    if uses[tensor.name] == 1 { return try parameter(tensor, .permuted(tensor.dimensions, axes)) }
    return try graph.transpose(parameter(tensor, .same(tensor.dimensions)), axes)
  }

  mutating func parameter(_ tensor: ONNXTensor, _ form: ONNXWeightForm? = nil) throws -> Value {
    let form = form ?? .same(tensor.dimensions)
    if let known = parameters[tensor.name] {
      guard known.form.key == form.key else {
        throw ONNXRefusal("the initializer \"\(tensor.name)\" is used in two ways; give each node a copy of its own")
      }
      return known.value
    }
    guard tensor.count > 0 else { throw ONNXRefusal("the initializer \"\(tensor.name)\" is empty") }
    let value = try graph.parameter(tensor.name, Shape(form.dimensions))
    parameters[tensor.name] = (value, form)
    return value
  }

  // MARK: Operands as values

  /// The operand as a value whose axes lie as in the file.
  mutating func plain(_ operand: ONNXOperand) throws -> Value {
    switch operand {
    case .value(let value, .plain): return value
    case .value(let value, .channelsLast):
      return try turn(value, ONNXLayout.channelsLast.places(rank: value.shape.rank))
    case .weight(let tensor): return try parameter(tensor)
    case .numbers(let numbers, let dimensions): return try constant(numbers, dimensions)
    case .tokens: throw ONNXRefusal("expected floats, but the input's tokens came")
    case .integers: throw ONNXRefusal("expected floats, but integers came")
    }
  }

  /// The operand, seen with `rank` axes, as a value with channels innermost.
  mutating func channelsLast(_ operand: ONNXOperand, rank: Int) throws -> Value {
    let dimensions = operand.dimensions
    guard dimensions.count <= rank, rank >= 3 else {
      throw ONNXRefusal("expected \(rank) axes, got the shape \(dimensions)")
    }
    let padded = [Int](repeating: 1, count: rank - dimensions.count) + dimensions
    let axes = ONNXLayout.channelsLast.axes(rank: rank)
    switch operand {
    case .value(let value, .channelsLast): return value
    case .value(let value, .plain): return try turn(graph.reshape(value, to: Shape(padded)), axes)
    case .numbers(let numbers, _):
      try spend(numbers.count)
      return try constant(ONNXWeightForm.permute(numbers, padded, axes), axes.map { padded[$0] })
    case .weight(let tensor):
      if Self.isReshape(padded, axes) {
        return try graph.reshape(parameter(tensor), to: Shape(axes.map { padded[$0] }))
      }
      if dimensions.count == rank { return try parameter(tensor, permuted: axes) }
      return try turn(graph.reshape(parameter(tensor), to: Shape(padded)), axes)
    case .tokens, .integers: return try plain(operand)
    }
  }

  /// `value` with its axes in the order `axes`.
  mutating func turn(_ value: Value, _ axes: [Int]) throws -> Value {
    let shape = Shape(axes.map { value.shape[$0] })
    if Self.isReshape(value.shape.dimensions, axes) { return try graph.reshape(value, to: shape) }
    if let known = turned[value.id], known.shape == shape { return known }
    let result = try graph.transpose(value, axes)
    turned[value.id] = result
    turned[result.id] = value
    return result
  }

  /// Whether axes longer than 1 keep their order, so that no element moves.
  static func isReshape(_ dimensions: [Int], _ axes: [Int]) -> Bool {
    let long = axes.filter { dimensions[$0] != 1 }
    return long == long.sorted()
  }

  mutating func constant(_ numbers: [Float], _ dimensions: [Int]) throws -> Value {
    if numbers.count == 1 { return try graph.reshape(graph.constant(numbers[0]), to: Shape(dimensions)) }
    return try graph.constant(numbers, Shape(dimensions))
  }
}

/// Why a node is refused; its caller adds which.
struct ONNXRefusal: Error {
  let reason: String

  /// - Parameter reason: cut where a list out of the file makes it long.
  init(_ reason: String) { self.reason = reason.count > 1000 ? reason.prefix(1000) + "…" : reason }
}

/// One node being translated: its inputs and attributes, with their types checked.
struct ONNXSite {
  let node: ONNXNode
  let inputs: [ONNXOperand?]

  /// An input that must be there.
  func input(_ index: Int) throws -> ONNXOperand {
    guard let operand = optional(index) else { throw ONNXRefusal("its input \(index) is missing") }
    return operand
  }

  /// An input that may be left out.
  func optional(_ index: Int) -> ONNXOperand? { index < inputs.count ? inputs[index] : nil }

  /// Integers that must be known before the model runs.
  func integers(_ index: Int) throws -> [Int]? {
    switch optional(index) {
    case nil: return nil
    case .integers(let values, _)?: return values
    default: throw ONNXRefusal("its input \(index) must be constant integers")
    }
  }

  /// Floats that must be known before the model runs.
  func numbers(_ index: Int) throws -> [Float]? {
    switch optional(index) {
    case nil: return nil
    case .numbers(let values, _)?: return values
    case .weight(let tensor)?: return tensor.floats()
    default: throw ONNXRefusal("its input \(index) must be a constant")
    }
  }

  /// An initializer that becomes a parameter.
  func weight(_ index: Int) throws -> ONNXTensor {
    switch optional(index) {
    case .weight(let tensor)?: return tensor
    case .numbers(let numbers, let dimensions)?:
      throw ONNXRefusal("its input \(index), \(numbers.count) constants of shape \(dimensions), must be an initializer")
    default: throw ONNXRefusal("its input \(index) must be an initializer: weights that are computed are not supported")
    }
  }

  func integer(_ name: String, _ fallback: Int) throws -> Int {
    switch node.attributes[name] {
    case nil: return fallback
    case .integer(let value)?: return value
    case let other?: throw ONNXRefusal("its attribute \(name) must be an integer, got \(other.kind)")
    }
  }

  func float(_ name: String, _ fallback: Float) throws -> Float {
    switch node.attributes[name] {
    case nil: return fallback
    case .float(let value)?: return value
    case let other?: throw ONNXRefusal("its attribute \(name) must be a float, got \(other.kind)")
    }
  }

  func string(_ name: String, _ fallback: String) throws -> String {
    switch node.attributes[name] {
    case nil: return fallback
    case .string(let value)?: return value
    case let other?: throw ONNXRefusal("its attribute \(name) must be a string, got \(other.kind)")
    }
  }

  func integers(_ name: String) throws -> [Int]? {
    switch node.attributes[name] {
    case nil: return nil
    case .integers(let values)?: return values
    case let other?: throw ONNXRefusal("its attribute \(name) must be integers, got \(other.kind)")
    }
  }

  /// An axis counted from the end where it is negative.
  static func axis(_ axis: Int, rank: Int) throws -> Int {
    guard (-rank..<rank).contains(axis) else { throw ONNXRefusal("the axis \(axis) is not one of \(rank)") }
    return axis < 0 ? axis + rank : axis
  }

  /// Distinct axes in rising order.
  static func axes(_ axes: [Int], rank: Int) throws -> [Int] {
    let positive = try axes.map { try axis($0, rank: rank) }
    guard Set(positive).count == positive.count else { throw ONNXRefusal("the axes \(axes) name one twice") }
    return positive.sorted()
  }
}
