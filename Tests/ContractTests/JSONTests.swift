// JSON.swift, JSONParser.swift: text to value and back, and every text that must be refused.
import Contract
import Foundation
import Testing

@Suite struct JSONTests {
  @Test("a value survives being written and read")
  func roundTrip() throws {
    let value: JSON = [
      "a": [1, 2.5, -3e-9, true, false, nil], "b": "quote \" slash \\ tab \t é 漢 🚂", "c": [:], "d": [],
      "big": .integer(.max), "small": .integer(.min), "tiny": .number(5e-324),
    ]
    #expect(try JSON.parse(value.text) == value)
    #expect(try JSON.parse(value.pretty) == value)
    #expect(try JSON.parse(value.bytes) == value)
  }

  @Test("random values survive being written and read")
  func randomRoundTrip() throws {
    var random = SplitMix(state: 7)
    for _ in 0..<500 {
      let value = randomValue(&random, depth: 0)
      #expect(try JSON.parse(value.bytes) == value)
    }
  }

  @Test(
    "what is not strict JSON is refused with its position",
    arguments: [
      ("", 0), ("{", 1), ("[1,]", 3), ("{\"a\":1,}", 7), ("{\"a\":1,\"a\":2}", 7), ("01", 0), ("1.", 2), ("-", 1),
      ("1e", 2),
      ("NaN", 0), ("Infinity", 0), ("-Infinity", 1), ("1e999", 0), ("'a'", 0), ("\"\u{1}\"", 1), ("\"\\x\"", 2),
      ("\"\\ud800\"", 7), ("\"\\u0000\"", 7), ("tru", 0), ("[1 2]", 3), ("1 2", 2), ("\"abc", 4), ("{a:1}", 1),
      ("[1]]", 3), ("// x\n1", 0), ("\u{FEFF}1", 0),
    ])
  func refused(text: String, offset: Int) {
    let error = #expect(throws: JSONError.self) { try JSON.parse(text) }
    #expect(error?.offset == offset, "\(text): \(error.map(String.init(describing:)) ?? "accepted")")
  }

  @Test("bytes that are not UTF-8 are refused where they go wrong")
  func invalidUTF8() {
    let error = #expect(throws: JSONError.self) { try JSON.parse([0x22, 0x61, 0xFF, 0x22]) }
    #expect(error?.offset == 2)
    #expect(throws: JSONError.self) { try JSON.parse([0x22, 0xED, 0xA0, 0x80, 0x22]) }
  }

  @Test("nesting is bounded, so deep input cannot exhaust the stack")
  func depth() throws {
    let deep = { (count: Int) in String(repeating: "[", count: count) + String(repeating: "]", count: count) }
    #expect(throws: Never.self) { try JSON.parse(deep(64)) }
    #expect(throws: JSONError.self) { try JSON.parse(deep(65)) }
    #expect(throws: JSONError.self) { try JSON.parse(String(repeating: "{\"a\":", count: 1_000_000)) }
  }

  @Test("damaged texts are refused or read, and never crash")
  func mutations() {
    let seed = Array(JSON(dictionaryLiteral: ("a", [1, -2.5e3, "x\\u00e9", nil]), ("b", ["c": true])).text.utf8)
    var random = SplitMix(state: 3)
    var accepted = 0
    for _ in 0..<100_000 {
      var bytes = seed
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let place = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.remove(at: place)
        default: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
        }
      }
      guard let value = try? JSON.parse(bytes) else { continue }
      accepted += 1
      #expect((try? JSON.parse(value.bytes)) == value)
    }
    #expect(accepted > 0 && accepted < 100_000)
  }

  private func randomValue(_ random: inout SplitMix, depth: Int) -> JSON {
    switch Int.random(in: 0..<(depth < 4 ? 7 : 5), using: &random) {
    case 0: return .null
    case 1: return .bool(.random(using: &random))
    case 2: return .integer(.random(in: .min ... .max, using: &random))
    case 3:
      let value = Double(bitPattern: .random(in: .min ... .max, using: &random))
      return value.isFinite && Int(exactly: value) == nil ? .number(value) : .number(0.5)
    case 4:
      return .string(
        String(
          String.UnicodeScalarView(
            (0..<8).compactMap { _ in
              Unicode.Scalar(UInt32.random(in: 1..<0x3000, using: &random))
            })))
    case 5: return .array((0..<3).map { _ in randomValue(&random, depth: depth + 1) })
    default:
      return .object(
        Dictionary((0..<3).map { ("k\($0)", randomValue(&random, depth: depth + 1)) }, uniquingKeysWith: { $1 }))
    }
  }
}

/// A small reproducible generator for property tests.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}
