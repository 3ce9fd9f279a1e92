// Tests for what `serve` is made of: the data folder, child processes, the supervisor, the port probe. Real processes.
import Foundation
import Glibc
import Logging
import Testing

@testable import trainyard

/// Lines that workers print, as they come.
///
/// `@unchecked Sendable`: the list is guarded by the condition.
private final class Lines: @unchecked Sendable {
  private let condition = NSCondition()
  private var list: [String] = []

  func add(_ line: String) {
    condition.withLock {
      list.append(line)
      condition.broadcast()
    }
  }

  /// Waits until `count` lines satisfy `matches`; false after a minute.
  func wait(for count: Int, where matches: (String) -> Bool) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    let deadline = Date(timeIntervalSinceNow: 60)
    while list.filter(matches).count < count { if !condition.wait(until: deadline) { return false } }
    return true
  }

  var all: [String] { condition.withLock { list } }
}

struct WorkerSupervisorTests {
  private func supervisor(_ script: String, _ lines: Lines) -> WorkerSupervisor {
    WorkerSupervisor(
      program: "/bin/sh", arguments: ["-c", script], environment: ["PATH": "/usr/bin:/bin"],
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, passOn: { lines.add("\($0): \($1)") })
  }

  @Test("a worker that ended is started again, and its lines carry its number")
  func restarts() {
    let lines = Lines()
    let supervisor = supervisor("echo up; exit 3", lines)
    supervisor.start(count: 1)
    #expect(lines.wait(for: 2) { $0 == "worker 1: up" })
    #expect(supervisor.stop(graceSeconds: 5))
    #expect(supervisor.processIDs.isEmpty)
  }

  @Test("stopping lets each worker finish what it does")
  func gentleStop() {
    let lines = Lines()
    let supervisor = supervisor("trap 'echo saved; exit 0' TERM; echo up; while :; do read line; done", lines)
    supervisor.start(count: 2)
    #expect(lines.wait(for: 2) { $0.hasSuffix(": up") })
    #expect(supervisor.stop(graceSeconds: 30))
    #expect(Set(lines.all.filter { $0.hasSuffix("saved") }) == ["worker 1: saved", "worker 2: saved"])
  }

  @Test("a worker that does not end in time is killed")
  func killed() {
    let lines = Lines()
    let supervisor = supervisor("trap '' TERM; echo up; while :; do read line; done", lines)
    supervisor.start(count: 1)
    #expect(lines.wait(for: 1) { $0.hasSuffix("up") })
    let id = supervisor.processIDs[0]
    #expect(!supervisor.stop(graceSeconds: 0.1))
    #expect(kill(id, 0) == -1 && errno == ESRCH)
  }

  @Test("a program that does not exist is no crash, only no worker")
  func missingProgram() {
    let supervisor = WorkerSupervisor(
      program: "/nonexistent/worker", arguments: [], environment: [:],
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, passOn: { _, _ in })
    supervisor.start(count: 1)
    #expect(supervisor.stop(graceSeconds: 1))
  }

  @Test("pauses double up to half a minute and start afresh after a healthy run")
  func backoff() {
    var backoff = RestartBackoff()
    #expect((0..<9).map { _ in backoff.delaySeconds(ranSeconds: 0) } == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30])
    #expect(backoff.delaySeconds(ranSeconds: 59) == 30)
    #expect(backoff.delaySeconds(ranSeconds: 60) == 0.2)
  }
}

struct ChildProcessTests {
  @Test("a child reads the end of its input when the tie closes")
  func tie() throws {
    let child = try ChildProcess(
      program: "/bin/sh", arguments: ["-c", "read line || exit 7"], environment: ["PATH": "/usr/bin:/bin"])
    shutdown(child.tie, Int32(SHUT_WR))
    child.waitForEnd()
    #expect(child.collect() == .exited(7))
  }

  @Test("the signal that ended a child is told")
  func killed() throws {
    let child = try ChildProcess(program: "/bin/cat", arguments: [], environment: [:])
    kill(child.id, SIGKILL)
    child.waitForEnd()
    #expect(child.collect() == .killed(SIGKILL))
  }

  @Test("no descriptor but the three standard ones reaches a child")
  func descriptors() throws {
    let child = try ChildProcess(
      program: "/bin/sh", arguments: ["-c", "cd /proc/$$/fd && echo *"], environment: ["PATH": "/usr/bin:/bin"])
    var text = [UInt8](repeating: 0, count: 4096)
    let count = read(child.output, &text, text.count)
    // The shell itself reads the folder through one more, which is the lowest free one.
    #expect(["0 1 2\n", "0 1 2 3\n"].contains(String(decoding: text.prefix(max(0, count)), as: UTF8.self)))
    child.waitForEnd()
    #expect(child.collect() == .exited(0))
  }
}

struct DataFolderTests {
  private func temporary() -> URL {
    FileManager.default.temporaryDirectory.appendingPathComponent("folder-\(UUID().uuidString)/data")
  }

  private func mode(_ url: URL) throws -> Int {
    try #require(FileManager.default.attributesOfItem(atPath: url.path)[.posixPermissions] as? Int)
  }

  @Test("the folder is made private, and the admin key is for its owner alone")
  func permissions() throws {
    let url = temporary()
    defer { try? FileManager.default.removeItem(at: url.deletingLastPathComponent()) }
    let folder = try DataFolder(url, isTraversable: false)
    #expect(try mode(url) == 0o700)
    try DataFolder.writeAdminKey("ty_secret", in: folder.url)
    #expect(try mode(Settings.adminKeyFile(in: url)) == 0o600)
    #expect(try String(contentsOf: Settings.adminKeyFile(in: url), encoding: .utf8) == "ty_secret\n")
  }

  @Test("a second holder is refused with the first one's process, until the first lets go")
  func lock() throws {
    let url = temporary()
    defer { try? FileManager.default.removeItem(at: url.deletingLastPathComponent()) }
    var first: DataFolder? = try DataFolder(url, isTraversable: false)
    #expect(first != nil)
    let error = #expect(throws: CommandFailure.self) { try DataFolder(url, isTraversable: false) }
    #expect(error?.message.contains("process \(getpid())") == true)
    first = nil
    #expect(throws: Never.self) { try DataFolder(url, isTraversable: false) }
  }

  @Test("a path that cannot be a folder is refused with the reason")
  func notAFolder() throws {
    let error = #expect(throws: CommandFailure.self) {
      try DataFolder(URL(fileURLWithPath: "/dev/null/data"), isTraversable: false)
    }
    #expect(error?.message.contains("/dev/null/data") == true)
  }
}

struct PortProbeTests {
  @Test("a port that is listened on has an obstacle, a free one has none")
  func probe() throws {
    #expect(ListenAddress(host: "127.0.0.1", port: 0).obstacle() == nil)
    let taken = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(taken) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        #expect(bind(taken, $0, length) == 0 && listen(taken, 1) == 0)
        getsockname(taken, $0, &length)
      }
    }
    let port = Int(UInt16(bigEndian: address.sin_port))
    #expect(ListenAddress(host: "127.0.0.1", port: port).obstacle() == "another program listens there")
  }

  @Test("an address of another machine cannot be listened on")
  func foreign() {
    #expect(ListenAddress(host: "192.0.2.1", port: 0).obstacle() != nil)
  }
}
