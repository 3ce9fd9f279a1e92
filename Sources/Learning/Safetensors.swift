// Safetensors: the one file format of theta, checkpoints and exported models, read with every claim of the header
// checked before it is used, and written with the same bytes for the same content.
//
//   u64 little-endian n | n bytes of JSON, padded with spaces | data
//   {"__metadata__": {string: string}, name: {"dtype", "shape": [ints], "data_offsets": [begin, end]}, ...}
//
// Offsets count from the start of the data; the tensors cover it exactly, without holes or overlaps. All numbers are
// little-endian and row-major.
import Contract
import Foundation

/// Why a file was refused: the format, the place in it, and what was expected and came.
public struct FormatError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The format, such as `safetensors`.
  public let format: String
  /// Where: a tensor's name, a path, `header`, a byte offset.
  public let place: String
  /// What was expected, what came, and what to do.
  public let reason: String

  /// A fault of a file.
  public init(format: String, place: String, reason: String) {
    self.format = format
    self.place = place
    self.reason = reason
  }

  public var description: String { "\(format): \(place): \(reason)" }
}

/// A tensor's element type in a safetensors file.
public enum SafetensorsType: String, Sendable, CaseIterable {
  case f64 = "F64", f32 = "F32", f16 = "F16", bf16 = "BF16"
  case i64 = "I64", i32 = "I32", i16 = "I16", i8 = "I8"
  case u64 = "U64", u32 = "U32", u16 = "U16", u8 = "U8"
  case bool = "BOOL"
  case f8e4m3 = "F8_E4M3", f8e5m2 = "F8_E5M2"

  /// Bytes of one element.
  public var bytes: Int {
    switch self {
    case .f64, .i64, .u64: return 8
    case .f32, .i32, .u32: return 4
    case .f16, .bf16, .i16, .u16: return 2
    case .i8, .u8, .bool, .f8e4m3, .f8e5m2: return 1
    }
  }
}

/// A safetensors file in memory, or mapped: `Data(contentsOf:options: .alwaysMapped)` reads only what is asked for.
public struct SafetensorsFile: Sendable {
  /// One tensor's type, shape and place.
  public struct Tensor: Sendable, Hashable {
    public let name: String
    public let dtype: SafetensorsType
    /// The dimensions; `[]` is a scalar.
    public let shape: [Int]
    /// The number of elements.
    public let count: Int
    /// The bytes of the file that hold the elements.
    public let range: Range<Int>
  }

  /// Headers beyond this are refused: 4 MiB describe some thirty thousand tensors.
  public static let headerBytesMax = 4 << 20

  /// The file's `__metadata__`; empty when it has none.
  public let metadata: [String: String]
  /// The tensors in the order their data lies.
  public let tensors: [Tensor]
  private let data: Data
  private let indices: [String: Int]

  /// Whether the bytes begin as such a file does: a length that fits, then an object.
  static func isLikely(_ data: Data) -> Bool {
    guard data.count > 8 else { return false }
    let length = data.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
    return length <= UInt64(max(headerBytesMax, data.count)) && data[data.startIndex + 8] == UInt8(ascii: "{")
  }

  /// Checks the header and keeps the data; no tensor is read yet.
  ///
  /// - Throws: ``FormatError`` naming the tensor and the fault: a header that is too long or not strict JSON, an
  ///   unknown type or member, a shape that overflows, offsets that overlap, leave holes or do not match the shape.
  public init(_ data: Data) throws(FormatError) {
    guard data.count >= 8 else { throw Self.fault("header", "expected at least 8 bytes, got \(data.count)") }
    let length = data.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self)) }
    guard length <= UInt64(Self.headerBytesMax) else {
      throw Self.fault("header", "it claims \(length) bytes; at most \(Self.headerBytesMax) are read")
    }
    let start = 8 + Int(length)
    guard start <= data.count else {
      throw Self.fault("header", "it claims \(length) bytes, but the file has only \(data.count - 8) after the length")
    }
    let bytes = [UInt8](data[data.startIndex + 8..<data.startIndex + start])
    guard bytes.first == UInt8(ascii: "{") else { throw Self.fault("header", "expected JSON that starts with {") }
    let header: JSON
    do { header = try JSON.parse(bytes, depthMax: 4) } catch { throw Self.fault("header", error.description) }
    guard case .object(let members) = header else { throw Self.fault("header", "expected a JSON object") }

    var tensors: [Tensor] = []
    var metadata: [String: String] = [:]
    for (name, value) in members {
      if name == "__metadata__" {
        metadata = try Self.metadata(value)
      } else {
        tensors.append(try Self.tensor(name, value, start: start, available: data.count - start))
      }
    }
    tensors.sort {
      ($0.range.lowerBound, $0.range.upperBound, $0.name) < ($1.range.lowerBound, $1.range.upperBound, $1.name)
    }
    var end = start
    for tensor in tensors {
      guard tensor.range.lowerBound == end else {
        let what = tensor.range.lowerBound < end ? "overlaps the tensor before it" : "leaves a hole before it"
        throw Self.fault(
          "tensor \"\(tensor.name)\"", "its data begins at \(tensor.range.lowerBound - start) and \(what)")
      }
      end = tensor.range.upperBound
    }
    guard end == data.count else {
      throw Self.fault("data", "the tensors end at \(end - start), but \(data.count - start) bytes follow the header")
    }
    self.metadata = metadata
    self.tensors = tensors
    self.data = data
    indices = Dictionary(uniqueKeysWithValues: tensors.enumerated().map { ($0.element.name, $0.offset) })
  }

  /// The tensor of that name, or nil.
  public func tensor(_ name: String) -> Tensor? { indices[name].map { tensors[$0] } }

  /// Calls `body` with a tensor's bytes, little-endian and row-major; they need not be aligned.
  public func withBytes<Result>(of tensor: Tensor, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result
  {
    try data.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[tensor.range])) }
  }

  /// The elements of a floating-point tensor as `Float`; F64 is rounded.
  ///
  /// - Parameter shape: the shape it must have, or nil for any.
  /// - Throws: ``FormatError`` when there is no such tensor, or its shape or type is another.
  public func floats(_ name: String, shape: [Int]? = nil) throws(FormatError) -> [Float] {
    let tensor = try existing(name, shape: shape)
    func elements<Bits: FixedWidthInteger>(_ type: Bits.Type, _ convert: (Bits) -> Float) -> [Float] {
      withBytes(of: tensor) { raw in
        [Float](unsafeUninitializedCapacity: tensor.count) { out, count in
          for index in 0..<tensor.count {
            let bits = raw.loadUnaligned(fromByteOffset: index * MemoryLayout<Bits>.size, as: Bits.self)
            out.initializeElement(at: index, to: convert(Bits(littleEndian: bits)))
          }
          count = tensor.count
        }
      }
    }
    switch tensor.dtype {
    case .f32: return elements(UInt32.self) { Float(bitPattern: $0) }
    case .f64: return elements(UInt64.self) { Float(Double(bitPattern: $0)) }
    case .f16: return elements(UInt16.self) { Float(Float16(bitPattern: $0)) }
    case .bf16: return elements(UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
    default:
      throw Self.fault("tensor \"\(name)\"", "expected F32, F16, BF16 or F64, got \(tensor.dtype.rawValue)")
    }
  }

  /// The elements of an integer or boolean tensor; true is 1.
  ///
  /// - Throws: ``FormatError`` when there is no such tensor, its shape or type is another, or a U64 is too large.
  public func integers(_ name: String, shape: [Int]? = nil) throws(FormatError) -> [Int] {
    let tensor = try existing(name, shape: shape)
    func elements<Value: FixedWidthInteger>(_ type: Value.Type) throws(FormatError) -> [Int] {
      var out: [Int] = []
      out.reserveCapacity(tensor.count)
      for index in 0..<tensor.count {
        let value = withBytes(of: tensor) {
          Value(littleEndian: $0.loadUnaligned(fromByteOffset: index * MemoryLayout<Value>.size, as: Value.self))
        }
        guard let integer = Int(exactly: value), tensor.dtype != .bool || integer == 0 || integer == 1 else {
          throw Self.fault("tensor \"\(name)\"", "element \(index) is \(value), which is out of range")
        }
        out.append(integer)
      }
      return out
    }
    switch tensor.dtype {
    case .i64: return try elements(Int64.self)
    case .i32: return try elements(Int32.self)
    case .i16: return try elements(Int16.self)
    case .i8: return try elements(Int8.self)
    case .u64: return try elements(UInt64.self)
    case .u32: return try elements(UInt32.self)
    case .u16: return try elements(UInt16.self)
    case .u8, .bool: return try elements(UInt8.self)
    default:
      throw Self.fault("tensor \"\(name)\"", "expected an integer type or BOOL, got \(tensor.dtype.rawValue)")
    }
  }

  private func existing(_ name: String, shape: [Int]?) throws(FormatError) -> Tensor {
    guard let tensor = tensor(name) else { throw Self.fault("tensor \"\(name)\"", "the file has no such tensor") }
    guard shape == nil || shape == tensor.shape else {
      throw Self.fault("tensor \"\(name)\"", "expected shape \(shape!), got \(tensor.shape)")
    }
    return tensor
  }

  private static func fault(_ place: String, _ reason: String) -> FormatError {
    FormatError(format: "safetensors", place: place, reason: reason)
  }

  private static func metadata(_ value: JSON) throws(FormatError) -> [String: String] {
    guard case .object(let members) = value else {
      throw fault("__metadata__", "expected an object of strings, got \(value.kind)")
    }
    var metadata: [String: String] = [:]
    for (key, value) in members {
      guard case .string(let text) = value else {
        throw fault("__metadata__", "\"\(key)\" must be a string, got \(value.kind)")
      }
      metadata[key] = text
    }
    return metadata
  }

  private static func tensor(_ name: String, _ value: JSON, start: Int, available: Int) throws(FormatError) -> Tensor {
    let place = "tensor \"\(name)\""
    guard case .object(let members) = value else { throw fault(place, "expected an object, got \(value.kind)") }
    if let unknown = members.keys.sorted().first(where: { !["dtype", "shape", "data_offsets"].contains($0) }) {
      throw fault(place, "unknown member \"\(unknown)\"")
    }
    guard let typeName = members["dtype"]?.string, let dtype = SafetensorsType(rawValue: typeName) else {
      throw fault(place, "dtype must be one of \(SafetensorsType.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    guard let shape = integers(members["shape"]), shape.count <= 16 else {
      throw fault(place, "shape must be an array of at most 16 non-negative integers")
    }
    var count = 1
    var isEmpty = false
    for size in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: max(size, 1))
      guard !overflow, product <= Int.max / 16 else { throw fault(place, "the shape \(shape) is too large") }
      isEmpty = isEmpty || size == 0
      count = product
    }
    if isEmpty { count = 0 }
    guard let offsets = integers(members["data_offsets"]), offsets.count == 2, offsets[0] <= offsets[1] else {
      throw fault(place, "data_offsets must be two ascending non-negative integers")
    }
    guard offsets[1] <= available else {
      throw fault(place, "its data ends at \(offsets[1]), but the file has \(available) bytes of data")
    }
    guard offsets[1] - offsets[0] == count * dtype.bytes else {
      throw fault(
        place,
        "\(typeName) \(shape) takes \(count * dtype.bytes) bytes, but its offsets span \(offsets[1] - offsets[0])")
    }
    return Tensor(
      name: name, dtype: dtype, shape: shape, count: count, range: start + offsets[0]..<start + offsets[1])
  }

  /// A JSON array of non-negative integers, or nil.
  private static func integers(_ value: JSON?) -> [Int]? {
    guard case .array(let elements)? = value else { return nil }
    var out: [Int] = []
    for element in elements {
      guard case .integer(let integer) = element, integer >= 0 else { return nil }
      out.append(integer)
    }
    return out
  }
}
