// ONNXImport: a model file checked as a whole, and the model in it: its graph for any batch, its parameters and their
// first values, its costs. ONNXReader reads the bytes, ONNXTranslation does the nodes.
import Compute
import Contract
import Foundation

/// A model from an ONNX file that can be trained here.
public struct ONNXImport: Sendable {
  /// What it takes and gives, and what it costs.
  public private(set) var summary: ImportedModel
  /// The parameters in the order of their names, with the first value of each.
  let parameters: [(name: String, tensor: ONNXTensor, form: ONNXWeightForm)]

  private let model: ONNXModel
  private let input: ONNXValueInfo
  private let fileRows: Int?
  /// The nodes that the output depends on, in order.
  private let nodes: [ONNXNode]
  private let uses: [String: Int]
  /// What nodes may read before any has run: the initializers that some do.
  private let initial: [String: ONNXOperand]
  /// The last node, where it is a softmax over the classes.
  private let finalSoftmax: Int?

  /// How many integers the initializers that nodes read may have; each takes eight bytes, whatever it does in the file.
  private static let integersMax = 1 << 25

  /// Reads and checks a file. Nothing is computed.
  ///
  /// - Throws: ``FormatError`` naming the node or tensor, what is not supported there, and what to do.
  public init(_ file: Data, level: CPULevel = .best) throws(FormatError) {
    try self.init(ONNXModel(file), level: level)
  }

  init(_ model: ONNXModel, level: CPULevel = .best) throws(FormatError) {
    self.model = model
    let graph = model.graph
    input = try Self.input(of: graph)
    guard graph.outputs.count == 1, let output = graph.outputs.first else {
      throw Self.fault(
        "graph", "it has \(graph.outputs.count) outputs; exactly one is supported: export the model with one output")
    }
    guard output.type == nil || output.type == .float else {
      throw Self.fault("output \"\(output.name)\"", "its elements must be float")
    }
    try Self.checkNames(graph, input.name)
    nodes = try Self.needed(graph, output.name)
    var uses: [String: Int] = [:]
    for node in nodes { for name in node.inputs { uses[name, default: 0] += 1 } }
    self.uses = uses
    let integers = graph.initializers.reduce(0) {
      $1.type.isFloating || uses[$1.name] == nil ? $0 : $0 + $1.count
    }
    guard integers <= Self.integersMax else {
      throw Self.fault(
        "graph", "its initializers have \(integers) integers; at most \(Self.integersMax) are read: weights are floats")
    }
    initial = Dictionary(
      uniqueKeysWithValues: graph.initializers.filter { uses[$0.name] != nil }.map { ($0.name, Self.operand($0)) })
    finalSoftmax = Self.finalSoftmax(nodes, output.name)
    if case .known(let rows)? = input.dimensions?.first { fileRows = rows } else { fileRows = nil }
    let example = try Self.example(input)

    // Two batch sizes: what grows with the batch must be its first axis alone.
    var outputShape: Shape?
    var found: [String: ONNXWeightForm] = [:]
    var vocabulary: Int?
    for rows in [2, 3] {
      var translation = ONNXTranslation(
        graph: Graph(), opset: model.opset, rows: rows, fileRows: fileRows, dropoutKey: nil, uses: uses)
      let inputs = try Self.compute("input \"\(input.name)\"") { [input] in
        try translation.graph.input("inputs", Shape([rows] + example), Self.isTokens(input) ? .int32 : .float32)
      }
      let value = try Self.translate(
        nodes, initial, input, output.name, operand: Self.isTokens(input) ? .tokens(inputs) : .value(inputs, .plain),
        skipping: nil,
        &translation)
      guard value.shape.rank >= 1, value.shape[0] == rows else {
        throw Self.fault(
          "output \"\(output.name)\"",
          "for a batch of \(rows) it has the shape \(value.shape), which does not start with the batch; export with a "
            + "dynamic batch axis")
      }
      let shape = Shape(Array(value.shape.dimensions.dropFirst()))
      guard outputShape == nil || outputShape == shape else {
        throw Self.fault(
          "output \"\(output.name)\"", "its other axes change with the batch; export with a dynamic batch axis")
      }
      outputShape = shape
      found = translation.parameters.mapValues(\.form)
      vocabulary = translation.vocabulary
    }
    let initializers = Dictionary(uniqueKeysWithValues: graph.initializers.map { ($0.name, $0) })
    parameters = found.sorted { $0.key < $1.key }.map { (name: $0.key, tensor: initializers[$0.key]!, form: $0.value) }
    let count = parameters.reduce(0) { $0 + $1.tensor.count }
    guard count > 0 else {
      throw Self.fault(
        "graph", "it has no float initializers that could be trained; export the weights as initializers")
    }
    guard count <= ResolvedModel.parametersMax else {
      throw Self.fault("graph", "it has \(count) parameters; at most \(ResolvedModel.parametersMax) are trained here")
    }
    var operators: [String: Int] = [:]
    for node in nodes { operators[node.op, default: 0] += 1 }
    summary = ImportedModel(
      input: example, vocabulary: Self.isTokens(input) ? vocabulary ?? 0 : nil, output: outputShape!.dimensions,
      operators: operators, opset: model.opset, producer: model.producer, parameterCount: count, flops: 0,
      trainingFloats: 0, fixedFloats: 0, judgingFloats: 0)
    guard summary.vocabulary != 0 else {
      throw Self.fault("input \"\(input.name)\"", "its integers are used for nothing but shapes; tokens go to a Gather")
    }
    summary = try costs(level)
  }

  /// Whether training it draws random numbers.
  public var dropsOut: Bool { summary.operators["Dropout"] != nil }

  // MARK: The graph

  /// Adds the model for a batch to a graph; the value has shape [rows] + `summary.output`.
  ///
  /// - Parameters:
  ///   - inputs: the batch as the dataset has it, [rows, …]: floats, or int32 tokens.
  ///   - dropoutKey: an int32 input [2] with the key of a training step; nil leaves dropout out.
  ///   - givesLogits: leaves out a softmax at the end, for losses and judgements that take logits.
  /// - Throws: `ComputeError` where the inputs do not fit the model.
  public func emit(
    into graph: inout Graph, inputs: Value, dropoutKey: Value? = nil, givesLogits: Bool
  ) throws -> Value {
    let example = Array(inputs.shape.dimensions.dropFirst())
    guard let rows = inputs.shape.dimensions.first, let arrangement = summary.arrangement(of: example) else {
      throw ComputeError(op: "model", expected: "inputs of shape [B] + \(summary.input)", got: "\(inputs.shape)")
    }
    var translation = ONNXTranslation(
      graph: graph, opset: model.opset, rows: rows, fileRows: fileRows, dropoutKey: dropoutKey, uses: uses)
    for (name, _, form) in parameters {
      translation.parameters[name] = (try translation.graph.parameter(name, Shape(form.dimensions)), form)
    }
    let operand: ONNXOperand
    if Self.isTokens(input) {
      operand = .tokens(try translation.graph.reshape(inputs, to: Shape([rows] + summary.input)))
    } else if arrangement == .channelsFirst {
      let shape = Shape([rows, summary.input[1], summary.input[2], summary.input[0]])
      operand = .value(try translation.graph.reshape(inputs, to: shape), .channelsLast)
    } else {
      operand = .value(try translation.graph.reshape(inputs, to: Shape([rows] + summary.input)), .plain)
    }
    let value = try Self.translate(
      nodes, initial, input, model.graph.outputs[0].name, operand: operand, skipping: givesLogits ? finalSoftmax : nil,
      &translation)
    graph = translation.graph
    return value
  }

  /// Writes the file's weights as first values.
  public func fill(_ buffer: UnsafeMutablePointer<Float>, layout: ParameterLayout) {
    buffer.update(repeating: 0, count: layout.floats)
    for (name, tensor, form) in parameters {
      guard let place = layout[name] else { preconditionFailure("ONNXImport: the layout has no \(name)") }
      form.convert(tensor.floats()).withUnsafeBufferPointer {
        (buffer + place.offset).update(from: $0.baseAddress!, count: $0.count)
      }
    }
  }

  private static func translate(
    _ nodes: [ONNXNode], _ initial: [String: ONNXOperand], _ input: ONNXValueInfo, _ output: String,
    operand: ONNXOperand, skipping skipped: Int?,
    _ translation: inout ONNXTranslation
  ) throws(FormatError) -> Value {
    translation.operands = initial
    translation.operands[input.name] = operand
    for (index, node) in nodes.enumerated() {
      let place = place(node, index)
      let site = ONNXSite(node: node, inputs: node.inputs.map { translation.operands[$0] })
      let results: [ONNXOperand] =
        index == skipped
        ? [site.inputs[0]!]
        : try compute(place) { try ONNXOperator.named[node.op]!.translate(&translation, site) }
      for (name, result) in zip(node.outputs, results) where !name.isEmpty { translation.operands[name] = result }
    }
    guard let result = translation.operands[output] else {
      throw fault("output \"\(output)\"", "no node of the supported outputs makes it")
    }
    return try compute("output \"\(output)\"") { try translation.plain(result) }
  }

  /// What an initializer is before a node uses it: a number or a mask is a constant, other floats may be trained.
  private static func operand(_ tensor: ONNXTensor) -> ONNXOperand {
    guard tensor.type.isFloating else { return .integers(tensor.integers(), tensor.dimensions) }
    if tensor.dimensions.isEmpty { return .numbers(tensor.floats(), []) }
    // Masks hold minus infinity or what stands for it; trained weights never do.
    let isMask = tensor.count <= 1 << 22 && tensor.floats().contains { !(abs($0) < 1e30) }
    return isMask ? .numbers(tensor.floats(), tensor.dimensions) : .weight(tensor)
  }

  // MARK: Checks

  private static func isTokens(_ input: ONNXValueInfo) -> Bool { input.type == .int64 || input.type == .int32 }

  /// The one input that is no initializer.
  private static func input(of graph: ONNXGraph) throws(FormatError) -> ONNXValueInfo {
    let initialized = Set(graph.initializers.map(\.name))
    let inputs = graph.inputs.filter { !initialized.contains($0.name) }
    guard inputs.count == 1, let input = inputs.first else {
      throw fault(
        "graph", "it has \(inputs.count) inputs without initializers; exactly one is supported: the examples of a batch"
      )
    }
    guard input.type == .float || isTokens(input) else {
      throw fault("input \"\(input.name)\"", "its elements must be float, or int64 or int32 for tokens")
    }
    return input
  }

  /// The dimensions of one example.
  private static func example(_ input: ONNXValueInfo) throws(FormatError) -> [Int] {
    let place = "input \"\(input.name)\""
    guard let dimensions = input.dimensions, dimensions.count >= 2, dimensions.count <= 8 else {
      throw fault(place, "it must have from 2 to 8 known axes, the batch first")
    }
    var example: [Int] = []
    var count = 1
    for dimension in dimensions.dropFirst() {
      guard case .known(let length) = dimension else {
        throw fault(place, "only its first axis, the batch, may be dynamic; export with the other lengths fixed")
      }
      let (product, overflow) = count.multipliedReportingOverflow(by: length)
      guard length > 0, !overflow, product <= 1 << 24 else {
        throw fault(place, "one example must have from 1 to \(1 << 24) elements")
      }
      count = product
      example.append(length)
    }
    if case .known(let rows) = dimensions[0], rows < 1 { throw fault(place, "the batch \(rows) must be at least 1") }
    return example
  }

  private static func checkNames(_ graph: ONNXGraph, _ input: String) throws(FormatError) {
    var names: Set<String> = []
    for tensor in graph.initializers {
      guard !tensor.name.isEmpty, tensor.name != "__metadata__", names.insert(tensor.name).inserted else {
        throw fault("tensor \"\(tensor.name)\"", "an initializer's name must not be empty and stand once")
      }
    }
    var inputs: Set<String> = []
    for info in graph.inputs where !inputs.insert(info.name).inserted || info.name.isEmpty {
      throw fault("input \"\(info.name)\"", "an input's name must not be empty and stand once")
    }
    names.insert(input)
    for (index, node) in graph.nodes.enumerated() {
      for name in node.outputs where !name.isEmpty && !names.insert(name).inserted {
        throw fault(place(node, index), "its output \"\(name)\" has the name of another value")
      }
    }
  }

  /// The nodes that `output` depends on, in the file's order, which must be that of the data flow.
  private static func needed(_ graph: ONNXGraph, _ output: String) throws(FormatError) -> [ONNXNode] {
    var makers: [String: Int] = [:]
    for (index, node) in graph.nodes.enumerated() { for name in node.outputs { makers[name] = index } }
    let given = Set(graph.initializers.map(\.name) + graph.inputs.map(\.name))
    guard makers[output] != nil else { throw fault("output \"\(output)\"", "no node makes it") }
    var needed = [Bool](repeating: false, count: graph.nodes.count)
    needed[makers[output]!] = true
    for index in graph.nodes.indices.reversed() where needed[index] {
      let node = graph.nodes[index]
      let place = place(node, index)
      guard node.domain.isEmpty || node.domain == "ai.onnx" else {
        throw fault(place, "the domain \"\(node.domain)\" is not supported; export with the operators of ONNX itself")
      }
      for (name, attribute) in node.attributes {
        if case .graph = attribute {
          throw fault(
            place, "its attribute \(name) is a graph: control flow is not supported; unroll or trace the model")
        }
      }
      guard ONNXOperator.named[node.op] != nil else {
        throw fault(
          place,
          "the operator is not supported; those that are: \(ONNXOperator.all.map(\.name).joined(separator: ", "))")
      }
      for name in node.inputs where !name.isEmpty {
        if let maker = makers[name] {
          guard maker < index else {
            throw fault(
              place, "its input \"\(name)\" is made by a later node; write the nodes in the order of data flow")
          }
          needed[maker] = true
        } else if !given.contains(name) {
          throw fault(place, "its input \"\(name)\" is made by no node, and is no initializer")
        }
      }
    }
    return graph.nodes.indices.filter { needed[$0] }.map { graph.nodes[$0] }
  }

  /// The last node, if it is a softmax along the last axis and nothing else reads what it does.
  private static func finalSoftmax(_ nodes: [ONNXNode], _ output: String) -> Int? {
    guard let index = nodes.lastIndex(where: { $0.outputs.first == output }), nodes[index].op == "Softmax" else {
      return nil
    }
    let isRead = nodes.contains { $0.inputs.contains(output) }
    switch nodes[index].attributes["axis"] {
    case nil: return isRead ? nil : index
    case .integer(let axis)?: return isRead || axis == 0 ? nil : index
    default: return nil
    }
  }

  private static func place(_ node: ONNXNode, _ index: Int) -> String {
    "node \(node.name.isEmpty ? "\(index)" : "\"\(node.name.prefix(200))\"") (\(node.op.prefix(100)))"
  }

  private static func fault(_ place: String, _ reason: String) -> FormatError {
    FormatError(format: "onnx", place: place, reason: reason)
  }

  /// Runs `body`, whose faults become those of `place`.
  private static func compute<Result>(_ place: String, _ body: () throws -> Result) throws(FormatError) -> Result {
    do { return try body() } catch let refusal as ONNXRefusal {
      throw fault(place, refusal.reason)
    } catch let error as ComputeError {
      throw fault(place, error.description)
    } catch let error as FormatError {
      throw error
    } catch { throw fault(place, "\(error)") }
  }

  // MARK: Costs

  /// The summary with what plans for two batch sizes cost.
  private func costs(_ level: CPULevel) throws(FormatError) -> ImportedModel {
    func plans(_ rows: Int) throws(FormatError) -> (training: Plan, judging: Plan) {
      try Self.compute("graph") {
        var graph = Graph()
        let inputs = try graph.input("inputs", Shape([rows] + summary.input), Self.isTokens(input) ? .int32 : .float32)
        let output = try emit(into: &graph, inputs: inputs, givesLogits: true)
        var training = graph
        graph.output("outputs", output)
        let loss = try training.mean(training.multiply(output, output))
        training.output("loss", loss)
        return (try Plan(training, differentiating: loss, level: level), try Plan(graph, level: level))
      }
    }
    let few = try plans(8), many = try plans(16)
    func each(_ few: Int, _ many: Int) -> Int { max(0, (many - few + 7) / 8) }
    var result = summary
    result.flops = each(few.judging.flops, many.judging.flops)
    result.trainingFloats = each(few.training.arenaBytes / 4, many.training.arenaBytes / 4)
    result.judgingFloats = each(few.judging.arenaBytes / 4, many.judging.arenaBytes / 4)
    result.fixedFloats = max(0, few.training.arenaBytes / 4 - 8 * result.trainingFloats)
    return result
  }
}
