// Mutated requests by the hundred thousand: nothing crashes, nothing ambiguous passes, splits never matter.

import Testing

@testable import HTTP

/// Makes variants of a text by small damage and by planting what smugglers plant.
struct Mutator {
  static let plants = [
    "\r\n", "\n", "\r", "\0", " ", "\t", ":", ",", ";", "%", "%2f", "..", "\u{b}", "0", "5", "\u{80}", "\r\n\r\n",
    "Content-Length: 5\r\n", "Content-Length: 0\r\n", "Content-Length : 5\r\n", "content-length:6\r\n",
    "Transfer-Encoding: chunked\r\n", "Transfer-Encoding:\tchunked \r\n", "Transfer-Encoding: xchunked\r\n",
    " Transfer-Encoding: chunked\r\n", "Transfer-Encoding\r\n : chunked\r\n", "Host: b\r\n", "Expect: 100-continue\r\n",
    "Connection: close\r\n", "HTTP/1.0", "GET / HTTP/1.1\r\n",
  ].map { Array($0.utf8) }

  var random: SplitMix

  mutating func mutate(_ seed: [UInt8]) -> [UInt8] {
    var bytes = seed
    for _ in 0...random.next(below: 3) {
      let place = Int(random.next(below: UInt64(bytes.count + 1)))
      switch random.next(below: 6) {
      case 0 where place < bytes.count: bytes[place] = UInt8(truncatingIfNeeded: random.next())
      case 1 where place < bytes.count: bytes[place] ^= 1 << UInt8(random.next(below: 8))
      case 2 where place < bytes.count:
        bytes.removeSubrange(place..<min(bytes.count, place + 1 + Int(random.next(below: 8))))
      case 3:
        let end = min(bytes.count, place + Int(random.next(below: 30)))
        bytes.insert(contentsOf: Array(bytes[place..<end]), at: Int(random.next(below: UInt64(bytes.count + 1))))
      default:
        let plant = Self.plants[Int(random.next(below: UInt64(Self.plants.count)))]
        bytes.insert(contentsOf: plant, at: place)
      }
    }
    return bytes
  }
}

struct FramingFuzzTests {
  /// Each of the two lanes runs so many inputs.
  static let inputs = 110_000

  @Test(
    "of mutated heads, none crashes the parser, and none that is accepted is ambiguous", arguments: [1, 2] as [UInt64])
  func heads(seed: UInt64) {
    let seeds = HeadParserTests.legal.map { Array($0.0.utf8) }
    var mutator = Mutator(random: SplitMix(seed: seed))
    var accepted = 0
    var objections: [String] = []
    for round in 0..<Self.inputs {
      let bytes = mutator.mutate(seeds[round % seeds.count])
      var parser = HeadParser(limits: HeadLimits())
      let outcome = bytes.withUnsafeBufferPointer { parser.advance($0) }
      if case .head(let raw, let consumed) = outcome, let head = try? InterpretedHead(raw) {
        accepted += 1
        if let objection = FramingOracle.objection(to: bytes[..<consumed], framing: head.framing, target: head.target) {
          objections.append("\(objection): \(String(decoding: bytes, as: UTF8.self).debugDescription)")
        }
      }
      if round % 4 == 0 {
        let cut = Int(mutator.random.next(below: UInt64(bytes.count + 1)))
        if judge(bytes) != judge(bytes, cuts: [cut]) {
          objections.append("split at \(cut): \(String(decoding: bytes, as: UTF8.self).debugDescription)")
        }
      }
    }
    #expect(objections.prefix(5) == [])
    // Were nearly all refused, the objections above would never have had a chance.
    #expect(accepted > Self.inputs / 20)
  }

  @Test("of mutated chunked bodies, none crashes the decoder, and those accepted have one reading")
  func chunks() {
    let seeds = ChunkedDecoderTests.legal.map { Array($0.0.utf8) }
    var mutator = Mutator(random: SplitMix(seed: 5))
    var accepted = 0
    var objections: [String] = []
    for round in 0..<Self.inputs / 2 {
      let bytes = mutator.mutate(seeds[round % seeds.count])
      let whole = decodeChunks(bytes)
      if case .complete(let data, let consumed) = whole {
        accepted += 1
        let reading = FramingOracle.chunkedData(bytes[..<consumed]).map { String(decoding: $0, as: UTF8.self) }
        if reading != data { objections.append("misread: \(String(decoding: bytes, as: UTF8.self).debugDescription)") }
      }
      let cut = Int(mutator.random.next(below: UInt64(bytes.count + 1)))
      if decodeChunks(bytes, cuts: [cut]) != whole {
        objections.append("split at \(cut): \(String(decoding: bytes, as: UTF8.self).debugDescription)")
      }
    }
    #expect(objections.prefix(5) == [])
    #expect(accepted > Self.inputs / 40)
  }
}
