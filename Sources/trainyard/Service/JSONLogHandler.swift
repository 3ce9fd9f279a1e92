// Log lines as JSON objects for programs that collect them; swift-log's own handler writes those for people.
import Contract
import Foundation
import Glibc
import Logging

/// Writes one JSON object a line to standard error: `time`, `level`, `message`, `logger`, and each piece of metadata as
/// a member of its own.
struct JSONLogHandler: LogHandler {
  let label: String
  var metadata = Logger.Metadata()
  var logLevel = Logger.Level.info

  init(label: String) { self.label = label }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let line = Self.line(
      at: Timestamp(Date()), label: label, level: event.level, message: event.message.description,
      metadata: metadata.merging(event.metadata ?? [:]) { $1 })
    // One write a line, so that lines of several threads and processes do not mix.
    let bytes = Array((line + "\n").utf8)
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  /// The object of one line, without its line end.
  static func line(
    at time: Timestamp, label: String, level: Logger.Level, message: String, metadata: Logger.Metadata
  ) -> String {
    var members: [String: JSON] = [:]
    for (key, value) in metadata { members[key] = json(value) }
    // These are ours, whatever metadata calls itself.
    members["time"] = .time(time)
    members["level"] = .string(level.rawValue)
    members["message"] = .string(message)
    members["logger"] = .string(label)
    return JSON.object(members).text
  }

  private static func json(_ value: Logger.MetadataValue) -> JSON {
    switch value {
    case .string(let text): return .string(text)
    case .stringConvertible(let value as Int): return .integer(value)
    case .stringConvertible(let value as Double) where value.isFinite: return .number(value)
    case .stringConvertible(let value): return .string(value.description)
    case .array(let values): return .array(values.map(json))
    case .dictionary(let values): return .object(values.mapValues(json))
    }
  }
}
