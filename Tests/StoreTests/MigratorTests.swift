// Migrations: complete, in order, once, never edited, and never by an older program.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

@Suite struct MigratorTests {
  let database: TestDatabase
  let store: Store

  init() throws {
    database = try TestDatabase(migrated: false)
    store = try database.store()
  }

  @Test func `the program has every file of the folder, as it is there`() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("migrations")
    let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    #expect(files == Migration.all.map { $0.name + ".sql" })
    for migration in Migration.all {
      let file = try Data(contentsOf: folder.appendingPathComponent(migration.name + ".sql"))
      #expect(Array(file) == migration.sql, "\(migration.name)")
    }
    #expect(Migration.all.map(\.version) == Array(1...Migration.all.count))
  }

  @Test func `an empty database is brought up to date once, and says so`() throws {
    #expect(try store.migrationStatus().allSatisfy { $0.appliedAt == nil })
    #expect { try store.requireCurrentSchema() } throws: {
      if case StoreError.schema(let text) = $0 { text.contains("trainyard migrate") } else { false }
    }
    #expect(try store.migrate().map(\.name) == Migration.all.map(\.name))
    #expect(try store.migrate().isEmpty)
    try store.requireCurrentSchema()
    #expect(try store.migrationStatus().allSatisfy { $0.appliedAt != nil })
  }

  @Test func `processes that migrate at the same time do it once`() throws {
    let applied = try concurrently(4) { _ in try database.store().migrate().count }
    #expect(applied.sorted() == [0, 0, 0, Migration.all.count])
  }

  @Test func `missing migrations are applied on top of older ones`() throws {
    for count in 1...Migration.all.count {
      #expect(try store.migrate(Array(Migration.all.prefix(count))).map(\.version) == [count])
    }
    try store.requireCurrentSchema()
  }

  @Test func `an applied migration that was edited is refused`() throws {
    try store.migrate()
    var edited = Migration.all
    edited[1] = Migration(edited[1].name, edited[1].sql + Array("-- later\n".utf8))
    #expect { try store.migrate(edited) } throws: {
      if case StoreError.schema(let text) = $0 {
        text.contains(edited[1].name) && text.contains("edited")
      } else {
        false
      }
    }
  }

  @Test func `a database that is newer than the program is refused`() throws {
    try store.migrate()
    try store.migrate(Migration.all + [Migration("0099_future", Array("SELECT 1".utf8))])
    for attempt in [{ try store.requireCurrentSchema() }, { _ = try store.migrate() }] {
      #expect { try attempt() } throws: {
        if case StoreError.schema(let text) = $0 { text.contains("0099_future") } else { false }
      }
    }
  }

  @Test func `a migration that fails leaves nothing of itself`() throws {
    let broken = Migration("0001_broken", Array("CREATE TABLE half (); SELECT 1 / 0".utf8))
    #expect { try store.migrate([broken]) } throws: {
      if case StoreError.database("0001_broken", "22012", _) = $0 { true } else { false }
    }
    #expect(try database.texts("SELECT count(*) FROM pg_class WHERE relname = 'half'") == ["0"])
    #expect(try database.texts("SELECT count(*) FROM schema_migrations") == ["0"])
  }
}
