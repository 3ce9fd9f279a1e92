// Connections shared between threads: opened when needed, bounded in number, replaced when broken, closed when idle.
import Foundation

/// A bounded set of connections.
// @unchecked: the lists are guarded by the condition, and a connection outside of them belongs to one thread.
final class Pool: @unchecked Sendable {
  private let conninfo: String
  private let applicationName: String
  private let countMax: Int
  private let timeouts: ConnectionTimeouts
  private let waitSeconds: Double
  private let condition = NSCondition()
  private var idle: [(connection: Connection, since: ContinuousClock.Instant)] = []
  private var open = 0
  private var isClosed = false

  /// Unused connections are closed after this long: each costs the server a process.
  private static let idleSecondsMax = 30.0
  /// How often a transaction is run again that lost against a concurrent one.
  private static let conflictsMax = 5

  /// - Parameter waitSeconds: how long a caller waits for a connection when all are busy.
  init(
    conninfo: String, applicationName: String, countMax: Int, timeouts: ConnectionTimeouts, waitSeconds: Double = 5
  ) {
    self.waitSeconds = waitSeconds
    precondition(countMax >= 1, "a pool needs at least one connection")
    self.conninfo = conninfo
    self.applicationName = applicationName
    self.countMax = countMax
    self.timeouts = timeouts
  }

  /// Lends a connection to `body`. Do not nest: a thread that holds one connection and waits for another can starve.
  ///
  /// A statement outside a transaction is its own transaction.
  func with<Value>(_ body: (Connection) throws -> Value) throws -> Value {
    var conflicts = 0
    while true {
      let connection = try take()
      defer { give(connection) }
      do { return try body(connection) } catch StoreError.database(_, let sqlstate, _)
        where (sqlstate == "40P01" || sqlstate == "40001") && conflicts < Self.conflictsMax
      {
        // Deadlock or serialization failure: rolled back as a whole, so it can simply be run again.
        conflicts += 1
      }
    }
  }

  /// Runs one statement.
  func run(_ statement: Statement, _ parameters: [Parameter] = []) throws -> QueryResult {
    try with { try $0.run(statement, parameters) }
  }

  /// Runs `body` in a transaction.
  func transaction<Value>(
    _ mode: Connection.TransactionMode = .write, _ body: (Connection) throws -> Value
  ) throws -> Value {
    try with { connection in try connection.transaction(mode) { try body(connection) } }
  }

  /// Runs something that changes nothing, and once more if the connection turns out to be dead.
  func read<Value>(_ body: (Connection) throws -> Value) throws -> Value {
    do { return try with(body) } catch let error as StoreError where error.isRetryable { return try with(body) }
  }

  /// Closes the idle connections and refuses to open more.
  func close() {
    condition.lock()
    isClosed = true
    let closing = idle
    idle = []
    open -= closing.count
    condition.broadcast()
    condition.unlock()
    _ = closing
  }

  private func take() throws(StoreError) -> Connection {
    let deadline = Date(timeIntervalSinceNow: waitSeconds)
    condition.lock()
    while true {
      if isClosed {
        condition.unlock()
        throw .unavailable(query: "connect", reason: "the store is closed")
      }
      if let last = idle.popLast() {
        condition.unlock()
        if last.connection.isUsable { return last.connection }
        condition.lock()
        open -= 1
        continue
      }
      if open < countMax {
        open += 1
        condition.unlock()
        do {
          return try Connection(conninfo, applicationName: applicationName, timeouts: timeouts)
        } catch {
          condition.lock()
          open -= 1
          condition.signal()
          condition.unlock()
          throw error
        }
      }
      guard condition.wait(until: deadline) else {
        condition.unlock()
        throw .unavailable(
          query: "connect", reason: "all \(countMax) connections were busy for \(waitSeconds) s")
      }
    }
  }

  private func give(_ connection: Connection) {
    let now = ContinuousClock.now
    condition.lock()
    var closing: [Connection] = []
    if isClosed || !connection.isUsable {
      open -= 1
      closing.append(connection)
    } else {
      idle.append((connection, now))
      // The newest is used first, so the oldest tells whether there are more than needed.
      while let oldest = idle.first, now - oldest.since > .seconds(Self.idleSecondsMax) {
        closing.append(oldest.connection)
        idle.removeFirst()
        open -= 1
      }
    }
    condition.signal()
    condition.unlock()
    // Closed here, outside the lock: saying goodbye to the server may take a moment.
    _ = closing
  }
}
