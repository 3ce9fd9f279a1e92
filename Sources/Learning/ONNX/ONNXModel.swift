// ONNXModel: the part of ONNX's schema (onnx.proto) that models here use, as values. ONNXReader makes them from bytes,
// ONNXWriter bytes from them; ONNXTranslation turns a graph into one of ours, ONNXExport does the reverse.
import Foundation

/// A model file.
public struct ONNXModel: Sendable {
  /// The version of the file format.
  public var irVersion: Int
  /// The version of the default operator set.
  public var opset: Int
  /// What wrote the file.
  public var producer: String
  public var graph: ONNXGraph
  /// Free text by key.
  public var metadata: [String: String]

  public init(irVersion: Int, opset: Int, producer: String, graph: ONNXGraph, metadata: [String: String] = [:]) {
    self.irVersion = irVersion
    self.opset = opset
    self.producer = producer
    self.graph = graph
    self.metadata = metadata
  }

  /// The operator sets that are read.
  public static let opsets = 13...21
}

/// A graph of named values: nodes in the order of data flow.
public struct ONNXGraph: Sendable {
  public var name: String
  public var nodes: [ONNXNode]
  public var initializers: [ONNXTensor]
  public var inputs: [ONNXValueInfo]
  public var outputs: [ONNXValueInfo]

  public init(
    name: String, nodes: [ONNXNode], initializers: [ONNXTensor], inputs: [ONNXValueInfo], outputs: [ONNXValueInfo]
  ) {
    self.name = name
    self.nodes = nodes
    self.initializers = initializers
    self.inputs = inputs
    self.outputs = outputs
  }
}

/// One operation: an operator of the default domain on named values.
public struct ONNXNode: Sendable {
  public var name: String
  /// The operator's name, such as `Gemm`.
  public var op: String
  /// Empty is the default domain.
  public var domain: String
  /// Names of values; an empty one is an optional input left out.
  public var inputs: [String]
  public var outputs: [String]
  public var attributes: [String: ONNXAttribute]

  public init(
    _ op: String, name: String = "", domain: String = "", inputs: [String], outputs: [String],
    attributes: [String: ONNXAttribute] = [:]
  ) {
    self.name = name
    self.op = op
    self.domain = domain
    self.inputs = inputs
    self.outputs = outputs
    self.attributes = attributes
  }
}

/// A constant of a node.
public enum ONNXAttribute: Sendable {
  case integer(Int)
  case float(Float)
  case string(String)
  case tensor(ONNXTensor)
  case integers([Int])
  case floats([Float])
  case strings([String])
  /// A graph inside of a node, which is not read.
  case graph
  /// Any other kind, which is not read.
  case other

  var kind: String {
    switch self {
    case .integer: "an integer"
    case .float: "a float"
    case .string: "a string"
    case .tensor: "a tensor"
    case .integers: "integers"
    case .floats: "floats"
    case .strings: "strings"
    case .graph: "a graph"
    case .other: "something else"
    }
  }
}

/// An element type, by its number in the schema.
public enum ONNXType: Int, Sendable {
  case float = 1, uint8, int8, uint16, int16, int32, int64, string, bool, float16, double, uint32, uint64
  case complex64, complex128, bfloat16

  /// Bytes of one element in raw data; nil for types that are not read.
  var bytes: Int? {
    switch self {
    case .uint8, .int8, .bool: 1
    case .uint16, .int16, .float16, .bfloat16: 2
    case .float, .int32, .uint32: 4
    case .double, .int64, .uint64: 8
    case .string, .complex64, .complex128: nil
    }
  }

  var isFloating: Bool {
    switch self {
    case .float, .float16, .double, .bfloat16: true
    default: false
    }
  }
}

/// A tensor with its elements, row-major.
public struct ONNXTensor: Sendable {
  public let name: String
  public let type: ONNXType
  /// The dimensions; `[]` is a scalar. None is negative, and their product fits.
  public let dimensions: [Int]
  let elements: Elements

  /// The elements as the file has them.
  enum Elements: Sendable {
    /// Little-endian bytes of `type`, sharing the file's memory.
    case raw(Data)
    /// Integers, or the bits of 16-bit floats.
    case integers([Int])
  }

  /// The number of elements.
  public var count: Int { dimensions.reduce(1, *) }

  init(name: String, type: ONNXType, dimensions: [Int], elements: Elements) {
    self.name = name
    self.type = type
    self.dimensions = dimensions
    self.elements = elements
  }

  /// A tensor of floats.
  public init(name: String, dimensions: [Int], floats: [Float]) {
    precondition(floats.count == dimensions.reduce(1, *), "ONNXTensor: \(name) has \(floats.count) floats")
    self.init(
      name: name, type: .float, dimensions: dimensions,
      elements: .raw(floats.withUnsafeBufferPointer { Data(buffer: $0) }))
  }

  /// A tensor of int64.
  public init(name: String, dimensions: [Int], integers: [Int]) {
    precondition(integers.count == dimensions.reduce(1, *), "ONNXTensor: \(name) has \(integers.count) integers")
    self.init(
      name: name, type: .int64, dimensions: dimensions,
      elements: .raw(integers.withUnsafeBufferPointer { Data(buffer: $0) }))
  }

  /// The elements as `Float`; doubles are rounded. Traps on other types.
  public func floats() -> [Float] {
    switch (type, elements) {
    case (.float, .raw(let data)): Self.read(data, UInt32.self) { Float(bitPattern: $0) }
    case (.double, .raw(let data)): Self.read(data, UInt64.self) { Float(Double(bitPattern: $0)) }
    case (.float16, .raw(let data)): Self.read(data, UInt16.self) { Float(Float16(bitPattern: $0)) }
    case (.bfloat16, .raw(let data)): Self.read(data, UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
    case (.float16, .integers(let bits)): bits.map { Float(Float16(bitPattern: UInt16(truncatingIfNeeded: $0))) }
    case (.bfloat16, .integers(let bits)): bits.map { Float(bitPattern: UInt32(UInt16(truncatingIfNeeded: $0)) << 16) }
    default: preconditionFailure("ONNXTensor: \(name) is not of floats")
    }
  }

  /// The elements of an integer or boolean tensor; large unsigned ones wrap. Traps on other types.
  public func integers() -> [Int] {
    guard case .raw(let data) = elements else {
      guard case .integers(let integers) = elements else { preconditionFailure("unreachable") }
      return integers
    }
    switch type {
    case .int64, .uint64: return Self.read(data, Int64.self) { Int($0) }
    case .int32: return Self.read(data, Int32.self) { Int($0) }
    case .uint32: return Self.read(data, UInt32.self) { Int($0) }
    case .int16: return Self.read(data, Int16.self) { Int($0) }
    case .uint16: return Self.read(data, UInt16.self) { Int($0) }
    case .int8: return Self.read(data, Int8.self) { Int($0) }
    case .uint8, .bool: return Self.read(data, UInt8.self) { Int($0) }
    default: preconditionFailure("ONNXTensor: \(name) is not of integers")
    }
  }

  private static func read<Bits: FixedWidthInteger, Element>(
    _ data: Data, _ type: Bits.Type, _ convert: (Bits) -> Element
  ) -> [Element] {
    data.withUnsafeBytes { raw in
      (0..<raw.count / MemoryLayout<Bits>.size).map {
        convert(Bits(littleEndian: raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Bits>.size, as: Bits.self)))
      }
    }
  }
}

/// A graph's input or output: its name, element type and dimensions.
public struct ONNXValueInfo: Sendable {
  /// One dimension: known, or a name that stands for it.
  public enum Dimension: Sendable, Hashable {
    case known(Int)
    /// Empty where the file says nothing.
    case symbol(String)
  }

  public var name: String
  /// Nil where the value is no tensor or its type is unknown.
  public var type: ONNXType?
  /// Nil where the file does not say.
  public var dimensions: [Dimension]?

  public init(name: String, type: ONNXType?, dimensions: [Dimension]?) {
    self.name = name
    self.type = type
    self.dimensions = dimensions
  }
}
