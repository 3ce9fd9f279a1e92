// The one error type of this target: what the database, the queue or the private cluster refused, with the facts.
import Contract

/// Why the store could not do what it was asked.
public enum StoreError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The work was leased again to somebody else, given back, or finished: the write changed nothing.
  case staleLease(subject: String)
  /// Something that was named does not exist, or belongs to another project.
  case notFound(String)
  /// That version of a campaign's theta is not stored; the text says which are.
  case missingTheta(String)
  /// The state of things forbids it; the text says what stands in the way.
  case conflict(Conflict, String)
  /// What was asked for names things that are not there or do not fit: every fault with the path of its field.
  case invalid([Fault])
  /// A list was asked to go on from a cursor that no list gave out.
  case invalidCursor(String)
  /// The argument breaks a limit; the text says which one and by how much.
  case limit(String)
  /// A project would take up more than it may; the text says which quota, how much is used and what to do.
  case quota(String)
  /// The database cannot be reached, is busy or starting. The same call may succeed later.
  case unavailable(query: String, reason: String)
  /// The database's disk has no room for what was to be written; nothing of it was kept. The same call may succeed later.
  case diskFull(query: String, reason: String)
  /// The schema does not fit this program.
  case schema(String)
  /// Content of a blob does not have the hash or the length that it should.
  case corruptContent(String)
  /// The private PostgreSQL could not be started.
  case cluster(String)
  /// PostgreSQL refused a statement: its name, the five-character code and the message.
  case database(query: String, sqlstate: String, message: String)

  /// What stands in the way of a change.
  public enum Conflict: String, Sendable, Hashable {
    /// The idempotency key was used with another request.
    case idempotencyKeyReused
    /// What the idempotency key made has been deleted since.
    case idempotencySubjectGone
    /// The dataset is not ready.
    case datasetNotReady
    /// Unfinished jobs need it.
    case inUse
    /// The name and version exist with other content.
    case versionExists
    /// The weights are not there: validating still, or rejected.
    case notUsable
    /// It was changed since the caller read it.
    case revision
    /// It is in a state from which that is not possible.
    case state
  }

  /// Whether the same call may succeed later.
  public var isRetryable: Bool {
    switch self {
    case .unavailable, .diskFull: return true
    default: return false
    }
  }

  public var description: String {
    switch self {
    case .staleLease(let subject):
      return "the lease on \(subject) is not held any more; nothing was changed"
    case .notFound(let what): return "\(what) does not exist"
    case .missingTheta(let text), .conflict(_, let text), .limit(let text), .quota(let text), .schema(let text),
      .corruptContent(let text), .cluster(let text):
      return text
    case .invalid(let faults): return SpecError(faults).description
    case .invalidCursor(let cursor):
      return "\"\(cursor.prefix(80))\" is not a cursor of this list; take next_cursor of a page as it is"
    case .unavailable(let query, let reason): return "the database is not available (\(query)): \(reason)"
    case .diskFull(let query, let reason): return "the database's disk is full (\(query)): \(reason)"
    case .database(let query, let sqlstate, let message): return "\(query): \(message) (SQLSTATE \(sqlstate))"
    }
  }
}
