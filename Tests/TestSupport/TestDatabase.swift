// A real PostgreSQL for tests: one private cluster for each test process, made when first needed, and a database of
// its own for each test.
import Foundation
import Glibc

@testable import Store

/// A database with the current schema and nothing in it, dropped when the value goes away.
public final class TestDatabase: Sendable {
  /// Connection string of the database.
  public let connection: String
  private let name: String

  /// Makes a database.
  ///
  /// - Parameter migrated: whether it has the schema already; else it is empty.
  public init(migrated: Bool = true) throws {
    let server = try TestServer.shared.get()
    name = "test_" + String(UInt64.random(in: .min ... .max), radix: 36)
    connection = try server.createDatabase(name, template: migrated ? TestServer.template : "template1")
  }

  deinit {
    // A test may still have connections open; the cluster goes away with the process anyway.
    if let server = try? TestServer.shared.get() { try? server.run("DROP DATABASE IF EXISTS \(name) WITH (FORCE)") }
  }

  /// A store on the database.
  public func store(connectionsMax: Int = 4, patienceSeconds: Double = 0) throws -> Store {
    try Store(
      connection: connection, connectionsMax: connectionsMax, applicationName: "test", patienceSeconds: patienceSeconds)
  }

  /// Runs SQL that no method of the store stands for, to arrange or look at something behind its back.
  public func run(_ sql: String) throws {
    try Connection(connection, applicationName: "test").script("test", sql)
  }

  /// The first column of the rows of a query, as text.
  public func texts(_ sql: String) throws -> [String] {
    try Connection(connection, applicationName: "test")
      .run(Statement("test", "SELECT (q.*)::text FROM (\(sql)) q")).map { row in
        // A row of one column as text: "(value)".
        let text = row.text().dropFirst().dropLast()
        return text.hasPrefix("\"") ? String(text.dropFirst().dropLast()) : String(text)
      }
  }
}

/// The cluster behind all test databases of this process.
final class TestServer: Sendable {
  static let template = "template_trainyard"
  static let shared = Result { try TestServer() }

  private let connection: String

  private init() throws {
    // Short, since a socket lies in it, and in a place that the user postgres can reach.
    let folder = URL(fileURLWithPath: "/tmp/ty-test-\(getpid())")
    try? FileManager.default.removeItem(at: folder)
    // Test databases are made and dropped by the dozen, and none has to survive the machine.
    connection = try PrivateCluster(dataFolder: folder, moreSettings: ["fsync=off", "full_page_writes=off"]).start()
    // Killed test processes leave their folders behind; their clusters have ended with them.
    for name in try FileManager.default.contentsOfDirectory(atPath: "/tmp") where name.hasPrefix("ty-test-") {
      if let processID = Int32(name.dropFirst(8)), kill(processID, 0) != 0, errno == ESRCH {
        try? FileManager.default.removeItem(atPath: "/tmp/" + name)
      }
    }
    let path = folder.path
    TestServer.folder.withLock { $0 = path }
    atexit { TestServer.folder.withLock { _ = try? FileManager.default.removeItem(atPath: $0) } }
    let made = try createDatabase(Self.template, template: "template1")
    let store = try Store(connection: made, connectionsMax: 1, applicationName: "test template")
    try store.migrate()
    store.close()
  }

  private static let folder = Guarded("")

  func createDatabase(_ name: String, template: String) throws -> String {
    try run("CREATE DATABASE \(name) TEMPLATE \(template)")
    return connection.replacingOccurrences(of: "dbname=trainyard", with: "dbname=\(name)")
  }

  func run(_ sql: String) throws {
    try Connection(connection, applicationName: "test server").script("test", sql)
  }
}
