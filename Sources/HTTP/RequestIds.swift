// Request ids and their hygiene: made when the client brings none, accepted only in a form that is safe to log.

import Synchronization

/// Makes ids of 64 random bits, the same for one process, and a counter.
final class RequestIds: Sendable {
  private let prefix: String
  private let counter = Atomic<UInt32>(0)

  init(seed: UInt64 = .random(in: .min ... .max)) {
    let hex = String(seed, radix: 16)
    prefix = String(repeating: "0", count: 16 - hex.count) + hex
  }

  @Sendable func next() -> String {
    let number = counter.wrappingAdd(1, ordering: .relaxed).newValue
    let hex = String(number, radix: 16)
    return prefix + String(repeating: "0", count: 8 - hex.count) + hex
  }

  /// A client's id is taken over when it has 1 to 64 letters, digits, dots, dashes or underscores.
  static func sane(_ value: ArraySlice<UInt8>?) -> String? {
    guard let value, (1...64).contains(value.count),
      value.allSatisfy({ $0.isAlphanumeric || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F })
    else { return nil }
    return String(decoding: value, as: UTF8.self)
  }

  /// A `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`, lower-case (W3C Trace Context §3.2).
  static func traceparent(_ value: ArraySlice<UInt8>?) -> String? {
    guard let value, value.count == 55 else { return nil }
    let parts = value.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    guard parts.map(\.count) == [2, 32, 16, 2],
      parts.joined().allSatisfy({ $0.hexValue != nil && $0 == $0.lowercased }),
      parts[0].elementsEqual("00".utf8), parts[1].contains(where: { $0 != 0x30 }),
      parts[2].contains(where: { $0 != 0x30 })
    else { return nil }
    return String(decoding: value, as: UTF8.self)
  }
}
