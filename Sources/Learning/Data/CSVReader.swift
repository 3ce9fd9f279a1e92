// Splits CSV text (RFC 4180) into records of cells in bounded memory. CSVTable.swift gives the cells their types.
import Foundation

/// Records of a CSV file, one after another.
struct CSVReader {
  static let columnsMax = 4096
  static let cellBytesMax = 64 << 10

  private let reader: ByteReader
  private var chunk: ArraySlice<UInt8> = []
  private var isFinished = false
  /// Line on which the record last read began, from 1.
  private(set) var line = 0
  private var nextLine = 1

  init(_ reader: ByteReader) throws {
    self.reader = reader
    // A byte order mark is not part of the first column's name.
    if try peek() == 0xEF {
      let mark = try (0..<3).map { _ in try take() }
      guard mark == [0xEF, 0xBB, 0xBF] else { throw DataFault(row: 1, "the text is not valid UTF-8") }
    }
  }

  private mutating func peek() throws -> UInt8? {
    if chunk.isEmpty { chunk = ArraySlice(try reader.next(1 << 16)) }
    return chunk.first
  }

  private mutating func take() throws -> UInt8? {
    guard let byte = try peek() else { return nil }
    chunk.removeFirst()
    return byte
  }

  /// The cells of the next record, or nil at the end. Blank lines are passed over.
  mutating func next() throws -> [String]? {
    while true {
      guard let cells = try record() else { return nil }
      if cells.count > 1 || !cells[0].isEmpty { return cells }
    }
  }

  private mutating func record() throws -> [String]? {
    guard !isFinished, try peek() != nil else { return nil }
    line = nextLine
    var cells: [String] = []
    var cell: [UInt8] = []
    while true {
      let end = try readCell(into: &cell, column: cells.count + 1)
      guard let text = String(validating: cell, as: UTF8.self), !cell.contains(0) else {
        throw DataFault(row: line, column: "\(cells.count + 1)", "the text is not valid UTF-8")
      }
      cells.append(text)
      cell.removeAll(keepingCapacity: true)
      switch end {
      case .comma:
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

  private enum CellEnd { case comma, line, file }

  private mutating func readCell(into cell: inout [UInt8], column: Int) throws -> CellEnd {
    if try peek() == UInt8(ascii: "\"") {
      _ = try take()
      return try readQuoted(into: &cell, column: column)
    }
    while true {
      guard let byte = try take() else { return .file }
      switch byte {
      case UInt8(ascii: ","): return .comma
      case UInt8(ascii: "\n"):
        nextLine += 1
        return .line
      case UInt8(ascii: "\r"):
        if try peek() == UInt8(ascii: "\n") { _ = try take() }
        nextLine += 1
        return .line
      default: try append(byte, to: &cell, column)
      }
    }
  }

  private mutating func readQuoted(into cell: inout [UInt8], column: Int) throws -> CellEnd {
    while true {
      guard let byte = try take() else {
        throw DataFault(row: line, column: "\(column)", "a quoted cell is never closed; it begins on this line")
      }
      guard byte == UInt8(ascii: "\"") else {
        if byte == UInt8(ascii: "\n") { nextLine += 1 }
        try append(byte, to: &cell, column)
        continue
      }
      switch try take() {
      case nil: return .file
      case UInt8(ascii: "\""): try append(UInt8(ascii: "\""), to: &cell, column)
      case UInt8(ascii: ","): return .comma
      case UInt8(ascii: "\n"):
        nextLine += 1
        return .line
      case UInt8(ascii: "\r"):
        if try peek() == UInt8(ascii: "\n") { _ = try take() }
        nextLine += 1
        return .line
      default:
        throw DataFault(row: line, column: "\(column)", "expected a comma or the end of the line after a closing quote")
      }
    }
  }

  private func append(_ byte: UInt8, to cell: inout [UInt8], _ column: Int) throws {
    guard cell.count < Self.cellBytesMax else {
      throw DataFault(row: line, column: "\(column)", "the cell is longer than \(Self.cellBytesMax) bytes, the limit")
    }
    cell.append(byte)
  }
}
