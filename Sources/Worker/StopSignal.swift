// How a process is told to stop: raised once from anywhere, watched by every slot between two steps.
import Foundation

/// A flag that is raised once, and a way to sleep until it is.
// @unchecked: all fields are only touched under the condition's lock.
public final class StopSignal: @unchecked Sendable {
  /// What sleepers are woken for.
  public enum Nudge: Sendable, CaseIterable {
    /// There is work in the queue.
    case work
    /// A campaign has groups to run, or results.
    case groups
  }

  private let condition = NSCondition()
  private var raised = false
  private var counts: [Nudge: Int] = [:]

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
  public func nudge(_ kinds: Nudge...) {
    condition.lock()
    for kind in kinds { counts[kind, default: 0] += 1 }
    condition.broadcast()
    condition.unlock()
  }

  /// How many nudges of some kinds there were, for ``sleep(seconds:since:for:)``.
  public func count(_ kinds: [Nudge] = Nudge.allCases) -> Int {
    condition.lock()
    defer { condition.unlock() }
    return kinds.reduce(0) { $0 + counts[$1, default: 0] }
  }

  /// Sleeps until raised or `seconds` have passed, whatever nudges come.
  public func pause(seconds: Double) {
    let end = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    while !raised && condition.wait(until: end) {}
    condition.unlock()
  }

  /// Sleeps until raised, nudged, or `seconds` have passed; not at all where nudges came since they were counted.
  public func sleep(seconds: Double, since count: Int, for kinds: [Nudge] = Nudge.allCases) {
    let end = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    while !raised, kinds.reduce(0, { $0 + counts[$1, default: 0] }) == count, condition.wait(until: end) {}
    condition.unlock()
  }
}
