// Request heads, legal and illegal, one table; mirrors HeadParser.swift and HeadRules.swift.

import Testing

@testable import HTTP

/// What the parser and the rules together make of some bytes.
enum Verdict: Equatable {
  case incomplete
  case fault(Int)
  case accepted(consumed: Int, BodyFraming, keepsAlive: Bool)
}

/// Shows the bytes to a parser in the given pieces, like a connection does.
func judge(_ bytes: [UInt8], cuts: [Int] = [], limits: HeadLimits = HeadLimits()) -> Verdict {
  var parser = HeadParser(limits: limits)
  for end in cuts + [bytes.count] {
    let outcome = bytes[..<end].withUnsafeBufferPointer { parser.advance($0) }
    switch outcome {
    case .incomplete: continue
    case .fault(let fault): return .fault(fault.status.code)
    case .head(let raw, let consumed):
      do throws(ProtocolFault) {
        let head = try InterpretedHead(raw)
        return .accepted(consumed: consumed, head.framing, keepsAlive: head.keepsAlive)
      } catch {
        return .fault(error.status.code)
      }
    }
  }
  return .incomplete
}

func judge(_ text: String) -> Verdict { judge(Array(text.utf8)) }

struct HeadParserTests {
  static let legal: [(String, BodyFraming, Bool)] = [
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", .none, true),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .none, true),
    ("GET / HTTP/1.0\r\n\r\n", .none, false),
    ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", .none, true),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", .none, false),
    ("GET / HTTP/1.7\r\nHost: a\r\n\r\n", .none, true),
    ("GET http://a/b?c HTTP/1.1\r\nHost: other\r\n\r\n", .none, true),
    ("OPTIONS * HTTP/1.1\r\nHost: a:80\r\n\r\n", .none, true),
    ("POST / HTTP/1.1\r\nHost: [::1]:8080\r\nContent-Length: 007\r\n\r\n", .length(7), true),
    ("POST / HTTP/1.1\r\nhost:a\r\nCONTENT-LENGTH:\t3 \t\r\n\r\n", .length(3), true),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", .none, true),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", .length(.max), true),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", .chunked, true),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\nEmpty:\r\n\r\n", .none, true),
  ]

  @Test("a legal head is accepted with its framing and persistence")
  func accepts() {
    for (text, framing, keepsAlive) in Self.legal {
      let expected = Verdict.accepted(consumed: text.utf8.count, framing, keepsAlive: keepsAlive)
      #expect(judge(text) == expected, "\(text.debugDescription)")
    }
  }

  static let illegal: [(String, Int)] = [
    // The request line.
    ("GET /\r\n\r\n", 400), ("GET / \r\n\r\n", 400), ("GET  / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1 \r\n\r\n", 400),
    (" GET / HTTP/1.1\r\n\r\n", 400), ("GET\t/\tHTTP/1.1\r\n\r\n", 400), ("GET / a HTTP/1.1\r\n\r\n", 400),
    ("G(T / HTTP/1.1\r\n\r\n", 400), ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400),
    ("GET / FOO/9\r\n", 400), ("GET / HTTP/1\r\n", 400), ("GET / http/1.1\r\n", 400), ("GET / HTTP/11.1\r\n", 400),
    ("GET / HTTP/2.0\r\n", 505), ("GET / HTTP/0.9\r\n", 505), ("PRI * HTTP/2.0\r\n\r\n", 505),
    ("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501), ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501), ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    // Line ends and characters.
    ("GET / HTTP/1.1\nHost: a\n\n", 400), ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400), ("GET / HTTP/1.1\r\rHost: a", 400),
    ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
    ("GET /\0 HTTP/1.1\r\n", 400), ("GET / HTTP/1.1\r\nX: \u{7f}\r\n\r\n", 400), ("\u{16}\u{3}\u{1}", 400),
    // Fields.
    ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400), ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nb(c): d\r\n\r\n", 400),
    // Host.
    ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400), ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    // Framing.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", 501),
    ("POST / HTTP/1.0\r\n\r\n", 411),
    // Expectations.
    ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417),
    ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", 417),
  ]

  @Test("an illegal head is refused with the right status")
  func refuses() {
    for (text, status) in Self.illegal { #expect(judge(text) == .fault(status), "\(text.debugDescription)") }
  }

  @Test("every head gets the same verdict however it is split")
  func splits() {
    var random = SplitMix(seed: 11)
    for text in Self.legal.map(\.0) + Self.illegal.map(\.0) {
      let bytes = Array(text.utf8)
      let whole = judge(bytes)
      #expect(judge(bytes, cuts: Array(1..<bytes.count)) == whole, "byte by byte: \(text.debugDescription)")
      for _ in 0..<20 {
        let cuts = (0..<3).map { _ in Int(random.next(below: UInt64(bytes.count))) }.sorted()
        #expect(judge(bytes, cuts: cuts) == whole, "cut at \(cuts): \(text.debugDescription)")
      }
    }
  }

  @Test("every beginning of a legal head is incomplete")
  func prefixes() {
    for (text, _, _) in Self.legal {
      let bytes = Array(text.utf8)
      for end in 0..<bytes.count { #expect(judge(Array(bytes[..<end])) == .incomplete) }
    }
  }

  @Test("what follows a head is left alone")
  func leavesTheRest() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    #expect(judge(head + "GET /next") == .accepted(consumed: head.utf8.count, .none, keepsAlive: true))
  }

  @Test("the request line may be as long as its limit and no longer")
  func requestLineLimit() {
    func line(_ bytes: Int) -> String { "GET /" + String(repeating: "a", count: bytes - 14) + " HTTP/1.1" }
    let rest = "\r\nHost: a\r\n\r\n"
    #expect(judge(line(8192) + rest) == .accepted(consumed: 8192 + rest.utf8.count, .none, keepsAlive: true))
    #expect(judge(line(8193) + rest) == .fault(414))
    #expect(judge(String(repeating: "a", count: 8193)) == .fault(414), "no line end is needed for the verdict")
  }

  @Test("the header block may be as long as its limit and no longer")
  func headerLimit() {
    func head(_ bytes: Int) -> String {
      "GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "b", count: bytes - 12) + "\r\n\r\n"
    }
    // The line of Host takes 9 bytes, "X: " takes 3.
    let fits = head(16 << 10)
    #expect(judge(fits) == .accepted(consumed: fits.utf8.count, .none, keepsAlive: true))
    #expect(judge(head(16 << 10 + 1)) == .fault(431))
  }

  @Test("there may be a hundred fields and no more")
  func fieldLimit() {
    func head(_ count: Int) -> String {
      "GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "X: b\r\n", count: count - 1) + "\r\n"
    }
    #expect(judge(head(100)) == .accepted(consumed: head(100).utf8.count, .none, keepsAlive: true))
    #expect(judge(head(101)) == .fault(431))
  }
}
