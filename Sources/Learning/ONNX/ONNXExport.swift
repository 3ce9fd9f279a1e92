// ONNXExport: a graph of ours as an ONNX model, whatever it was built from. The graph is built for two batch sizes: what
// differs between them is what depends on the batch. The files beside this one have the operations; ONNXWriter the bytes.
import Compute
import Foundation

/// Writes models as ONNX: one input `inputs`, one output `outputs`, float32, the batch as a symbolic axis.
///
/// Weights are initializers under their names. Those of convolutions and recurrent cells have ONNX's order of axes and
/// gates; a recurrent cell's forget bias is part of its bias.
public enum ONNXExport {
  /// The operator set that is written.
  public static let opset = 17
  /// The version of the file format that is written, the one of that operator set.
  static let irVersion = 8

  /// The model that a graph computes.
  ///
  /// - Parameters:
  ///   - name: the graph's name.
  ///   - metadata: free text by key.
  ///   - tensor: the elements of a parameter, or of an input other than `inputs` that stays the same, by name.
  ///   - graph: the graph for a batch of so many rows, with an input `inputs` and an output `outputs`.
  /// - Throws: `ComputeError` naming an operation that ONNX has no form for.
  public static func model(
    name: String, metadata: [String: String] = [:], tensor: (String) -> [Float]?, graph: (Int) throws -> Graph
  ) throws -> ONNXModel {
    var exporter = try ONNXExporter(few: graph(ONNXExporter.few), many: graph(ONNXExporter.many))
    let body = try exporter.export(name: name, tensor: tensor)
    return ONNXModel(irVersion: irVersion, opset: opset, producer: "trainyard", graph: body, metadata: metadata)
  }
}

/// An export under way.
struct ONNXExporter {
  /// The two batch sizes, which no other length of a model should be told from by chance alone.
  static let few = 2, many = 3

  /// A length along an axis: fixed, or so many times the batch.
  enum Length: Equatable {
    case fixed(Int)
    case rows(times: Int)
  }

  let graph: Graph
  private let other: Graph
  private let needed: [Bool]
  /// Nodes that recurrent cells write themselves.
  private(set) var absorbed: Set<Int> = []
  /// The needed nodes that read each node.
  let readers: [[Int]]
  var nodes: [ONNXNode] = []
  private(set) var initializers: [ONNXTensor] = []
  private var initialized: Set<String> = []
  private var inputs: [ONNXValueInfo] = []
  /// The names of values as they lie here, and with axis 1 for the channels that lie innermost here.
  private var plainNames: [Int: String] = [:]
  private var firstNames: [Int: String] = [:]
  private var prefix = "_"
  private var made = 0
  private var shapes: [[Int]: String] = [:]
  private var numbers: [Float: String] = [:]
  private var dynamicShapes: [String: String] = [:]
  private var tensor: [String: [Float]] = [:]

  init(few: Graph, many: Graph) throws {
    guard few.nodes.count == many.nodes.count, few.outputs.map(\.name) == ["outputs"] else {
      throw ComputeError(
        op: "export", expected: "a graph with one output for any batch",
        got: "\(few.nodes.count) and \(many.nodes.count) nodes")
    }
    graph = few
    other = many
    var needed = [Bool](repeating: false, count: few.nodes.count)
    needed[few.outputs[0].id] = true
    for id in few.nodes.indices.reversed() where needed[id] {
      for operand in few.nodes[id].operands { needed[operand] = true }
    }
    self.needed = needed
    var readers = [[Int]](repeating: [], count: few.nodes.count)
    for id in few.nodes.indices where needed[id] {
      for operand in few.nodes[id].operands { readers[operand].append(id) }
    }
    self.readers = readers
    while few.parameters.contains(where: { $0.name.hasPrefix(prefix) }) { prefix += "_" }
    absorbed = nodesOfCells()
  }

  mutating func export(name: String, tensor: (String) -> [Float]?) throws -> ONNXGraph {
    for id in graph.nodes.indices where needed[id] {
      if let name = graph.nodes[id].sourceName, name != "inputs", let elements = tensor(name) {
        self.tensor[name] = elements
      }
    }
    for id in graph.nodes.indices where needed[id] && !isDeferred(id) && !absorbed.contains(id) { try add(id) }
    let output = graph.outputs[0].id
    nodes.append(ONNXNode("Identity", name: "outputs", inputs: [try plain(output)], outputs: ["outputs"]))
    foldOutput()
    return ONNXGraph(
      name: name, nodes: nodes, initializers: initializers, inputs: inputs,
      outputs: [ONNXValueInfo(name: "outputs", type: .float, dimensions: try dimensions(output))])
  }

  /// Lets the node that makes the output have its name, where nothing else reads it.
  private mutating func foldOutput() {
    guard let last = nodes.last, let name = last.inputs.first,
      nodes.dropLast().allSatisfy({ !$0.inputs.contains(name) }),
      let maker = nodes.lastIndex(where: { $0.outputs.contains(name) })
    else { return }
    nodes.removeLast()
    nodes[maker].outputs = nodes[maker].outputs.map { $0 == name ? "outputs" : $0 }
  }

  // MARK: Nodes

  private mutating func add(_ id: Int) throws {
    let node = graph.nodes[id]
    switch node.op {
    case .input("inputs"):
      inputs = [
        ONNXValueInfo(name: "inputs", type: node.type == .int32 ? .int64 : .float, dimensions: try dimensions(id))
      ]
      plainNames[id] = "inputs"
    // Random words: nothing that an exported model does reads them.
    case .input where node.type == .int32: return
    case .input(let name), .parameter(let name):
      // Weights that are read in another form are written in that form by the operation that does.
      guard readers[id].contains(where: { !isConverted(id, by: $0) }) else { return }
      plainNames[id] = initializer(name, node.shape.dimensions, try elements(id))
    case .constant(let number): plainNames[id] = self.number(number)
    case .numbers(let values): try addNumbers(values, id)
    case .elementwise(let operation): try addElementwise(operation, id)
    case .matmul(let left, let right): try addProduct(left, right, id)
    case .reshape: record(try reshaped(plain(node.operands[0]), lengths(id)), id)
    case .workspace: return
    case .kernel(let operation): try addKernel(operation, id)
    }
  }

  private mutating func addNumbers(_ values: [Float], _ id: Int) throws {
    // Integers belong to the operation that reads them.
    guard graph.nodes[id].type == .float32 else { return }
    let lengths = try lengths(id)
    if lengths.allSatisfy({ if case .fixed = $0 { true } else { false } }) {
      plainNames[id] = initializer(fresh(), graph.nodes[id].shape.dimensions, values)
      return
    }
    guard Set(values).count == 1 else {
      throw ComputeError(
        op: "export", expected: "constants that do not depend on the batch", got: graph.nodes[id].op.name)
    }
    record(emit("Expand", [number(values[0]), try shape(lengths)]), id)
  }

  private mutating func addProduct(_ transposeLeft: Bool, _ transposeRight: Bool, _ id: Int) throws {
    let operands = graph.nodes[id].operands
    let left = graph.nodes[operands[0]].shape, right = graph.nodes[operands[1]].shape
    guard right.rank == 2 else {
      throw ComputeError(op: "export", expected: "a product with a matrix", got: "\(left) and \(right)")
    }
    let inputs = [try plain(operands[0]), try plain(operands[1])]
    if left.rank == 2 {
      if let bias = bias(of: id) {
        record(try emit("Gemm", inputs + [plain(bias.operand)], flags(transposeLeft, transposeRight)), bias.sum)
      } else if transposeLeft || transposeRight {
        record(emit("Gemm", inputs, flags(transposeLeft, transposeRight)), id)
      } else {
        record(emit("MatMul", inputs), id)
      }
      return
    }
    let matrix = transposeRight ? emit("Transpose", [inputs[1]], ["perm": .integers([1, 0])]) : inputs[1]
    record(emit("MatMul", [inputs[0], matrix]), id)
  }

  private func flags(_ left: Bool, _ right: Bool) -> [String: ONNXAttribute] {
    var flags: [String: ONNXAttribute] = [:]
    if left { flags["transA"] = .integer(1) }
    if right { flags["transB"] = .integer(1) }
    return flags
  }

  /// The sum with a row of parameters that alone reads a product's or convolution's result, and that row.
  func bias(of id: Int) -> (sum: Int, operand: Int)? {
    guard readers[id].count == 1, let sum = readers[id].first, case .elementwise(.add) = graph.nodes[sum].op,
      graph.nodes[sum].shape == graph.nodes[id].shape, graph.nodes[sum].operands[0] == id
    else { return nil }
    let operand = graph.nodes[sum].operands[1]
    guard case .parameter = graph.nodes[operand].op, graph.nodes[operand].shape == [graph.nodes[id].shape.last] else {
      return nil
    }
    return (sum, operand)
  }

  /// Whether a sum is part of the operation that makes its first operand.
  private func isDeferred(_ id: Int) -> Bool {
    guard case .elementwise(.add) = graph.nodes[id].op, let first = graph.nodes[id].operands.first,
      takesBias(first)
    else { return false }
    return bias(of: first)?.sum == id
  }

  private func takesBias(_ id: Int) -> Bool {
    switch graph.nodes[id].op {
    case .matmul: graph.nodes[graph.nodes[id].operands[0]].shape.rank == 2
    case .kernel(let operation): operation.name == "convolution"
    default: false
    }
  }

  // MARK: Names

  /// A name that nothing has.
  mutating func fresh() -> String {
    made += 1
    return "\(prefix)\(made)"
  }

  /// Adds a node with one output and gives its name.
  mutating func emit(_ op: String, _ inputs: [String], _ attributes: [String: ONNXAttribute] = [:]) -> String {
    let output = fresh()
    nodes.append(ONNXNode(op, name: "\(op)\(output)", inputs: inputs, outputs: [output], attributes: attributes))
    return output
  }

  mutating func record(_ name: String, _ id: Int, channelsFirst: Bool = false) {
    if channelsFirst { firstNames[id] = name } else { plainNames[id] = name }
  }

  /// Whether a value is known with its channels first alone.
  func isFirst(_ id: Int) -> Bool { firstNames[id] != nil && plainNames[id] == nil }

  /// The name of a value as it lies here.
  mutating func plain(_ id: Int) throws -> String {
    if let name = plainNames[id] { return name }
    guard let name = firstNames[id] else {
      throw ComputeError(op: "export", expected: "a value with a form in ONNX", got: graph.nodes[id].op.name)
    }
    let rank = graph.nodes[id].shape.rank
    let result = emit("Transpose", [name], ["perm": .integers(ONNXLayout.channelsLast.axes(rank: rank))])
    plainNames[id] = result
    return result
  }

  /// The name of a value with the innermost axis as axis 1.
  mutating func first(_ id: Int) throws -> String {
    if let name = firstNames[id] { return name }
    let rank = graph.nodes[id].shape.rank
    let result = emit("Transpose", [try plain(id)], ["perm": .integers(ONNXLayout.channelsLast.places(rank: rank))])
    firstNames[id] = result
    return result
  }

  /// Adds an initializer of floats and gives its name.
  mutating func initializer(_ name: String, _ dimensions: [Int], _ elements: [Float]) -> String {
    if initialized.insert(name).inserted {
      initializers.append(ONNXTensor(name: name, dimensions: dimensions, floats: elements))
    }
    return name
  }

  /// The elements of a parameter, or of an input that stays the same.
  func elements(_ id: Int) throws -> [Float] {
    let node = graph.nodes[id]
    guard let name = node.sourceName, let elements = tensor[name], elements.count == node.shape.count else {
      throw ComputeError(
        op: "export", expected: "the elements of \(node.sourceName ?? node.op.name) \(node.shape)",
        got: "none, or others")
    }
    return elements
  }

  /// The name of a number.
  mutating func number(_ value: Float) -> String {
    if let name = numbers[value] { return name }
    let name = initializer(fresh(), [], [value])
    numbers[value] = name
    return name
  }

  /// The name of constant integers.
  mutating func integers(_ values: [Int]) -> String {
    if let name = shapes[values] { return name }
    let name = fresh()
    initializers.append(ONNXTensor(name: name, dimensions: [values.count], integers: values))
    shapes[values] = name
    return name
  }

  // MARK: Lengths

  /// The lengths of a value's axes, as they depend on the batch.
  func lengths(_ id: Int) throws -> [Length] { try Self.lengths(graph.nodes[id].shape, other.nodes[id].shape) }

  private static func lengths(_ shape: Shape, _ other: Shape) throws -> [Length] {
    guard shape.rank == other.rank else {
      throw ComputeError(op: "export", expected: "the same axes for any batch", got: "\(shape) and \(other)")
    }
    return try zip(shape.dimensions, other.dimensions).map { small, large in
      if small == large { return .fixed(small) }
      let times = (large - small) / (many - few)
      guard times > 0, small == times * few, large == times * many else {
        throw ComputeError(
          op: "export", expected: "lengths that are multiples of the batch", got: "\(shape) and \(other)")
      }
      return .rows(times: times)
    }
  }

  private func dimensions(_ id: Int) throws -> [ONNXValueInfo.Dimension] {
    try lengths(id).map { length in
      switch length {
      case .fixed(let count): .known(count)
      case .rows(1): .symbol("batch")
      case .rows(let times): .symbol("\(times)*batch")
      }
    }
  }

  /// `name` under other dimensions.
  mutating func reshaped(_ name: String, _ lengths: [Length]) throws -> String {
    let target = lengths.map { length -> Int in if case .fixed(let count) = length { count } else { -1 } }
    guard target.count(where: { $0 == -1 }) <= 1 else {
      throw ComputeError(op: "export", expected: "at most one axis that depends on the batch", got: "\(target)")
    }
    return emit("Reshape", [name, integers(target)])
  }

  /// The name of a shape as integers, computed from the batch at hand where it depends on it.
  mutating func shape(_ lengths: [Length]) throws -> String {
    let fixed = lengths.compactMap { length -> Int? in if case .fixed(let count) = length { count } else { nil } }
    if fixed.count == lengths.count { return integers(fixed) }
    let key = "\(lengths)"
    if let known = dynamicShapes[key] { return known }
    let all = emit("Shape", ["inputs"])
    let batch = emit("Gather", [all, integers([0])])
    var parts: [String] = []
    for length in lengths {
      switch length {
      case .fixed(let count): parts.append(integers([count]))
      case .rows(1): parts.append(batch)
      case .rows(let times): parts.append(emit("Mul", [batch, integers([times])]))
      }
    }
    let result = parts.count == 1 ? parts[0] : emit("Concat", parts, ["axis": .integer(0)])
    dynamicShapes[key] = result
    return result
  }
}

extension Graph.Node {
  /// The name of an input or parameter.
  fileprivate var sourceName: String? {
    switch op {
    case .input(let name), .parameter(let name): name
    default: nil
    }
  }
}
