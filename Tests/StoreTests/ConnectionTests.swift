// Connections, the pool and notifications: values survive the wire, losses are noticed, nothing waits for ever.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct ConnectionTests {
  let database: TestDatabase

  init() throws { database = try TestDatabase() }

  private func connect(_ timeouts: ConnectionTimeouts = ConnectionTimeouts()) throws -> Connection {
    try Connection(database.connection, applicationName: "test", timeouts: timeouts)
  }

  @Test func `values survive the way to the server and back`() throws {
    let text = "quo\"te, {brace} \\ back'slash – ü 🚂\n"
    let bytes = (0...255).map { UInt8($0) }
    let result = try connect().run(
      Statement(
        "echo",
        """
        SELECT $1::text, $2::bytea, $3::bigint, $4::smallint, $5::float8, $6::float4, $7::boolean, $8::text, $9::jsonb,
          $10::timestamptz, ($11::text[])[2], $12::bytea
        """),
      [
        .text(text), .bytes(bytes), .integer(.min), .integer(-7), .number(2.5e-300), .number(.infinity), .bool(true),
        .null, .text("{\"a\": [1, 2.5]}"), .text("2026-01-31T12:00:00.123456Z"), .array(["", text]), .bytes([]),
      ])
    var row = try #require(result.first)
    // Read in the order of the columns.
    let (echoedText, echoedBytes, least, small) = (row.text(), row.bytes(), row.integer(), row.integer())
    #expect(echoedText == text && echoedBytes == bytes && least == .min && small == -7)
    let (tiny, infinite, truth, nothing) = (row.number(), row.number(), row.bool(), row.optionalText())
    #expect(tiny == 2.5e-300 && infinite == .infinity && truth && nothing == nil)
    let (json, time, element, empty) = (row.json(), row.time(), row.text(), row.bytes())
    #expect(json == ["a": [1, 2.5]] && time.rfc3339 == "2026-01-31T12:00:00.123456Z")
    #expect(element == text && empty == [])
  }

  @Test func `a full disk of the database is told from one that is away`() throws {
    let connection = try connect()
    #expect {
      try connection.script("write", "DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$")
    } throws: { error in
      guard case StoreError.diskFull = error else { return false }
      return (error as? StoreError)?.isRetryable == true
    }
  }

  @Test func `a refusal carries the statement's name and the code`() throws {
    let connection = try connect()
    #expect(throws: StoreError.database(query: "divide", sqlstate: "22012", message: "division by zero")) {
      try connection.run(Statement("divide", "SELECT 1 / $1::integer"), [.integer(0)])
    }
    #expect(connection.isUsable)
  }

  @Test func `a transaction that throws leaves nothing and the connection usable`() throws {
    struct Stop: Error {}
    let connection = try connect()
    #expect(throws: Stop.self) {
      try connection.transaction {
        try connection.run(Statement("insert", "INSERT INTO projects (id) VALUES ('gone')"))
        throw Stop()
      }
    }
    #expect(connection.isUsable)
    #expect(try database.texts("SELECT count(*) FROM projects") == ["0"])
  }

  @Test func `a statement that takes too long is ended by the server`() throws {
    let connection = try connect(ConnectionTimeouts(statementSeconds: 0.1))
    #expect { try connection.run(Statement("sleep", "SELECT pg_sleep(60)")) } throws: {
      ($0 as? StoreError)?.isRetryable == true
    }
    #expect(connection.isUsable)
  }

  @Test func `a server that hangs holds nobody for ever`() throws {
    let connection = try connect(ConnectionTimeouts(statementSeconds: 0.2, graceSeconds: 0.2))
    var row = try #require(try connection.run(Statement("pid", "SELECT pg_backend_pid()")).first)
    let backend = Int32(row.integer())
    kill(backend, SIGSTOP)
    defer { kill(backend, SIGCONT) }
    #expect { try connection.run(Statement("one", "SELECT 1")) } throws: { ($0 as? StoreError)?.isRetryable == true }
    #expect(!connection.isUsable)
  }

  @Test func `nobody to talk to is an error that can be retried`() {
    for conninfo in ["host=/nonexistent dbname=x", "host=127.0.0.1 port=1 dbname=x", "postgresql://127.0.0.1:1/x"] {
      #expect { try Store(connection: conninfo, connectionsMax: 1, applicationName: "test") } throws: {
        ($0 as? StoreError)?.isRetryable == true
      }
    }
  }

  @Test func `a connection that was closed meanwhile is replaced without an error`() throws {
    let store = try database.store(connectionsMax: 1)
    for _ in 0..<3 {
      try database.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
          + "WHERE datname = current_database() AND pid <> pg_backend_pid()")
      try store.makeProject()
    }
  }

  @Test func `a pool lends no more than it has, and a busy one says so in time`() throws {
    let pool = Pool(
      conninfo: database.connection, applicationName: "test", countMax: 2, timeouts: ConnectionTimeouts(),
      waitSeconds: 0.1)
    let inside = Guarded(0)
    let isRefused = Guarded(false)
    _ = try concurrently(2) { index in
      try pool.with { _ in
        inside.withLock { $0 += 1 }
        guard index == 0 else {
          #expect(isRefused.wait { $0 })
          return
        }
        #expect(inside.wait { $0 == 2 })
        #expect { try pool.with { _ in } } throws: {
          if case StoreError.unavailable(_, let reason) = $0 { reason.contains("all 2 connections") } else { false }
        }
        isRefused.withLock { $0 = true }
      }
    }
    try pool.with { _ in }
  }

  @Test func `contents on their way do not hold up commits`() throws {
    let store = try database.store(connectionsMax: 1)
    let lease = try { () throws -> Lease in
      try store.makeJob(on: store.makeReadyDataset())
      return try #require(try store.claimJob())
    }()
    // Two uploads of the same content: the second waits in the database for the first, which waits for us.
    let blocker = try connect()
    try blocker.script("lock", "BEGIN; LOCK TABLE blobs IN EXCLUSIVE MODE")
    let uploads = Guarded(0)
    for index in 0..<3 {
      Thread.detachNewThread {
        _ = try? store.putBlob([UInt8(index)])
        uploads.withLock { $0 += 1 }
      }
    }
    for sequence in 1...5 {
      _ = try store.commit(progress: JobProgress(sequence: sequence, step: sequence, loss: 1), lease: lease)
    }
    #expect(uploads.current == 0)
    try blocker.script("unlock", "COMMIT")
    #expect(uploads.wait { $0 == 3 })
  }

  // MARK: Notifications

  @Test func `listeners are told of work, jobs and datasets`() throws {
    let store = try database.store()
    let heard = Guarded<Set<String>>([])
    let listener = try store.listen(to: [.work, .job, .dataset]) { channel, payload in
      heard.withLock { _ = $0.insert("\(channel) \(payload)") }
    }
    defer { listener.stop() }
    #expect(listener.waitUntilListening(seconds: 20))
    let dataset = try store.makeReadyDataset()
    let job = try store.makeJob(on: dataset)
    let expected: Set = ["work validation", "work job", "job \(job.id)", "dataset \(dataset.id)"]
    let isTold = heard.wait { expected.isSubset(of: $0) }
    #expect(isTold)
    heard.withLock { $0 = [] }
    _ = try store.cancelJob(id: job.id, project: "demo")
    #expect(heard.wait { $0.contains("job \(job.id)") })
  }

  @Test func `a listener that was cut off connects again and says that it may have missed something`() throws {
    let store = try database.store()
    let heard = Guarded<[String]>([])
    let listener = try store.listen(to: [.job]) { _, payload in heard.withLock { $0.append(payload) } }
    #expect(listener.waitUntilListening(seconds: 20))
    try database.run(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test listener'")
    #expect(heard.wait { $0.contains("") })
    let job = try store.makeJob(on: store.makeReadyDataset())
    #expect(heard.wait { $0.contains(job.id) })
    listener.stop()
    listener.stop()
  }

  @Test func `closing a store sends what it still had to say`() throws {
    let other = try database.store()
    let heard = Guarded<Set<String>>([])
    let listener = try other.listen(to: [.job]) { _, payload in heard.withLock { _ = $0.insert(payload) } }
    defer { listener.stop() }
    #expect(listener.waitUntilListening(seconds: 20))
    let store = try database.store()
    let job = try store.makeJob(on: store.makeReadyDataset())
    store.close()
    #expect(heard.wait { $0.contains(job.id) })
    #expect { try store.ping() } throws: { ($0 as? StoreError)?.isRetryable == true }
  }
}
