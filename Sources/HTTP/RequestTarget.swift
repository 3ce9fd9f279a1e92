// What a request asks for: path segments and query, split before they are decoded; made by HeadRules, matched by Router.

/// The target of a request (RFC 9112 §3.2), its path split on raw slashes and then decoded segment by segment.
///
/// A decoded segment never holds a slash, a NUL or another control character and is never `.` or `..`, so an escape such as
/// `%2f` cannot change the structure of a path.
public struct RequestTarget: Sendable {
  /// The path as it came, starting with `/`; `*` for the server as a whole.
  public let rawPath: String
  /// The query as it came, without the question mark; nil when there was none.
  public let rawQuery: String?
  /// The decoded segments of the path; `/` has none, `/a/` has `a` and an empty one.
  public let segments: [String]
  /// The decoded query, in order; `a` and `a=` both give an empty value, `+` is a blank.
  public let query: [(name: String, value: String)]

  /// The value of the first query item of that name; nil if there is none.
  public func queryValue(_ name: String) -> String? {
    query.first { $0.name == name }?.value
  }

  /// The target and, for `http://host/path`, the authority that takes the place of the Host field.
  static func parse(
    _ bytes: ArraySlice<UInt8>, method: Method
  ) throws(ProtocolFault) -> (target: RequestTarget, authority: ArraySlice<UInt8>?) {
    if bytes.count == 1, bytes.first == UInt8(ascii: "*") {
      guard method == .options else { throw .bad("the target * belongs to OPTIONS alone") }
      return (RequestTarget(rawPath: "*", rawQuery: nil, segments: ["*"], query: []), nil)
    }
    guard bytes.first != UInt8(ascii: "/") else { return (try parseOrigin(bytes), nil) }
    for scheme in ["http://", "https://"] as [StaticString] {
      let length = scheme.utf8CodeUnitCount
      guard bytes.count > length, equalsIgnoringCase(bytes.prefix(length), scheme) else { continue }
      let rest = bytes.dropFirst(length)
      let end = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
      let origin = rest[end...]
      // An absolute form may leave out the path: "http://host" and "http://host?q" mean "/" and "/?q".
      let path = origin.first == UInt8(ascii: "/") ? origin : ArraySlice([UInt8(ascii: "/")] + origin)
      return (try parseOrigin(path), rest[..<end])
    }
    throw .bad("the target must be a path starting with / or an http:// URL")
  }

  private static func parseOrigin(_ bytes: ArraySlice<UInt8>) throws(ProtocolFault) -> RequestTarget {
    let mark = bytes.firstIndex(of: UInt8(ascii: "?")) ?? bytes.endIndex
    let path = bytes[..<mark]
    let query = mark == bytes.endIndex ? nil : bytes[(mark + 1)...]
    guard path.allSatisfy(isPathByte) else {
      throw .bad("the path holds a character that must be percent-encoded")
    }
    if let query, !query.allSatisfy(isQueryByte) {
      throw .bad("the query holds a character that must be percent-encoded")
    }
    var segments: [String] = []
    if path.count > 1 {
      for raw in path.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
        segments.append(try decodeSegment(raw))
      }
    }
    var items: [(name: String, value: String)] = []
    if let query {
      for raw in query.split(separator: UInt8(ascii: "&")) {
        let equals = raw.firstIndex(of: UInt8(ascii: "=")) ?? raw.endIndex
        let name = try decode(raw[..<equals], plusIsBlank: true)
        let value = equals == raw.endIndex ? "" : try decode(raw[(equals + 1)...], plusIsBlank: true)
        items.append((name, value))
      }
    }
    return RequestTarget(
      rawPath: String(decoding: path, as: UTF8.self), rawQuery: query.map { String(decoding: $0, as: UTF8.self) },
      segments: segments, query: items)
  }

  private static func decodeSegment(_ raw: ArraySlice<UInt8>) throws(ProtocolFault) -> String {
    let segment = try decode(raw, plusIsBlank: false)
    if segment == "." || segment == ".." { throw .bad("the path holds a . or .. segment") }
    for byte in segment.utf8 where byte < 0x20 || byte == 0x7F || byte == UInt8(ascii: "/") {
      throw .bad("a path segment holds an escaped slash or control character")
    }
    return segment
  }

  private static func decode(_ raw: ArraySlice<UInt8>, plusIsBlank: Bool) throws(ProtocolFault) -> String {
    guard raw.contains(where: { $0 == UInt8(ascii: "%") || (plusIsBlank && $0 == UInt8(ascii: "+")) }) else {
      return String(decoding: raw, as: UTF8.self)
    }
    var decoded: [UInt8] = []
    decoded.reserveCapacity(raw.count)
    var index = raw.startIndex
    while index < raw.endIndex {
      let byte = raw[index]
      if byte == UInt8(ascii: "%") {
        guard index + 2 < raw.endIndex, let high = raw[index + 1].hexValue, let low = raw[index + 2].hexValue else {
          throw .bad("the target holds a % without two hexadecimal digits after it")
        }
        let value = high << 4 | low
        guard value != 0 else { throw .bad("the target holds an escaped NUL") }
        decoded.append(value)
        index += 3
      } else {
        decoded.append(plusIsBlank && byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
        index += 1
      }
    }
    guard let text = String(validating: decoded, as: UTF8.self) else {
      throw .bad("the target decodes to bytes that are not UTF-8")
    }
    return text
  }

  /// RFC 3986 pchar and slash, with the brackets and bar that browsers leave as they are.
  private static func isPathByte(_ byte: UInt8) -> Bool {
    if byte.isAlphanumeric { return true }
    switch byte {
    case 0x21, 0x24, 0x25, 0x26...0x2F, 0x3A, 0x3B, 0x3D, 0x40, 0x5B, 0x5D, 0x5F, 0x7C, 0x7E: return true
    default: return false
    }
  }

  /// Any visible ASCII but the quote, `#`, `<` and `>`, which even browsers encode in a query.
  private static func isQueryByte(_ byte: UInt8) -> Bool {
    byte > 0x20 && byte < 0x7F && byte != 0x22 && byte != 0x23 && byte != 0x3C && byte != 0x3E
  }
}
