// The audit log: who changed what, and when. Append-only.
import Contract
import Foundation

/// A change that somebody made.
public struct AuditEntry: Sendable, Hashable {
  /// Rises with every entry.
  public let id: Int
  public let at: Timestamp
  public let project: String
  /// The key that made it; nil for the command line on the server itself.
  public let key: String?
  /// Such as `job.create`.
  public let action: String
  public let subject: String?
  public let detail: JSON

  /// The entry as the API shows it.
  public var json: JSON {
    [
      "id": .integer(id), "at": .time(at), "project": .string(project), "key": .optional(key),
      "action": .string(action), "subject": .optional(subject), "detail": detail,
    ]
  }
}

extension Store {
  /// Adds an entry.
  public func recordAudit(
    project: String, key: String?, action: String, subject: String?, detail: JSON = .object([:])
  ) throws {
    _ = try pool.run(
      Statement(
        "audit_record", "INSERT INTO audit (project, key, action, subject, detail) VALUES ($1, $2, $3, $4, $5)"),
      [.text(project), .optional(key), .text(action), .optional(subject), .text(detail.text)])
  }

  /// A project's entries with ids below `before`, newest first.
  public func audit(project: String, before: Int = .max, limit: Int = 50) throws -> [AuditEntry] {
    try Self.checkLimit(limit)
    return try pool.read { connection in
      try connection.run(
        Statement(
          "audit_list",
          """
          SELECT id, at, project, key, action, subject, detail FROM audit WHERE project = $1 AND id < $2
          ORDER BY id DESC LIMIT $3
          """), [.text(project), .integer(before), .integer(limit)]
      ).map { row in
        AuditEntry(
          id: row.integer(), at: row.time(), project: row.text(), key: row.optionalText(), action: row.text(),
          subject: row.optionalText(), detail: row.json())
      }
    }
  }
}
