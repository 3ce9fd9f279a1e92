// How a process is told to stop: raised once from anywhere, watched by every slot between two steps.
import Foundation

/// A flag that is raised once, and a way to sleep until it is.
// @unchecked: the flag is only touched under the condition's lock.
public final class StopSignal: @unchecked Sendable {
  private let condition = NSCondition()
  private var raised = false

  public init() {}

  /// Asks everyone to stop. May be called from any thread, any number of times.
  public func raise() {
    condition.lock()
    raised = true
    condition.broadcast()
    condition.unlock()
  }

  public var isRaised: Bool {
    condition.lock()
    defer { condition.unlock() }
    return raised
  }

  /// Wakes sleepers without stopping them, for new work.
  public func nudge() {
    condition.lock()
    condition.broadcast()
    condition.unlock()
  }

  /// Sleeps until raised or `seconds` have passed, whatever nudges come.
  public func pause(seconds: Double) {
    let end = Date(timeIntervalSinceNow: seconds)
    while !isRaised && end.timeIntervalSinceNow > 0 { sleep(seconds: end.timeIntervalSinceNow) }
  }

  /// Sleeps until raised, nudged, or `seconds` have passed.
  public func sleep(seconds: Double) {
    condition.lock()
    if !raised { _ = condition.wait(until: Date(timeIntervalSinceNow: seconds)) }
    condition.unlock()
  }
}
