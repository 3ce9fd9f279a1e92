// The real executable under test: servers in folders of their own, commands with their exit codes, and a look at which
// processes are left. All end-to-end tests run through it.
import Client
import Contract
import Foundation
import Glibc
import Testing

/// The built executable and single runs of it.
enum Executable {
  /// `trainyard`, built beside the test bundle.
  static let path: String = {
    let bundle = CommandLine.arguments.first { $0.contains(".xctest") } ?? CommandLine.arguments[0]
    var folder = URL(fileURLWithPath: bundle)
    while folder.path.count > 1 {
      folder.deleteLastPathComponent()
      let candidate = folder.appendingPathComponent("trainyard").path
      var isFolder: ObjCBool = false
      if FileManager.default.fileExists(atPath: candidate, isDirectory: &isFolder), !isFolder.boolValue {
        return candidate
      }
    }
    fatalError("no trainyard executable beside the tests (\(bundle)); build it with: swift build --build-tests")
  }()

  /// What a run left behind.
  struct Outcome: CustomStringConvertible {
    var status: Int32
    var output: String
    var errors: String

    /// The document that `--json` printed.
    func json() throws -> JSON { try JSON.parse(output.trimmingCharacters(in: .whitespacesAndNewlines)) }
    var description: String { "exit code \(status)\n\(output)\(errors)" }
  }

  /// The variables of the tests without any setting of ours.
  static var environment: [String: String] {
    ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("TRAINYARD_") }
  }

  /// Runs a command to its end.
  ///
  /// - Parameters:
  ///   - program: another program than ours.
  ///   - directory: where it runs; here by default.
  static func run(
    _ arguments: [String], program: String = path, environment more: [String: String] = [:], in directory: URL? = nil
  ) throws -> Outcome {
    try Running(arguments, program: program, environment: more, in: directory).outcome()
  }

  /// A command that runs beside the test; it is killed when the value goes.
  final class Running {
    let process = Process()
    // Files in place of pipes: a full pipe would stop a talkative command.
    private let folder: Folder

    init(
      _ arguments: [String], program: String = path, environment more: [String: String] = [:], in directory: URL? = nil
    ) throws {
      folder = try Folder()
      process.executableURL = URL(fileURLWithPath: program)
      if let directory { process.currentDirectoryURL = directory }
      process.arguments = arguments
      process.environment = Executable.environment.merging(more) { $1 }
      process.standardInput = FileHandle.nullDevice
      for name in ["out", "err"] { _ = try folder.write(name, []) }
      process.standardOutput = try FileHandle(forWritingTo: folder.file("out"))
      process.standardError = try FileHandle(forWritingTo: folder.file("err"))
      try process.run()
    }

    deinit {
      if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    /// What it printed so far.
    var output: String { (try? String(contentsOf: folder.file("out"), encoding: .utf8)) ?? "" }

    /// Waits for its end.
    func outcome() throws -> Outcome {
      process.waitUntilExit()
      return Outcome(
        status: process.terminationStatus, output: output,
        errors: try String(contentsOf: folder.file("err"), encoding: .utf8))
    }
  }
}

/// A temporary folder that goes when the value goes.
final class Folder: Sendable {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("ty-\(UUID().uuidString.prefix(8))")
    // The user postgres of a cluster started by root has to get through.
    try FileManager.default.createDirectory(
      at: url, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
    chmod(url.path, 0o711)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func file(_ name: String) -> URL { url.appendingPathComponent(name) }

  /// Writes bytes and returns the path.
  func write(_ name: String, _ bytes: some Sequence<UInt8>) throws -> String {
    try Data(bytes).write(to: file(name))
    return file(name).path
  }
}

/// What failed in the test's own machinery.
struct TestFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Waits until `holds`, for at most `seconds`; says whether it came true.
func eventually(seconds: Double, _ holds: () throws -> Bool) rethrows -> Bool {
  let deadline = ContinuousClock.now + .seconds(seconds)
  while ContinuousClock.now < deadline {
    if try holds() { return true }
    usleep(20_000)
  }
  return try holds()
}

/// One `trainyard serve` process.
final class TestServer {
  let folder: Folder
  let data: URL
  private(set) var process: Process

  /// Starts a server and waits until it says that it is ready.
  ///
  /// - Parameters:
  ///   - folder: where the data folder is; a fresh one by default.
  ///   - workers: worker processes.
  ///   - listen: address; any free port by default.
  ///   - environment: variables on top.
  init(
    folder: Folder? = nil, workers: Int = 1, listen: String = "127.0.0.1:0", environment: [String: String] = [:]
  ) throws {
    self.folder = try folder ?? Folder()
    data = self.folder.file("data")
    let address = data.appendingPathComponent("url")
    // A killed server leaves it behind; only the new one's counts here.
    try? FileManager.default.removeItem(at: address)
    process = try Self.launch(
      data: data, log: self.folder.file("log"), workers: workers, listen: listen, environment: environment)
    guard
      eventually(seconds: 60, { FileManager.default.fileExists(atPath: address.path) || !process.isRunning }),
      process.isRunning
    else { throw TestFailure("the server did not get ready:\n\(log)") }
  }

  deinit { stop() }

  /// Starts the process and returns at once.
  static func launch(
    data: URL, log: URL, workers: Int, listen: String = "127.0.0.1:0", environment: [String: String] = [:]
  ) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Executable.path)
    process.arguments = ["serve", "--data", data.path, "--listen", listen, "--workers", String(workers)]
    process.environment = Executable.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    if !FileManager.default.fileExists(atPath: log.path) {
      try Data().write(to: log)
    }
    let handle = try FileHandle(forWritingTo: log)
    try handle.seekToEnd()
    process.standardOutput = handle
    process.standardError = handle
    try process.run()
    return process
  }

  /// Everything the server and its workers printed.
  var log: String { (try? String(contentsOf: folder.file("log"), encoding: .utf8)) ?? "" }

  var url: URL {
    get throws {
      let text = try String(contentsOf: data.appendingPathComponent("url"), encoding: .utf8)
      return try #require(URL(string: text.trimmingCharacters(in: .whitespacesAndNewlines)))
    }
  }

  var adminKey: String {
    get throws {
      try String(contentsOf: data.appendingPathComponent("admin.key"), encoding: .utf8)
        .trimmingCharacters(in: .whitespacesAndNewlines)
    }
  }

  /// A client with the admin key.
  func client() throws -> APIClient { APIClient(server: try url, key: try adminKey) }

  /// Runs a client command against this server.
  func command(_ arguments: String...) throws -> Executable.Outcome {
    try Executable.run(arguments + ["--data", data.path])
  }

  /// Ends the server as an operator does and returns its exit code.
  @discardableResult
  func stop() -> Int32 {
    if process.isRunning { kill(process.processIdentifier, SIGTERM) }
    process.waitUntilExit()
    return process.terminationStatus
  }

  /// Takes the server away without warning.
  func kill9() {
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }

  /// Ids of the processes, the server's own excepted, that belong to the data folder: workers and the database.
  var descendants: [pid_t] {
    let own = process.processIdentifier
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap(pid_t.init).filter { id in
      guard id != own, id != getpid() else { return false }
      return ["cmdline", "environ"].contains { file in
        guard let data = FileManager.default.contents(atPath: "/proc/\(id)/\(file)") else { return false }
        return data.range(of: Data(self.data.path.utf8)) != nil
      }
    }
  }

  /// The worker processes of this server.
  var workers: [pid_t] {
    descendants.filter { id in
      FileManager.default.contents(atPath: "/proc/\(id)/cmdline").map {
        $0.split(separator: 0).dropFirst().first.map { String(decoding: $0, as: UTF8.self) } == "worker"
      } ?? false
    }
  }
}
