// Splits CSV text (RFC 4180) into records of cells in bounded memory. Table.swift gives the cells their types.
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
  /// A record that was read to learn the number of columns.
  private var waiting: [String]?

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
    guard let first = try record() else { throw DataFault("the file is empty: expected a header line and rows") }
    if options.header == false {
      columns = (1...first.count).map { "c\($0)" }
      waiting = first
    } else {
      columns = try header(first, isCertain: options.header == true)
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
    guard isCertain || !names.allSatisfy({ if case .number = Cell($0) { true } else { false } }) else {
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

  mutating func next() throws -> [String]? {
    if let record = waiting {
      waiting = nil
      return record
    }
    return try record()
  }

  /// The next record, or nil at the end. Blank lines are passed over.
  private mutating func record() throws -> [String]? {
    while true {
      guard let cells = try anyRecord() else { return nil }
      if cells.count > 1 || !cells[0].isEmpty { return cells }
    }
  }

  private mutating func anyRecord() throws -> [String]? {
    guard !isFinished, try peek() != nil else { return nil }
    line = nextLine
    var cells: [String] = []
    cells.reserveCapacity(columns.count)
    var cell: [UInt8] = []
    while true {
      if mergesDelimiters { try skipDelimiters() }
      let end = try readCell(into: &cell, column: cells.count + 1)
      guard !cell.contains(0) else {
        throw DataFault(
          row: line, column: name(cells.count), "the cell holds a zero byte: is it another format, or UTF-16?")
      }
      guard let text = String(validating: cell, as: UTF8.self) else {
        throw DataFault(
          row: line, column: name(cells.count),
          "the text is not valid UTF-8; convert it, for example with iconv -t UTF-8")
      }
      // Spaces at the end of a line separate nothing.
      if !(mergesDelimiters && end != .delimiter && text.isEmpty && !cells.isEmpty) { cells.append(text) }
      cell.removeAll(keepingCapacity: true)
      switch end {
      case .delimiter:
        guard cells.count < Self.columnsMax else {
          throw DataFault(row: line, "the row has more than \(Self.columnsMax) columns, the limit")
        }
      case .line: return cells
      case .file:
        isFinished = true
        return cells
      }
    }
  }

  private func name(_ index: Int) -> String { index < columns.count ? columns[index] : "\(index + 1)" }

  private mutating func skipDelimiters() throws {
    while try peek() == delimiter { position += 1 }
  }

  private enum CellEnd { case delimiter, line, file }

  private mutating func readCell(into cell: inout [UInt8], column: Int) throws -> CellEnd {
    if try peek() == UInt8(ascii: "\"") {
      position += 1
      return try readQuoted(into: &cell, column: column)
    }
    while let byte = try take() {
      if let end = try end(byte) { return end }
      try append(byte, to: &cell, column)
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

  private mutating func readQuoted(into cell: inout [UInt8], column: Int) throws -> CellEnd {
    while true {
      guard let byte = try take() else {
        throw DataFault(row: line, column: name(column - 1), "a quoted cell is never closed; it begins on this line")
      }
      guard byte == UInt8(ascii: "\"") else {
        if byte == UInt8(ascii: "\n") { nextLine += 1 }
        try append(byte, to: &cell, column)
        continue
      }
      guard let after = try take() else { return .file }
      if after == UInt8(ascii: "\"") {
        try append(after, to: &cell, column)
      } else if let end = try end(after) {
        return end
      } else {
        throw DataFault(
          row: line, column: name(column - 1), "expected a delimiter or the end of the line after a closing quote")
      }
    }
  }

  @inline(__always)
  private func append(_ byte: UInt8, to cell: inout [UInt8], _ column: Int) throws {
    guard cell.count < Self.cellBytesMax else {
      throw DataFault(
        row: line, column: name(column - 1), "the cell is longer than \(Self.cellBytesMax) bytes, the limit")
    }
    cell.append(byte)
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
