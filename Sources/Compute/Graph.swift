// Graph: a model's computation as a list of nodes with static shapes. Graph+Operations has the builders of each
// operation; Gradient extends a graph by its reverse pass; Plan turns it into kernels.

/// A tensor in a graph: the result of one node.
public struct Value: Sendable, Hashable {
  package let id: Int
  /// The tensor's dimensions.
  public let shape: Shape
  /// The type of its elements.
  public let type: ElementType
}

/// A computation over tensors of static shapes, built node by node in the order of data flow.
///
/// Builders throw `ComputeError` naming the operation for shapes that do not fit together, dimensions below 1, tensors
/// above `elementsMax` or `axesMax` and graphs above `nodesMax`. A value belongs to the graph that made it.
public struct Graph: Sendable {
  /// The most nodes a graph may have: far above any model here, and a bound on planning time.
  public static let nodesMax = 8192
  /// The most elements a tensor may have (8 GiB of floats).
  public static let elementsMax = 1 << 31
  /// The most axes a tensor may have.
  public static let axesMax = 32

  package struct Node: Sendable {
    package let op: Op
    package let operands: [Int]
    package let shape: Shape
    package let type: ElementType
  }

  /// Exports read the nodes; only builders make them.
  package private(set) var nodes: [Node] = []
  package private(set) var outputs: [(name: String, id: Int)] = []

  /// Makes an empty graph.
  public init() {}

  /// The number of nodes so far.
  public var nodeCount: Int { nodes.count }

  /// The value of the node with that index.
  func value(_ id: Int) -> Value { Value(id: id, shape: nodes[id].shape, type: nodes[id].type) }

  /// The parameters' names and values in the order they were made, which is the order of `Plan.parameterLayout`.
  public var parameters: [(name: String, value: Value)] {
    nodes.indices.compactMap { id in
      if case .parameter(let name) = nodes[id].op { (name, value(id)) } else { nil }
    }
  }

  /// Adds a tensor that the executor's user fills before a run, by default of floats.
  ///
  /// Throws on an impossible shape and on a name that another input has.
  public mutating func input(_ name: String, _ shape: Shape, _ type: ElementType = .float32) throws -> Value {
    for node in nodes {
      if case .input(name) = node.op {
        throw ComputeError(op: "input \(name)", expected: "a name of its own", got: "a second input of that name")
      }
    }
    return try append(.input(name: name), [], shape, type)
  }

  /// Adds a trainable tensor of floats, which lives in the parameter buffer.
  ///
  /// Throws on an impossible shape and on a name that another parameter has.
  public mutating func parameter(_ name: String, _ shape: Shape) throws -> Value {
    for node in nodes {
      if case .parameter(name) = node.op {
        throw ComputeError(
          op: "parameter \(name)", expected: "a name of its own", got: "a second parameter of that name")
      }
    }
    return try append(.parameter(name: name), [], shape)
  }

  /// Adds a number as a scalar.
  public mutating func constant(_ number: Float) throws -> Value { try append(.constant(number), [], .scalar) }

  /// Adds a tensor of numbers that never change, row-major; throws where their count is not the shape's.
  public mutating func constant(_ numbers: [Float], _ shape: Shape) throws -> Value {
    guard numbers.count == shape.count else {
      throw ComputeError(
        op: "constant", expected: "\(shape.count) numbers for the shape \(shape)", got: "\(numbers.count)")
    }
    return try append(.numbers(numbers), [], shape)
  }

  /// Makes a value readable after a run under `name`; traps on a repeated name or a value of integers.
  public mutating func output(_ name: String, _ value: Value) {
    precondition(!outputs.contains { $0.name == name }, "Graph: output \(name) appears twice")
    precondition(value.type == .float32, "Graph: output \(name) must be of floats")
    precondition(value.id < nodes.count, "Graph: output \(name) belongs to another graph")
    outputs.append((name, value.id))
  }

  /// Adds a node whose shapes have been checked by the caller; checks the size limits.
  mutating func append(_ op: Op, _ operands: [Value], _ shape: Shape, _ type: ElementType = .float32) throws -> Value {
    guard nodes.count < Self.nodesMax else {
      throw ComputeError(op: op.name, expected: "at most \(Self.nodesMax) nodes in a graph", got: "one more")
    }
    if let bad = shape.dimensions.first(where: { $0 < 1 }) {
      throw ComputeError(op: label(op), expected: "dimensions of at least 1", got: "\(bad) in \(shape)")
    }
    guard shape.rank <= Self.axesMax else {
      throw ComputeError(op: label(op), expected: "at most \(Self.axesMax) axes", got: "\(shape.rank)")
    }
    guard shape.count <= Self.elementsMax else {
      throw ComputeError(op: label(op), expected: "at most \(Self.elementsMax) elements", got: "\(shape)")
    }
    for operand in operands {
      precondition(
        operand.id < nodes.count && nodes[operand.id].shape == operand.shape,
        "Graph: an operand of \(op.name) belongs to another graph")
    }
    nodes.append(Node(op: op, operands: operands.map(\.id), shape: shape, type: type))
    return value(nodes.count - 1)
  }

  /// The operation's name, and the tensor's where it has one.
  private func label(_ op: Op) -> String {
    switch op {
    case .input(let name), .parameter(let name): "\(op.name) \(name)"
    default: op.name
    }
  }
}
