// The container of what campaigns store: a kind, a version of its form, what it belongs to, the content, and a check sum.
// Readers take nothing on trust: every length is held against what is there before anything is made of it.
import Compute

/// Why stored bytes are refused.
public struct SnapshotError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What is wrong, and with what.
  public let description: String

  init(_ description: String) { self.description = description }
}

/// Writes a container.
struct ByteSealer {
  private(set) var bytes: [UInt8]

  /// - Parameters:
  ///   - kind: four letters.
  ///   - owner: what the content belongs to, such as a hash of a configuration.
  init(kind: StaticString, version: UInt32, owner: UInt64) {
    bytes = []
    precondition(kind.utf8CodeUnitCount == 4, "ByteSealer: a kind has four letters")
    kind.withUTF8Buffer { bytes.append(contentsOf: $0) }
    append(version)
    append(owner)
  }

  mutating func append<Value: FixedWidthInteger>(_ value: Value) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func append(_ value: Double) { append(value.bitPattern) }

  /// The floats alone; their number must follow from elsewhere.
  mutating func append(_ floats: UnsafeBufferPointer<Float>) {
    // Little-endian is all that the kernels run on.
    bytes.append(contentsOf: UnsafeRawBufferPointer(floats))
  }

  mutating func append(_ buffer: AlignedBuffer) { append(UnsafeBufferPointer(buffer.buffer)) }

  /// A length and as many bytes.
  mutating func append(nested: [UInt8]) {
    append(UInt64(nested.count))
    bytes.append(contentsOf: nested)
  }

  /// The container, with its check sum at the end.
  consuming func sealed() -> [UInt8] {
    append(ByteHash.of(bytes[...]))
    return bytes
  }
}

/// Reads a container from its front.
struct SealedReader {
  /// What the container is, for messages.
  let name: String
  private let bytes: ArraySlice<UInt8>
  private var place: Int

  /// Opens a container of that kind, version and owner.
  ///
  /// - Throws: ``SnapshotError`` for bytes that are cut short, damaged, of another kind or version, or another owner's.
  init(_ bytes: ArraySlice<UInt8>, kind: StaticString, version: UInt32, owner: UInt64, name: String)
    throws(SnapshotError)
  {
    self.name = name
    let letters = kind.withUTF8Buffer { Array($0) }
    guard bytes.count >= 24, Array(bytes.prefix(4)) == letters else {
      throw SnapshotError("\(name): these \(bytes.count) bytes are none")
    }
    self.bytes = bytes.dropLast(8)
    place = bytes.startIndex + 4
    var end = SealedReader(sum: bytes.suffix(8), name: name)
    guard try end.integer(UInt64.self) == ByteHash.of(self.bytes) else {
      throw SnapshotError("\(name): the bytes are damaged: their check sum is another")
    }
    let found = try integer(UInt32.self)
    guard found == version else { throw SnapshotError("\(name): expected form \(version), got form \(found)") }
    guard try integer(UInt64.self) == owner else {
      throw SnapshotError("\(name): it belongs to another campaign, phase or group, or to other settings of it")
    }
  }

  private init(sum: ArraySlice<UInt8>, name: String) {
    bytes = sum
    place = sum.startIndex
    self.name = name
  }

  /// How many bytes are left.
  var left: Int { bytes.endIndex - place }

  private mutating func take(_ count: Int) throws(SnapshotError) -> ArraySlice<UInt8> {
    guard count >= 0, count <= left else {
      throw SnapshotError("\(name): it ends \(count - left) bytes too early")
    }
    place += count
    return bytes[place - count..<place]
  }

  mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws(SnapshotError) -> Value {
    var value: Value = 0
    for byte in try take(Value.bitWidth / 8).reversed() { value = value << 8 | Value(truncatingIfNeeded: byte) }
    return value
  }

  mutating func double() throws(SnapshotError) -> Double { Double(bitPattern: try integer(UInt64.self)) }

  mutating func finiteDouble() throws(SnapshotError) -> Double {
    let value = try double()
    guard value.isFinite else { throw SnapshotError("\(name): it holds the number \(value)") }
    return value
  }

  /// Fills memory with floats.
  mutating func floats(into memory: UnsafeMutableBufferPointer<Float>) throws(SnapshotError) {
    let source = try take(4 * memory.count)
    UnsafeMutableRawBufferPointer(memory).copyBytes(from: source)
  }

  mutating func floats(into buffer: AlignedBuffer) throws(SnapshotError) { try floats(into: buffer.buffer) }

  /// What ``ByteSealer/append(nested:)`` wrote.
  mutating func nested() throws(SnapshotError) -> ArraySlice<UInt8> {
    let count = try integer(UInt64.self)
    return try take(Int(clamping: count))
  }

  /// Refuses content beyond what was read.
  func finish() throws(SnapshotError) {
    guard left == 0 else { throw SnapshotError("\(name): it goes on for \(left) bytes after its end") }
  }
}

/// The 64-bit FNV-1a hash, eight bytes at a time: any one changed byte changes it.
enum ByteHash {
  static func of(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    bytes.withUnsafeBytes { raw in
      let words = raw.count / 8
      for index in 0..<words {
        hash = (hash ^ raw.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self).littleEndian) &* 0x100_0000_01B3
      }
      for index in 8 * words..<raw.count { hash = (hash ^ UInt64(raw[index])) &* 0x100_0000_01B3 }
      hash = (hash ^ UInt64(raw.count)) &* 0x100_0000_01B3
    }
    return hash
  }

  static func of(_ text: String) -> UInt64 { of(Array(text.utf8)[...]) }
}
