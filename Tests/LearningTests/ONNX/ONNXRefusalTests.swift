// What the ONNX reader and importer refuse: the message names the place and what to do, and no damage does more than that.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

/// A model of one dense layer, to be spoiled.
private func dense() -> ONNXModel {
  ONNXModel(
    irVersion: 8, opset: 17, producer: "test",
    graph: ONNXGraph(
      name: "dense",
      nodes: [
        ONNXNode("Gemm", name: "first", inputs: ["x", "w", "b"], outputs: ["h"]),
        ONNXNode("Relu", name: "second", inputs: ["h"], outputs: ["y"]),
      ],
      initializers: [
        ONNXTensor(name: "w", dimensions: [3, 2], floats: [1, 2, 3, 4, 5, 6]),
        ONNXTensor(name: "b", dimensions: [2], floats: [7, 8]),
      ],
      inputs: [ONNXValueInfo(name: "x", type: .float, dimensions: [.symbol("N"), .known(3)])],
      outputs: [ONNXValueInfo(name: "y", type: .float, dimensions: [.symbol("N"), .known(2)])]))
}

/// SplitMix64, for reproducible damage.
private struct Damage {
  var state: UInt64

  mutating func next(_ bound: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((z ^ (z >> 31)) % UInt64(bound))
  }
}

@Suite("ONNX refusals")
struct ONNXRefusalTests {
  private func refuses(
    _ place: String, _ reason: String, sourceLocation: SourceLocation = #_sourceLocation,
    _ spoil: (inout ONNXModel) -> Void
  ) {
    var model = dense()
    spoil(&model)
    refuses(place, reason, file: model.encoded(), sourceLocation: sourceLocation)
  }

  private func refuses(
    _ place: String, _ reason: String, file: Data, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: FormatError.self, sourceLocation: sourceLocation) { try ONNXImport(file) }
    #expect(error?.place == place, sourceLocation: sourceLocation)
    #expect(error?.reason.contains(reason) == true, "\(error?.reason ?? "")", sourceLocation: sourceLocation)
  }

  @Test("the model that the others are spoiled from is read, and written again byte for byte")
  func sound() throws {
    let file = dense().encoded()
    #expect(try ONNXModel(file).encoded() == file)
    let summary = try ONNXImport(file).summary
    #expect(summary.input == [3] && summary.output == [2] && summary.parameterCount == 8)
    #expect(summary.operators == ["Gemm": 1, "Relu": 1] && summary.flops >= 12)
    #expect(ImportedModel.decode(summary.json) == summary)
  }

  @Test("operators, sets and domains outside of the subset are refused by node")
  func subset() {
    refuses("node \"second\" (Loop)", "not supported") { $0.graph.nodes[1].op = "Loop" }
    refuses("node \"second\" (Relu)", "domain \"com.microsoft\"") { $0.graph.nodes[1].domain = "com.microsoft" }
    refuses("model", "operator set 12 is not supported; export with one from 13 to 21") { $0.opset = 12 }
    refuses("model", "operator set 22") { $0.opset = 22 }
    refuses("node \"first\" (Gemm)", "transB must be an integer") {
      $0.graph.nodes[0].attributes["transB"] = .string("yes")
    }
  }

  @Test("a graph that does not hang together is refused by name")
  func graphs() {
    refuses("node \"second\" (Relu)", "\"nobody\" is made by no node") { $0.graph.nodes[1].inputs = ["nobody"] }
    refuses("node \"first\" (Gemm)", "made by a later node") { $0.graph.nodes[0].inputs[0] = "y" }
    refuses("node \"second\" (Relu)", "order of data flow") { $0.graph.nodes.swapAt(0, 1) }
    refuses("node \"second\" (Relu)", "has the name of another value") { $0.graph.nodes[1].outputs = ["h"] }
    refuses("tensor \"w\"", "stand once") { $0.graph.initializers.append($0.graph.initializers[0]) }
    refuses("graph", "2 outputs") { $0.graph.outputs.append($0.graph.outputs[0]) }
    refuses("graph", "0 outputs") { $0.graph.outputs = [] }
    refuses("graph", "2 inputs without initializers") {
      $0.graph.inputs.append(ONNXValueInfo(name: "z", type: .float, dimensions: [.symbol("N")]))
    }
    refuses("output \"z\"", "no node makes it") { $0.graph.outputs[0].name = "z" }
  }

  @Test("shapes that do not fit are refused by node, fixed or dynamic axes by input")
  func shapes() {
    refuses("node \"first\" (Gemm)", "[4, N]") { $0.graph.inputs[0].dimensions = [.symbol("N"), .known(4)] }
    refuses("input \"x\"", "only its first axis") { $0.graph.inputs[0].dimensions = [.symbol("N"), .symbol("D")] }
    refuses("input \"x\"", "from 2 to 8 known axes") { $0.graph.inputs[0].dimensions = nil }
    refuses("input \"x\"", "1 to 16777216 elements") {
      $0.graph.inputs[0].dimensions = [.symbol("N"), .known(1 << 40), .known(1 << 40)]
    }
    refuses("input \"x\"", "must be float") { $0.graph.inputs[0].type = .double }
    refuses("output \"y\"", "does not start with the batch") {
      $0.graph.nodes[1] = ONNXNode("ReduceSum", name: "second", inputs: ["h"], outputs: ["y"])
    }
    refuses("node 1 (Reshape)", "cannot become [5, 7]") {
      $0.graph.initializers.append(ONNXTensor(name: "s", dimensions: [2], integers: [5, 7]))
      $0.graph.nodes[1] = ONNXNode("Reshape", inputs: ["h", "s"], outputs: ["y"])
    }
    refuses("graph", "no float initializers") {
      $0.graph.nodes = [ONNXNode("Relu", inputs: ["x"], outputs: ["y"])]
    }
  }

  /// A model file with one initializer of these bytes.
  private func file(tensor: (inout ProtobufWriter) -> Void) -> Data {
    var writer = ProtobufWriter()
    writer.message(7) { graph in graph.message(5, tensor) }
    writer.message(8) { $0.integer(2, 17) }
    return Data(writer.bytes)
  }

  @Test("a tensor whose dimensions, type and data do not agree is refused before memory is taken")
  func tensors() {
    func tensor(_ dimensions: [Int], type: Int = 1, raw: Int = 4) -> Data {
      file { tensor in
        tensor.integers(1, dimensions)
        tensor.integer(2, type)
        tensor.string(8, "w")
        tensor.data(9, [UInt8](repeating: 0, count: raw))
      }
    }
    refuses("tensor \"w\"", "make 2 elements, but its data has 1", file: tensor([2]))
    refuses("tensor \"w\"", "must not be negative", file: tensor([-1]))
    refuses("tensor \"w\"", "more than 2147483648 elements", file: tensor([1 << 32, 1 << 32]))
    refuses("tensor \"w\"", "more than 2147483648 elements", file: tensor([0, .max, .max]))
    refuses("tensor \"w\"", "which 4 does not divide", file: tensor([1], raw: 3))
    refuses("tensor \"w\"", "element type 8", file: tensor([1], type: 8))
    refuses("tensor \"w\"", "at most 16", file: tensor([Int](repeating: 1, count: 17)))
    refuses("initializer 0", "weights in other files", file: file { $0.integer(14, 1) })
    refuses(
      "initializer 0", "data of several types",
      file: file { tensor in
        tensor.integers(1, [1])
        tensor.integer(2, 1)
        tensor.floats(4, [1])
        tensor.data(9, [0, 0, 0, 0])
      })
    refuses(
      "initializer 0", "field of another type",
      file: file { tensor in
        tensor.integers(1, [1])
        tensor.integer(2, 1)
        tensor.integers(7, [1])
      })
  }

  @Test("damaged bytes are refused with their place")
  func bytes() {
    refuses("model", "there is no graph", file: Data())
    refuses("model", "claims 100 bytes, but 0 are left", file: Data([7 << 3 | 2, 100]))
    refuses("model", "ends inside a varint", file: Data([0x80]))
    refuses("model", "more than 64 bits", file: Data([8] + [UInt8](repeating: 0xFF, count: 10)))
    refuses("model", "wire type 3", file: Data([7 << 3 | 3]))
    refuses("model", "out of range", file: Data([0]))
    var twice = ProtobufWriter()
    twice.integer(1, 8)
    twice.integer(1, 8)
    refuses("model", "field 1 stands twice", file: Data(twice.bytes))
    var name = ProtobufWriter()
    name.data(2, [0xFF, 0xFE])
    refuses("model", "not UTF-8", file: Data(name.bytes))
  }

  @Test("graphs inside of graphs are not followed, however deep")
  func nesting() {
    var bytes: [UInt8] = []
    for _ in 0..<2000 {
      var writer = ProtobufWriter()
      // graph { node { attribute { graph { … } } } }
      writer.message(1) { node in node.message(5) { attribute in attribute.data(6, bytes) } }
      bytes = writer.bytes
    }
    var file = ProtobufWriter()
    file.data(7, bytes)
    file.message(8) { $0.integer(2, 17) }
    refuses("graph", "0 inputs", file: Data(file.bytes))
    refuses("node \"second\" (Relu)", "control flow is not supported") { model in
      model.graph.nodes[1].attributes["body"] = .integer(0)
    } encode: { model in
      // The attribute as a graph: the writer has none.
      var file = model.encoded()
      let name = Data("body".utf8)
      let place = file.range(of: name)!.upperBound
      file.replaceSubrange(place..<place + 2, with: [6 << 3 | 2, 0])
      return file
    }
  }

  private func refuses(
    _ place: String, _ reason: String, sourceLocation: SourceLocation = #_sourceLocation,
    _ spoil: (inout ONNXModel) -> Void, encode: (ONNXModel) -> Data
  ) {
    var model = dense()
    spoil(&model)
    refuses(place, reason, file: encode(model), sourceLocation: sourceLocation)
  }

  @Test("a file may not hold more values than are read")
  func values() {
    var writer = ProtobufWriter()
    writer.message(7) { graph in
      graph.message(5) { $0.integers(1, [Int](repeating: 1, count: 1 << 20 + 1)) }
    }
    refuses("initializer 0", "more values than are read", file: Data(writer.bytes))
    var nodes = ProtobufWriter()
    nodes.message(7) { graph in for _ in 0...Graph.nodesMax { graph.message(1) { $0.string(4, "Relu") } } }
    refuses("graph", "more than 8192 nodes", file: Data(nodes.bytes))
  }

  @Test("constants that double node by node are refused before they fill memory")
  func doubling() {
    refuses("node 26 (Concat)", "more constants than are held") { model in
      model.graph.initializers.append(ONNXTensor(name: "i0", dimensions: [1], integers: [2]))
      for index in 1...40 {
        model.graph.nodes.append(
          ONNXNode(
            "Concat", inputs: ["i\(index - 1)", "i\(index - 1)"], outputs: ["i\(index)"],
            attributes: ["axis": .integer(0)])
        )
      }
      model.graph.nodes.append(ONNXNode("Reshape", inputs: ["y", "i40"], outputs: ["z"]))
      model.graph.outputs[0].name = "z"
    }
  }

  @Test("known integers at the ends of their range are refused, not computed")
  func extremes() {
    func shape(_ model: inout ONNXModel, _ node: ONNXNode) {
      model.graph.nodes += [node, ONNXNode("Reshape", inputs: ["y", "made"], outputs: ["z"])]
      model.graph.outputs[0].name = "z"
    }
    for (start, limit, delta, place, reason) in [
      (0, Int.min, -1, "node 2 (Range)", "more than 4194304 elements"), (0, .max, 1, "node 2 (Range)", "elements"),
      (1, .min, 1, "node 2 (Range)", "elements"), (.min, 0, 1, "node 2 (Range)", "elements"),
      // Nothing lies between them, so the shape is empty.
      (0, .min, 1, "node 3 (Reshape)", "cannot become []"),
      (.max - 1, .max, 2, "node 3 (Reshape)", "cannot become [9223372036854775806]"),
    ] {
      refuses(place, reason) { model in
        for (name, number) in [("start", start), ("limit", limit), ("delta", delta)] {
          model.graph.initializers.append(ONNXTensor(name: name, dimensions: [], integers: [number]))
        }
        shape(&model, ONNXNode("Range", inputs: ["start", "limit", "delta"], outputs: ["made"]))
      }
    }
    // An empty tensor whose other lengths have no product.
    refuses("node 2 (ConstantOfShape)", "at most 4194304 elements") { model in
      model.graph.initializers.append(ONNXTensor(name: "lengths", dimensions: [3], integers: [0, .max, .max]))
      shape(&model, ONNXNode("ConstantOfShape", inputs: ["lengths"], outputs: ["made"]))
    }
    refuses("node 2 (Reshape)", "more than 16 axes") { model in
      model.graph.initializers.append(
        ONNXTensor(name: "made", dimensions: [9000], integers: [-1] + [Int](repeating: 1, count: 8999)))
      model.graph.nodes.append(ONNXNode("Reshape", inputs: ["y", "made"], outputs: ["z"]))
      model.graph.outputs[0].name = "z"
    }
  }

  @Test("a graph whose steps would take for ever is refused")
  func work() {
    refuses("graph", "operations a run") { model in
      let side = 1024
      model.graph.inputs[0].dimensions = [.symbol("N"), .known(1), .known(side), .known(side)]
      model.graph.initializers = [ONNXTensor(name: "w", dimensions: [1, 1, 1, 1], floats: [1])]
      model.graph.nodes = [ONNXNode("Conv", inputs: ["x", "w"], outputs: ["h0"])]
      for index in 1...40 {
        model.graph.nodes.append(
          ONNXNode(
            "MaxPool", inputs: ["h\(index - 1)"], outputs: ["h\(index)"],
            attributes: ["kernel_shape": .integers([65_536, 65_536]), "auto_pad": .string("SAME_UPPER")]))
      }
      model.graph.outputs = [ONNXValueInfo(name: "h40", type: .float, dimensions: nil)]
    }
  }

  @Test("indices that many nodes choose by are refused before they fill memory")
  func indices() {
    refuses("node 27 (Gather)", "more constants than are held") { model in
      for (name, numbers) in [("i0", [0]), ("start", [0]), ("end", [3])] {
        model.graph.initializers.append(ONNXTensor(name: name, dimensions: [1], integers: numbers))
      }
      for index in 1...24 {
        model.graph.nodes.append(
          ONNXNode("Concat", inputs: ["i\(index - 1)", "i\(index - 1)"], outputs: ["i\(index)"]))
      }
      model.graph.nodes += [
        ONNXNode("Slice", inputs: ["i24", "start", "end"], outputs: ["indices"]),
        ONNXNode("Gather", inputs: ["y", "indices"], outputs: ["z"], attributes: ["axis": .integer(1)]),
      ]
      model.graph.outputs[0].name = "z"
    }
  }

  @Test("bytes that would become integers of eight bytes are bounded")
  func integers() {
    let bytes = ONNXTensor.Elements.raw(Data(count: 1 << 24))
    refuses("graph", "50331648 integers; at most 33554432") { model in
      for index in 0..<3 {
        model.graph.initializers.append(
          ONNXTensor(name: "i\(index)", type: .int8, dimensions: [1 << 24], elements: bytes))
      }
      model.graph.nodes += [
        ONNXNode("Concat", inputs: ["i0", "i1", "i2"], outputs: ["i"]),
        ONNXNode("Reshape", inputs: ["y", "i"], outputs: ["z"]),
      ]
      model.graph.outputs[0].name = "z"
    }
  }

  @Test("names with zero bytes are refused: they could not be stored")
  func zeroBytes() {
    refuses("model", "zero byte") { $0.producer = "a\u{0}b" }
  }

  @Test("no damage to a file does more than a refusal", arguments: [UInt64(1), 2])
  func damage(seed: UInt64) throws {
    var damage = Damage(state: seed)
    let cases = ONNXCases.recorded
    let files = ["conv_classifier", "residual", "attention", "lstm", "reshape_by_shape"].map(cases.model)
    var read = 0
    for round in 0..<600 {
      var file = files[round % files.count]
      for _ in 0...damage.next(4) {
        let place = file.startIndex + damage.next(file.count)
        switch damage.next(4) {
        case 0: file[place] = UInt8(damage.next(256))
        case 1: file[place] ^= 1 << UInt8(damage.next(8))
        case 2: file.remove(at: place)
        default: file.insert(UInt8(damage.next(256)), at: place)
        }
      }
      do {
        let model = try ONNXImport(file)
        #expect(model.summary.parameterCount > 0)
        read += 1
      } catch { #expect(!error.place.isEmpty && !error.reason.isEmpty) }
    }
    #expect(read > 0)
  }
}
