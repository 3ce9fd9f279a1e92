// `trainyard serve`: reads its settings and runs Service/ServerProcess.swift.
import ArgumentParser
import Compute
import Contract
import Foundation
import Logging

/// Flags that say which database is meant.
struct DatabaseOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Data folder of the server; default TRAINYARD_DATA.", valueName: "folder"))
  var data: String?

  @Option(
    help: ArgumentHelp(
      "PostgreSQL of your own; default TRAINYARD_DATABASE_URL, else a private one in the data folder.", valueName: "url"
    ))
  var databaseURL: String?
}

/// Flags that say with which certificate a server speaks TLS.
struct TLSOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Certificate to speak TLS with, then those that lead to its authority's, as PEM; default TRAINYARD_TLS_CERT.",
      valueName: "file"))
  var tlsCert: String?

  @Option(help: ArgumentHelp("The certificate's private key, as PEM; default TRAINYARD_TLS_KEY.", valueName: "file"))
  var tlsKey: String?
}

extension Logger {
  /// A logger of this process, which writes lines to standard error.
  static func process(_ label: String, level: Level, format: LogFormat) -> Logger {
    var logger = Logger(label: label) { label in
      switch format {
      case .text: StreamLogHandler.standardError(label: label)
      case .json: JSONLogHandler(label: label)
      }
    }
    logger.logLevel = level
    return logger
  }
}

struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Run a server: the API, its workers, and its own PostgreSQL unless you name one.",
    discussion: """
      The first start makes one admin key, prints it once, and keeps it in FOLDER/admin.key for the other commands.
      With --tls-cert and --tls-key it speaks TLS 1.2 and 1.3, and SIGHUP makes it read both files again.
      SIGTERM or Ctrl-C ends it in order: requests in progress are answered, workers write checkpoints.
      """)

  @OptionGroup var database: DatabaseOptions
  @Option(help: ArgumentHelp("Where to listen; port 0 takes a free one.", valueName: "host:port")) var listen: String?
  @OptionGroup var tls: TLSOptions
  @Option(help: "Worker processes; default one a core, 0 for none.") var workers: String?
  @Option(help: "Jobs a worker trains at a time.") var slots: String?
  @Option(help: "trace, debug, info, notice, warning, error or critical.") var log: String?
  @Option(help: ArgumentHelp("How log lines are written; default text.", valueName: "text|json")) var logFormat: String?

  func run() throws {
    // Before any thread starts: every thread then leaves these signals to the handler.
    let signals = TerminationSignals()
    let settings = try Settings(
      flags: SettingFlags(
        data: database.data, databaseURL: database.databaseURL, listen: listen, workers: workers, slots: slots,
        log: log, logFormat: logFormat,
        tlsCertificate: tls.tlsCert, tlsKey: tls.tlsKey
      ),
      environment: ProcessInfo.processInfo.environment, cores: ProcessInfo.processInfo.activeProcessorCount)
    // Workers would refuse it one after the other; said here, it is said once.
    do { _ = try CPULevel.selected(environment: ProcessInfo.processInfo.environment) } catch {
      throw CommandFailure(.usage, "\(error)")
    }
    guard let folder = settings.dataFolder else {
      throw CommandFailure(.usage, "serve needs a data folder", cure: "Give --data FOLDER or set TRAINYARD_DATA.")
    }
    try ServerProcess(
      settings: settings, folder: folder,
      logger: .process("trainyard", level: settings.logLevel, format: settings.logFormat),
      signals: signals
    ).run()
  }
}
