// Gives a lexed head its meaning: method, target, host, body framing, persistence (RFC 9112 §3, §6, §9); after HeadParser.

/// How the body of a request is delimited on the wire.
enum BodyFraming: Equatable, Sendable {
  case none
  /// `Content-Length` greater than zero.
  case length(Int)
  case chunked
}

/// What the connection must know about a request besides the head that handlers see.
struct InterpretedHead {
  var method: Method
  var target: RequestTarget
  var host: Authority?
  var minorVersion: Int
  var fields: HeaderFields
  var framing: BodyFraming
  var keepsAlive: Bool
  var expectsContinue: Bool
}

/// A host with an optional port, as in the Host field.
struct Authority: Equatable, Sendable {
  /// Lower-case, without the port; IPv6 keeps its brackets.
  var host: String
  var port: Int?

  /// Parses `host`, `host:port` or `[v6]:port`; nil for anything else, user names and empty hosts included.
  static func parse(_ bytes: ArraySlice<UInt8>) -> Authority? {
    guard let first = bytes.first, bytes.count <= 300 else { return nil }
    var hostEnd: Int
    if first == UInt8(ascii: "[") {
      guard let close = bytes.firstIndex(of: UInt8(ascii: "]")) else { return nil }
      let inside = bytes[(bytes.startIndex + 1)..<close]
      guard inside.count >= 2, inside.allSatisfy({ $0.hexValue != nil || $0 == 0x3A || $0 == 0x2E }) else { return nil }
      hostEnd = close + 1
    } else {
      hostEnd = bytes.firstIndex(of: UInt8(ascii: ":")) ?? bytes.endIndex
      let name = bytes[..<hostEnd]
      guard !name.isEmpty,
        name.allSatisfy({ $0.isAlphanumeric || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F || $0 == 0x7E })
      else { return nil }
    }
    let host = String(decoding: bytes[..<hostEnd].map(\.lowercased), as: UTF8.self)
    guard hostEnd < bytes.endIndex else { return Authority(host: host, port: nil) }
    guard bytes[hostEnd] == UInt8(ascii: ":") else { return nil }
    let digits = bytes[(hostEnd + 1)...]
    guard digits.count <= 5, digits.allSatisfy(\.isDigit) else { return nil }
    // "host:" with nothing after the colon is the default port (RFC 3986 §3.2.3).
    guard !digits.isEmpty else { return Authority(host: host, port: nil) }
    let port = digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    return port <= 65_535 ? Authority(host: host, port: port) : nil
  }
}

extension InterpretedHead {
  init(_ raw: RawHead) throws(ProtocolFault) {
    let block = raw.fields.block
    fields = raw.fields
    minorVersion = raw.minorVersion
    // Framing comes first: whatever else is wrong, a message that two readers could delimit differently must not pass.
    framing = try Self.framing(raw.fields, minorVersion: raw.minorVersion)
    guard let method = Method(bytes: block[raw.method]) else {
      throw ProtocolFault(
        status: .notImplemented,
        detail: "the method is none of \(Method.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    self.method = method
    let hosts = raw.fields.firstTwo("host")
    guard hosts.second == nil else { throw .bad("there is more than one Host field") }
    var host: Authority?
    if let value = hosts.first {
      host = Authority.parse(value)
      guard host != nil else { throw .bad("the Host field is not a host name or address with an optional port") }
    } else if raw.minorVersion >= 1 {
      throw .bad("HTTP/1.1 requires a Host field")
    }
    let (target, authority) = try RequestTarget.parse(block[raw.target], method: method)
    self.target = target
    if let authority {
      guard let parsed = Authority.parse(authority) else { throw .bad("the target's host is malformed") }
      host = parsed
    }
    self.host = host
    keepsAlive = Self.keepsAlive(raw.fields, minorVersion: raw.minorVersion)
    expectsContinue = try Self.expectsContinue(raw.fields, minorVersion: raw.minorVersion)
    if raw.minorVersion == 0, method == .post || method == .put || method == .patch, framing == .none,
      raw.fields.firstTwo("content-length").first == nil
    {
      throw ProtocolFault(status: .lengthRequired, detail: "HTTP/1.0 requires Content-Length with \(method.rawValue)")
    }
  }

  private static func framing(_ fields: HeaderFields, minorVersion: Int) throws(ProtocolFault) -> BodyFraming {
    let lengths = fields.firstTwo("content-length")
    let codings = fields.firstTwo("transfer-encoding")
    if codings.first != nil {
      guard lengths.first == nil else { throw .bad("Content-Length and Transfer-Encoding exclude each other") }
      guard minorVersion >= 1 else { throw .bad("HTTP/1.0 has no Transfer-Encoding") }
      guard let coding = codings.first, codings.second == nil, equalsIgnoringCase(coding, "chunked") else {
        throw ProtocolFault(status: .notImplemented, detail: "the only Transfer-Encoding understood is chunked, once")
      }
      return .chunked
    }
    guard let length = lengths.first else { return .none }
    guard lengths.second == nil else { throw .bad("there is more than one Content-Length") }
    guard !length.isEmpty, length.allSatisfy(\.isDigit) else {
      throw .bad("Content-Length is not a plain decimal number")
    }
    var value = 0
    for digit in length {
      let (product, over) = value.multipliedReportingOverflow(by: 10)
      let (sum, overSum) = product.addingReportingOverflow(Int(digit - 0x30))
      // A number past 63 bits is well-formed, only larger than any route allows.
      if over || overSum { return .length(.max) }
      value = sum
    }
    return value == 0 ? .none : .length(value)
  }

  private static func keepsAlive(_ fields: HeaderFields, minorVersion: Int) -> Bool {
    var keepAlive = false
    for value in fields.all("connection") {
      for option in value.utf8.split(separator: UInt8(ascii: ",")) {
        let trimmed = option.drop(while: \.isBlank)
        let word = Array(trimmed).prefix { !$0.isBlank }
        if equalsIgnoringCase(word, "close") { return false }
        if equalsIgnoringCase(word, "keep-alive") { keepAlive = true }
      }
    }
    return minorVersion >= 1 || keepAlive
  }

  private static func expectsContinue(_ fields: HeaderFields, minorVersion: Int) throws(ProtocolFault) -> Bool {
    let expectations = fields.firstTwo("expect")
    // An HTTP/1.0 client cannot mean it (RFC 9110 §10.1.1).
    guard minorVersion >= 1, let first = expectations.first else { return false }
    guard expectations.second == nil, equalsIgnoringCase(first, "100-continue") else {
      throw ProtocolFault(status: .expectationFailed, detail: "the only expectation understood is 100-continue")
    }
    return true
  }
}
