// JSON Lines as a dataset, one object a line: documents for a language model, labelled documents, or a table of scalars
// (Table.swift). The first object and the options decide which. Documents.swift writes the two kinds of text.
import Contract
import Foundation

/// Reads JSON Lines into a dataset folder.
enum JSONLines {
  static func build(file: URL, options: DatasetOptions, folder: URL) throws -> (BuiltDataset, InputEncoding) {
    var reader = try JSONLineReader(file: file)
    guard let first = try reader.next() else { throw DataFault("the file is empty: expected one JSON object a line") }
    let field = options.field ?? "text"
    if options.field != nil || first[field]?.string != nil {
      if options.task != nil || options.drop != nil {
        throw DataFault("task and drop are for tables, but these are documents: line 1 has text in \"\(field)\"")
      }
      guard let target = options.target ?? (first["label"] != nil ? "label" : nil) else {
        return (try Documents.languageModel(file, field: field, options: options, folder: folder), .windows)
      }
      return (
        try Documents.classification(file, field: field, target: target, options: options, folder: folder), .tokens
      )
    }
    if options.tokens != nil || options.sequenceLength != nil {
      throw DataFault(
        row: 1, column: field,
        "tokens and sequence_length are for text, but this field is no string; name it with field")
    }
    var named = options
    let usual = ["target", "label", "y"].first { first[$0] != nil }
    named.target = options.target ?? usual
    guard named.target != nil else {
      let names = first.keys.sorted().prefix(30).joined(separator: ", ")
      throw DataFault(row: 1, "name the field to predict with target; the fields are \(names)")
    }
    let table = Table(options: named) { try JSONTable(file: file) }
    return (try table.build(folder: folder), .floats)
  }
}

/// The objects of a JSON Lines file one after another.
struct JSONLineReader {
  static let lineBytesMax = 16 << 20
  private static let depthMax = 32

  private let reader: ByteReader
  private var chunk = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
  private var position = 0
  /// The line last read, from 1.
  private(set) var line = 0

  init(file: URL) throws { reader = try ByteReader(file: file, bytesMax: DatasetBuilder.bytesMax) }

  /// The next line's object, or nil at the end. Blank lines are passed over.
  mutating func next() throws -> [String: JSON]? {
    while let bytes = try nextLine() {
      if bytes.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) { continue }
      let json: JSON
      do {
        json = try JSON.parse(bytes, depthMax: Self.depthMax)
      } catch { throw DataFault(row: line, "the line is no JSON: \(error)") }
      guard case .object(let members) = json else {
        throw DataFault(row: line, "expected a JSON object on each line, got \(json.kind)")
      }
      return members
    }
    return nil
  }

  private mutating func nextLine() throws -> [UInt8]? {
    var bytes: [UInt8] = []
    line += 1
    while true {
      if position == chunk.count {
        chunk = try reader.next()
        position = 0
        if chunk.isEmpty { return bytes.isEmpty ? nil : bytes }
      }
      let rest = chunk[position...]
      let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? chunk.count
      guard bytes.count + end - position <= Self.lineBytesMax else {
        throw DataFault(row: line, "the line is longer than \(Self.lineBytesMax) bytes, the limit")
      }
      bytes.append(contentsOf: chunk[position..<end])
      if end < chunk.count {
        position = end + 1
        if line == 1, bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes.removeFirst(3) }
        return bytes
      }
      position = end
    }
  }
}

/// JSON Lines whose objects are flat: the fields of the first object are the columns.
struct JSONTable: TableSource {
  let columns: [String]
  private var reader: JSONLineReader
  private var waiting: [String: JSON]?
  private let known: Set<String>

  var line: Int { reader.line }

  init(file: URL) throws {
    reader = try JSONLineReader(file: file)
    let first = try reader.next() ?? [:]
    waiting = first
    columns = first.keys.sorted()
    known = Set(columns)
    guard columns.count <= CSVReader.columnsMax else {
      throw DataFault(row: line, "the object has \(columns.count) fields; the limit is \(CSVReader.columnsMax)")
    }
    guard columns.count >= 2 else {
      throw DataFault(row: line, "the object has \(columns.count) fields; expected inputs and a target")
    }
  }

  mutating func next(into row: inout TableRow) throws -> Bool {
    row.removeAll()
    let object: [String: JSON]
    if let first = waiting {
      object = first
      waiting = nil
    } else {
      guard let next = try reader.next() else { return false }
      object = next
    }
    if object.count > columns.count || !object.keys.allSatisfy(known.contains) {
      let name = object.keys.filter { !known.contains($0) }.min() ?? ""
      throw DataFault(row: line, column: String(name.prefix(60)), "is a field that the first object does not have")
    }
    for name in columns {
      switch object[name] {
      case nil, .null: row.append(cell: "")
      case .bool(let truth): row.append(cell: truth ? "true" : "false")
      case .integer(let value): row.append(cell: String(value))
      case .number(let value): row.append(cell: "\(value)")
      case .string(let text): row.append(cell: text)
      case .some(let value):
        throw DataFault(row: line, column: name, "expected a number, text, truth or null, got \(value.kind)")
      }
    }
    return true
  }
}
