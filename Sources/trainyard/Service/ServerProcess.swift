// One running server: folder, database, API and workers, started in order and ended in the opposite one. `serve` runs
// it; DataFolder.swift, DatabaseAccess.swift and WorkerSupervisor.swift are its parts.
import Contract
import Foundation
import Glibc
import HTTP
import Logging
import Server
import Store

/// What `trainyard serve` does between its start and its end.
struct ServerProcess {
  let settings: Settings
  let folder: URL
  let logger: Logger
  let signals: TerminationSignals

  /// The project of keys that are made on this machine.
  static let project = "default"
  /// Time for requests in progress at the end.
  private static let drainSeconds = 10.0
  /// Time for the last checkpoints of workers at the end.
  private static let workerGraceSeconds = 20.0
  /// Each costs a process of PostgreSQL; handlers, of which there are twice as many, hold one for part of their time.
  private static let connectionsMax = 4

  /// Starts everything, serves until a signal comes, ends everything.
  func run() throws {
    let console = Console()
    let credentials = try settings.tls?.load()
    warn(of: credentials)
    let folder = try DataFolder(folder, isTraversable: getuid() == 0 && settings.databaseURL == nil)
    // Asked first, so that a mistyped port costs no database start.
    if let obstacle = settings.listen.obstacle() {
      throw CommandFailure(
        .failure, "cannot listen on \(settings.listen.text): \(obstacle)", cure: "Choose another address with --listen."
      )
    }
    try withDatabase(settings, holding: folder, log: { [logger] in logger.notice("\($0)") }) { connection in
      let store = try Store(
        connection: connection, connectionsMax: Self.connectionsMax, applicationName: "trainyard serve")
      defer { store.close() }
      for migration in try store.migrate() { logger.info("applied migration \(migration.name)") }
      try makeFirstKey(store, folder: folder, console: console)
      try installShippedOptimizers(store)
      if signals.wait(seconds: 0) { return }

      let workers = supervisor(connection: connection, folder: folder, console: console)
      // Requests are drained first, then workers end, then the database: the reverse of the start.
      defer { workers.stop(graceSeconds: Self.workerGraceSeconds) }
      let service = try App(store: store, settings: serverSettings(folder, credentials), logger: logger).start()
      defer { service.stop(drainSeconds: Self.drainSeconds) }
      workers.start(count: settings.workers)
      let hangups = ReloadSignal {
        if let files = settings.tls {
          reload(files, into: service)
        } else {
          logger.notice("SIGHUP: without TLS there is nothing to reload")
        }
      }
      defer { hangups.stop() }
      let address = ownAddress(port: service.port, credentials)
      try folder.writeAddress(address)
      defer { folder.removeAddress() }
      tell(
        "ready at \(address.absoluteString) with \(settings.workers) workers; the data is in \(folder.url.path)",
        console)
      _ = signals.wait(seconds: nil)
      logger.info("stopping")
    }
  }

  /// Says something to whoever started the server, in the form of its log.
  private func tell(_ text: String, _ console: Console) {
    if settings.logFormat == .json { logger.notice("\(text)") } else { console.error(text) }
  }

  /// Makes an admin key in a database that has no keys at all, and tells it once.
  private func makeFirstKey(_ store: Store, folder: DataFolder, console: Console) throws {
    guard try store.activeKeyCount() == 0 else { return }
    let (_, secret) = try store.createKey(
      name: "admin", scopes: Set(Scope.allCases), expiresAt: nil, project: Self.project)
    try DataFolder.writeAdminKey(secret, in: folder.url)
    // A log in JSON is collected and kept by others, which is no place for a secret.
    if settings.logFormat == .text { console.error("admin key, shown this once: \(secret)") }
    tell(
      "The admin key is kept in \(Settings.adminKeyFile(in: folder.url).path) for the commands of this machine.",
      console)
  }

  /// Says what about the way to this server should not stay as it is.
  private func warn(of credentials: TLSCredentials?) {
    if let credentials {
      if let trouble = credentials.trouble(now: Date()) { logger.warning("the TLS certificate \(trouble)") }
    } else if !settings.listen.isLoopback {
      logger.warning(
        "keys and data cross the network in clear text: give --tls-cert and --tls-key, or keep \(settings.listen.text) behind a proxy that speaks TLS"
      )
    }
  }

  /// Reads certificate and key again; a pair that is no good changes nothing.
  private func reload(_ files: TLSFiles, into service: RunningServer) {
    do {
      let credentials = try files.load()
      service.use(credentials)
      logger.notice(
        "read the TLS certificate again; new connections have it",
        metadata: [
          "hosts": "\(credentials.names.joined(separator: " "))",
          "expires": "\(Timestamp(credentials.expiresAt).rfc3339)",
        ])
      warn(of: credentials)
    } catch {
      logger.error("the TLS certificate stays as it was: \((error as? CommandFailure)?.message ?? "\(error)")")
    }
  }

  /// Where clients on this machine find the server: at the address it listens on, or, over TLS, at a host that the
  /// certificate is for.
  private func ownAddress(port: Int, _ credentials: TLSCredentials?) -> URL {
    var listen = settings.listen
    listen.port = port
    guard let credentials else { return URL(string: "http://\(listen.text)")! }
    if !credentials.covers(listen.host),
      let name = credentials.names.first(where: { $0 == "localhost" })
        ?? credentials.names.first(where: { !$0.hasPrefix("*") })
    {
      listen.host = name
    }
    return URL(string: "https://\(listen.text)")!
  }

  private func serverSettings(_ folder: DataFolder, _ credentials: TLSCredentials?) throws -> ServerSettings {
    var server = ServerSettings(address: settings.listen.text, version: Release.version)
    server.credentials = credentials
    server.allowedHosts = settings.allowedHosts
    if let folder = settings.dygraphsFolder { server.dygraphsFolder = folder }
    server.handlerThreads = 2 * Self.connectionsMax
    server.spoolFolder = try folder.makeFolder("spool").path
    return server
  }

  private func supervisor(connection: String, folder: DataFolder, console: Console) -> WorkerSupervisor {
    var environment = ProcessInfo.processInfo.environment
    // By the environment, since a connection string may hold a password and arguments are for all to read.
    environment["TRAINYARD_DATABASE_URL"] = connection
    environment["TRAINYARD_DATA"] = folder.url.path
    environment["TRAINYARD_LOG"] = settings.logLevel.rawValue
    environment["TRAINYARD_LOG_FORMAT"] = settings.logFormat.rawValue
    // OpenBLAS starts a thread for each core as soon as it is loaded, unless it is told so this early.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    return WorkerSupervisor(
      program: Self.ownPath, arguments: ["worker", "--tied", "--slots", String(settings.slots)],
      environment: environment, logger: logger,
      passOn: { [format = settings.logFormat] worker, line in
        // JSON lines are whole as they are; text needs to say whose it is.
        console.error(format == .json && line.hasPrefix("{") ? line : "\(worker): \(line)")
      })
  }

  /// The running executable, also when its file has been replaced since the start.
  private static var ownPath: String {
    let link = "/proc/self/exe"
    let path = (try? FileManager.default.destinationOfSymbolicLink(atPath: link)) ?? link
    return access(path, X_OK) == 0 ? path : link
  }
}
