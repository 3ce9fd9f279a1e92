// The JSON value every wire and database value is read from and written to. JSONParser.swift reads
// text into it, Fields.swift reads values out of it and collects what is wrong with them.
import Foundation

/// A JSON value with integers kept apart from other numbers.
///
/// Objects keep no order: the writer sorts keys, so equal values have equal text.
public enum JSON: Sendable, Hashable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([String: JSON])
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByNilLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(integerLiteral value: Int) { self = .integer(value) }
  public init(floatLiteral value: Double) { self = .number(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(nilLiteral: ()) { self = .null }
  public init(arrayLiteral elements: JSON...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (String, JSON)...) {
    self = .object(Dictionary(elements, uniquingKeysWith: { _, last in last }))
  }
}

extension JSON {
  /// The member of an object, or nil for anything else.
  public subscript(key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members[key]
  }

  /// The text of a string value.
  public var string: String? {
    guard case .string(let text) = self else { return nil }
    return text
  }

  /// The integer of an integral value; `3.0` counts, `3.5` does not.
  public var integer: Int? {
    switch self {
    case .integer(let value): return value
    case .number(let value): return Int(exactly: value)
    default: return nil
    }
  }

  /// The value of any number.
  public var number: Double? {
    switch self {
    case .integer(let value): return Double(value)
    case .number(let value): return value
    default: return nil
    }
  }

  /// The elements of an array value.
  public var array: [JSON]? {
    guard case .array(let elements) = self else { return nil }
    return elements
  }

  /// The truth of a boolean value.
  public var bool: Bool? {
    guard case .bool(let value) = self else { return nil }
    return value
  }

  /// A number, or null where it is not finite: JSON has no NaN and no infinity.
  public static func finite(_ value: Double) -> JSON {
    value.isFinite ? .number(value) : .null
  }

  /// A string, or null where there is none.
  public static func optional(_ text: String?) -> JSON {
    text.map(JSON.string) ?? .null
  }

  /// A time in RFC 3339, or null where there is none.
  public static func time(_ time: Timestamp?) -> JSON {
    time.map { .string($0.rfc3339) } ?? .null
  }

  /// What kind of value this is, in words that fit "expected …, got …".
  public var kind: String {
    switch self {
    case .null: return "null"
    case .bool(let value): return value ? "true" : "false"
    case .integer(let value): return "the number \(value)"
    case .number(let value): return "the number \(value)"
    case .string(let text):
      return text.count <= 40 ? "the string \"\(text)\"" : "a string of \(text.count) characters"
    case .array(let elements): return "an array of \(elements.count)"
    case .object: return "an object"
    }
  }

  // MARK: Writing

  /// The value as compact UTF-8 text with sorted keys. Non-finite numbers are written as null.
  public var bytes: [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(256)
    write(to: &out, indent: nil, depth: 0)
    return out
  }

  /// The value as compact text with sorted keys.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// The value as indented text with sorted keys, for people.
  public var pretty: String {
    var out: [UInt8] = []
    write(to: &out, indent: 2, depth: 0)
    return String(decoding: out, as: UTF8.self)
  }

  private func write(to out: inout [UInt8], indent: Int?, depth: Int) {
    func newline(_ depth: Int) {
      guard let indent else { return }
      out.append(UInt8(ascii: "\n"))
      out.append(contentsOf: repeatElement(UInt8(ascii: " "), count: indent * depth))
    }
    switch self {
    case .null: out.append(contentsOf: "null".utf8)
    case .bool(let value): out.append(contentsOf: (value ? "true" : "false").utf8)
    case .integer(let value): out.append(contentsOf: String(value).utf8)
    case .number(let value): out.append(contentsOf: JSON.text(of: value).utf8)
    case .string(let text): JSON.write(text, to: &out)
    case .array(let elements):
      out.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        newline(depth + 1)
        element.write(to: &out, indent: indent, depth: depth + 1)
      }
      if !elements.isEmpty { newline(depth) }
      out.append(UInt8(ascii: "]"))
    case .object(let members):
      out.append(UInt8(ascii: "{"))
      for (index, key) in members.keys.sorted().enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        newline(depth + 1)
        JSON.write(key, to: &out)
        out.append(UInt8(ascii: ":"))
        if indent != nil { out.append(UInt8(ascii: " ")) }
        members[key]!.write(to: &out, indent: indent, depth: depth + 1)
      }
      if !members.isEmpty { newline(depth) }
      out.append(UInt8(ascii: "}"))
    }
  }

  private static func text(of value: Double) -> String {
    // Swift prints the shortest text that reads back to the same bits, and whole numbers with a ".0" that keeps
    // them apart from integers.
    value.isFinite ? "\(value)" : "null"
  }

  private static func write(_ text: String, to out: inout [UInt8]) {
    let hex = Array("0123456789abcdef".utf8)
    out.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): out.append(contentsOf: [UInt8(ascii: "\\"), byte])
      case 0x0A: out.append(contentsOf: "\\n".utf8)
      case 0x0D: out.append(contentsOf: "\\r".utf8)
      case 0x09: out.append(contentsOf: "\\t".utf8)
      case 0..<0x20, 0x7F:
        out.append(contentsOf: "\\u00".utf8)
        out.append(hex[Int(byte >> 4)])
        out.append(hex[Int(byte & 15)])
      default: out.append(byte)
      }
    }
    out.append(UInt8(ascii: "\""))
  }
}
