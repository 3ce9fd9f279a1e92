// Threads for tests: blocking calls stay off Swift's cooperative pool, and waiting has an end.
import Foundation

/// A value behind a lock.
// @unchecked: the value is only touched under the lock.
public final class Guarded<Value>: @unchecked Sendable {
  private var value: Value
  private let condition = NSCondition()

  public init(_ value: Value) { self.value = value }

  public func withLock<Answer>(_ body: (inout Value) throws -> Answer) rethrows -> Answer {
    condition.lock()
    defer {
      condition.broadcast()
      condition.unlock()
    }
    return try body(&value)
  }

  /// A copy of the value.
  public var current: Value { withLock { $0 } }

  /// Waits until the value fits.
  ///
  /// - Returns: false if it did not within `seconds`.
  public func wait(seconds: Double = 20, until fits: (Value) -> Bool) -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    while !fits(value) {
      guard condition.wait(until: deadline) else { return fits(value) }
    }
    return true
  }
}

/// Runs `body` on `count` threads at once and waits for all of them.
///
/// - Returns: what each one returned, by its number from 0.
/// - Throws: the first error any of them threw.
public func concurrently<Value: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (Int) throws -> Value
) throws -> [Value] {
  let results = Guarded<[Int: Result<Value, any Error>]>([:])
  for index in 0..<count {
    let thread = Thread {
      let result = Result { try body(index) }
      results.withLock { $0[index] = result }
    }
    thread.stackSize = 1 << 20
    thread.start()
  }
  guard results.wait(seconds: 120, until: { $0.count == count }) else { throw ThreadsTimedOut() }
  let all = results.current
  return try (0..<count).map { try all[$0]!.get() }
}

/// The threads of ``concurrently(_:_:)`` did not end within two minutes.
public struct ThreadsTimedOut: Error {}
