// FlaxEncoding: writes what FlaxMessagePack.swift reads, byte for byte as flax.serialization.to_bytes does: shortest
// forms, maps in the order given, arrays as extension 1. Theta.flax() writes a learned optimizer's weights with it.
import Foundation

extension FlaxValue {
  /// The file's bytes. What flax wrote comes out as it was.
  ///
  /// Traps on a map, text or array beyond the format's 4 GiB.
  public var encoded: Data {
    var bytes: [UInt8] = []
    write(into: &bytes)
    return Data(bytes)
  }

  private func write(into bytes: inout [UInt8]) {
    switch self {
    case .map(let members):
      Self.head(members.count, fix: 0x80, fixMax: 15, wide: [(2, 0xde), (4, 0xdf)], into: &bytes)
      for (key, value) in members {
        Self.write(key, into: &bytes)
        value.write(into: &bytes)
      }
    case .array(let array): array.write(into: &bytes)
    case .integer(let integer): Self.write(integer, into: &bytes)
    case .number(let number):
      bytes.append(0xcb)
      Self.bigEndian(number.bitPattern, 8, into: &bytes)
    case .string(let text): Self.write(text, into: &bytes)
    case .bool(let truth): bytes.append(truth ? 0xc3 : 0xc2)
    case .null: bytes.append(0xc0)
    }
  }

  fileprivate static func write(_ text: String, into bytes: inout [UInt8]) {
    let utf8 = Array(text.utf8)
    head(utf8.count, fix: 0xa0, fixMax: 31, wide: [(1, 0xd9), (2, 0xda), (4, 0xdb)], into: &bytes)
    bytes += utf8
  }

  fileprivate static func write(_ integer: Int, into bytes: inout [UInt8]) {
    if (-32...127).contains(integer) {
      bytes.append(UInt8(truncatingIfNeeded: integer))
    } else {
      let bits =
        integer >= 0
        ? integer.bitWidth - integer.leadingZeroBitCount : integer.bitWidth + 1 - (~integer).leadingZeroBitCount
      let power = bits <= 8 ? 0 : bits <= 16 ? 1 : bits <= 32 ? 2 : 3
      bytes.append((integer >= 0 ? 0xcc : 0xd0) + UInt8(power))
      bigEndian(UInt64(bitPattern: Int64(integer)), 1 << power, into: &bytes)
    }
  }

  /// A kind of value with its length: within the byte where it fits, else in the narrowest of `wide` (bytes, kind).
  fileprivate static func head(
    _ count: Int, fix: UInt8, fixMax: Int, wide: [(size: Int, kind: UInt8)], into bytes: inout [UInt8]
  ) {
    if count <= fixMax {
      bytes.append(fix + UInt8(count))
      return
    }
    guard let (size, kind) = wide.first(where: { count < 1 << (8 * $0.size) }) else {
      preconditionFailure("FlaxValue: \(count) of something do not fit the format")
    }
    bytes.append(kind)
    bigEndian(UInt64(count), size, into: &bytes)
  }

  fileprivate static func bigEndian(_ value: UInt64, _ size: Int, into bytes: inout [UInt8]) {
    for index in (0..<size).reversed() { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))) }
  }
}

extension FlaxArray {
  /// Extension 1, or 3 for a scalar of NumPy: [shape, dtype, bytes].
  fileprivate func write(into bytes: inout [UInt8]) {
    var payload: [UInt8] = [0x93]
    FlaxValue.head(shape.count, fix: 0x90, fixMax: 15, wide: [(2, 0xdc), (4, 0xdd)], into: &payload)
    for size in shape { FlaxValue.write(size, into: &payload) }
    FlaxValue.write(dtype, into: &payload)
    FlaxValue.head(
      self.bytes.count, fix: 0, fixMax: -1, wide: [(1, 0xc4), (2, 0xc5), (4, 0xc6)], into: &payload)
    payload += self.bytes
    if let fixed = [1, 2, 4, 8, 16].firstIndex(of: payload.count) {
      bytes.append(0xd4 + UInt8(fixed))
    } else {
      FlaxValue.head(payload.count, fix: 0, fixMax: -1, wide: [(1, 0xc7), (2, 0xc8), (4, 0xc9)], into: &bytes)
    }
    bytes.append(isNumPyScalar ? 3 : 1)
    bytes += payload
  }
}

extension Theta {
  /// The file of the reference implementations: the tree of tensors alone, float32, keys sorted as theirs are.
  ///
  /// Their LSTM states are records, which flax writes in the order of their fields: hidden, then cell.
  public func flax() -> Data {
    let leaves = schema.leaves.map { (path: $0.path[...], leaf: $0) }
    return tree(leaves).encoded
  }

  private func tree(_ leaves: [(path: ArraySlice<String>, leaf: ThetaLeaf)]) -> FlaxValue {
    if leaves.count == 1, leaves[0].path.isEmpty {
      let leaf = leaves[0].leaf
      let bytes = self[leaf.name].map { $0.bitPattern.littleEndian }.withUnsafeBytes { [UInt8]($0) }
      return .array(FlaxArray(shape: leaf.shape.dimensions, dtype: "float32", bytes: bytes))
    }
    var keys = Array(Set(leaves.map { $0.path.first! })).sorted()
    if keys == ["cell", "hidden"] { keys.reverse() }
    return .map(
      keys.map { key in
        (key, tree(leaves.filter { $0.path.first == key }.map { ($0.path.dropFirst(), $0.leaf) }))
      })
  }
}
