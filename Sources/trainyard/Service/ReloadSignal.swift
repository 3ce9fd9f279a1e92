// SIGHUP as a call: `serve` reads its certificate again. TerminationSignals.swift has the signals that end a process.
import Foundation
import Glibc
import Synchronization

/// Calls back for each SIGHUP, on a thread of its own. One value a process.
///
/// `@unchecked Sendable`: the descriptors are set once, by `init`.
final class ReloadSignal: @unchecked Sendable {
  // The one place a signal handler can reach: the write end of the pipe.
  private static let writeEnd = Atomic<Int32>(-1)

  private let readEnd: Int32

  init(_ call: @escaping @Sendable () -> Void) {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { fatalError("no pipe for SIGHUP: \(String(cString: strerror(errno)))") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
    readEnd = ends[0]
    Self.writeEnd.store(ends[1], ordering: .sequentiallyConsistent)
    let thread = Thread { [readEnd] in
      var byte = UInt8(0)
      while true {
        let count = read(readEnd, &byte, 1)
        if count < 0 && errno == EINTR { continue }
        if count <= 0 || byte == 0 { break }
        call()
      }
      close(readEnd)
    }
    thread.name = "reload"
    thread.start()
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { number in
      // Only async-signal-safe calls here; errno belongs to the interrupted code.
      let saved = errno
      var byte = UInt8(truncatingIfNeeded: number)
      _ = write(ReloadSignal.writeEnd.load(ordering: .relaxed), &byte, 1)
      errno = saved
    }
    action.sa_flags = Int32(SA_RESTART)
    sigaction(SIGHUP, &action, nil)
    // Whoever started this process may have had it blocked, which is inherited; one thread that takes it is enough.
    var ours = sigset_t()
    sigemptyset(&ours)
    sigaddset(&ours, SIGHUP)
    pthread_sigmask(SIG_UNBLOCK, &ours, nil)
  }

  /// Ends the thread; the signal is ignored from then on.
  func stop() {
    signal(SIGHUP, SIG_IGN)
    var end = UInt8(0)
    _ = write(Self.writeEnd.load(ordering: .sequentiallyConsistent), &end, 1)
  }
}
