// One connection to PostgreSQL: the only file that calls libpq. Row.swift decodes its results, Pool.swift shares
// connections between threads.
//
// libpq's blocking calls wait for ever on a server that hangs, so everything here runs non-blocking under a deadline.
import CLibPQ
import Foundation
import Glibc

/// A statement with the name it is prepared and reported under.
struct Statement: Sendable {
  let name: String
  let sql: String

  init(_ name: String, _ sql: String) {
    self.name = name
    self.sql = sql
  }
}

/// A value for `$1`, `$2`, …
enum Parameter: Sendable {
  case null
  case text(String)
  case integer(Int)
  case number(Double)
  case bool(Bool)
  case bytes([UInt8])

  static func optional(_ text: String?) -> Parameter { text.map(Parameter.text) ?? .null }

  /// An array of texts, numbers or JSON values; the statement casts it.
  static func array(_ elements: some Sequence<String>) -> Parameter {
    var text = "{"
    for element in elements {
      text += text.utf8.count == 1 ? "\"" : ",\""
      for scalar in element.unicodeScalars {
        if scalar == "\"" || scalar == "\\" { text.unicodeScalars.append("\\") }
        text.unicodeScalars.append(scalar)
      }
      text += "\""
    }
    return .text(text + "}")
  }
}

/// How long a connection waits for what.
struct ConnectionTimeouts: Sendable {
  /// To be connected and let in.
  var connectSeconds = 5.0
  /// For one statement, enforced by the server.
  var statementSeconds = 15.0
  /// How much longer than that to wait for a server that does not answer at all.
  var graceSeconds = 5.0

  /// For contents and migrations, whose statements move more data or wait for each other.
  static let bulk = ConnectionTimeouts(statementSeconds: 120)
}

/// A connection, used by one thread at a time.
final class Connection {
  private let handle: OpaquePointer
  private let timeouts: ConnectionTimeouts
  private var prepared: Set<String> = []
  /// Set when the connection must not be used any more.
  private(set) var isBroken = false

  /// Connects and sets the session up.
  ///
  /// - Parameters:
  ///   - conninfo: a libpq connection string or `postgresql://` URL.
  ///   - applicationName: shown in pg_stat_activity.
  init(_ conninfo: String, applicationName: String, timeouts: ConnectionTimeouts = ConnectionTimeouts())
    throws(StoreError)
  {
    self.timeouts = timeouts
    // Later keywords win, so what the connection string says goes before our defaults. A peer that vanishes without a
    // word is noticed within about a minute, one that stops acknowledging within 20 s.
    let options: [(String, String)] = [
      ("fallback_application_name", applicationName), ("client_encoding", "UTF8"), ("keepalives_idle", "30"),
      ("keepalives_interval", "10"), ("keepalives_count", "3"), ("tcp_user_timeout", "20000"), ("dbname", conninfo),
    ]
    let keywords = options.map { strdup($0.0) } + [nil]
    let values = options.map { strdup($0.1) } + [nil]
    defer { (keywords + values).forEach { free($0) } }
    let started = PQconnectStartParams(
      keywords.map { UnsafePointer($0) }, values.map { UnsafePointer($0) }, 1)
    guard let started else { throw .unavailable(query: "connect", reason: "out of memory") }
    handle = started
    do {
      try connect()
      PQsetnonblocking(handle, 1)
      // Without a receiver libpq prints the server's warnings to our standard error.
      PQsetNoticeReceiver(handle, { _, _ in }, nil)
      try script("session", Connection.sessionSettings(timeouts))
    } catch {
      isBroken = true
      throw error
    }
  }

  deinit { PQfinish(handle) }

  private static func sessionSettings(_ timeouts: ConnectionTimeouts) -> String {
    let statement = Int(timeouts.statementSeconds * 1000)
    // All queries go by an index, and few plans are worth making twice: a plan made while a table was empty must not
    // scan or sort it when it is not. JIT only ever costs time on queries this small.
    return """
      SET statement_timeout = \(statement); SET lock_timeout = \(statement * 2 / 3);
      SET idle_in_transaction_session_timeout = \(statement * 4); SET TimeZone = 'UTC';
      SET client_min_messages = warning;
      SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off;
      SET jit = off
      """
  }

  private func connect() throws(StoreError) {
    let deadline = Deadline(seconds: timeouts.connectSeconds)
    var status = PGRES_POLLING_WRITING
    while status != PGRES_POLLING_OK {
      guard PQstatus(handle) != CONNECTION_BAD, status != PGRES_POLLING_FAILED else {
        throw .unavailable(query: "connect", reason: errorText)
      }
      let events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT
      guard wait(for: Int16(events), until: deadline) else {
        throw .unavailable(query: "connect", reason: "no answer within \(timeouts.connectSeconds) s")
      }
      status = PQconnectPoll(handle)
    }
  }

  /// Whether the server is still there, as far as can be known without asking it.
  var isUsable: Bool {
    guard !isBroken, PQtransactionStatus(handle) == PQTRANS_IDLE else { return false }
    // Nothing is due on an idle connection of a pool, which listens to nothing: what comes is a farewell.
    if poll(events: Int16(POLLIN), milliseconds: 0) != 0 { isBroken = true }
    return !isBroken
  }

  // MARK: Statements

  /// Runs a statement, preparing it on its first use here.
  @discardableResult
  func run(_ statement: Statement, _ parameters: [Parameter] = []) throws(StoreError) -> QueryResult {
    if !prepared.contains(statement.name) {
      guard PQsendPrepare(handle, statement.name, statement.sql, 0, nil) == 1 else { throw broken(statement.name) }
      _ = try finish(statement.name)
      prepared.insert(statement.name)
    }
    guard send(statement.name, EncodedParameters(parameters)) else { throw broken(statement.name) }
    return try finish(statement.name)
  }

  /// Runs several statements given as text, without parameters, in one implicit transaction.
  func script(_ name: String, _ sql: String) throws(StoreError) {
    guard PQsendQuery(handle, sql) == 1 else { throw broken(name) }
    _ = try finish(name)
  }

  private func send(_ name: String, _ parameters: EncodedParameters) -> Bool {
    parameters.bytes.withUnsafeBytes { bytes in
      let values = parameters.offsets.map { offset in
        offset.map { (bytes.baseAddress! + $0).assumingMemoryBound(to: CChar.self) as UnsafePointer<CChar>? } ?? nil
      }
      return PQsendQueryPrepared(
        handle, name, Int32(values.count), values, parameters.lengths, parameters.formats, 1) == 1
    }
  }

  /// Sends what is buffered and reads until the server is done; gives the last result.
  private func finish(_ name: String) throws(StoreError) -> QueryResult {
    let deadline = Deadline(seconds: timeouts.statementSeconds + timeouts.graceSeconds)
    while true {
      let flushed = PQflush(handle)
      guard flushed >= 0 else { throw broken(name) }
      if flushed == 0 { break }
      guard wait(for: Int16(POLLIN | POLLOUT), until: deadline) else { throw overdue(name) }
      guard PQconsumeInput(handle) == 1 else { throw broken(name) }
    }
    var last: QueryResult?
    var failure: StoreError?
    while true {
      while PQisBusy(handle) == 1 {
        guard wait(for: Int16(POLLIN), until: deadline) else { throw overdue(name) }
        guard PQconsumeInput(handle) == 1 else { throw broken(name) }
      }
      guard let pointer = PQgetResult(handle) else { break }
      let result = QueryResult(pointer)
      if failure == nil { failure = result.failure(of: name) }
      last = result
    }
    if PQstatus(handle) == CONNECTION_BAD { isBroken = true }
    if let failure { throw failure }
    guard let last else { throw broken(name) }
    return last
  }

  private func broken(_ name: String) -> StoreError {
    isBroken = true
    return .unavailable(query: name, reason: errorText)
  }

  private func overdue(_ name: String) -> StoreError {
    // The answer may still come, to nobody: the connection cannot be used again.
    isBroken = true
    return .unavailable(
      query: name, reason: "no answer within \(timeouts.statementSeconds + timeouts.graceSeconds) s")
  }

  private var errorText: String {
    let text = String(cString: PQerrorMessage(handle)).trimmingCharacters(in: .whitespacesAndNewlines)
    return text.isEmpty ? "the connection was closed" : text
  }

  // MARK: Transactions

  /// Runs `body` in a transaction and commits it, or rolls back if it throws.
  ///
  /// - Parameter mode: for example `ISOLATION LEVEL REPEATABLE READ READ ONLY`.
  func transaction<Value>(_ mode: TransactionMode = .write, _ body: () throws -> Value) throws -> Value {
    try run(mode.begin)
    let value: Value
    do { value = try body() } catch {
      if !isBroken { do { try run(Self.rollback) } catch { isBroken = true } }
      throw error
    }
    try run(Self.commit)
    return value
  }

  private static let commit = Statement("commit", "COMMIT")
  private static let rollback = Statement("rollback", "ROLLBACK")

  enum TransactionMode {
    case write
    /// All statements see the same state.
    case snapshot

    fileprivate var begin: Statement {
      switch self {
      case .write: return Statement("begin", "BEGIN")
      case .snapshot: return Statement("begin_snapshot", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
      }
    }
  }

  // MARK: Notifications

  /// Waits until the server sends something, `wake` becomes readable, or the time is over; false when the
  /// connection is lost.
  func waitForInput(seconds: Double, wake: Int32) -> Bool {
    var descriptors = [
      pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0),
      pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
    ]
    _ = Glibc.poll(&descriptors, 2, Int32(seconds * 1000))
    if descriptors[0].revents != 0, PQconsumeInput(handle) == 0 { isBroken = true }
    return !isBroken && PQstatus(handle) == CONNECTION_OK
  }

  /// The next notification that has arrived, if any.
  func nextNotification() -> (channel: String, payload: String)? {
    guard let notification = PQnotifies(handle) else { return nil }
    defer { PQfreemem(notification) }
    return (String(cString: notification.pointee.relname), String(cString: notification.pointee.extra))
  }

  // MARK: Waiting

  private func poll(events: Int16, milliseconds: Int32) -> Int16 {
    var descriptor = pollfd(fd: PQsocket(handle), events: events, revents: 0)
    return Glibc.poll(&descriptor, 1, milliseconds) > 0 ? descriptor.revents : 0
  }

  private func wait(for events: Int16, until deadline: Deadline) -> Bool {
    while true {
      let left = deadline.millisecondsLeft
      if poll(events: events, milliseconds: left) != 0 { return true }
      if left == 0 { return false }
    }
  }
}

/// A moment on the monotonic clock after which to give up.
struct Deadline {
  private let end: ContinuousClock.Instant

  init(seconds: Double) { end = .now + .seconds(seconds) }

  var millisecondsLeft: Int32 {
    let left = end - .now
    guard left > .zero else { return 0 }
    // Rounded up, so that a wait of less than a millisecond does not spin.
    return Int32(clamping: left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1)
  }

  var isOver: Bool { end <= .now }
}

/// Parameters as libpq takes them: one buffer, and for each parameter its place, length and format.
private struct EncodedParameters {
  var bytes: [UInt8] = []
  var offsets: [Int?] = []
  var lengths: [Int32] = []
  var formats: [Int32] = []

  init(_ parameters: [Parameter]) {
    bytes.reserveCapacity(64 * parameters.count + 1)
    for parameter in parameters {
      switch parameter {
      case .null:
        offsets.append(nil)
        lengths.append(0)
        formats.append(0)
      case .text(let text): append(text.utf8)
      case .integer(let value): append(String(value).utf8)
      case .number(let value): append("\(value)".utf8)
      case .bool(let value): append((value ? "t" : "f").utf8)
      case .bytes(let content):
        offsets.append(bytes.count)
        lengths.append(Int32(content.count))
        formats.append(1)
        bytes.append(contentsOf: content)
        // A place of its own even when empty, and never past the end.
        bytes.append(0)
      }
    }
    if bytes.isEmpty { bytes.append(0) }
  }

  // A NUL would silently end the text; nothing that comes from a client has one, JSON and Fields refuse it.
  private mutating func append(_ text: some Sequence<UInt8>) {
    offsets.append(bytes.count)
    formats.append(0)
    bytes.append(contentsOf: text)
    lengths.append(0)
    bytes.append(0)
  }
}
