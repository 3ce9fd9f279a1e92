// What type a table's column has, found by looking at every cell once. Table.swift goes through the rows.
import Contract
import Foundation

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

  /// Takes a cell without spaces around it; `trains` says whether its row is one to train on.
  mutating func see(_ cell: UnsafeBufferPointer<UInt8>, line: Int, trains: Bool) {
    switch Cell(cell) {
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
      remember(line, cell, wanted)
    case .text:
      texts += 1
      remember(line, cell, "a number")
    }
    guard !overflows else { return }
    if distinct.insert(String(decoding: cell, as: UTF8.self)).inserted { distinctBytes += cell.count + 32 }
    if distinct.count > (isTarget || texts > 0 ? Self.categoriesMax : Self.numbersMax)
      || cell.count > Self.categoryBytesMax
    {
      overflows = true
      distinct = []
      distinctBytes = 0
    }
  }

  private mutating func remember(_ line: Int, _ cell: UnsafeBufferPointer<UInt8>, _ wanted: String) {
    guard firstOthers.count < Self.shownMax else { return }
    // No more of the text than DataFault shows.
    firstOthers.append((line, String(decoding: cell, as: UTF8.self).beginning(scalars: 61), wanted))
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
