// ONNXReader: bytes to an ONNXModel, every claim checked before memory is taken for it. Field numbers are those of
// onnx.proto; Protobuf has the wire format. What a graph means is checked by ONNXTranslation.
import Compute
import Contract
import Foundation

extension ONNXModel {
  /// How many repeated values (names, integers, nested messages) a file may have.
  private static let valuesMax = 1 << 20
  /// How many initializers a graph may have.
  private static let initializersMax = 1 << 14

  /// Reads a file in memory, or mapped; weights are not copied.
  ///
  /// - Throws: ``FormatError`` naming the message, node or tensor and the fault: a file above `ModelFile.bytesMax`, damaged
  ///   bytes, an operator set outside of ``opsets``, other domains, functions, weights in other files, a tensor whose
  ///   dimensions are negative, overflow or do not match its data, more nodes than a graph may have.
  public init(_ file: Data) throws(FormatError) {
    guard file.count <= ModelFile.bytesMax else {
      throw FormatError(
        format: "onnx", place: "file", reason: "it has \(file.count) bytes; at most \(ModelFile.bytesMax) are read")
    }
    let result = file.withUnsafeBytes { bytes in
      Result { () throws(FormatError) in
        try Self.model(
          ProtobufReader(file, bytes: bytes, place: "model", budget: ProtobufReader.Budget(Self.valuesMax)))
      }
    }
    self = try result.get()
  }

  private static func model(_ message: ProtobufReader) throws(FormatError) -> ONNXModel {
    var reader = message
    var irVersion = 0
    var producer = ""
    var graph: ONNXGraph?
    var opset: Int?
    var metadata: [String: String] = [:]
    while let (field, value) = try reader.next() {
      switch field {
      case 1:
        try reader.once(field)
        irVersion = try reader.integer(value)
      case 2:
        try reader.once(field)
        producer = try reader.string(value)
      case 7:
        try reader.once(field)
        graph = try self.graph(reader.message(value, "graph"))
      case 8:
        let (domain, version) = try operatorSet(reader.message(value, "opset_import"))
        // Other sets may be declared without being used; a node that uses one is refused.
        guard domain.isEmpty || domain == "ai.onnx" else { continue }
        guard opset == nil else { throw reader.fault("the default operator set is imported twice") }
        opset = version
      case 14:
        let (key, text) = try entry(reader.message(value, "metadata_props"))
        metadata[key] = text
      case 20: throw reader.fault("training_info is not supported; export the model for inference")
      case 25: throw reader.fault("functions are not supported; inline them before exporting")
      default: continue
      }
    }
    guard let graph else { throw reader.fault("there is no graph; is this an ONNX file?") }
    guard let opset else { throw reader.fault("the default operator set is not imported") }
    guard opsets.contains(opset) else {
      throw reader.fault(
        "operator set \(opset) is not supported; export with one from \(opsets.lowerBound) to \(opsets.upperBound)")
    }
    return ONNXModel(irVersion: irVersion, opset: opset, producer: producer, graph: graph, metadata: metadata)
  }

  private static func operatorSet(_ message: ProtobufReader) throws(FormatError) -> (String, Int) {
    var reader = message
    var domain = ""
    var version = 0
    while let (field, value) = try reader.next() {
      switch field {
      case 1: domain = try reader.string(value)
      case 2: version = try reader.integer(value)
      default: continue
      }
    }
    return (domain, version)
  }

  private static func entry(_ message: ProtobufReader) throws(FormatError) -> (String, String) {
    var reader = message
    var key = ""
    var text = ""
    while let (field, value) = try reader.next() {
      switch field {
      case 1: key = try reader.string(value)
      case 2: text = try reader.string(value, bytesMax: 1 << 16)
      default: continue
      }
    }
    return (key, text)
  }

  private static func graph(_ message: ProtobufReader) throws(FormatError) -> ONNXGraph {
    var reader = message
    var graph = ONNXGraph(name: "", nodes: [], initializers: [], inputs: [], outputs: [])
    while let (field, value) = try reader.next() {
      switch field {
      case 1:
        guard graph.nodes.count < Graph.nodesMax else {
          throw reader.fault("there are more than \(Graph.nodesMax) nodes; simplify the graph before uploading it")
        }
        graph.nodes.append(try node(reader.message(value, "node \(graph.nodes.count)")))
      case 2:
        try reader.once(field)
        graph.name = try reader.string(value)
      case 5:
        guard graph.initializers.count < initializersMax else {
          throw reader.fault("there are more than \(initializersMax) initializers")
        }
        graph.initializers.append(try tensor(reader.message(value, "initializer \(graph.initializers.count)")))
      case 11: graph.inputs.append(try valueInfo(reader.message(value, "input \(graph.inputs.count)")))
      case 12: graph.outputs.append(try valueInfo(reader.message(value, "output \(graph.outputs.count)")))
      case 15: throw reader.fault("sparse initializers are not supported; store the weights densely")
      default: continue
      }
    }
    return graph
  }

  private static func node(_ message: ProtobufReader) throws(FormatError) -> ONNXNode {
    var reader = message
    var node = ONNXNode("", inputs: [], outputs: [])
    while let (field, value) = try reader.next() {
      switch field {
      case 1: node.inputs.append(try reader.string(value))
      case 2: node.outputs.append(try reader.string(value))
      case 3:
        try reader.once(field)
        node.name = try reader.string(value)
      case 4:
        try reader.once(field)
        node.op = try reader.string(value)
      case 5:
        let (name, attribute) = try self.attribute(reader.message(value, "\(reader.place), an attribute"))
        guard node.attributes.updateValue(attribute, forKey: name) == nil else {
          throw reader.fault("the attribute \(name) stands twice")
        }
      case 7:
        try reader.once(field)
        node.domain = try reader.string(value)
      default: continue
      }
    }
    return node
  }

  private static func attribute(_ message: ProtobufReader) throws(FormatError) -> (String, ONNXAttribute) {
    var reader = message
    var name = ""
    var type: Int?
    var integer: Int?
    var float: Float?
    var string: String?
    var tensor: ONNXTensor?
    var integers: [Int] = []
    var floats: [Float] = []
    var strings: [String] = []
    var hasGraph = false
    while let (field, value) = try reader.next() {
      switch field {
      case 1: name = try reader.string(value)
      case 2: float = try reader.float(value)
      case 3: integer = try reader.integer(value)
      case 4: string = try reader.string(value, bytesMax: 1 << 16)
      case 5: tensor = try self.tensor(reader.message(value, reader.place))
      case 6, 11: hasGraph = true
      case 7: try reader.append(value, to: &floats)
      case 8: try reader.append(value, to: &integers)
      case 9: strings.append(try reader.string(value))
      case 20: type = try reader.integer(value)
      default: continue
      }
    }
    if hasGraph { return (name, .graph) }
    // Writers before format 4 left the type out; then it is the field that is there.
    switch type ?? 0 {
    case 1: return (name, .float(float ?? 0))
    case 2: return (name, .integer(integer ?? 0))
    case 3: return (name, .string(string ?? ""))
    case 4: return (name, tensor.map(ONNXAttribute.tensor) ?? .other)
    case 6: return (name, .floats(floats))
    case 7: return (name, .integers(integers))
    case 8: return (name, .strings(strings))
    case 0:
      if let float { return (name, .float(float)) }
      if let integer { return (name, .integer(integer)) }
      if let string { return (name, .string(string)) }
      if let tensor { return (name, .tensor(tensor)) }
      if !floats.isEmpty { return (name, .floats(floats)) }
      return (name, integers.isEmpty ? .other : .integers(integers))
    default: return (name, .other)
    }
  }

  private static func tensor(_ message: ProtobufReader) throws(FormatError) -> ONNXTensor {
    var reader = message
    var dimensions: [Int] = []
    var typeNumber = 0
    var name = ""
    var raw: Data?
    var packed: [(type: ONNXType, data: Data)] = []
    var looseFloats: [Float] = []
    var integers: [Int] = []
    var integerField: Int?
    while let (field, value) = try reader.next() {
      switch field {
      case 1: try reader.append(value, to: &dimensions)
      case 2:
        try reader.once(field)
        typeNumber = try reader.integer(value)
      case 3: throw reader.fault("tensors in segments are not supported")
      case 4:
        // Packed floats are raw data under another name.
        if case .bytes = value {
          packed.append((.float, try reader.data(value)))
        } else {
          try reader.append(value, to: &looseFloats)
        }
      case 10: packed.append((.double, try reader.data(value)))
      case 5, 7, 11:
        guard integerField == nil || integerField == field else { throw reader.fault("it has data of several types") }
        integerField = field
        try reader.append(value, to: &integers)
      case 8:
        try reader.once(field)
        name = try reader.string(value)
      case 9:
        try reader.once(field)
        raw = try reader.data(value)
      case 13: throw reader.fault("weights in other files are not supported; save the model as one file")
      case 14:
        guard try reader.integer(value) == 0 else {
          throw reader.fault("weights in other files are not supported; save the model as one file")
        }
      default: continue
      }
    }
    func fault(_ reason: String) -> FormatError {
      FormatError(
        format: "onnx", place: name.isEmpty ? reader.place : "tensor \"\(name)\"", reason: reason)
    }
    guard let type = ONNXType(rawValue: typeNumber), let elementBytes = type.bytes else {
      throw fault("its element type \(typeNumber) is not supported; use float")
    }
    let count = try self.count(dimensions, fault)
    if !looseFloats.isEmpty { packed.append((.float, looseFloats.withUnsafeBufferPointer { Data(buffer: $0) })) }
    let sources = [raw != nil, !packed.isEmpty, integerField != nil].filter { $0 }.count
    guard sources <= 1 else { throw fault("it has data of several types") }
    let elements: ONNXTensor.Elements
    let found: Int
    if integerField != nil {
      let fits =
        switch type {
        case .int32, .int16, .int8, .uint16, .uint8, .bool, .float16, .bfloat16: integerField == 5
        case .int64: integerField == 7
        case .uint32, .uint64: integerField == 11
        default: false
        }
      guard fits else { throw fault("its data is in the field of another type") }
      elements = .integers(integers)
      found = integers.count
    } else if packed.count > 1 || packed.first.map({ $0.type != type }) == true {
      throw fault(packed.count > 1 ? "its data is in pieces" : "its data is in the field of another type")
    } else {
      let data = raw ?? packed.first?.data ?? Data()
      guard data.count % elementBytes == 0 else {
        throw fault("its data has \(data.count) bytes, which \(elementBytes) does not divide")
      }
      elements = .raw(data)
      found = data.count / elementBytes
    }
    guard found == count else {
      throw fault("its dimensions \(dimensions) make \(count) elements, but its data has \(found)")
    }
    return ONNXTensor(name: name, type: type, dimensions: dimensions, elements: elements)
  }

  /// The number of elements of a tensor of these dimensions.
  private static func count(_ dimensions: [Int], _ fault: (String) -> FormatError) throws(FormatError) -> Int {
    guard dimensions.count <= 16 else { throw fault("it has \(dimensions.count) dimensions; at most 16 are read") }
    var count = 1
    var isEmpty = false
    for dimension in dimensions {
      guard dimension >= 0 else { throw fault("its dimensions \(dimensions) must not be negative") }
      isEmpty = isEmpty || dimension == 0
      let (product, overflow) = count.multipliedReportingOverflow(by: max(dimension, 1))
      guard !overflow, product <= Graph.elementsMax else {
        throw fault("its dimensions \(dimensions) make more than \(Graph.elementsMax) elements")
      }
      count = product
    }
    return isEmpty ? 0 : count
  }

  private static func valueInfo(_ message: ProtobufReader) throws(FormatError) -> ONNXValueInfo {
    var reader = message
    var info = ONNXValueInfo(name: "", type: nil, dimensions: nil)
    while let (field, value) = try reader.next() {
      switch field {
      case 1: info.name = try reader.string(value)
      case 2:
        var type = try reader.message(value, reader.place)
        while let (field, value) = try type.next() {
          guard field == 1 else { continue }
          var tensor = try type.message(value, reader.place)
          while let (field, value) = try tensor.next() {
            switch field {
            case 1: info.type = ONNXType(rawValue: try tensor.integer(value))
            case 2: info.dimensions = try dimensions(tensor.message(value, reader.place))
            default: continue
            }
          }
        }
      default: continue
      }
    }
    return info
  }

  private static func dimensions(_ message: ProtobufReader) throws(FormatError) -> [ONNXValueInfo.Dimension] {
    var reader = message
    var dimensions: [ONNXValueInfo.Dimension] = []
    while let (field, value) = try reader.next() {
      guard field == 1 else { continue }
      var dimension = try reader.message(value, reader.place)
      var found = ONNXValueInfo.Dimension.symbol("")
      while let (field, value) = try dimension.next() {
        switch field {
        case 1: found = .known(try dimension.integer(value))
        case 2: found = .symbol(try dimension.string(value))
        default: continue
        }
      }
      dimensions.append(found)
    }
    return dimensions
  }
}
