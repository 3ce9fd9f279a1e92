// `trainyard worker`: one process that trains jobs. `serve` starts these through Service/WorkerSupervisor.swift.
import ArgumentParser
import Contract
import Foundation
import Glibc
import Logging
import Store
import Worker

struct WorkerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "worker", abstract: "Run a worker process that trains jobs; `serve` starts these by itself.",
    discussion: """
      On another machine give it the server's database: TRAINYARD_DATABASE_URL. SIGTERM lets it finish its step, write
      a checkpoint and give its work back.
      """)

  @OptionGroup var database: DatabaseOptions
  @Option(help: "Jobs trained at a time.") var slots: String?
  @Option(help: "trace, debug, info, notice, warning, error or critical.") var log: String?
  @Option(help: ArgumentHelp("How log lines are written; default text.", valueName: "text|json")) var logFormat: String?
  @Flag(help: "End when standard input does; how a server ties its workers to itself.") var tied = false

  /// Training makes way for everything else on the machine.
  private static let niceness: Int32 = 10
  /// Once the server that owns the database is gone, there may be nothing left to write a checkpoint to.
  private static let orphanSeconds = 20.0

  func run() throws {
    let signals = TerminationSignals()
    let settings = try Settings(
      flags: SettingFlags(
        data: database.data, databaseURL: database.databaseURL, slots: slots, log: log, logFormat: logFormat),
      environment: ProcessInfo.processInfo.environment, cores: ProcessInfo.processInfo.activeProcessorCount)
    let logger = Logger.process("trainyard.worker", level: settings.logLevel, format: settings.logFormat)
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, Self.niceness)

    let stop = StopSignal()
    let waiter = Thread {
      _ = signals.wait(seconds: nil)
      stop.raise()
    }
    waiter.start()
    if tied { Self.watchInput(stop) }

    try withDatabase(settings) { connection in
      let store = try Store(
        connection: connection, connectionsMax: settings.slots + 3, applicationName: "trainyard worker",
        patienceSeconds: settings.leaseSeconds)
      defer { store.close() }
      try store.requireCurrentSchema()
      var configuration = WorkerConfiguration(slots: settings.slots, cacheFolder: try Self.cacheFolder(settings))
      configuration.leaseSeconds = settings.leaseSeconds
      configuration.engine = "trainyard \(Release.version)"
      configuration.checkpointSeconds = settings.checkpointSeconds
      try WorkerProcess(store: store, configuration: configuration, logger: logger).run(until: stop)
    }
  }

  /// Stops gently at the end of standard input, and for good when that takes too long.
  private static func watchInput(_ stop: StopSignal) {
    let thread = Thread {
      var byte: UInt8 = 0
      while true {
        let count = read(STDIN_FILENO, &byte, 1)
        if count == 0 || (count < 0 && errno != EINTR) { break }
      }
      stop.raise()
      Thread.sleep(forTimeInterval: orphanSeconds)
      _exit(ExitStatus.failure.rawValue)
    }
    thread.stackSize = 64 << 10
    thread.start()
  }

  /// Datasets are kept in the data folder, or in a folder of this user's own.
  private static func cacheFolder(_ settings: Settings) throws -> URL {
    if let folder = settings.dataFolder { return folder.appendingPathComponent("cache") }
    let path = "/var/tmp/trainyard-cache-\(getuid())"
    _ = mkdir(path, 0o700)
    // Anybody can make folders there: only one that is ours alone is trusted with what jobs are trained on.
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == getuid(),
      status.st_mode & 0o022 == 0
    else {
      throw CommandFailure(
        .failure, "\(path) is not a folder of this user's own", cure: "Remove it, or give --data FOLDER for the cache.")
    }
    return URL(fileURLWithPath: path)
  }
}
