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

  /// A page of a project's entries, newest first.
  ///
  /// - Parameters:
  ///   - action: those of one action alone, such as `job.create`.
  ///   - subject: those about one thing alone, by its id.
  ///   - since: those of that time and later.
  ///   - cursor: the id of the last entry shown, as text.
  public func audit(
    project: String, action: String? = nil, subject: String? = nil, since: Timestamp? = nil, cursor: String? = nil,
    limit: Int = 50
  ) throws -> Page<AuditEntry> {
    try Self.checkLimit(limit)
    var before = Int.max
    if let cursor {
      guard let id = Int(cursor), id > 0 else { throw StoreError.invalidCursor(cursor) }
      before = id
    }
    let entries = try pool.read { connection in
      try connection.run(
        Statement(
          "audit_list",
          """
          SELECT id, at, project, key, action, subject, detail FROM audit
          WHERE project = $1 AND id < $2 AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR subject = $4)
            AND ($5::timestamptz IS NULL OR at >= $5)
          ORDER BY id DESC LIMIT $6
          """),
        [
          .text(project), .integer(before), .optional(action), .optional(subject), .optional(since?.rfc3339),
          .integer(limit + 1),
        ]
      ).map { row in
        AuditEntry(
          id: row.integer(), at: row.time(), project: row.text(), key: row.optionalText(), action: row.text(),
          subject: row.optionalText(), detail: row.json())
      }
    }
    let shown = Array(entries.prefix(limit))
    return Page(items: shown, nextCursor: entries.count > limit ? shown.last.map { String($0.id) } : nil)
  }
}
