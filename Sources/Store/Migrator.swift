// Brings the schema up to date: the SQL files of migrations/, embedded in the program, applied in order, each in its
// own transaction, under one advisory lock, and never changed once applied.
import Contract
import Foundation

/// One step of the schema's history.
public struct Migration: Sendable, Hashable {
  /// From 1, without gaps.
  public let version: Int
  /// File name without `.sql`, such as `0001_access`.
  public let name: String
  public let sql: [UInt8]

  /// SHA-256 of the file, which an applied migration must keep.
  public var sha256: [UInt8] { SHA256.digest(sql) }

  init(_ name: String, _ sql: [UInt8]) {
    self.name = name
    self.sql = sql
    version = Int(name.prefix(4))!
  }

  /// All migrations in order. Embedded files cannot be listed at run time, so this list is kept by hand and a test
  /// holds it against the folder.
  public static let all: [Migration] = [
    Migration("0001_access", PackageResources._001_access_sql),
    Migration("0002_artifacts", PackageResources._002_artifacts_sql),
    Migration("0003_jobs", PackageResources._003_jobs_sql),
    Migration("0004_queue", PackageResources._004_queue_sql),
    Migration("0005_imported_models", PackageResources._005_imported_models_sql),
    Migration("0006_optimizer_imports", PackageResources._006_optimizer_imports_sql),
    Migration("0007_campaigns", PackageResources._007_campaigns_sql),
    Migration("0008_evaluations", PackageResources._008_evaluations_sql),
    Migration("0009_job_control", PackageResources._009_job_control_sql),
    Migration("0010_job_extensions", PackageResources._010_job_extensions_sql),
    Migration("0011_operators", PackageResources._011_operators_sql),
    Migration("0012_job_outcomes", PackageResources._012_job_outcomes_sql),
  ]
}

/// What has become of a migration.
public struct MigrationStatus: Sendable, Hashable {
  public let version: Int
  public let name: String
  /// Nil while it waits to be applied.
  public let appliedAt: Timestamp?
}

extension Store {
  // Any constant does; this is "trainyrd" in ASCII.
  private static let migrationLock = 0x7472_6169_6e79_7264

  /// How long to wait for another process that is migrating.
  private static let migrationWaitSeconds = 60.0

  /// Applies the migrations that are missing.
  ///
  /// - Parameter migrations: the schema's history; a test may give another.
  /// - Returns: what was applied now, in order; empty when the schema was up to date.
  /// - Throws: ``StoreError/schema(_:)`` if an applied migration was edited, or if the database is newer than this
  ///   program.
  @discardableResult
  public func migrate(_ migrations: [Migration] = Migration.all) throws -> [MigrationStatus] {
    try bulk.with { connection in
      let deadline = Deadline(seconds: Self.migrationWaitSeconds)
      while var row = try connection.run(Self.tryLock, [.integer(Self.migrationLock)]).first, !row.bool() {
        guard !deadline.isOver else {
          throw StoreError.schema(
            "another process has been migrating this database for \(Int(Self.migrationWaitSeconds)) s; "
              + "wait for it to end, or end it")
        }
        Thread.sleep(forTimeInterval: 0.1)
      }
      defer { _ = try? connection.run(Self.unlock, [.integer(Self.migrationLock)]) }
      try connection.script("migrations", Self.historyTable)
      let missing = try check(migrations, on: connection)
      for migration in missing {
        try connection.transaction {
          try connection.script(migration.name, String(decoding: migration.sql, as: UTF8.self))
          try connection.run(
            Self.record, [.integer(migration.version), .text(migration.name), .bytes(migration.sha256)])
        }
      }
      let versions = Set(missing.map(\.version))
      return try Self.history(connection).filter { versions.contains($0.status.version) }.map(\.status)
    }
  }

  /// What is applied and what is missing, in order.
  public func migrationStatus() throws -> [MigrationStatus] {
    try bulk.with { connection in
      let applied = try Self.hasHistory(connection) ? Self.history(connection).map(\.status) : []
      let versions = Set(applied.map(\.version))
      return applied
        + Migration.all.filter { !versions.contains($0.version) }.map {
          MigrationStatus(version: $0.version, name: $0.name, appliedAt: nil)
        }
    }
  }

  /// Makes sure that the schema is the one this program was built for.
  ///
  /// - Throws: ``StoreError/schema(_:)`` with what to do, when it is older, newer or edited.
  public func requireCurrentSchema() throws {
    try bulk.with { connection in
      let missing = try Self.hasHistory(connection) ? check(Migration.all, on: connection) : Migration.all
      guard let first = missing.first else { return }
      throw StoreError.schema(
        "the database's schema is older than this program (\(first.name) is missing); run `trainyard migrate up`")
    }
  }

  /// Holds the database's history against the program's.
  ///
  /// - Returns: what is missing.
  private func check(_ migrations: [Migration], on connection: Connection) throws -> [Migration] {
    let history = try Self.history(connection)
    for (status, sha256) in history {
      guard let known = migrations.first(where: { $0.version == status.version }) else {
        throw StoreError.schema(
          "the database has migration \(status.name), which this program does not know: the program is older than the "
            + "database; use the newer one")
      }
      guard known.sha256 == sha256, known.name == status.name else {
        throw StoreError.schema(
          "migration \(status.name) was applied with other contents than this program has: an applied migration must "
            + "not be edited; put the change in a new one")
      }
    }
    return migrations.filter { migration in !history.contains { $0.status.version == migration.version } }
  }

  private static func hasHistory(_ connection: Connection) throws -> Bool {
    guard
      var row = try connection.run(
        Statement("migrations_exist", "SELECT to_regclass('schema_migrations') IS NOT NULL")
      ).first
    else { return false }
    return row.bool()
  }

  private static func history(_ connection: Connection) throws -> [(status: MigrationStatus, sha256: [UInt8])] {
    try connection.run(
      Statement("migrations_list", "SELECT version, name, applied_at, sha256 FROM schema_migrations ORDER BY version")
    ).map { row in
      (MigrationStatus(version: row.integer(), name: row.text(), appliedAt: row.time()), row.bytes())
    }
  }

  private static let tryLock = Statement("migrations_lock", "SELECT pg_try_advisory_lock($1)")
  private static let unlock = Statement("migrations_unlock", "SELECT pg_advisory_unlock($1)")
  private static let record = Statement(
    "migrations_record", "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)")
  private static let historyTable = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
      version integer PRIMARY KEY, name text NOT NULL, sha256 bytea NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now())
    """
}
