// Splits CSV text (RFC 4180) into records of cells in bounded memory. Table.swift gives the cells (TableRow.swift) their types.
import Contract
import Foundation

/// Records of a CSV file, one after another.
struct CSVReader: TableSource {
  static let columnsMax = 4096
  static let cellBytesMax = 64 << 10

  private let reader: ByteReader
  private let delimiter: UInt8
  private let mergesDelimiters: Bool
  private var chunk = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
  private var position = 0
  private var isFinished = false
  private var nextLine = 1
  /// All bits that are set in some byte of the cell being read, and whether one of its bytes is zero.
  private var bitsSeen: UInt8 = 0
  private var hasZero = false
  /// A record that was read to learn the number of columns.
  private var waiting: TableRow?

  private(set) var columns: [String] = []
  private(set) var line = 0

  /// Opens a table and reads its header, or makes up the names `c1`, `c2`, … of a table without one.
  init(file: URL, options: DatasetOptions) throws {
    let delimiter = options.delimiter ?? .comma
    self.delimiter = delimiter.byte
    mergesDelimiters = delimiter == .space
    reader = try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax)
    // A byte order mark is not part of the first column's name.
    if try peek() == 0xEF {
      let mark = try (0..<3).map { _ in try take() }
      guard mark == [0xEF, 0xBB, 0xBF] else { throw DataFault(row: 1, "the text is not valid UTF-8") }
    }
    for _ in 0..<(options.skipLines ?? 0) { try skipLine() }
    var first = TableRow()
    guard try record(into: &first) else { throw DataFault("the file is empty: expected a header line and rows") }
    if options.header == false {
      columns = (1...first.count).map { "c\($0)" }
      waiting = first
    } else {
      columns = try header((0..<first.count).map(first.text), isCertain: options.header == true)
    }
    guard columns.count >= 2 else {
      throw DataFault(
        row: line,
        "the first line has one column; expected two or more separated by \(delimiter.rawValue)s; see the option "
          + "delimiter")
    }
  }

  private func header(_ cells: [String], isCertain: Bool) throws -> [String] {
    let names = cells.map { $0.trimmingCharacters(in: .whitespaces) }
    guard isCertain || !names.allSatisfy(Cell.isNumber) else {
      throw DataFault(
        row: line, "the header line is all numbers: add header=false if it is a row, or header=true if these are names")
    }
    var seen: Set<String> = []
    for (index, name) in names.enumerated() {
      guard !name.isEmpty else {
        throw DataFault(row: line, column: "\(index + 1)", "the header has no name for this column")
      }
      guard seen.insert(name).inserted else {
        throw DataFault(
          row: line, column: String(name.prefix(60)),
          "two columns have this name; without a header line add header=false")
      }
    }
    return names
  }

  @inline(__always)
  private mutating func peek() throws -> UInt8? {
    if position == chunk.count {
      chunk = try reader.next()
      position = 0
      if chunk.isEmpty { return nil }
    }
    return chunk[position]
  }

  @inline(__always)
  private mutating func take() throws -> UInt8? {
    guard let byte = try peek() else { return nil }
    position += 1
    return byte
  }

  private mutating func skipLine() throws {
    while let byte = try take(), byte != UInt8(ascii: "\n") {}
    nextLine += 1
  }

  mutating func next(into row: inout TableRow) throws -> Bool {
    if let record = waiting {
      waiting = nil
      row = record
      return true
    }
    return try record(into: &row)
  }

  /// The next record; false at the end. Blank lines are passed over.
  private mutating func record(into row: inout TableRow) throws -> Bool {
    repeat {
      guard try anyRecord(into: &row) else { return false }
    } while row.isBlank
    return true
  }

  private mutating func anyRecord(into row: inout TableRow) throws -> Bool {
    guard !isFinished, try peek() != nil else { return false }
    line = nextLine
    row.removeAll()
    while true {
      if mergesDelimiters { try skipDelimiters() }
      bitsSeen = 0
      hasZero = false
      let end = try readCell(into: &row)
      guard !hasZero else {
        throw DataFault(
          row: line, column: name(row.count), "the cell holds a zero byte: is it another format, or UTF-16?")
      }
      guard bitsSeen < 0x80 || row.openText != nil else {
        throw DataFault(
          row: line, column: name(row.count),
          "the text is not valid UTF-8; convert it, for example with iconv -t UTF-8")
      }
      // Spaces at the end of a line separate nothing.
      if !(mergesDelimiters && end != .delimiter && row.openBytes == 0 && row.count > 0) { row.endCell() }
      switch end {
      case .delimiter:
        guard row.count < Self.columnsMax else {
          throw DataFault(row: line, "the row has more than \(Self.columnsMax) columns, the limit")
        }
      case .line: return true
      case .file:
        isFinished = true
        return true
      }
    }
  }

  private func name(_ index: Int) -> String { index < columns.count ? columns[index] : "\(index + 1)" }

  private mutating func skipDelimiters() throws {
    while try peek() == delimiter { position += 1 }
  }

  private enum CellEnd { case delimiter, line, file }

  private mutating func readCell(into row: inout TableRow) throws -> CellEnd {
    if try peek() == UInt8(ascii: "\"") {
      position += 1
      return try readQuoted(into: &row)
    }
    while try peek() != nil {
      // All that lies before the cell's end, or the chunk's, at once.
      var place = position
      var bits: UInt8 = 0
      var sawZero = false
      while place < chunk.count {
        let byte = chunk[place]
        if byte == delimiter || byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") { break }
        bits |= byte
        if byte == 0 { sawZero = true }
        place += 1
      }
      bitsSeen |= bits
      if sawZero { hasZero = true }
      guard row.openBytes + place - position <= Self.cellBytesMax else { throw tooLong(row) }
      row.append(UnsafeBufferPointer(rebasing: chunk[position..<place]))
      position = place
      if let byte = place < chunk.count ? try take() : nil, let end = try end(byte) { return end }
    }
    return .file
  }

  /// How `byte` ends a cell outside quotes, if it does.
  @inline(__always)
  private mutating func end(_ byte: UInt8) throws -> CellEnd? {
    if byte == delimiter { return .delimiter }
    guard byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") else { return nil }
    if byte == UInt8(ascii: "\r"), try peek() == UInt8(ascii: "\n") { position += 1 }
    nextLine += 1
    return .line
  }

  private mutating func readQuoted(into row: inout TableRow) throws -> CellEnd {
    while true {
      guard let byte = try take() else {
        throw DataFault(row: line, column: name(row.count), "a quoted cell is never closed; it begins on this line")
      }
      guard byte == UInt8(ascii: "\"") else {
        if byte == UInt8(ascii: "\n") { nextLine += 1 }
        try append(byte, to: &row)
        continue
      }
      guard let after = try take() else { return .file }
      if after == UInt8(ascii: "\"") {
        try append(after, to: &row)
      } else if let end = try end(after) {
        return end
      } else {
        throw DataFault(
          row: line, column: name(row.count), "expected a delimiter or the end of the line after a closing quote")
      }
    }
  }

  private mutating func append(_ byte: UInt8, to row: inout TableRow) throws {
    guard row.openBytes < Self.cellBytesMax else { throw tooLong(row) }
    bitsSeen |= byte
    if byte == 0 { hasZero = true }
    row.append(byte)
  }

  private func tooLong(_ row: TableRow) -> DataFault {
    DataFault(
      row: line, column: name(row.count), "the cell is longer than \(Self.cellBytesMax) bytes, the limit")
  }
}

extension DatasetOptions.Delimiter {
  fileprivate var byte: UInt8 {
    switch self {
    case .comma: UInt8(ascii: ",")
    case .semicolon: UInt8(ascii: ";")
    case .tab: UInt8(ascii: "\t")
    case .space: UInt8(ascii: " ")
    }
  }
}
