// The chunked coding, legal and illegal, whole and in pieces; mirrors ChunkedDecoder.swift.

import Testing

@testable import HTTP

/// What the decoder makes of some bytes shown to it in the given pieces.
enum Decoded: Equatable {
  case complete(data: String, consumed: Int)
  case incomplete(data: String)
  case fault(Int)
}

func decodeChunks(_ bytes: [UInt8], cuts: [Int] = []) -> Decoded {
  var decoder = ChunkedDecoder(limits: HeadLimits())
  var data: [UInt8] = []
  var start = 0
  for end in cuts + [bytes.count] {
    var fault: ProtocolFault?
    var used = 0
    bytes[start..<end].withUnsafeBufferPointer { piece in
      do throws(ProtocolFault) {
        used = try decoder.decode(piece) { part in
          data.append(contentsOf: part)
          return true
        }
      } catch { fault = error }
    }
    if let fault { return .fault(fault.status.code) }
    if decoder.isFinished { return .complete(data: String(decoding: data, as: UTF8.self), consumed: start + used) }
    start = end
  }
  return .incomplete(data: String(decoding: data, as: UTF8.self))
}

struct ChunkedDecoderTests {
  static let legal: [(String, String)] = [
    ("0\r\n\r\n", ""),
    ("3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("A\r\n0123456789\r\n002\r\nab\r\n000\r\n\r\n", "0123456789ab"),
    ("3;name=value;other=\"a b\"\r\nabc\r\n0;last\r\n\r\n", "abc"),
    ("1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 99\r\n\r\n", "a"),
    ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
  ]

  static let illegal = [
    "\r\n", "g\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", " 1\r\n", "1 \r\na", "1\na\n0\n\n", "1\r\nab\r\n",
    "1\r\na\n0\r\n\r\n",
    "1\r\na\rb", "1\r\na0\r\n\r\n", "1000000000000000\r\n", "0000000000000001\r\n", "1;a\nb\r\n", "1;\0\r\n", "1;a\rb",
    "0\r\nno colon\r\n\r\n", "0\r\n folded\r\n\r\n", "0\r\nX : 1\r\n\r\n", "0\r\nX: 1\n\r\n", "0\r\n: 1\r\n\r\n",
    "0\r\n\rX",
    "1;" + String(repeating: "x", count: 5000),
  ]

  @Test("a legal body is decoded, and what follows it is left alone")
  func accepts() {
    for (text, data) in Self.legal {
      let expected = Decoded.complete(data: data, consumed: text.utf8.count)
      #expect(decodeChunks(Array((text + "GET / HTTP/1.1").utf8)) == expected, "\(text.debugDescription)")
    }
  }

  @Test("an illegal body is refused")
  func refuses() {
    for text in Self.illegal { #expect(decodeChunks(Array(text.utf8)) == .fault(400), "\(text.debugDescription)") }
  }

  @Test("trailers are bounded in length and in number")
  func trailers() {
    let long = "0\r\nX: " + String(repeating: "y", count: 16 << 10)
    #expect(decodeChunks(Array(long.utf8)) == .fault(431))
    let many = "0\r\n" + String(repeating: "X: y\r\n", count: 101)
    #expect(decodeChunks(Array(many.utf8)) == .fault(431))
  }

  @Test("extensions are bounded over the whole body, not only in each chunk")
  func extensions() {
    let chunk = "1;" + String(repeating: "x", count: 100) + "\r\na\r\n"
    #expect(decodeChunks(Array(String(repeating: chunk, count: 50).utf8)) == .fault(400))
  }

  @Test("every body gets the same verdict however it is split")
  func splits() {
    var random = SplitMix(seed: 3)
    for text in Self.legal.map(\.0) + Self.illegal {
      let bytes = Array(text.utf8)
      let whole = decodeChunks(bytes)
      #expect(decodeChunks(bytes, cuts: Array(1..<bytes.count)) == whole, "byte by byte: \(text.debugDescription)")
      for _ in 0..<20 {
        let cuts = (0..<3).map { _ in Int(random.next(below: UInt64(bytes.count))) }.sorted()
        #expect(decodeChunks(bytes, cuts: cuts) == whole, "cut at \(cuts): \(text.debugDescription)")
      }
    }
  }
}
