// Splits the head of a request (request line and fields) into its parts, byte by byte; HeadRules gives the parts a meaning.

/// A breach of the protocol: the status to answer with before the connection is closed, and what was wrong.
struct ProtocolFault: Error, Equatable {
  var status: Status
  var detail: String
}

/// The parts of a request head, lexically valid but not yet interpreted.
struct RawHead {
  var method: Range<Int>
  var target: Range<Int>
  /// The minor version of HTTP/1: 0, or 1 for everything above.
  var minorVersion: Int
  var fields: HeaderFields
}

/// An incremental lexer of request heads (RFC 9112 §2 to §5), without sockets.
///
/// The caller shows it the bytes received so far, always from the first byte of the message; the parser remembers how far
/// it has looked, so a head that arrives byte by byte is still read only once. The first violation in byte order decides the
/// answer, hence the answer does not depend on how the bytes were split on their way.
struct HeadParser {
  enum Outcome {
    case incomplete
    /// The head and how many bytes it took.
    case head(RawHead, consumed: Int)
    case fault(ProtocolFault)
  }

  private enum Stage { case beforeRequestLine, requestLine, fields }

  private let limits: HeadLimits
  private var stage = Stage.beforeRequestLine
  private var position = 0
  private var lineStart = 0
  private var fieldsStart = 0
  private var method = 0..<0
  private var target = 0..<0
  private var minorVersion = 1
  private var entries: [HeaderFields.Entry] = []

  init(limits: HeadLimits) { self.limits = limits }

  mutating func advance(_ bytes: UnsafeBufferPointer<UInt8>) -> Outcome {
    do throws(ProtocolFault) {
      if let end = try scan(bytes) {
        let block = [UInt8](bytes[0..<end])
        let fields = HeaderFields(block: block, entries: entries)
        return .head(
          RawHead(method: method, target: target, minorVersion: minorVersion, fields: fields), consumed: end)
      }
      return .incomplete
    } catch {
      return .fault(error)
    }
  }

  /// Looks at the bytes not seen yet; returns the end of the head once it is there.
  private mutating func scan(_ bytes: UnsafeBufferPointer<UInt8>) throws(ProtocolFault) -> Int? {
    let count = bytes.count
    while position < count {
      let byte = bytes[position]
      if stage == .beforeRequestLine, byte != 0x0D { stage = .requestLine }
      if byte == 0x0D {
        guard position + 1 < count else { return nil }
        guard bytes[position + 1] == 0x0A else { throw .bad("a carriage return stands without a line feed after it") }
        let line = lineStart..<position
        position += 2
        if try finish(line, bytes) { return position }
        lineStart = position
        continue
      }
      guard byte.isFieldText else { throw .bad(Self.describe(byte)) }
      if stage == .requestLine {
        guard position - lineStart < limits.requestLineBytesMax else {
          throw ProtocolFault(
            status: .uriTooLong, detail: "the request line is longer than \(limits.requestLineBytesMax) bytes")
        }
      } else {
        guard position - fieldsStart < limits.headerBytesMax else {
          throw ProtocolFault(
            status: .headersTooLarge, detail: "the header fields are longer than \(limits.headerBytesMax) bytes")
        }
      }
      position += 1
    }
    return nil
  }

  /// Takes one line without its CRLF; true if it was the empty line that ends the head.
  private mutating func finish(
    _ line: Range<Int>, _ bytes: UnsafeBufferPointer<UInt8>
  ) throws(ProtocolFault) -> Bool {
    switch stage {
    case .beforeRequestLine:
      // One empty line before a request is forgiven (RFC 9112 §2.2); a second is not, since the stage moves on.
      stage = .requestLine
      return false
    case .requestLine:
      try parseRequestLine(line, bytes)
      stage = .fields
      fieldsStart = position
      return false
    case .fields:
      if line.isEmpty { return true }
      try parseField(line, bytes)
      return false
    }
  }

  private mutating func parseRequestLine(
    _ line: Range<Int>, _ bytes: UnsafeBufferPointer<UInt8>
  ) throws(ProtocolFault) {
    guard let firstSpace = bytes[line].firstIndex(of: 0x20), let lastSpace = bytes[line].lastIndex(of: 0x20),
      firstSpace < lastSpace
    else { throw .bad("the request line is not METHOD SP TARGET SP VERSION") }
    method = line.lowerBound..<firstSpace
    target = firstSpace + 1..<lastSpace
    guard !method.isEmpty, bytes[method].allSatisfy(\.isToken) else { throw .bad("the method is not a token") }
    guard !target.isEmpty, !bytes[target].contains(where: \.isBlank) else {
      throw .bad("the request line must have exactly one space on each side of the target, and none in it")
    }
    let version = bytes[lastSpace + 1..<line.upperBound]
    let at = version.startIndex
    guard version.count == 8, version.starts(with: "HTTP/".utf8), version[at + 5].isDigit, version[at + 6] == 0x2E,
      version[at + 7].isDigit
    else { throw .bad("the version is not HTTP/1.1 or HTTP/1.0") }
    guard version[at + 5] == 0x31 else {
      throw ProtocolFault(status: .versionNotSupported, detail: "only HTTP/1.1 and HTTP/1.0 are spoken here")
    }
    // A higher minor version is answered as the highest one known (RFC 9110 §2.5).
    minorVersion = version[at + 7] == 0x30 ? 0 : 1
  }

  private mutating func parseField(
    _ line: Range<Int>, _ bytes: UnsafeBufferPointer<UInt8>
  ) throws(ProtocolFault) {
    guard entries.count < limits.headerFieldsMax else {
      throw ProtocolFault(
        status: .headersTooLarge, detail: "there are more than \(limits.headerFieldsMax) header fields")
    }
    let entry = try Self.field(line, bytes)
    entries.append(entry)
  }

  /// Splits `name: value`; also used for trailer lines.
  static func field(
    _ line: Range<Int>, _ bytes: UnsafeBufferPointer<UInt8>
  ) throws(ProtocolFault) -> HeaderFields.Entry {
    guard !bytes[line.lowerBound].isBlank else {
      throw .bad("a header line begins with a blank (folded lines are refused)")
    }
    guard let colon = bytes[line].firstIndex(of: 0x3A) else { throw .bad("a header line has no colon") }
    let name = line.lowerBound..<colon
    guard !name.isEmpty, bytes[name].allSatisfy(\.isToken) else {
      throw .bad("a header name is empty or holds a character that is not allowed (blanks before the colon included)")
    }
    var start = colon + 1
    var end = line.upperBound
    while start < end, bytes[start].isBlank { start += 1 }
    while start < end, bytes[end - 1].isBlank { end -= 1 }
    return HeaderFields.Entry(
      nameStart: Int32(name.lowerBound), nameEnd: Int32(name.upperBound), valueStart: Int32(start), valueEnd: Int32(end)
    )
  }

  private static func describe(_ byte: UInt8) -> String {
    switch byte {
    case 0x0A: "a line feed stands without a carriage return before it"
    case 0x00: "the request holds a NUL byte"
    default: "the request holds a control character"
    }
  }
}

extension ProtocolFault {
  static func bad(_ detail: String) -> ProtocolFault { ProtocolFault(status: .badRequest, detail: detail) }
}
