// A child process whose life is tied to ours by a pipe: however we end, it is asked to end too.
import Foundation
import Glibc

/// A running program that is sent SIGINT when ``untie()`` is called or this process is gone, even by SIGKILL.
///
/// PR_SET_PDEATHSIG would follow the thread that forked, which may end long before the process does.
// @unchecked: the state is guarded by the condition.
final class TiedProcess: @unchecked Sendable {
  let processID: pid_t
  private let condition = NSCondition()
  private var pipeEnd: Int32
  private var status: Int32?

  // The shell waits for the program, and beside it for the end of the pipe. `exec` keeps the program's own exit status.
  private static let script = """
    cd /
    exec 3<&0 </dev/null
    "$@" 3<&- &
    program=$!
    { read -r _ <&3; kill -INT "$program"; } 2>/dev/null &
    tie=$!
    wait "$program"
    status=$?
    kill "$tie" 2>/dev/null
    exit "$status"
    """

  private typealias CloseFrom = @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32

  // Descriptors that others opened without FD_CLOEXEC must not live on in a server that outlives us. Not in the module
  // map of glibc, and absent from older ones.
  private static let closeOthers = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np").map {
    unsafeBitCast($0, to: CloseFrom.self)
  }

  /// Runs a short program to its end.
  ///
  /// - Returns: what it printed, at most 64 KiB; nil if it failed or took longer than 10 s.
  static func output(of arguments: [String]) -> String? {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return nil }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { Glibc.close(ends[0]) }
    let process = try? TiedProcess(arguments, output: ends[1])
    Glibc.close(ends[1])
    // What fits into the pipe is all we want to know, so it is read when the program has ended.
    guard let process, process.wait(seconds: 10) == 0 else { return nil }
    let bytes = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
      count = max(0, read(ends[0], buffer.baseAddress, buffer.count))
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Starts a program in a session of its own, so that Ctrl-C in a terminal reaches us alone and we end things in
  /// order. Its working folder is `/`.
  ///
  /// - Parameters:
  ///   - arguments: the program's path or name, and its arguments.
  ///   - output: file descriptor for its standard output and error.
  init(_ arguments: [String], output: Int32) throws(StoreError) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw .cluster("no pipe: \(String(cString: strerror(errno)))") }
    // Or another child that is started meanwhile would hold the pipe open after us.
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
      Glibc.close(ends[0])
    }
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    _ = Self.closeOthers?(&actions, 3)
    // What this process ignores or blocks is its own affair.
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    let newSession: Int32 = 0x80  // POSIX_SPAWN_SETSID, which the module map of glibc hides.
    let flags = Int32(POSIX_SPAWN_SETSIGMASK) | Int32(POSIX_SPAWN_SETSIGDEF) | newSession
    posix_spawnattr_setflags(&attributes, Int16(flags))
    let words = (["/bin/sh", "-c", Self.script, "sh"] + arguments).map { $0.withCString { strdup($0) } } + [nil]
    defer { words.forEach { free($0) } }
    // The programs' messages are quoted in errors, so they are in one language; nothing else is inherited that could
    // point PostgreSQL elsewhere (PGDATA, PGHOST, ...).
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin"
    let environment = ["PATH=\(path)", "LC_ALL=C", "TZ=UTC"].map { $0.withCString { strdup($0) } } + [nil]
    defer { environment.forEach { free($0) } }
    var child: pid_t = 0
    let fault = posix_spawn(&child, "/bin/sh", &actions, &attributes, words, environment)
    guard fault == 0 else {
      Glibc.close(ends[1])
      throw .cluster("cannot start \(arguments.first ?? "a program"): \(String(cString: strerror(fault)))")
    }
    let processID = child
    self.processID = processID
    pipeEnd = ends[1]
    let waiter = Thread { [self] in
      var status: Int32 = 0
      while waitpid(processID, &status, 0) < 0 && errno == EINTR {}
      condition.lock()
      // As a shell reports it: the exit status, or 128 and the signal.
      self.status = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
      condition.broadcast()
      condition.unlock()
    }
    waiter.name = "tied process"
    waiter.stackSize = 128 << 10
    waiter.start()
  }

  deinit { untie() }

  /// Asks the program to end.
  func untie() {
    condition.lock()
    if pipeEnd >= 0 { Glibc.close(pipeEnd) }
    pipeEnd = -1
    condition.unlock()
  }

  /// The exit status, nil while the program runs.
  var exitStatus: Int32? {
    condition.lock()
    defer { condition.unlock() }
    return status
  }

  /// Waits for the program to end.
  ///
  /// - Returns: its exit status, nil if it still runs after `seconds`.
  @discardableResult
  func wait(seconds: Double) -> Int32? {
    let deadline = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    while status == nil {
      guard condition.wait(until: deadline) else { return status }
    }
    return status
  }

  /// Waits for the program to end, however long it takes.
  func wait() {
    condition.lock()
    while status == nil { condition.wait() }
    condition.unlock()
  }
}
