// The one way to the database for the rest of the product. What it can do stands in the Store+*.swift files, one for
// each resource; Connection.swift and Pool.swift are below it, Migrator.swift beside it.
import Contract
import Foundation

/// Everything the service keeps, in PostgreSQL.
///
/// All calls block and may be made from any thread that may block, not from Swift's cooperative pool. All of them throw
/// ``StoreError``. Each is one transaction: done when it returns, without effect when it throws, except that after
/// ``StoreError/unavailable(query:reason:)`` a write may have been done; writes that say so can be repeated safely.
public final class Store: Sendable {
  /// The connection string it was made with, for a ``NotificationListener`` or another process.
  public let connection: String
  let applicationName: String
  let pool: Pool
  /// Apart from `pool`, so that progress and leases never wait behind contents on their way.
  let bulk: Pool
  let notifier: Notifier
  private let patienceSeconds: Double

  /// How many contents are on their way at once.
  private static let bulkConnectionsMax = 2

  /// Prepares to connect; the first call does.
  ///
  /// - Parameters:
  ///   - connection: a libpq connection string or `postgresql://` URL.
  ///   - connectionsMax: connections for everything but contents, at least 1; two more carry contents.
  ///   - applicationName: shown in pg_stat_activity.
  ///   - patienceSeconds: how long calls that can be repeated safely (reads, contents, and what a worker reports) go on
  ///     trying while the database is away. 0 for a server that had better say so; a worker waits out a restart.
  /// - Throws: ``StoreError/unavailable(query:reason:)`` if the database does not answer.
  public init(
    connection: String, connectionsMax: Int, applicationName: String, patienceSeconds: Double = 0
  ) throws(StoreError) {
    guard connectionsMax >= 1 else { throw .limit("connectionsMax: expected at least 1, got \(connectionsMax)") }
    self.connection = connection
    self.applicationName = applicationName
    self.patienceSeconds = patienceSeconds
    pool = Pool(
      conninfo: connection, applicationName: applicationName, countMax: connectionsMax, timeouts: ConnectionTimeouts())
    bulk = Pool(
      conninfo: connection, applicationName: applicationName, countMax: Self.bulkConnectionsMax, timeouts: .bulk)
    notifier = Notifier(pool: pool)
    do { try ping() } catch {
      throw error as? StoreError ?? .unavailable(query: "connect", reason: "\(error)")
    }
  }

  deinit { close() }

  /// Sends the notifications that are due and closes the connections. Later calls throw.
  public func close() {
    notifier.stop()
    pool.close()
    bulk.close()
  }

  /// Asks the database for a sign of life.
  public func ping() throws {
    _ = try pool.read { try $0.run(Statement("ping", "SELECT 1")) }
  }

  /// Runs something that has the same effect when done twice, again and again while the database is away.
  func persist<Value>(_ body: () throws -> Value) throws -> Value {
    let deadline = Deadline(seconds: patienceSeconds)
    var pauseSeconds = 0.05
    while true {
      do { return try body() } catch let error as StoreError where error.isRetryable && !deadline.isOver {
        Thread.sleep(forTimeInterval: min(pauseSeconds, Double(deadline.millisecondsLeft) / 1000))
        pauseSeconds = min(pauseSeconds * 2, 1)
      }
    }
  }
}

/// What a POST with an idempotency key is known by.
public struct Idempotency: Sendable, Hashable {
  /// The client's key, 1 to 255 characters.
  public var key: String
  /// Method and path, such as `POST /v1/jobs`.
  public var route: String
  /// SHA-256 of the request's body, lower-case hexadecimal.
  public var requestSHA256: String

  /// After this long a key may be used for something else.
  public static let lifetimeHours = 24

  public init(key: String, route: String, requestSHA256: String) {
    self.key = key
    self.route = route
    self.requestSHA256 = requestSHA256
  }
}
