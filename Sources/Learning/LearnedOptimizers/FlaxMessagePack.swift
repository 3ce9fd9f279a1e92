// FlaxMessagePack: reads the MessagePack files in which JAX projects publish optimizer weights ("theta.state",
// "params"), as flax.serialization.to_bytes writes them. Theta.swift finds a learned optimizer in the tree.
//
// A file is one value: maps with string keys, whose leaves are arrays, as extension 1 holding [shape, dtype, bytes].
// Framing numbers are big-endian, array contents little-endian. Nothing in a file is executed or named as a class.
import Foundation

/// A value of a flax file.
public indirect enum FlaxValue: Sendable {
  /// A map in the file's order; lists are maps with the keys "0", "1" and so on, as flax writes them.
  case map([(key: String, value: FlaxValue)])
  /// An n-dimensional array; scalars of NumPy have the shape [].
  case array(FlaxArray)
  case integer(Int)
  case number(Double)
  case string(String)
  case bool(Bool)
  case null

  /// The member of a map, or nil.
  public subscript(key: String) -> FlaxValue? {
    guard case .map(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }

  /// What it is, for refusals.
  var kind: String {
    switch self {
    case .map: "map"
    case .array: "array"
    case .integer: "integer"
    case .number: "number"
    case .string: "string"
    case .bool: "boolean"
    case .null: "nil"
    }
  }

  /// Parses a file.
  ///
  /// - Throws: ``FormatError`` with the byte offset of the fault: truncated or trailing bytes, nesting deeper than 32,
  ///   more values than the file has bytes for, repeated keys, arrays whose bytes do not match their shape, and
  ///   everything flax does not write.
  public init(flax data: Data) throws(FormatError) {
    var reader = FlaxReader(bytes: [UInt8](data))
    self = try reader.value(depth: 0)
    guard reader.position == data.count else {
      throw reader.fault("\(data.count - reader.position) bytes follow the value", at: reader.position)
    }
  }
}

/// An array of a flax file.
public struct FlaxArray: Sendable, Hashable {
  public let shape: [Int]
  /// NumPy's name of the element type, such as `float32`.
  public let dtype: String
  /// The elements, little-endian and row-major.
  public let bytes: [UInt8]
  /// Whether it is a scalar of NumPy, which flax writes as another extension than an array.
  public let isNumPyScalar: Bool

  init(shape: [Int], dtype: String, bytes: [UInt8], isNumPyScalar: Bool = false) {
    self.shape = shape
    self.dtype = dtype
    self.bytes = bytes
    self.isNumPyScalar = isNumPyScalar
  }

  /// The elements of a float32, float16, bfloat16 or float64 array; nil for other types.
  public var floats: [Float]? {
    func elements<Bits: FixedWidthInteger>(_ type: Bits.Type, _ convert: (Bits) -> Float) -> [Float] {
      bytes.withUnsafeBytes { raw in
        (0..<raw.count / MemoryLayout<Bits>.size).map {
          convert(Bits(littleEndian: raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Bits>.size, as: Bits.self)))
        }
      }
    }
    switch dtype {
    case "float32": return elements(UInt32.self) { Float(bitPattern: $0) }
    case "float64": return elements(UInt64.self) { Float(Double(bitPattern: $0)) }
    case "float16": return elements(UInt16.self) { Float(Float16(bitPattern: $0)) }
    case "bfloat16": return elements(UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
    default: return nil
    }
  }
}

/// Reads MessagePack front to back. Every length is compared with the bytes that are left before it is used.
private struct FlaxReader {
  private static let depthMax = 32
  private static let itemSizes = [
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1, "complex64": 8,
  ]

  let bytes: [UInt8]
  var position = 0
  /// Where reading stops: the end of the file, or of the extension being read.
  private var end: Int

  init(bytes: [UInt8]) {
    self.bytes = bytes
    end = bytes.count
  }

  func fault(_ reason: String, at offset: Int) -> FormatError {
    FormatError(format: "flax msgpack", place: "byte \(offset)", reason: reason)
  }

  private mutating func take(_ count: Int) throws(FormatError) -> ArraySlice<UInt8> {
    guard count <= end - position else {
      throw fault("\(count) bytes are announced, but \(end - position) are left", at: position)
    }
    defer { position += count }
    return bytes[position..<position + count]
  }

  /// A big-endian number of `size` bytes, at most 8.
  private mutating func number(_ size: Int) throws(FormatError) -> UInt64 {
    try take(size).reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// A length of `size` bytes, at most 4.
  private mutating func length(_ size: Int) throws(FormatError) -> Int { Int(try number(size)) }

  mutating func value(depth: Int) throws(FormatError) -> FlaxValue {
    let at = position
    guard depth <= Self.depthMax else { throw fault("values nest deeper than \(Self.depthMax)", at: at) }
    let head = Int(try number(1))
    switch head {
    case 0x00...0x7f: return .integer(head)
    case 0xe0...0xff: return .integer(head - 256)
    case 0x80...0x8f: return try map(head & 15, depth: depth)
    case 0xde, 0xdf: return try map(try length(head == 0xde ? 2 : 4), depth: depth)
    case 0x90...0x9f: return try list(head & 15, depth: depth)
    case 0xdc, 0xdd: return try list(try length(head == 0xdc ? 2 : 4), depth: depth)
    case 0xa0...0xbf: return .string(try text(head & 31))
    case 0xd9...0xdb: return .string(try text(try length(1 << (head - 0xd9))))
    case 0xc0: return .null
    case 0xc2, 0xc3: return .bool(head == 0xc3)
    case 0xca: return .number(Double(Float(bitPattern: UInt32(try number(4)))))
    case 0xcb: return .number(Double(bitPattern: try number(8)))
    case 0xcc...0xcf:
      let value = try number(1 << (head - 0xcc))
      guard let integer = Int(exactly: value) else { throw fault("the integer \(value) is out of range", at: at) }
      return .integer(integer)
    case 0xd0...0xd3:
      let size = 1 << (head - 0xd0)
      let shift = 64 - 8 * size
      return .integer(Int(Int64(bitPattern: try number(size) << shift) >> shift))
    case 0xd4...0xd8: return try extended(1 << (head - 0xd4), depth: depth, at: at)
    case 0xc7...0xc9: return try extended(try length(1 << (head - 0xc7)), depth: depth, at: at)
    default: throw fault("0x\(String(head, radix: 16)) begins no value that flax writes here", at: at)
    }
  }

  private mutating func text(_ count: Int) throws(FormatError) -> String {
    let at = position
    guard let text = String(validating: try take(count), as: UTF8.self) else {
      throw fault("the string is not valid UTF-8", at: at)
    }
    return text
  }

  private mutating func map(_ count: Int, depth: Int) throws(FormatError) -> FlaxValue {
    let at = position
    // A pair takes at least two bytes, which bounds what is allocated.
    guard count <= (end - position) / 2 else { throw fault("a map of \(count) pairs does not fit the file", at: at) }
    var members: [(key: String, value: FlaxValue)] = []
    var seen: Set<String> = []
    for _ in 0..<count {
      let keyAt = position
      let key: String
      switch try value(depth: depth + 1) {
      case .string(let text): key = text
      case .integer(let number): key = String(number)
      default: throw fault("a map's key must be a string", at: keyAt)
      }
      guard seen.insert(key).inserted else { throw fault("the key \"\(key)\" appears twice", at: keyAt) }
      guard key != "__msgpack_chunked_array__" else {
        throw fault("arrays in chunks of a gigabyte are not read; no optimizer is that large", at: keyAt)
      }
      members.append((key, try value(depth: depth + 1)))
    }
    return .map(members)
  }

  private mutating func list(_ count: Int, depth: Int) throws(FormatError) -> FlaxValue {
    guard count <= end - position else {
      throw fault("a list of \(count) values does not fit the file", at: position)
    }
    var members: [(key: String, value: FlaxValue)] = []
    for index in 0..<count { members.append((String(index), try value(depth: depth + 1))) }
    return .map(members)
  }

  /// An extension of `size` payload bytes: an array (1) or a NumPy scalar (3).
  private mutating func extended(_ size: Int, depth: Int, at: Int) throws(FormatError) -> FlaxValue {
    let type = Int8(bitPattern: UInt8(try number(1)))
    guard size <= end - position else {
      throw fault("\(size) bytes are announced, but \(end - position) are left", at: position)
    }
    guard type == 1 || type == 3 else {
      throw fault("extension type \(type) is not read; expected 1 (array) or 3 (scalar)", at: at)
    }
    let outer = end
    end = position + size
    defer { end = outer }
    guard try number(1) == 0x93 else { throw fault("an array must be [shape, dtype, bytes]", at: at) }
    let shape = try shape(depth: depth + 1)
    guard case .string(let dtype) = try value(depth: depth + 1), let itemSize = Self.itemSizes[dtype] else {
      throw fault("the array's dtype is not one that is read", at: at)
    }
    var expected = itemSize
    for size in shape {
      let (product, overflow) = expected.multipliedReportingOverflow(by: size)
      guard !overflow else { throw fault("the shape \(shape) is too large", at: at) }
      expected = product
    }
    let head = Int(try number(1))
    let count: Int
    switch head {
    case 0xc4...0xc6: count = try length(1 << (head - 0xc4))
    // Writers from before the binary type send the bytes as a string.
    case 0xd9...0xdb: count = try length(1 << (head - 0xd9))
    case 0xa0...0xbf: count = head & 31
    default: throw fault("the array's contents must be binary", at: position - 1)
    }
    guard count == expected else {
      throw fault("\(dtype) \(shape) takes \(expected) bytes, got \(count)", at: at)
    }
    let contents = [UInt8](try take(count))
    guard position == end else { throw fault("\(end - position) bytes follow the array", at: position) }
    return .array(FlaxArray(shape: shape, dtype: dtype, bytes: contents, isNumPyScalar: type == 3))
  }

  private mutating func shape(depth: Int) throws(FormatError) -> [Int] {
    let at = position
    guard case .map(let members) = try value(depth: depth), members.count <= 16 else {
      throw fault("a shape must be a list of at most 16 sizes", at: at)
    }
    var shape: [Int] = []
    for (index, member) in members.enumerated() {
      guard member.key == String(index), case .integer(let size) = member.value, size >= 0 else {
        throw fault("a shape must be a list of sizes", at: at)
      }
      shape.append(size)
    }
    return shape
  }
}
