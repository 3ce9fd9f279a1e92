// Results of statements and their typed decoding. All results come in PostgreSQL's binary form.
import CLibPQ
import Contract
import Foundation

/// What a statement answered. Owns libpq's memory.
final class QueryResult {
  private let pointer: OpaquePointer

  init(_ pointer: OpaquePointer) { self.pointer = pointer }

  deinit { PQclear(pointer) }

  /// Number of rows returned.
  var count: Int { Int(PQntuples(pointer)) }

  /// Number of rows inserted, updated or deleted.
  var changed: Int { Int(String(cString: PQcmdTuples(pointer))) ?? 0 }

  /// The first row, if there is one.
  var first: Row? { count > 0 ? Row(self, 0) : nil }

  /// A row by its number from 0.
  func row(_ index: Int) -> Row { Row(self, index) }

  /// Decodes every row.
  func map<Value>(_ decode: (inout Row) throws -> Value) rethrows -> [Value] {
    try (0..<count).map { index in
      var row = Row(self, index)
      return try decode(&row)
    }
  }

  /// The server's refusal as an error, nil for success.
  func failure(of name: String) -> StoreError? {
    switch PQresultStatus(pointer) {
    case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY: return nil
    default: break
    }
    // The field codes of libpq's PG_DIAG_* macros, which are characters and so not imported.
    let sqlstate = field("C") ?? "XX000"
    var message = field("M") ?? "no reason given"
    if let constraint = field("n") { message += " [\(constraint)]" }
    if sqlstate == "53100" { return .diskFull(query: name, reason: message) }
    let isPassing =
      sqlstate.hasPrefix("08") || sqlstate.hasPrefix("53") || sqlstate.hasPrefix("57") || sqlstate.hasPrefix("58")
      || sqlstate == "55P03" || sqlstate == "25P03"
    return isPassing
      ? .unavailable(query: name, reason: "\(message) (SQLSTATE \(sqlstate))")
      : .database(query: name, sqlstate: sqlstate, message: message)
  }

  private func field(_ code: Unicode.Scalar) -> String? {
    PQresultErrorField(pointer, Int32(code.value)).map { String(cString: $0) }
  }

  fileprivate func bytes(_ row: Int32, _ column: Int32) -> UnsafeRawBufferPointer? {
    precondition(column < PQnfields(pointer), "the statement returns fewer columns than are read")
    guard PQgetisnull(pointer, row, column) == 0 else { return nil }
    return UnsafeRawBufferPointer(
      start: PQgetvalue(pointer, row, column), count: Int(PQgetlength(pointer, row, column)))
  }
}

/// One row, read column by column from the left. Reading a column as what it is not is a programming error and traps.
struct Row {
  private let result: QueryResult
  private let row: Int32
  private var column: Int32 = 0

  fileprivate init(_ result: QueryResult, _ row: Int) {
    self.result = result
    self.row = Int32(row)
  }

  private mutating func next() -> UnsafeRawBufferPointer? {
    defer { column += 1 }
    return result.bytes(row, column)
  }

  /// Passes over columns.
  mutating func skip(_ count: Int) { column += Int32(count) }

  /// Whether the next column is null; does not move.
  var isNull: Bool { result.bytes(row, column) == nil }

  mutating func text() -> String { required(optionalText()) }
  mutating func integer() -> Int { required(optionalInteger()) }
  mutating func number() -> Double { required(optionalNumber()) }
  mutating func bool() -> Bool { required(next().map { $0[0] != 0 }) }
  mutating func time() -> Timestamp { required(optionalTime()) }
  mutating func bytes() -> [UInt8] { required(next().map { [UInt8]($0) }) }
  mutating func json() -> JSON { required(optionalJSON()) }
  /// A digest in lower-case hexadecimal.
  mutating func digest() -> String { required(next().map(Hexadecimal.text)) }

  mutating func optionalText() -> String? { next().map { String(decoding: $0, as: UTF8.self) } }

  /// Any integer type.
  mutating func optionalInteger() -> Int? {
    next().map { bytes in
      switch bytes.count {
      case 2: return Int(Int16(truncatingIfNeeded: Self.bigEndian(bytes)))
      case 4: return Int(Int32(truncatingIfNeeded: Self.bigEndian(bytes)))
      case 8: return Int(Int64(bitPattern: Self.bigEndian(bytes)))
      default: preconditionFailure("not an integer column")
      }
    }
  }

  /// Either floating-point type.
  mutating func optionalNumber() -> Double? {
    next().map { bytes in
      switch bytes.count {
      case 4: return Double(Float(bitPattern: UInt32(truncatingIfNeeded: Self.bigEndian(bytes))))
      case 8: return Double(bitPattern: Self.bigEndian(bytes))
      default: preconditionFailure("not a floating-point column")
      }
    }
  }

  /// A timestamptz, which PostgreSQL counts from the year 2000.
  mutating func optionalTime() -> Timestamp? {
    optionalInteger().map { Timestamp(microseconds: Int64($0) + 946_684_800_000_000) }
  }

  /// A jsonb value, whose binary form is the text after a version byte. Only what we wrote is in there.
  mutating func optionalJSON() -> JSON? {
    next().map { bytes in
      guard let json = try? JSON.parse(bytes.dropFirst()) else { preconditionFailure("jsonb that is not JSON") }
      return json
    }
  }

  /// Hands the bytes of a column to `body` without copying them.
  mutating func withBytes<Value>(_ body: (UnsafeRawBufferPointer) throws -> Value) rethrows -> Value {
    try body(required(next()))
  }

  private func required<Value>(_ value: Value?) -> Value {
    guard let value else { preconditionFailure("column \(column - 1) is null where it must not be") }
    return value
  }

  private static func bigEndian(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }
}
