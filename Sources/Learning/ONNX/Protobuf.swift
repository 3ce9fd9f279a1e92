// Protobuf: the wire format that ONNX files are written in (protobuf.dev/programming-guides/encoding), read strictly and in
// bounds. ONNXReader and ONNXWriter know the fields; here are only varints, lengths and bytes.
import Foundation

/// One message's bytes, read field by field without recursion or copies.
///
/// Readers of nested messages share one ``Budget``, so that no arrangement of a file makes more values than it allows.
struct ProtobufReader {
  /// How many repeated values a whole file may still give.
  final class Budget {
    private(set) var left: Int

    init(_ values: Int) { left = values }

    fileprivate func take(_ values: Int) -> Bool {
      left -= min(left + 1, values)
      return left >= 0
    }
  }

  /// One field's value as it stands on the wire.
  enum Wire {
    case varint(UInt64)
    case fixed64(UInt64)
    case bytes(Range<Int>)
    case fixed32(UInt32)

    fileprivate var name: String {
      switch self {
      case .varint: "a varint"
      case .fixed64: "8 bytes"
      case .bytes: "bytes with a length"
      case .fixed32: "4 bytes"
      }
    }
  }

  private let file: Data
  private let bytes: UnsafeRawBufferPointer
  private let end: Int
  private(set) var position: Int
  /// What is being read, for messages.
  let place: String
  private let budget: Budget
  /// Fields that stand at most once and have been seen.
  private var seen: UInt64 = 0

  /// Reads `file`, whose memory is `bytes` for as long as the reader and its nested ones are in use.
  init(_ file: Data, bytes: UnsafeRawBufferPointer, place: String, budget: Budget) {
    self.file = file
    self.bytes = bytes
    self.place = place
    self.budget = budget
    position = 0
    end = bytes.count
  }

  private init(_ outer: ProtobufReader, _ range: Range<Int>, place: String) {
    file = outer.file
    bytes = outer.bytes
    budget = outer.budget
    self.place = place
    position = range.lowerBound
    end = range.upperBound
  }

  /// The next field's number and value, or nil at the end of the message.
  mutating func next() throws(FormatError) -> (field: Int, value: Wire)? {
    guard position < end else { return nil }
    let start = position
    let tag = try varint()
    guard tag <= UInt64(UInt32.max), tag >> 3 > 0 else {
      throw fault("a field's tag \(tag) is out of range", at: start)
    }
    let value: Wire
    switch tag & 7 {
    case 0: value = .varint(try varint())
    case 1: value = .fixed64(try fixed(UInt64.self))
    case 2:
      let length = try varint()
      guard length <= UInt64(end - position) else {
        throw fault("field \(tag >> 3) claims \(length) bytes, but \(end - position) are left", at: start)
      }
      value = .bytes(position..<position + Int(length))
      position += Int(length)
    case 5: value = .fixed32(try fixed(UInt32.self))
    default: throw fault("field \(tag >> 3) has the wire type \(tag & 7), which is not used by ONNX", at: start)
    }
    return (Int(tag >> 3), value)
  }

  /// Refuses a field that may stand once and has been seen; fields above 63 are not for this.
  mutating func once(_ field: Int) throws(FormatError) {
    precondition(field < 64, "Protobuf: field \(field) cannot be counted")
    guard seen & (1 << UInt64(field)) == 0 else { throw fault("field \(field) stands twice", at: position) }
    seen |= 1 << UInt64(field)
  }

  /// A nested message.
  func message(_ value: Wire, _ place: String) throws(FormatError) -> ProtobufReader {
    try spend(1)
    return ProtobufReader(self, try range(value), place: place)
  }

  /// The place of bytes in the file, which share its memory.
  func data(_ value: Wire) throws(FormatError) -> Data {
    let range = try range(value)
    return file[file.startIndex + range.lowerBound..<file.startIndex + range.upperBound]
  }

  /// Text in UTF-8 without zero bytes, which databases do not take.
  func string(_ value: Wire, bytesMax: Int = 4096) throws(FormatError) -> String {
    try spend(1)
    let range = try range(value)
    guard range.count <= bytesMax else { throw fault("a name has \(range.count) bytes; at most \(bytesMax) are read") }
    guard let text = String(validating: UnsafeRawBufferPointer(rebasing: bytes[range]), as: UTF8.self) else {
      throw fault("a name is not UTF-8", at: range.lowerBound)
    }
    guard !bytes[range].contains(0) else { throw fault("a name has a zero byte", at: range.lowerBound) }
    return text
  }

  /// An int64, or an int32 or enum that is one on the wire.
  func integer(_ value: Wire) throws(FormatError) -> Int {
    guard case .varint(let bits) = value else { throw fault("expected a varint, got \(value.name)") }
    return Int(Int64(bitPattern: bits))
  }

  /// A float.
  func float(_ value: Wire) throws(FormatError) -> Float {
    guard case .fixed32(let bits) = value else { throw fault("expected 4 bytes, got \(value.name)") }
    return Float(bitPattern: bits)
  }

  /// Adds one number, or a packed run of them, to a repeated field.
  func append(_ value: Wire, to integers: inout [Int]) throws(FormatError) {
    guard case .bytes(let range) = value else {
      try spend(1)
      return integers.append(try integer(value))
    }
    var packed = ProtobufReader(self, range, place: place)
    while packed.position < packed.end {
      try spend(1)
      integers.append(Int(Int64(bitPattern: try packed.varint())))
    }
  }

  /// Adds one float, or a packed run of them, to a repeated field.
  func append(_ value: Wire, to floats: inout [Float]) throws(FormatError) {
    guard case .bytes(let range) = value else {
      try spend(1)
      return floats.append(try float(value))
    }
    guard range.count % 4 == 0 else { throw fault("packed floats take \(range.count) bytes, which 4 does not divide") }
    try spend(range.count / 4)
    for offset in stride(from: range.lowerBound, to: range.upperBound, by: 4) {
      floats.append(
        Float(bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))))
    }
  }

  /// A fault of this message.
  func fault(_ reason: String, at offset: Int? = nil) -> FormatError {
    FormatError(format: "onnx", place: place, reason: reason + (offset.map { " (at byte \($0))" } ?? ""))
  }

  private func spend(_ values: Int) throws(FormatError) {
    guard budget.take(values) else {
      throw fault("the file has more values than are read; weights belong in raw_data or packed float_data")
    }
  }

  private func range(_ value: Wire) throws(FormatError) -> Range<Int> {
    guard case .bytes(let range) = value else { throw fault("expected bytes with a length, got \(value.name)") }
    return range
  }

  private mutating func varint() throws(FormatError) -> UInt64 {
    let start = position
    var result: UInt64 = 0
    var shift: UInt64 = 0
    while position < end {
      let byte = bytes[position]
      position += 1
      guard shift < 63 || byte <= 1 else { throw fault("a varint has more than 64 bits", at: start) }
      result |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return result }
      shift += 7
    }
    throw fault("the message ends inside a varint", at: start)
  }

  private mutating func fixed<Value: FixedWidthInteger>(_ type: Value.Type) throws(FormatError) -> Value {
    guard end - position >= MemoryLayout<Value>.size else {
      throw fault("the message ends inside a number", at: position)
    }
    defer { position += MemoryLayout<Value>.size }
    return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Value.self))
  }
}

/// Writes messages; lengths are filled in when a nested message is complete.
struct ProtobufWriter {
  private(set) var bytes: [UInt8] = []

  mutating func reserve(_ count: Int) { bytes.reserveCapacity(count) }

  mutating func integer(_ field: Int, _ value: Int) {
    tag(field, 0)
    varint(UInt64(bitPattern: Int64(value)))
  }

  mutating func float(_ field: Int, _ value: Float) {
    tag(field, 5)
    withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func string(_ field: Int, _ value: String) {
    tag(field, 2)
    varint(UInt64(value.utf8.count))
    bytes.append(contentsOf: value.utf8)
  }

  mutating func data(_ field: Int, _ value: some Collection<UInt8>) {
    tag(field, 2)
    varint(UInt64(value.count))
    bytes.append(contentsOf: value)
  }

  /// Repeated integers, packed.
  mutating func integers(_ field: Int, _ values: [Int]) {
    guard !values.isEmpty else { return }
    message(field) { packed in for value in values { packed.varint(UInt64(bitPattern: Int64(value))) } }
  }

  /// Repeated floats, packed.
  mutating func floats(_ field: Int, _ values: [Float]) {
    guard !values.isEmpty else { return }
    tag(field, 2)
    varint(UInt64(values.count * 4))
    for value in values { withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) } }
  }

  mutating func message(_ field: Int, _ body: (inout ProtobufWriter) -> Void) {
    tag(field, 2)
    let start = bytes.count
    body(&self)
    var length = ProtobufWriter()
    length.varint(UInt64(bytes.count - start))
    bytes.insert(contentsOf: length.bytes, at: start)
  }

  private mutating func tag(_ field: Int, _ type: Int) { varint(UInt64(field << 3 | type)) }

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }
}
