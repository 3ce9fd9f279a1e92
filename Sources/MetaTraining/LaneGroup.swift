// Kept threads that run the particles of an outer step. Work is handed out by a shared counter, results land in
// fixed places, so the number of threads changes the time and nothing else.
import Foundation
import Synchronization

/// A fixed set of threads that run numbered pieces of work.
// @unchecked: all shared fields are guarded by `condition`, and `next` is atomic.
public final class LaneGroup: @unchecked Sendable {
  /// How many threads, the caller's counted.
  public let count: Int
  private let condition = NSCondition()
  private var generation = 0
  private var pieces = 0
  private var running = 0
  private var work: (@Sendable (_ lane: Int, _ piece: Int) -> Void)?
  private var isStopped = false
  private let next = Atomic<Int>(0)

  /// Starts `count - 1` threads; the caller of ``run(_:_:)`` is the remaining lane.
  public init(count: Int) {
    self.count = count
    for lane in 1..<max(1, count) {
      let thread = Thread { [self] in serve(lane) }
      thread.name = "lane-\(lane)"
      thread.stackSize = 1 << 20
      thread.start()
    }
  }

  /// Runs `work(lane, piece)` for every piece and returns when all are done.
  func run(_ pieces: Int, _ work: @escaping @Sendable (_ lane: Int, _ piece: Int) -> Void) {
    condition.lock()
    next.store(0, ordering: .relaxed)
    self.pieces = pieces
    self.work = work
    running = count - 1
    generation += 1
    condition.broadcast()
    condition.unlock()
    drain(0, pieces, work)
    condition.lock()
    while running > 0 { condition.wait() }
    self.work = nil
    condition.unlock()
  }

  /// Ends the threads; the group cannot be used afterwards.
  public func stop() {
    condition.lock()
    isStopped = true
    condition.broadcast()
    condition.unlock()
  }

  private func drain(_ lane: Int, _ pieces: Int, _ work: (_ lane: Int, _ piece: Int) -> Void) {
    while true {
      let piece = next.wrappingAdd(1, ordering: .relaxed).oldValue
      if piece >= pieces { return }
      work(lane, piece)
    }
  }

  private func serve(_ lane: Int) {
    var seen = 0
    while true {
      condition.lock()
      while generation == seen && !isStopped { condition.wait() }
      seen = generation
      let (pieces, work) = (self.pieces, self.work)
      let isStopped = self.isStopped
      condition.unlock()
      if isStopped { return }
      if let work { drain(lane, pieces, work) }
      condition.lock()
      running -= 1
      if running == 0 { condition.broadcast() }
      condition.unlock()
    }
  }
}
