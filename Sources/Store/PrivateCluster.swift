// A PostgreSQL of our own in the data folder, for whoever has none to offer: made on the first start, reached over a
// Unix socket only, ended with this process however it ends, started again when it dies.
import Contract
import Foundation
import Glibc

/// A private PostgreSQL cluster.
///
/// It runs as this process's user; for root, whom PostgreSQL refuses, as the user `postgres`. Only that user and root
/// can connect, without a password: the kernel says who they are. Stale lock files and crash recovery are left to
/// PostgreSQL, which knows best.
// @unchecked: the mutable state is guarded by the condition.
public final class PrivateCluster: @unchecked Sendable {
  /// Told what happens, one line each.
  public typealias Log = @Sendable (String) -> Void

  private let folder: String
  private let sharedBuffersMiB: Int
  private let programFolders: [String]
  private let moreSettings: [String]
  private let log: Log
  private let condition = NSCondition()
  private var lockDescriptor: Int32 = -1
  private var process: TiedProcess?
  private var isStopping = false
  private var isSupervised = false

  /// How long a start may take; recovery after a crash can need many seconds.
  private static let startSecondsMax = 30.0
  private static let stopSecondsMax = 20.0
  private static let lockSecondsMax = 1.0
  /// A Unix socket's path has at most 107 bytes.
  private static let socketPathBytesMax = 107
  private static let role = "trainyard"

  /// Prepares a cluster; ``start()`` makes and starts it.
  ///
  /// - Parameters:
  ///   - dataFolder: the service's data folder; the cluster lives in `postgres` within.
  ///   - sharedBuffersMiB: PostgreSQL's page cache, default 24; the system's own cache lies behind it.
  ///   - log: told when the cluster is made, dies, or is started again.
  public convenience init(dataFolder: URL, sharedBuffersMiB: Int = 24, log: @escaping Log = { _ in }) {
    self.init(dataFolder: dataFolder, sharedBuffersMiB: sharedBuffersMiB, moreSettings: [], log: log)
  }

  /// - Parameters:
  ///   - programFolders: where to look for PostgreSQL's programs.
  ///   - moreSettings: `name=value` for this cluster alone; tests do without waiting for the disk.
  init(
    dataFolder: URL, sharedBuffersMiB: Int = 24, programFolders: [String] = PostgresPrograms.usualFolders,
    moreSettings: [String] = [], log: @escaping Log = { _ in }
  ) {
    self.moreSettings = moreSettings
    folder = dataFolder.standardizedFileURL.path + "/postgres"
    self.sharedBuffersMiB = sharedBuffersMiB
    self.programFolders = programFolders
    self.log = log
  }

  private var dataPath: String { folder + "/data" }
  /// PostgreSQL's log, for the operator.
  public var logPath: String { folder + "/postgres.log" }

  /// Process id of the running postmaster, nil if there is none.
  public var postmasterID: Int32? { Self.livingPostmaster(dataPath) }

  /// The connection string while a process runs this cluster, for commands beside that one; nil if none does.
  public var runningConnection: String? {
    guard postmasterID != nil, let user = try? ClusterUser.current(), let folder = try? makeSocketFolder(user) else {
      return nil
    }
    return try? conninfo(folder)
  }

  /// The folder of the PostgreSQL programs that a new cluster would run.
  ///
  /// - Throws: ``StoreError/cluster(_:)`` that names what to install.
  public static func programsFolder() throws -> String { try PostgresPrograms.find(major: nil).folder }

  // MARK: Start and stop

  /// Starts the cluster, making it first if the folder has none, and keeps it running until ``stop()``.
  ///
  /// - Returns: the connection string.
  /// - Throws: ``StoreError/cluster(_:)`` with what to do: programs missing, folder in use, no right to it, disk full, no
  ///   start within 30 s.
  public func start() throws -> String {
    condition.lock()
    defer { condition.unlock() }
    precondition(process == nil && !isStopping, "the cluster was started before")
    let user = try ClusterUser.current()
    try makeFolder(user)
    try lock()
    do {
      let programs = try PostgresPrograms.find(major: existingMajor(), in: programFolders)
      if try existingMajor() == nil { try initialise(programs, user) }
      try checkOwner(user)
      try endLeftover(programs, user)
      let socketFolder = try makeSocketFolder(user)
      let launch: @Sendable () throws -> TiedProcess = { [self] in
        try startServer(programs, user, socketFolder)
      }
      process = try launch()
      supervise(launch)
      return try conninfo(socketFolder)
    } catch {
      process?.untie()
      process = nil
      unlock()
      throw error
    }
  }

  /// Stops the cluster in order and waits until it is down. Does nothing if it is not running.
  public func stop() {
    condition.lock()
    defer { condition.unlock() }
    guard let process, !isStopping else { return }
    isStopping = true
    condition.broadcast()
    process.untie()
    if process.wait(seconds: Self.stopSecondsMax) == nil, let postmaster = postmasterID {
      log(
        "PostgreSQL did not stop within \(Int(Self.stopSecondsMax)) s; ending it hard, it will recover at its next start"
      )
      kill(postmaster, SIGQUIT)
      _ = process.wait(seconds: 5)
    }
    while isSupervised { condition.wait() }
    self.process = nil
    unlock()
    isStopping = false
  }

  /// Starts the server again whenever it ends by itself.
  private func supervise(_ launch: @escaping @Sendable () throws -> TiedProcess) {
    isSupervised = true
    let thread = Thread { [self] in
      while let current = running {
        current.wait()
        if isEnding { break }
        log("PostgreSQL ended unexpectedly (status \(current.exitStatus ?? -1)); starting it again")
        do { replace(try launch()) } catch {
          log("PostgreSQL did not start: \(error)")
          pause(seconds: 2)
        }
      }
      condition.lock()
      isSupervised = false
      condition.broadcast()
      condition.unlock()
    }
    thread.name = "postgres"
    thread.stackSize = 512 << 10
    thread.start()
  }

  private var isEnding: Bool { condition.withLock { isStopping } }

  private var running: TiedProcess? { condition.withLock { isStopping ? nil : process } }

  /// Takes a restarted server into care, or ends it at once if the cluster is being stopped.
  private func replace(_ restarted: TiedProcess) {
    let isEnding = condition.withLock {
      if !isStopping { process = restarted }
      return isStopping
    }
    guard isEnding else { return }
    restarted.untie()
    _ = restarted.wait(seconds: Self.stopSecondsMax)
  }

  private func pause(seconds: Double) {
    condition.lock()
    if !isStopping { _ = condition.wait(until: Date(timeIntervalSinceNow: seconds)) }
    condition.unlock()
  }

  private func startServer(
    _ programs: PostgresPrograms, _ user: ClusterUser, _ socketFolder: String
  ) throws -> TiedProcess {
    let deadline = Deadline(seconds: Self.startSecondsMax)
    let conninfo = try conninfo(socketFolder, database: "postgres")
    while true {
      let output = try openLog(user)
      let logStart = lseek(output, 0, SEEK_END)
      defer { Glibc.close(output) }
      let process = try TiedProcess(
        user.command([programs.path("postgres"), "-D", dataPath] + settings(socketFolder)), output: output)
      var reason = "it gave no sign of life"
      while process.exitStatus == nil && !deadline.isOver {
        do {
          let connection = try Connection(conninfo, applicationName: "trainyard start")
          try makeDatabase(connection)
          return process
        } catch let error as StoreError { reason = "\(error)" }
        if reason.contains("authentication failed") { break }
        _ = process.wait(seconds: 0.02)
      }
      process.untie()
      let messages = readLog(from: logStart)
      // Backends of a postmaster that was killed need a moment to notice.
      let isPassing = messages.contains("is still in use") || messages.contains("lock file")
      if process.exitStatus != nil, isPassing, !deadline.isOver {
        Thread.sleep(forTimeInterval: 0.1)
        continue
      }
      throw StoreError.cluster(
        "PostgreSQL did not start: \(messages.isEmpty ? reason : messages)\nIts log is \(logPath)")
    }
  }

  private func makeDatabase(_ connection: Connection) throws {
    let exists = try connection.run(
      Statement("database_exists", "SELECT 1 FROM pg_database WHERE datname = $1"), [.text(Self.role)]
    ).count
    if exists == 0 { try connection.script("database_create", "CREATE DATABASE \(Self.role)") }
  }

  /// Settings for a small server on a machine that is there to train; given at every start, so that a new program
  /// brings its own.
  private func settings(_ socketFolder: String) -> [String] {
    let settings = [
      "listen_addresses=", "unix_socket_directories=\(socketFolder)", "unix_socket_permissions=0700",
      "shared_buffers=\(sharedBuffersMiB)MB", "max_connections=64", "fsync=on", "synchronous_commit=on",
      // No replicas: the least that recovery needs is written to the log, and the processes for the rest stay away.
      "wal_level=minimal", "max_wal_senders=0", "max_logical_replication_workers=0", "max_parallel_workers=0",
      "max_wal_size=256MB", "min_wal_size=32MB", "autovacuum_max_workers=1", "autovacuum_naptime=15s", "jit=off",
      "huge_pages=off", "maintenance_work_mem=32MB", "log_destination=stderr", "logging_collector=off",
      "log_line_prefix=%m [%p] ", "cluster_name=trainyard",
    ]
    return (settings + moreSettings).flatMap { ["-c", $0] }
  }

  private func conninfo(_ socketFolder: String, database: String = role) throws -> String {
    "host=\(socketFolder) port=5432 user=\(Self.role) dbname=\(database)"
  }

  // MARK: The folder

  private func fault(_ what: String) -> StoreError { .cluster("\(what): \(String(cString: strerror(errno)))") }

  private func makeFolder(_ user: ClusterUser) throws {
    do {
      try FileManager.default.createDirectory(
        atPath: (folder as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    } catch { throw StoreError.cluster("cannot make the data folder: \(error.localizedDescription)") }
    guard mkdir(folder, 0o700) == 0 || errno == EEXIST else { throw fault("cannot make \(folder)") }
    guard !user.isOther || chown(folder, user.userID, user.groupID) == 0 else {
      throw fault("cannot give away \(folder)")
    }
  }

  /// One server for a data folder: held until we end, even by SIGKILL.
  private func lock() throws {
    let path = folder + ".lock"
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw fault("cannot open \(path)") }
    // A server that has just been killed lets go in a moment.
    let deadline = Deadline(seconds: Self.lockSecondsMax)
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      if !deadline.isOver {
        Thread.sleep(forTimeInterval: 0.05)
        continue
      }
      Glibc.close(descriptor)
      let holder = (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
      throw StoreError.cluster(
        "the data folder \((folder as NSString).deletingLastPathComponent) is in use by another server"
          + (holder.map { " (process \($0))" } ?? "") + "; stop it, or choose another folder with --data")
    }
    ftruncate(descriptor, 0)
    let text = "\(getpid())\n"
    _ = text.withCString { Glibc.write(descriptor, $0, strlen($0)) }
    lockDescriptor = descriptor
  }

  private func unlock() {
    if lockDescriptor >= 0 { Glibc.close(lockDescriptor) }
    lockDescriptor = -1
  }

  /// The version that made the data, nil if there is none.
  private func existingMajor() throws -> Int? {
    let path = dataPath + "/PG_VERSION"
    guard access(path, F_OK) == 0 else {
      if errno == ENOENT { return nil }
      throw fault("cannot look into \(dataPath)")
    }
    guard let text = try? String(contentsOfFile: path, encoding: .utf8),
      let major = Int(text.trimmingCharacters(in: .whitespacesAndNewlines))
    else { throw StoreError.cluster("\(path) does not hold a version; restore the data folder from a backup") }
    return major
  }

  private func checkOwner(_ user: ClusterUser) throws {
    var status = stat()
    guard stat(dataPath, &status) == 0 else { throw fault("cannot look at \(dataPath)") }
    guard status.st_uid == user.userID else {
      let owner = getpwuid(status.st_uid).map { String(cString: $0.pointee.pw_name) } ?? "\(status.st_uid)"
      throw StoreError.cluster(
        "\(dataPath) belongs to the user \(owner), and PostgreSQL would run as \(user.name); start the server as the "
          + "user it was first started as")
    }
  }

  /// Makes the cluster beside its place and moves it there when it is complete.
  private func initialise(_ programs: PostgresPrograms, _ user: ClusterUser) throws {
    log("making a PostgreSQL \(programs.major) cluster in \(dataPath)")
    let draft = dataPath + ".new"
    try? FileManager.default.removeItem(atPath: draft)
    let output = try openLog(user)
    defer { Glibc.close(output) }
    let start = lseek(output, 0, SEEK_END)
    if user.isOther {
      let canEnter = try TiedProcess(user.command(["test", "-w", folder]), output: output).wait(seconds: 10)
      guard canEnter == 0 else {
        throw StoreError.cluster(
          "the user \(user.name), as whom PostgreSQL runs when the server is root, cannot reach \(folder); choose "
            + "another folder with --data, or let others enter the folders above it (chmod o+x)")
      }
    }
    let initdb = try TiedProcess(
      user.command([
        programs.path("initdb"), "-D", draft, "--username=\(Self.role)", "--encoding=UTF8", "--locale=C",
        "--auth=peer", "--no-instructions", "--no-sync",
      ]), output: output)
    guard initdb.wait(seconds: 300) == 0 else {
      throw StoreError.cluster("initdb failed: \(readLog(from: start))\nIts log is \(logPath)")
    }
    let users = Set(["root", "postgres", user.name]).sorted()
    try write("local all all peer map=\(Self.role)\n", to: draft + "/pg_hba.conf", user)
    try write(users.map { "\(Self.role) \($0) \(Self.role)\n" }.joined(), to: draft + "/pg_ident.conf", user)
    // The whole file system at once takes a fraction of the time of initdb's own sync of a thousand files.
    let sync = try TiedProcess(["sync", "-f", draft], output: output)
    guard sync.wait(seconds: 300) == 0 else {
      throw StoreError.cluster("the new cluster could not be written to disk: \(readLog(from: start))")
    }
    guard rename(draft, dataPath) == 0 else { throw fault("cannot move \(draft) to \(dataPath)") }
  }

  private func write(_ text: String, to path: String, _ user: ClusterUser) throws {
    guard
      FileManager.default.createFile(
        atPath: path, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600])
    else { throw fault("cannot write \(path)") }
    if user.isOther, chown(path, user.userID, user.groupID) != 0 { throw fault("cannot give away \(path)") }
  }

  private func openLog(_ user: ClusterUser) throws -> Int32 {
    var status = stat()
    // One old log is kept; this happens at a start only, and PostgreSQL has little to say.
    if stat(logPath, &status) == 0, status.st_size > 10 << 20 { rename(logPath, logPath + ".1") }
    let descriptor = open(logPath, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw fault("cannot open \(logPath)") }
    if user.isOther { fchown(descriptor, user.userID, user.groupID) }
    return descriptor
  }

  /// What the programs said, for an error: the last lines.
  private func readLog(from start: Int) -> String {
    guard let file = FileHandle(forReadingAtPath: logPath) else { return "" }
    defer { try? file.close() }
    try? file.seek(toOffset: UInt64(start))
    let text = String(decoding: (try? file.read(upToCount: 64 << 10)) ?? Data(), as: UTF8.self)
    return text.split(separator: "\n").suffix(12).joined(separator: "\n")
  }

  /// The folder of the socket: beside the data, or in /tmp if that path is too long or has letters that connection
  /// strings treat as their own.
  private func makeSocketFolder(_ user: ClusterUser) throws -> String {
    let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-")
    if folder.utf8.count + "/.s.PGSQL.5432".utf8.count <= Self.socketPathBytesMax, folder.allSatisfy(plain.contains) {
      return folder
    }
    let path = "/tmp/trainyard-\(user.userID)-\(SHA256.hexadecimal(folder.utf8).prefix(16))"
    guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw fault("cannot make \(path)") }
    if user.isOther { lchown(path, user.userID, user.groupID) }
    var status = stat()
    // Somebody else may have made it before us, to listen in our place.
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_uid == user.userID,
      status.st_mode & 0o077 == 0
    else { throw StoreError.cluster("\(path) is not a folder of \(user.name) alone; remove it and start again") }
    return path
  }

  // MARK: A server that outlived its parent

  /// Ends a server that still runs on this folder. Nobody uses it: we hold the lock.
  private func endLeftover(_ programs: PostgresPrograms, _ user: ClusterUser) throws {
    // Tied to a parent that has just gone, it is about to end by itself.
    let deadline = Deadline(seconds: 2)
    while Self.livingPostmaster(dataPath) != nil, !deadline.isOver { Thread.sleep(forTimeInterval: 0.05) }
    guard let postmaster = Self.livingPostmaster(dataPath) else { return }
    log("ending a PostgreSQL that outlived its server (process \(postmaster))")
    let output = try openLog(user)
    defer { Glibc.close(output) }
    // A fast stop that comes in the middle of a recovery may never end (seen with PostgreSQL 15). An immediate one always
    // does, and the next start recovers what is committed.
    for mode in ["fast", "immediate"] {
      let stop = try TiedProcess(
        user.command([programs.path("pg_ctl"), "stop", "-D", dataPath, "-m", mode, "-t", "10"]), output: output)
      if stop.wait(seconds: 20) == 0 || Self.livingPostmaster(dataPath) == nil { return }
      log("PostgreSQL (process \(postmaster)) did not stop within 10 s (\(mode))")
    }
    throw StoreError.cluster(
      "a PostgreSQL (process \(postmaster)) still runs on \(dataPath) and cannot be stopped; end it and start again")
  }

  private static func livingPostmaster(_ dataPath: String) -> Int32? {
    guard let text = try? String(contentsOfFile: dataPath + "/postmaster.pid", encoding: .utf8),
      let processID = text.split(separator: "\n").first.flatMap({ Int32($0) }), processID > 0,
      // "123 (postgres) S ...": a zombie is as good as gone, and another program may have got the number.
      let status = try? String(contentsOfFile: "/proc/\(processID)/stat", encoding: .utf8),
      status.contains("(postgres)"), !status.contains(") Z")
    else { return nil }
    return processID
  }
}
