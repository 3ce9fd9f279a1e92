// An independent, slow and simple reading of accepted messages: whatever the parser lets through must be unambiguous.

@testable import HTTP

enum FramingOracle {
  /// Why a head that the parser accepted should not have been; nil if it is fine.
  ///
  /// Written against RFC 9112 alone, by splitting and comparing, without any code of the parser.
  static func objection(to bytes: ArraySlice<UInt8>, framing: BodyFraming, target: RequestTarget) -> String? {
    var head = Array(bytes)
    if head.starts(with: [13, 10]) { head.removeFirst(2) }
    guard head.suffix(4) == [13, 10, 13, 10] else { return "does not end with an empty line" }
    head.removeLast(2)
    var lines: [[UInt8]] = [[]]
    var index = 0
    while index < head.count {
      if head[index] == 13 {
        guard index + 1 < head.count, head[index + 1] == 10 else { return "bare CR" }
        lines.append([])
        index += 2
        continue
      }
      if head[index] == 10 { return "bare LF" }
      if head[index] == 0 { return "NUL" }
      lines[lines.count - 1].append(head[index])
      index += 1
    }
    lines.removeLast()
    let start = lines.removeFirst()
    guard start.filter({ $0 == 32 }).count == 2, !start.contains(9) else { return "request line without two spaces" }
    let isFirstMinor = start.last != UInt8(ascii: "0")
    var lengths: [[UInt8]] = []
    var codings: [[UInt8]] = []
    var hosts = 0
    for line in lines {
      if line.isEmpty { return "an empty line in the middle" }
      guard let colon = line.firstIndex(of: 58), colon > 0 else { return "a line without a name" }
      if line[..<colon].contains(where: { $0 <= 32 || $0 >= 127 }) { return "a blank or control in a name" }
      let name = lower(line[..<colon])
      var value = Array(line[(colon + 1)...])
      while let last = value.last, last == 32 || last == 9 { value.removeLast() }
      while let first = value.first, first == 32 || first == 9 { value.removeFirst() }
      switch name {
      case "content-length": lengths.append(value)
      case "transfer-encoding": codings.append(value)
      case "host": hosts += 1
      default: break
      }
    }
    if hosts > 1 || (isFirstMinor && hosts == 0) { return "\(hosts) hosts" }
    if !codings.isEmpty {
      guard lengths.isEmpty, codings.count == 1, isFirstMinor, lower(codings[0][...]) == "chunked" else {
        return "ambiguous transfer coding"
      }
      if framing != .chunked { return "chunked read as \(framing)" }
    } else if !lengths.isEmpty {
      guard lengths.count == 1, !lengths[0].isEmpty, lengths[0].allSatisfy({ (48...57).contains($0) }) else {
        return "ambiguous length"
      }
      let digits = String(decoding: lengths[0], as: UTF8.self)
      let value = Int(digits) ?? .max
      if framing != (value == 0 ? .none : .length(value)) { return "length \(digits) read as \(framing)" }
    } else if framing != .none {
      return "a body without any framing field: \(framing)"
    }
    for segment in target.segments where target.rawPath != "*" {
      if segment == "." || segment == ".." || segment.utf8.contains(where: { $0 == 47 || $0 == 0 || $0 < 32 }) {
        return "path structure in a segment"
      }
    }
    return nil
  }

  /// Decodes a chunked body that the decoder accepted in full; nil if it is not strictly well-formed.
  static func chunkedData(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
    var rest = bytes
    var data: [UInt8] = []
    func line() -> [UInt8]? {
      guard let feed = rest.firstIndex(of: 10), feed > rest.startIndex, rest[feed - 1] == 13 else { return nil }
      let line = Array(rest[rest.startIndex..<(feed - 1)])
      rest = rest[(feed + 1)...]
      return line.contains(13) || line.contains(0) ? nil : line
    }
    while true {
      guard let sizeLine = line() else { return nil }
      let digits = String(decoding: sizeLine.prefix { $0 != 59 }, as: UTF8.self)
      guard !digits.isEmpty, digits.allSatisfy(\.isHexDigit), let size = Int(digits, radix: 16) else { return nil }
      if size == 0 { break }
      guard rest.count >= size + 2, rest[rest.startIndex + size] == 13, rest[rest.startIndex + size + 1] == 10 else {
        return nil
      }
      data += rest.prefix(size)
      rest = rest.dropFirst(size + 2)
    }
    while let trailer = line() {
      if trailer.isEmpty { return rest.isEmpty ? data : nil }
      guard let colon = trailer.firstIndex(of: 58), colon > 0, trailer[..<colon].allSatisfy({ $0 > 32 && $0 < 127 })
      else { return nil }
    }
    return nil
  }

  private static func lower(_ bytes: ArraySlice<UInt8>) -> String {
    String(decoding: bytes, as: UTF8.self).lowercased()
  }
}
