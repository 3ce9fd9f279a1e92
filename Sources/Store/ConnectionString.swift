// The names of a database: libpq's connection strings, as other programs of PostgreSQL are told them, and with a password
// that came by another way. Beside Connection.swift, which connects by them.
import CLibPQ
import Foundation

/// A connection string of libpq, a URI or `keyword=value` pairs, taken apart.
public struct ConnectionString: Sendable, Hashable {
  /// Values by libpq's keywords, such as `host`; those that the string does not name are not there.
  public private(set) var values: [String: String] = [:]
  private var variables: [String: String] = [:]

  /// Takes a string apart.
  ///
  /// - Throws: ``StoreError/unavailable(query:reason:)`` with what libpq says is wrong with it.
  public init(_ text: String) throws {
    var message: UnsafeMutablePointer<CChar>?
    guard let options = PQconninfoParse(text, &message) else {
      let reason = message.map { String(cString: $0) } ?? "out of memory"
      PQfreemem(message)
      throw StoreError.unavailable(
        query: "connect", reason: reason.trimmingCharacters(in: .whitespacesAndNewlines))
    }
    defer { PQconninfoFree(options) }
    var option = options
    while let keyword = option.pointee.keyword {
      if let value = option.pointee.val {
        values[String(cString: keyword)] = String(cString: value)
        if let variable = option.pointee.envvar { variables[String(cString: variable)] = String(cString: value) }
      }
      option += 1
    }
  }

  /// The same database with a password, whatever the string said of one; it may only be used as a whole.
  public func with(password: String) -> ConnectionString {
    var other = self
    other.values["password"] = password
    other.variables["PGPASSWORD"] = password
    return other
  }

  /// As `keyword='value'` pairs.
  public var text: String {
    values.sorted { $0.key < $1.key }.map { keyword, value in
      let escaped = value.map { $0 == "\\" || $0 == "'" ? "\\\($0)" : String($0) }.joined()
      return "\(keyword)='\(escaped)'"
    }.joined(separator: " ")
  }

  /// The variables by which `psql`, `pg_dump` and others find the same database, without arguments for all to read.
  public var environment: [String: String] { variables }
}
