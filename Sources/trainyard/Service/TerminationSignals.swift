// SIGTERM and SIGINT as something a thread can wait for. `serve`, `worker` and `job follow` end through it.
import Foundation
import Glibc
import Synchronization

/// Catches the signals that ask a process to end. One value a process; made before any thread is started.
///
/// Handlers, unlike ignored or blocked signals, are not inherited by programs this process starts.
final class TerminationSignals: Sendable {
  // The one place a signal handler can reach: the write end of the pipe.
  private static let writeEnd = Atomic<Int32>(-1)

  private let readEnd: Int32
  private let caught = Atomic<Bool>(false)

  init() {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { fatalError("no pipe for signals: \(String(cString: strerror(errno)))") }
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    readEnd = ends[0]
    Self.writeEnd.store(ends[1], ordering: .sequentiallyConsistent)
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { number in
      // Only async-signal-safe calls here; errno belongs to the interrupted code.
      let saved = errno
      var byte = UInt8(truncatingIfNeeded: number)
      _ = write(TerminationSignals.writeEnd.load(ordering: .relaxed), &byte, 1)
      errno = saved
    }
    action.sa_flags = Int32(SA_RESTART)
    sigaction(SIGTERM, &action, nil)
    sigaction(SIGINT, &action, nil)
    // Whoever started this process may have had them blocked, as threads of Dispatch do; that is inherited.
    var ours = sigset_t()
    sigemptyset(&ours)
    sigaddset(&ours, SIGTERM)
    sigaddset(&ours, SIGINT)
    pthread_sigmask(SIG_UNBLOCK, &ours, nil)
  }

  /// Waits until a signal came or `seconds` are over (nil: for ever); says whether one came, now or earlier.
  func wait(seconds: Double?) -> Bool {
    if caught.load(ordering: .sequentiallyConsistent) { return true }
    var entry = pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0)
    let deadline = seconds.map { ContinuousClock.now + .seconds($0) }
    while true {
      let left = deadline.map {
        max(0, Int32(clamping: Int((ContinuousClock.now.duration(to: $0) / .milliseconds(1)).rounded(.up))))
      }
      let count = poll(&entry, 1, left ?? -1)
      if count > 0 {
        // The byte stays in the pipe: every other waiter sees it as well.
        caught.store(true, ordering: .sequentiallyConsistent)
        return true
      }
      if count == 0 { return false }
    }
  }

  /// Acts as a signal would, from inside the process.
  func raise() {
    var byte = UInt8(0)
    _ = write(Self.writeEnd.load(ordering: .sequentiallyConsistent), &byte, 1)
  }
}
