// `trainyard database run`: PostgreSQL's own programs against the database that a server uses, the private one of a data
// folder included. scripts/backup and scripts/restore work through it.
import ArgumentParser
import Contract
import Foundation
import Store

struct DatabaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "database", abstract: "Reach a server's database with PostgreSQL's own programs.",
    subcommands: [Run.self])

  struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run a program that finds the database by the variables of its environment.",
      discussion: """
        The private database of a data folder is shared with the server that runs on it, or started for as long as the
        program runs. What follows -- is the program with its arguments:
          trainyard database run --data data -- psql
          trainyard database run --data data -- pg_dump --format=custom --file=backup.dump
        """)
    @OptionGroup var database: DatabaseOptions
    @Argument(help: ArgumentHelp("The program and its arguments, after --.", valueName: "command"))
    var command: [String]

    func run() throws {
      let settings = try Settings(
        flags: SettingFlags(data: database.data, databaseURL: database.databaseURL),
        environment: ProcessInfo.processInfo.environment, cores: 1)
      try withDatabase(settings) { connection in
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("PG") }
        environment.merge(try ConnectionString(connection).environment) { $1 }
        // Where Debian keeps the programs that have no place in the PATH.
        if let folder = try? PrivateCluster.programsFolder() {
          environment["PATH"] = "\(environment["PATH"] ?? "/usr/bin:/bin"):\(folder)"
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["--"] + command
        process.environment = environment
        try process.run()
        process.waitUntilExit()
        guard process.terminationReason == .exit, process.terminationStatus == 0 else {
          let end = process.terminationReason == .exit ? "exit code" : "signal"
          throw CommandFailure(.failure, "\(command.first ?? "") ended with \(end) \(process.terminationStatus)")
        }
      }
    }
  }
}
