// `trainyard migrate`: the database's schema, for operators who bring it up before a new version of the server.
import ArgumentParser
import Contract
import Foundation
import Store

struct MigrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "migrate", abstract: "Show or apply changes of the database's schema.",
    discussion: "`serve` applies what is missing by itself; migrations go forward only.",
    subcommands: [Status.self, Up.self])

  struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List migrations; exit code 1 when some are missing.")
    @OptionGroup var database: DatabaseOptions
    @Flag(help: "Print one JSON document.") var json = false

    func run() throws {
      let list = try MigrateCommand.with(database) { try $0.migrationStatus() }
      MigrateCommand.show(list, json: json, none: "the database has no migrations")
      if list.contains(where: { $0.appliedAt == nil }) {
        throw CommandFailure(
          .failure, "the schema is not current", cure: "`trainyard migrate up` applies what is missing.")
      }
    }
  }

  struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Apply the migrations that are missing.")
    @OptionGroup var database: DatabaseOptions
    @Flag(help: "Print one JSON document.") var json = false

    func run() throws {
      let applied = try MigrateCommand.with(database) { try $0.migrate() }
      MigrateCommand.show(applied, json: json, none: "the schema was current already")
    }
  }

  private static func with<Value>(_ options: DatabaseOptions, _ body: (Store) throws -> Value) throws -> Value {
    let settings = try Settings(
      flags: SettingFlags(data: options.data, databaseURL: options.databaseURL),
      environment: ProcessInfo.processInfo.environment, cores: 1)
    return try withDatabase(settings) { connection in
      let store = try Store(connection: connection, connectionsMax: 1, applicationName: "trainyard migrate")
      defer { store.close() }
      return try body(store)
    }
  }

  private static func show(_ list: [MigrationStatus], json: Bool, none: String) {
    let items = list.map { migration -> JSON in
      [
        "version": .integer(migration.version), "name": .string(migration.name),
        "applied_at": .time(migration.appliedAt),
      ]
    }
    Console().show(["items": .array(items)], asJSON: json) {
      if list.isEmpty { return none }
      var table = Table(["MIGRATION", "APPLIED"])
      for item in items { table.add([item.cell("name"), item.cellTime("applied_at") ?? "waits"]) }
      return table.text
    }
  }
}
