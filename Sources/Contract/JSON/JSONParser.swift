// Strict JSON text to `JSON`: what is ambiguous in RFC 8259 (duplicate keys, bad UTF-8, lone surrogates,
// numbers out of range) is refused with its position. Foundation's decoder accepts some of it silently.
import Foundation

/// Why a text is not JSON, with the position of the fault.
public struct JSONError: Error, Sendable, Hashable, CustomStringConvertible {
  /// What was expected or what is wrong.
  public let reason: String
  /// Byte offset of the fault, from 0.
  public let offset: Int

  public var description: String { "invalid JSON at byte \(offset): \(reason)" }
}

extension JSON {
  /// Parses UTF-8 text that holds exactly one JSON value.
  ///
  /// - Parameters:
  ///   - bytes: the text, without byte order mark.
  ///   - depthMax: how deep arrays and objects may nest.
  /// - Throws: ``JSONError`` with the position of the first fault.
  public static func parse(_ bytes: some Collection<UInt8>, depthMax: Int = 64) throws(JSONError) -> JSON {
    let bytes = Array(bytes)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw JSONError(reason: "the text is not valid UTF-8", offset: firstInvalidUTF8(bytes))
    }
    _ = text
    var parser = JSONParser(bytes: bytes, depthMax: depthMax)
    return try parser.document()
  }

  /// Parses a string that holds exactly one JSON value.
  public static func parse(_ text: String, depthMax: Int = 64) throws(JSONError) -> JSON {
    var parser = JSONParser(bytes: Array(text.utf8), depthMax: depthMax)
    return try parser.document()
  }

  private static func firstInvalidUTF8(_ bytes: [UInt8]) -> Int {
    var low = 0
    var decoder = UTF8()
    var iterator = bytes.makeIterator()
    while case .scalarValue(let scalar) = decoder.decode(&iterator) { low += UTF8.width(scalar) }
    return min(low, bytes.count)
  }
}

private struct JSONParser {
  let bytes: [UInt8]
  let depthMax: Int
  var position = 0

  init(bytes: [UInt8], depthMax: Int) {
    self.bytes = bytes
    self.depthMax = depthMax
  }

  mutating func document() throws(JSONError) -> JSON {
    skipSpace()
    let value = try self.value(depth: 0)
    skipSpace()
    guard position == bytes.count else { throw fault("expected the end of the text after the value") }
    return value
  }

  private func fault(_ reason: String, at offset: Int? = nil) -> JSONError {
    JSONError(reason: reason, offset: offset ?? position)
  }

  private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSON {
    guard let byte = current else { throw fault("expected a value, got the end of the text") }
    switch byte {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: throw fault("expected a value")
    }
  }

  private mutating func literal(_ word: String, _ value: JSON) throws(JSONError) -> JSON {
    guard bytes[position...].starts(with: word.utf8) else { throw fault("expected a value") }
    position += word.utf8.count
    return value
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSON {
    guard depth < depthMax else { throw fault("nested deeper than \(depthMax) levels") }
    position += 1
    var members: [String: JSON] = [:]
    skipSpace()
    if current == UInt8(ascii: "}") {
      position += 1
      return .object(members)
    }
    while true {
      skipSpace()
      guard current == UInt8(ascii: "\"") else { throw fault("expected a key in double quotes") }
      let start = position
      let key = try string()
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw fault("expected ':' after the key") }
      position += 1
      skipSpace()
      let value = try self.value(depth: depth + 1)
      guard members.updateValue(value, forKey: key) == nil else {
        throw fault("the key \"\(key)\" stands twice in one object", at: start)
      }
      skipSpace()
      switch current {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "}"):
        position += 1
        return .object(members)
      default: throw fault("expected ',' or '}'")
      }
    }
  }

  private mutating func array(depth: Int) throws(JSONError) -> JSON {
    guard depth < depthMax else { throw fault("nested deeper than \(depthMax) levels") }
    position += 1
    var elements: [JSON] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      position += 1
      return .array(elements)
    }
    while true {
      skipSpace()
      elements.append(try value(depth: depth + 1))
      skipSpace()
      switch current {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "]"):
        position += 1
        return .array(elements)
      default: throw fault("expected ',' or ']'")
      }
    }
  }

  private mutating func string() throws(JSONError) -> String {
    position += 1
    var out: [UInt8] = []
    while let byte = current {
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return String(decoding: out, as: UTF8.self)
      case UInt8(ascii: "\\"): try escape(into: &out)
      case 0..<0x20: throw fault("control characters in strings must be escaped", at: position - 1)
      default: out.append(byte)
      }
    }
    throw fault("the string is not closed")
  }

  private mutating func escape(into out: inout [UInt8]) throws(JSONError) {
    guard let byte = current else { throw fault("the string is not closed") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
    case UInt8(ascii: "b"): out.append(0x08)
    case UInt8(ascii: "f"): out.append(0x0C)
    case UInt8(ascii: "n"): out.append(0x0A)
    case UInt8(ascii: "r"): out.append(0x0D)
    case UInt8(ascii: "t"): out.append(0x09)
    case UInt8(ascii: "u"):
      var code = try hex4()
      if (0xD800..<0xDC00).contains(code) {
        guard current == UInt8(ascii: "\\"), position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "u") else {
          throw fault("a high surrogate must be followed by a low one")
        }
        position += 2
        let low = try hex4()
        guard (0xDC00..<0xE000).contains(low) else { throw fault("a high surrogate must be followed by a low one") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw fault("a lone surrogate is not a character") }
      guard code != 0 else { throw fault("\\u0000 is not allowed in strings") }
      out.append(contentsOf: UTF8.encode(scalar)!)
    default: throw fault("unknown escape", at: position - 1)
    }
  }

  private mutating func hex4() throws(JSONError) -> UInt32 {
    guard position + 4 <= bytes.count else { throw fault("\\u needs four hexadecimal digits") }
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = Character(Unicode.Scalar(bytes[position])).hexDigitValue else {
        throw fault("\\u needs four hexadecimal digits")
      }
      code = code << 4 | UInt32(digit)
      position += 1
    }
    return code
  }

  private mutating func digits() throws(JSONError) {
    guard let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else {
      throw fault("expected a digit")
    }
    while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
  }

  private mutating func number() throws(JSONError) -> JSON {
    let start = position
    var isInteger = true
    if current == UInt8(ascii: "-") { position += 1 }
    if current == UInt8(ascii: "0") {
      position += 1
      if let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
        throw fault("a number may not start with a zero", at: start)
      }
    } else {
      try digits()
    }
    if current == UInt8(ascii: ".") {
      isInteger = false
      position += 1
      try digits()
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      isInteger = false
      position += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
      try digits()
    }
    guard position - start <= 400 else { throw fault("a number of more than 400 characters", at: start) }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isInteger, let value = Int(text) { return .integer(value) }
    guard let value = Double(text), value.isFinite else {
      throw fault("the number \(text.prefix(40)) is out of range", at: start)
    }
    return .number(value)
  }
}
