// ONNXWriter: an ONNXModel to bytes. ONNXReader reads them back; the fields are those of onnx.proto.
import Foundation

extension ONNXModel {
  /// The file's bytes; the same model gives the same bytes.
  public func encoded() -> Data {
    var writer = ProtobufWriter()
    writer.reserve(graph.initializers.reduce(1 << 16) { $0 + $1.count * 8 })
    writer.integer(1, irVersion)
    writer.string(2, producer)
    writer.message(7) { graph.write(to: &$0) }
    writer.message(8) { set in
      set.string(1, "")
      set.integer(2, opset)
    }
    for (key, text) in metadata.sorted(by: { $0.key < $1.key }) {
      writer.message(14) { entry in
        entry.string(1, key)
        entry.string(2, text)
      }
    }
    return Data(writer.bytes)
  }
}

extension ONNXGraph {
  fileprivate func write(to writer: inout ProtobufWriter) {
    for node in nodes { writer.message(1) { node.write(to: &$0) } }
    writer.string(2, name)
    for tensor in initializers { writer.message(5) { tensor.write(to: &$0) } }
    for input in inputs { writer.message(11) { input.write(to: &$0) } }
    for output in outputs { writer.message(12) { output.write(to: &$0) } }
  }
}

extension ONNXNode {
  fileprivate func write(to writer: inout ProtobufWriter) {
    for input in inputs { writer.string(1, input) }
    for output in outputs { writer.string(2, output) }
    writer.string(3, name)
    writer.string(4, op)
    for (name, attribute) in attributes.sorted(by: { $0.key < $1.key }) {
      writer.message(5) { attribute.write(name, to: &$0) }
    }
    if !domain.isEmpty { writer.string(7, domain) }
  }
}

extension ONNXAttribute {
  fileprivate func write(_ name: String, to writer: inout ProtobufWriter) {
    writer.string(1, name)
    let type: Int
    switch self {
    case .float(let value):
      writer.float(2, value)
      type = 1
    case .integer(let value):
      writer.integer(3, value)
      type = 2
    case .string(let value):
      writer.string(4, value)
      type = 3
    case .tensor(let tensor):
      writer.message(5) { tensor.write(to: &$0) }
      type = 4
    case .floats(let values):
      writer.floats(7, values)
      type = 6
    case .integers(let values):
      writer.integers(8, values)
      type = 7
    case .strings(let values):
      for value in values { writer.string(9, value) }
      type = 8
    case .graph, .other: preconditionFailure("ONNXWriter: the attribute \(name) was never read")
    }
    writer.integer(20, type)
  }
}

extension ONNXTensor {
  fileprivate func write(to writer: inout ProtobufWriter) {
    writer.integers(1, dimensions)
    writer.integer(2, type.rawValue)
    switch elements {
    case .raw(let data): writer.data(9, data)
    case .integers(let values):
      let field =
        switch type {
        case .int64: 7
        case .uint32, .uint64: 11
        default: 5
        }
      writer.integers(field, values)
    }
    writer.string(8, name)
  }
}

extension ONNXValueInfo {
  fileprivate func write(to writer: inout ProtobufWriter) {
    writer.string(1, name)
    guard let type else { return }
    writer.message(2) { message in
      message.message(1) { tensor in
        tensor.integer(1, type.rawValue)
        guard let dimensions else { return }
        tensor.message(2) { shape in
          for dimension in dimensions {
            shape.message(1) { message in
              switch dimension {
              case .known(let length): message.integer(1, length)
              case .symbol(let name): message.string(2, name)
              }
            }
          }
        }
      }
    }
  }
}
