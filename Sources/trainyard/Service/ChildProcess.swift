// One child process by posix_spawn: its output comes to us, and it can see by its standard input that we are gone.
// WorkerSupervisor.swift starts workers through it.
import Foundation
import Glibc

/// A child whose end has not been collected yet.
struct ChildProcess {
  /// How a process ended.
  enum End: Hashable {
    case exited(Int32)
    case killed(Int32)

    var text: String {
      switch self {
      case .exited(let code): return "exit code \(code)"
      case .killed(let number): return "signal \(number)"
      }
    }
  }

  let id: pid_t
  /// Our end of the child's standard input: when it closes, by us or by our death, the child reads the end of the file.
  let tie: Int32
  /// Our end of the child's standard output and error.
  let output: Int32

  /// Starts a program. Signals have their default handling in the child, and none is blocked.
  ///
  /// - Throws: ``CommandFailure`` when the system has no process or descriptor left, or there is no such program.
  init(program: String, arguments: [String], environment: [String: String]) throws {
    // Sockets in place of pipes: only they can be made close-on-exec in one call, and a descriptor that leaked into
    // another child would keep this one tied to that one's life.
    let (tie, tieOfChild) = try Self.pair()
    let (output, outputOfChild): (Int32, Int32)
    do {
      (output, outputOfChild) = try Self.pair()
    } catch {
      close(tie)
      close(tieOfChild)
      throw error
    }
    defer {
      close(tieOfChild)
      close(outputOfChild)
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, tieOfChild, STDIN_FILENO)
    posix_spawn_file_actions_adddup2(&actions, outputOfChild, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, outputOfChild, STDERR_FILENO)
    // Libraries open descriptors of their own that are not close-on-exec: none of them is the child's business.
    for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? [] {
      if let descriptor = Int32(name), descriptor > STDERR_FILENO {
        posix_spawn_file_actions_addclose(&actions, descriptor)
      }
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    // A process group of its own: Ctrl-C in a terminal reaches the supervisor alone, which ends its workers in order.
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
    var arguments = ([program] + arguments).map { strdup($0) } + [nil]
    var variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer {
      arguments.forEach { free($0) }
      variables.forEach { free($0) }
    }
    var id: pid_t = 0
    let code = posix_spawn(&id, program, &actions, &attributes, &arguments, &variables)
    guard code == 0 else {
      close(tie)
      close(output)
      throw CommandFailure(.failure, "cannot start \(program): \(String(cString: strerror(code)))")
    }
    self.id = id
    self.tie = tie
    self.output = output
  }

  /// Waits for the end without collecting it: the process id stays ours, and may be signalled, until ``collect()``.
  func waitForEnd() {
    var info = siginfo_t()
    while waitid(P_PID, id_t(id), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR {}
  }

  /// Collects the end and closes our descriptors; the process id is void afterwards.
  func collect() -> End {
    var status: Int32 = 0
    while waitpid(id, &status, 0) < 0 && errno == EINTR {}
    close(tie)
    close(output)
    let number = status & 0x7F
    return number == 0 ? .exited(status >> 8 & 0xFF) : .killed(number)
  }

  private static func pair() throws -> (Int32, Int32) {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw CommandFailure(.failure, "no descriptors left for a child process: \(String(cString: strerror(errno)))")
    }
    return (ends[0], ends[1])
  }
}
