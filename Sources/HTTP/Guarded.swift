// A value behind a lock; the one lock of this target (HandlerPool's condition aside).

import Glibc

/// A value that is only touched with its lock held.
///
/// A POSIX mutex and not `Synchronization.Mutex`: the latter is a bare futex on Linux, which ThreadSanitizer does not see, so
/// that every correct use of it is reported as a race and real races would drown.
///
/// `@unchecked Sendable`: `value` is reached through `withLock` alone.
final class Guarded<Value>: @unchecked Sendable {
  private var value: Value
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

  init(_ value: sending Value) {
    self.value = value
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  /// Runs `body` with the lock held; `body` must be short and must not take another lock.
  func withLock<Result, Failure: Error>(_ body: (inout Value) throws(Failure) -> Result) throws(Failure) -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body(&value)
  }
}
