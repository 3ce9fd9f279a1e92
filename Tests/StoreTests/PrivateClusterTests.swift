// The private cluster: its first and later starts, its end with its parent, recovery, and errors that say what to do.
import Contract
import Foundation
import TestSupport
import Testing

@testable import Store

/// A data folder for one test, in a place short enough for a socket and open to the user that PostgreSQL runs as.
private final class DataFolder: Sendable {
  let url: URL
  private let root: URL

  /// - Parameter isPrepared: whether a cluster has been made in it, which takes seconds, and stopped again.
  init(_ suffix: String = "", isPrepared: Bool = true) throws {
    root = URL(fileURLWithPath: "/tmp/ty-cluster-\(UInt32.random(in: .min ... .max))")
    url = suffix.isEmpty ? root : root.appendingPathComponent(suffix)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    guard isPrepared else { return }
    let copy = Process()
    copy.executableURL = URL(fileURLWithPath: "/bin/cp")
    copy.arguments = ["-a", try Self.prepared.get().url.path + "/postgres", url.path]
    try copy.run()
    copy.waitUntilExit()
    try #require(copy.terminationStatus == 0)
  }

  private static let prepared: Result<DataFolder, any Error> = Result {
    let folder = try DataFolder(isPrepared: false)
    let cluster = PrivateCluster(dataFolder: folder.url)
    _ = try cluster.start()
    cluster.stop()
    // Values that are never let go have no end of their own.
    preparedPath.withLock { $0 = folder.url.path }
    atexit { DataFolder.preparedPath.withLock { _ = try? FileManager.default.removeItem(atPath: $0) } }
    return folder
  }
  private static let preparedPath = Guarded("")

  deinit { try? FileManager.default.removeItem(at: root) }
}

@Suite(.serialized) struct PrivateClusterTests {
  /// Waits for something that happens in another process.
  private func eventually(_ isSo: () throws -> Bool) rethrows -> Bool {
    let deadline = Deadline(seconds: 30)
    while !deadline.isOver {
      if try isSo() { return true }
      Thread.sleep(forTimeInterval: 0.02)
    }
    return false
  }

  private func isAlive(_ processID: Int32) -> Bool {
    guard let status = try? String(contentsOfFile: "/proc/\(processID)/stat", encoding: .utf8) else { return false }
    return !status.contains(") Z")
  }

  private func store(_ connection: String, patienceSeconds: Double = 0) throws -> Store {
    try Store(
      connection: connection, connectionsMax: 2, applicationName: "test", patienceSeconds: patienceSeconds)
  }

  @Test func `a cluster keeps its data over stop and start`() throws {
    let folder = try DataFolder(isPrepared: false)
    var connection = ""
    for round in 0..<2 {
      let cluster = PrivateCluster(dataFolder: folder.url)
      connection = try cluster.start()
      let store = try store(connection)
      #expect(try store.migrate().isEmpty == (round == 1))
      if round == 0 { try store.makeProject() }
      #expect(try store.activeKeyCount() == 1)
      store.close()
      let postmaster = try #require(cluster.postmasterID)
      cluster.stop()
      #expect(!isAlive(postmaster) && cluster.postmasterID == nil)
    }
    #expect { try store(connection) } throws: { ($0 as? StoreError)?.isRetryable == true }
  }

  @Test func `nobody can reach it over the network, and only its own users over the socket`() throws {
    let folder = try DataFolder()
    let cluster = PrivateCluster(dataFolder: folder.url)
    let connection = try cluster.start()
    defer { cluster.stop() }
    let settings = try Connection(connection, applicationName: "test").run(
      Statement("settings", "SELECT current_setting('listen_addresses'), current_setting('fsync')")
    ).map { [$0.text(), $0.text()] }[0]
    #expect(settings == ["", "on"])
    var status = stat()
    #expect(stat(folder.url.path + "/postgres", &status) == 0 && status.st_mode & 0o077 == 0)
    let rules = try String(contentsOfFile: folder.url.path + "/postgres/data/pg_hba.conf", encoding: .utf8)
    #expect(rules == "local all all peer map=trainyard\n")
  }

  @Test func `a folder in use is refused, and free again afterwards`() throws {
    let folder = try DataFolder()
    let first = PrivateCluster(dataFolder: folder.url)
    _ = try first.start()
    #expect { try PrivateCluster(dataFolder: folder.url).start() } throws: {
      if case StoreError.cluster(let text) = $0 {
        text.contains("in use") && text.contains("\(getpid())")
      } else {
        false
      }
    }
    first.stop()
    let second = PrivateCluster(dataFolder: folder.url)
    _ = try second.start()
    second.stop()
  }

  @Test func `a killed postmaster comes back with all that was committed, and the pool connects again`() throws {
    let folder = try DataFolder()
    let messages = Guarded<[String]>([])
    let cluster = PrivateCluster(dataFolder: folder.url, log: { line in messages.withLock { $0.append(line) } })
    let store = try store(try cluster.start(), patienceSeconds: 30)
    defer {
      store.close()
      cluster.stop()
    }
    try store.migrate()
    let job = try store.makeJob(on: store.makeReadyDataset())
    let lease = try #require(try store.claimJob())
    let values = (0..<1000).map(Float.init)
    for sequence in 1...3 {
      let killed = cluster.postmasterID
      if let killed { kill(killed, SIGKILL) }
      // Goes on in the middle of it: a worker's commit waits for the database to come back.
      let chunk = CurveChunk(series: .trainLoss, firstStep: (sequence - 1) * 1000, stride: 1, values: values)
      _ = try store.commit(
        progress: JobProgress(sequence: sequence, step: sequence * 1000, loss: 1, chunks: [chunk]), lease: lease)
      #expect(eventually { cluster.postmasterID != nil && cluster.postmasterID != killed })
    }
    // Connections that died with the old server are found out one by one.
    #expect(eventually { (try? store.ping()) != nil })
    let read = try store.curve(job: job.id, series: .trainLoss, query: CurveQuery(pointsMax: 100_000))
    #expect(read.points.steps == Array(0..<3000))
    #expect(try store.job(id: job.id, project: "demo")?.step == 3000)
    #expect(messages.current.contains { $0.contains("starting it again") })
  }

  @Test func `the cluster ends in order when its parent is killed`() throws {
    let folder = try DataFolder()
    let holder = try Holder(folder.url)
    let postmaster = try #require(PrivateCluster(dataFolder: folder.url).postmasterID)
    #expect(isAlive(postmaster))
    kill(holder.process.processIdentifier, SIGKILL)
    #expect(eventually { !isAlive(postmaster) })
    let log = try String(contentsOf: folder.url.appendingPathComponent("postgres/postgres.log"), encoding: .utf8)
    #expect(log.contains("database system is shut down"))
  }

  @Test func `after parent, shell and postmaster were killed the next start recovers`() throws {
    let folder = try DataFolder()
    let holder = try Holder(folder.url)
    let store = try store(holder.connection)
    try store.migrate()
    try store.makeProject()
    let postmaster = try #require(PrivateCluster(dataFolder: folder.url).postmasterID)
    kill(postmaster, SIGKILL)
    kill(holder.process.processIdentifier, SIGKILL)
    let cluster = PrivateCluster(dataFolder: folder.url)
    let again = try self.store(cluster.start())
    defer {
      again.close()
      cluster.stop()
    }
    #expect(try again.activeKeyCount() == 1)
  }

  @Test func `a server that outlived parent and tie is ended before a new one starts`() throws {
    let folder = try DataFolder()
    let holder = try Holder(folder.url)
    let postmaster = try #require(PrivateCluster(dataFolder: folder.url).postmasterID)
    // The shells between them die first, so nothing tells the server.
    let tied = try childrenOf(holder.process.processIdentifier)
    for shell in try tied + tied.flatMap(childrenOf) where shell != postmaster { kill(shell, SIGKILL) }
    kill(holder.process.processIdentifier, SIGKILL)
    let cluster = PrivateCluster(dataFolder: folder.url)
    _ = try cluster.start()
    defer { cluster.stop() }
    #expect(!isAlive(postmaster))
    #expect(cluster.postmasterID != postmaster)
  }

  private func childrenOf(_ parent: Int32) throws -> [Int32] {
    try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap(Int32.init).filter { child in
      let status = try? String(contentsOfFile: "/proc/\(child)/stat", encoding: .utf8)
      // "12 (name) S parent ..."
      let fields = status?.split(separator: ")").last?.split(separator: " ")
      return fields.map { $0.count > 1 && $0[1] == "\(parent)" } ?? false
    }
  }

  // MARK: Errors that say what to do

  @Test func `missing programs are named with the package to install`() throws {
    let folder = try DataFolder(isPrepared: false)
    let cluster = PrivateCluster(dataFolder: folder.url, programFolders: ["/nonexistent", "/tmp"])
    #expect { try cluster.start() } throws: {
      if case StoreError.cluster(let text) = $0 { text.contains("apt install postgresql") } else { false }
    }
  }

  @Test func `data of another version is not touched`() throws {
    let folder = try DataFolder(isPrepared: false)
    let data = folder.url.appendingPathComponent("postgres/data")
    try FileManager.default.createDirectory(at: data, withIntermediateDirectories: true)
    try Data("9\n".utf8).write(to: data.appendingPathComponent("PG_VERSION"))
    #expect { try PrivateCluster(dataFolder: folder.url).start() } throws: {
      if case StoreError.cluster(let text) = $0 {
        text.contains("PostgreSQL 9") && text.contains("postgresql-9")
      } else {
        false
      }
    }
  }

  @Test func `a start that fails tells what PostgreSQL said and leaves the folder free`() throws {
    let folder = try DataFolder()
    let broken = PrivateCluster(dataFolder: folder.url, moreSettings: ["shared_buffers=nonsense"])
    #expect { try broken.start() } throws: {
      if case StoreError.cluster(let text) = $0 { text.contains("shared_buffers") } else { false }
    }
    let cluster = PrivateCluster(dataFolder: folder.url)
    _ = try cluster.start()
    cluster.stop()
  }

  @Test func `a folder that cannot be made is an error`() {
    #expect { try PrivateCluster(dataFolder: URL(fileURLWithPath: "/proc/trainyard")).start() } throws: {
      if case StoreError.cluster(let text) = $0 { text.contains("data folder") } else { false }
    }
  }

  @Test func `a folder too deep or too strange for a socket gets one elsewhere`() throws {
    let folder = try DataFolder("it's, deep/" + String(repeating: "d", count: 90), isPrepared: false)
    let cluster = PrivateCluster(dataFolder: folder.url)
    let connection = try cluster.start()
    defer { cluster.stop() }
    #expect(connection.contains("host=/tmp/trainyard-"))
    #expect(try store(connection).migrate().count == Migration.all.count)
  }
}

/// Another process that holds a cluster.
private final class Holder {
  let process = Process()
  let connection: String
  private let input = Pipe()

  init(_ folder: URL) throws {
    let output = Pipe()
    // Beside the test bundle, where the build puts every program of the package.
    process.executableURL = Bundle.main.executableURL!.deletingLastPathComponent().appendingPathComponent(
      "ClusterHolder")
    process.arguments = [folder.path]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    var text = Data()
    while !text.contains(UInt8(ascii: "\n")) {
      let more = output.fileHandleForReading.availableData
      guard !more.isEmpty else { throw StoreError.cluster("the holder ended") }
      text += more
    }
    connection = String(decoding: text, as: UTF8.self).trimmingCharacters(in: .newlines)
  }

  deinit {
    kill(process.processIdentifier, SIGKILL)
  }
}
