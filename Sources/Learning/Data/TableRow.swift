// The cells of a table's row, and what one cell is by itself. CSVReader.swift and JSONLines.swift fill rows, ColumnSurvey.swift
// and Table.swift look at their cells. A large table has hundreds of millions of them, so none becomes a String on the way.
import Contract
import Foundation

/// The cells of one row as UTF-8, one after another in a buffer that the next row uses again.
struct TableRow {
  private var bytes: [UInt8] = []
  /// Where each cell ends.
  private var ends: [Int] = []

  /// How many cells there are.
  var count: Int { ends.count }
  /// Bytes of the cell that is not ended yet.
  var openBytes: Int { bytes.count - (ends.last ?? 0) }
  /// Whether it is a blank line's row.
  var isBlank: Bool { ends.count <= 1 && bytes.isEmpty }

  mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
  }

  /// Adds to the cell that is not ended yet.
  mutating func append(_ run: UnsafeBufferPointer<UInt8>) { bytes.append(contentsOf: run) }

  mutating func append(_ byte: UInt8) { bytes.append(byte) }

  mutating func endCell() { ends.append(bytes.count) }

  /// Adds a whole cell.
  mutating func append(cell text: String) {
    bytes.append(contentsOf: text.utf8)
    endCell()
  }

  /// The cell that is not ended yet; nil if it is not valid UTF-8.
  var openText: String? { String(validating: bytes[(ends.last ?? 0)...], as: UTF8.self) }

  /// A cell as it stands.
  func text(_ index: Int) -> String {
    String(decoding: bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]], as: UTF8.self)
  }

  /// A cell without the spaces around it.
  @inline(__always)
  func withCell<Value>(_ index: Int, _ body: (UnsafeBufferPointer<UInt8>) throws -> Value) rethrows -> Value {
    try bytes.withUnsafeBufferPointer { all in
      let range = (index == 0 ? 0 : ends[index - 1])..<ends[index]
      return try body(Self.trimmed(UnsafeBufferPointer(rebasing: all[range])))
    }
  }

  /// Drops spaces, tabs and Unicode's other spaces from both ends.
  @inline(__always)
  private static func trimmed(_ cell: UnsafeBufferPointer<UInt8>) -> UnsafeBufferPointer<UInt8> {
    guard let first = cell.first, let last = cell.last else { return cell }
    // Nearly all cells begin and end with something that can be seen.
    if first > 0x20, first < 0x80, last > 0x20, last < 0x80 { return cell }
    var rest = cell[...]
    while let count = (1...3).first(where: { rest.count >= $0 && isSpace(rest.prefix($0)) }) {
      rest = rest.dropFirst(count)
    }
    while let count = (1...3).first(where: { rest.count >= $0 && isSpace(rest.suffix($0)) }) {
      rest = rest.dropLast(count)
    }
    return UnsafeBufferPointer(rebasing: rest)
  }

  /// Whether these bytes are one space: those of Unicode's category Zs, the tab, and the space without width.
  private static func isSpace(_ bytes: Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
    let at = { bytes[bytes.startIndex + $0] }
    switch bytes.count {
    case 1: return at(0) == 0x20 || at(0) == 0x09
    case 2: return at(0) == 0xC2 && at(1) == 0xA0
    default:
      switch (at(0), at(1), at(2)) {
      case (0xE1, 0x9A, 0x80), (0xE2, 0x80, 0x80...0x8B), (0xE2, 0x80, 0xAF), (0xE2, 0x81, 0x9F), (0xE3, 0x80, 0x80):
        return true
      default: return false
      }
    }
  }
}

/// What one cell is by itself.
enum Cell: Equatable {
  case missing
  case number(Double)
  /// Meant as a number, but not in decimal notation or out of range; the text says what is wrong.
  case lookalike(String)
  case text

  /// Numbers beyond this cannot be standardised in single precision.
  private static let magnitudeMax = 1e30
  private static let missingWords: Set<String> = [
    "", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "Null", "None", "?",
  ]

  /// - Parameter bytes: UTF-8 without spaces around it.
  @inline(__always)
  init(_ bytes: UnsafeBufferPointer<UInt8>) {
    if bytes.isEmpty {
      self = .missing
    } else if let value = Self.decimal(bytes) {
      self = abs(value) < Cell.magnitudeMax ? .number(value) : .lookalike("a number below 1e30")
    } else {
      self = Self.other(String(decoding: bytes, as: UTF8.self))
    }
  }

  private static func other(_ text: String) -> Cell {
    if missingWords.contains(text) { return .missing }
    if Double(text) != nil { return .lookalike("a number in decimal notation") }
    if hasSeparators(text.utf8) { return .lookalike("a number with a decimal point and no other separators") }
    return .text
  }

  /// Whether these bytes are a number as the words of a header never are.
  static func isNumber(_ text: String) -> Bool {
    var text = text
    return text.withUTF8 { bytes in if case .number = Cell(bytes) { true } else { false } }
  }

  private static let powersOfTen: [Double] = (0...22).map { Double("1e\($0)")! }

  /// The nearest double of decimal notation; nil for anything else.
  private static func decimal(_ bytes: UnsafeBufferPointer<UInt8>) -> Double? {
    var place = 0
    var mantissa: UInt64 = 0
    var (digits, significant, exponent) = (0, 0, 0)
    let count = bytes.count
    /// A sign, if there is one; whether it is a minus.
    func takeSign() -> Bool {
      guard place < count, bytes[place] == UInt8(ascii: "-") || bytes[place] == UInt8(ascii: "+") else { return false }
      defer { place += 1 }
      return bytes[place] == UInt8(ascii: "-")
    }
    func takeDigits(scale: Int) {
      while place < count, case let digit = bytes[place] &- UInt8(ascii: "0"), digit <= 9 {
        if significant > 0 || digit != 0 { significant += 1 }
        // More digits than this are left to the slow way, and the mantissa is not looked at.
        if significant <= 18 { mantissa = mantissa * 10 + UInt64(digit) }
        digits += 1
        exponent -= scale
        place += 1
      }
    }
    let isNegative = takeSign()
    takeDigits(scale: 0)
    if place < count, bytes[place] == UInt8(ascii: ".") {
      place += 1
      takeDigits(scale: 1)
    }
    guard digits > 0 else { return nil }
    var power = 0
    if place < count, bytes[place] == UInt8(ascii: "e") || bytes[place] == UInt8(ascii: "E") {
      place += 1
      let isSmall = takeSign()
      let start = place
      while place < count, case let digit = bytes[place] &- UInt8(ascii: "0"), digit <= 9 {
        power = min(power * 10 + Int(digit), 100_000)
        place += 1
      }
      guard place > start else { return nil }
      if isSmall { power = -power }
    }
    guard place == count else { return nil }
    exponent += power
    // Both factors are exact, so the one rounding is the right one (Clinger 1990).
    if significant <= 15, abs(exponent) <= 22 {
      let value = Double(mantissa)
      let scaled = exponent < 0 ? value / powersOfTen[-exponent] : value * powersOfTen[exponent]
      return isNegative ? -scaled : scaled
    }
    return Double(String(decoding: bytes, as: UTF8.self)) ?? .infinity
  }

  private static func hasSeparators(_ bytes: String.UTF8View) -> Bool {
    var hasSeparator = false
    for byte in bytes.drop(while: { $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "+") }) {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."): continue
      case UInt8(ascii: ","), UInt8(ascii: "_"): hasSeparator = true
      default: return false
      }
    }
    return hasSeparator && bytes.contains { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }
}
