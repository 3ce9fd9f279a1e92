// What type a table's column has, found by looking at every cell once. Table.swift goes through the rows.
import Contract
import Foundation

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

  /// - Parameter text: without spaces around it.
  init(_ text: String) {
    if Cell.missingWords.contains(text) {
      self = .missing
    } else if Cell.isDecimal(text.utf8) {
      let value = Double(text) ?? .infinity
      self = abs(value) < Cell.magnitudeMax ? .number(value) : .lookalike("a number below 1e30")
    } else if Double(text) != nil {
      self = .lookalike("a number in decimal notation")
    } else if Cell.hasSeparators(text.utf8) {
      self = .lookalike("a number with a decimal point and no other separators")
    } else {
      self = .text
    }
  }

  private static func isDecimal(_ bytes: String.UTF8View) -> Bool {
    var rest = bytes[...]
    func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
    func dropSign() {
      if rest.first == UInt8(ascii: "-") || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
    }
    func dropDigits() -> Int {
      let before = rest.count
      rest = rest.drop(while: isDigit)
      return before - rest.count
    }
    dropSign()
    var digits = dropDigits()
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      digits += dropDigits()
    }
    guard digits > 0 else { return false }
    if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
      rest = rest.dropFirst()
      dropSign()
      guard dropDigits() > 0 else { return false }
    }
    return rest.isEmpty
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

/// What one pass over a column finds out.
struct ColumnSurvey {
  static let categoriesMax = 1000
  /// How long a category's or class' text may be: all of them are in the dataset's schema.
  static let categoryBytesMax = 1000
  /// How many different numbers a column that has no text yet is kept as categories for.
  private static let numbersMax = 256
  private static let shownMax = 20

  let name: String
  private let isTarget: Bool
  private(set) var distinct: Set<String> = []
  /// About what ``distinct`` takes of memory.
  private(set) var distinctBytes = 0
  private(set) var isIntegral = true
  private var overflows = false
  private var numbers = 0
  private var texts = 0
  private var lookalikes = 0
  private var firstOthers: [(line: Int, text: String, wanted: String)] = []
  private var missingInTraining = false
  private var hasMissing = false
  private var moments = RunningMoments()

  init(name: String, isTarget: Bool) {
    self.name = name
    self.isTarget = isTarget
  }

  /// Takes a cell; `trains` says whether its row is one to train on.
  mutating func see(_ cell: String, line: Int, trains: Bool) {
    let text = cell.trimmingCharacters(in: .whitespaces)
    let kind = Cell(text)
    switch kind {
    case .missing:
      hasMissing = true
      if trains { missingInTraining = true }
      return
    case .number(let value):
      numbers += 1
      if value.rounded() != value { isIntegral = false }
      if trains { moments.see(value) }
    case .lookalike(let wanted):
      lookalikes += 1
      remember(line, text, wanted)
    case .text:
      texts += 1
      remember(line, text, "a number")
    }
    guard !overflows else { return }
    if distinct.insert(text).inserted { distinctBytes += text.utf8.count + 32 }
    if distinct.count > (isTarget || texts > 0 ? Self.categoriesMax : Self.numbersMax)
      || text.utf8.count > Self.categoryBytesMax
    {
      overflows = true
      distinct = []
      distinctBytes = 0
    }
  }

  private mutating func remember(_ line: Int, _ text: String, _ wanted: String) {
    // No more of the text than DataFault shows.
    if firstOthers.count < Self.shownMax { firstOthers.append((line, text.beginning(scalars: 61), wanted)) }
  }

  var isNumeric: Bool { texts + lookalikes == 0 && numbers > 0 }

  /// Whether a target of these values is a class unless somebody says otherwise.
  var isClassLike: Bool { !isNumeric || isIntegral && !overflows && distinct.count <= 20 }

  /// The classes in label order: numbers by value, text by its characters.
  func classNames() throws -> [String] {
    guard !overflows, (2...Self.categoriesMax).contains(distinct.count) else {
      throw DataFault(
        column: name,
        "expected 2 to \(Self.categoriesMax) classes of at most \(Self.categoryBytesMax) bytes, got "
          + (overflows ? "more or longer ones" : "\(distinct.count) different values"))
    }
    return isNumeric ? distinct.sorted { (Double($0) ?? 0, $0) < (Double($1) ?? 0, $1) } : distinct.sorted()
  }

  /// The column's type. Mostly numbers with some text is a fault in those cells rather than a text column.
  func resolved(mustBeNumber: Bool = false) throws -> DatasetSchema.Column {
    if isNumeric {
      return .init(
        name: name, categories: nil, mean: moments.mean, deviation: moments.deviation,
        hasMissing: missingInTraining && !isTarget)
    }
    guard numbers + texts + lookalikes > 0 else {
      throw DataFault(
        column: name,
        mustBeNumber ? "the column has no numbers at all" : "the column has no values at all; leave it out with drop")
    }
    if mustBeNumber || texts == 0 || numbers > 4 * (texts + lookalikes) {
      throw DataFault(
        firstOthers.map {
          .init(row: $0.line, column: name, reason: "expected \($0.wanted), got \(DataFault.quoted($0.text))")
        })
    }
    guard !overflows else {
      throw DataFault(
        column: name,
        "the text column has more than \(Self.categoriesMax) different values, one of over \(Self.categoryBytesMax) bytes, or "
          + "many numbers among them; leave it out with drop, or group them")
    }
    return .init(name: name, categories: (hasMissing ? [""] : []) + distinct.sorted())
  }
}
