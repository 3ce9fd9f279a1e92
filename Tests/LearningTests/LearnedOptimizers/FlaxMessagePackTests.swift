// The reader of flax MessagePack files: values by hand-written bytes, and damaged files.
import Foundation
import Learning
import Testing

@Suite("Flax MessagePack")
struct FlaxMessagePackTests {
  /// {"w": float32 [1, 2] = [1, -2]} as flax writes it.
  static let small: [UInt8] =
    [0x81, 0xA1, 0x77, 0xC7, 0x16, 0x01, 0x93, 0x92, 0x01, 0x02, 0xA7] + Array("float32".utf8)
    + [0xC4, 0x08, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0]

  @Test("an array is read with its shape and values")
  func array() throws {
    guard case .array(let w)? = try FlaxValue(flax: Data(Self.small))["w"] else {
      Issue.record("expected an array")
      return
    }
    #expect(w.shape == [1, 2])
    #expect(w.floats == [1, -2])
  }

  @Test("a scalar array comes as a fixed extension")
  func scalar() throws {
    let bytes: [UInt8] = [0xD8, 0x01, 0x93, 0x90, 0xA7] + Array("float32".utf8) + [0xC4, 0x04, 0, 0, 0x80, 0x3F]
    guard case .array(let x) = try FlaxValue(flax: Data(bytes)) else {
      Issue.record("expected an array")
      return
    }
    #expect(x.shape == [])
    #expect(x.floats == [1])
  }

  @Test("integers, strings, lists, nil and booleans are read")
  func plain() throws {
    let bytes: [UInt8] =
      [0x87, 0xA1, 0x61, 0x05, 0xA1, 0x62, 0xFF, 0xA1, 0x63, 0xCD, 0x01, 0x00, 0xA1, 0x64, 0xD1, 0xFF, 0xFE]
      + [0xA1, 0x65, 0x92, 0xC0, 0xC3, 0xA1, 0x66, 0xD9, 0x02, 0x68, 0x69, 0xA1, 0x67]
      + [0xCB, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0]
    let value = try FlaxValue(flax: Data(bytes))
    guard case .integer(5)? = value["a"], case .integer(-1)? = value["b"], case .integer(256)? = value["c"],
      case .integer(-2)? = value["d"], case .null? = value["e"]?["0"], case .bool(true)? = value["e"]?["1"],
      case .string("hi")? = value["f"], case .number(1.5)? = value["g"]
    else {
      Issue.record("got \(value)")
      return
    }
  }

  static let faults: [(bytes: [UInt8], says: String)] = [
    ([], "left"),
    ([0xC1], "begins no value"),
    ([0x01, 0x02], "1 bytes follow"),
    ([0x82, 0xA1, 0x77], "map of 2 pairs"),
    ([0xDF, 0xFF, 0xFF, 0xFF, 0xFF], "does not fit"),
    ([0xDD, 0xFF, 0xFF, 0xFF, 0xFF], "does not fit"),
    ([0xDB, 0xFF, 0xFF, 0xFF, 0xFF, 0x61], "announced"),
    ([0xA2, 0xC3, 0x28], "UTF-8"),
    ([0x82, 0xA1, 0x61, 0x01, 0xA1, 0x61, 0x02], "appears twice"),
    ([0x81, 0xC0, 0x01], "key must be a string"),
    ([0xCF] + [UInt8](repeating: 0xFF, count: 8), "out of range"),
    ([0xD4, 0x02, 0x00], "extension type 2"),
    ([0xC7, 0xFF, 0x01, 0x93], "announced"),
    ([0xD4, 0x01, 0x92], "[shape, dtype, bytes]"),
    ([UInt8](repeating: 0x91, count: 60) + [0x01], "deeper"),
    (Array(small.dropLast(3)), "announced"),
    (small.map { $0 == 0x08 ? 0x04 : $0 }, "takes 8 bytes"),
    (
      [0xC7, 0x13, 0x01, 0x93, 0x91, 0xCF, 0x7F] + [UInt8](repeating: 0xFF, count: 7) + [0xA7] + Array("float32".utf8),
      "too large"
    ),
  ]

  @Test("a damaged file is refused with the place of the fault", arguments: faults)
  func fault(_ fault: (bytes: [UInt8], says: String)) {
    let error = #expect(throws: FormatError.self) { try FlaxValue(flax: Data(fault.bytes)) }
    #expect(error?.description.contains(fault.says) == true, "\(error?.description ?? "accepted")")
  }

  @Test("no flipped bit crashes the reader")
  func corrupted() {
    var accepted = 0
    for index in Self.small.indices {
      for bit in 0..<8 {
        var damaged = Self.small
        damaged[index] ^= 1 << UInt8(bit)
        if (try? FlaxValue(flax: Data(damaged))) != nil { accepted += 1 }
      }
    }
    // The 8 bytes of contents and the key may change without a fault.
    #expect(accepted >= 64)
    #expect(accepted < Self.small.count * 8)
  }
}
