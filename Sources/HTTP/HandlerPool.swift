// A fixed set of threads for work that may block (handlers, authorisation, body spooling); fed by Connection.

import Foundation

/// Threads that take jobs from one bounded queue in order.
///
/// `@unchecked Sendable`: all mutable state is guarded by `condition`.
final class HandlerPool: @unchecked Sendable {
  typealias Job = @Sendable () -> Void

  private let condition = NSCondition()
  private let queueMax: Int
  private var queue: [Job] = []
  private var head = 0
  private var waiting = 0
  private var alive: Int
  private var isStopping = false

  /// - Parameters:
  ///   - threads: how many, at least one.
  ///   - queueMax: jobs that may wait for a thread.
  init(name: String, threads: Int, queueMax: Int) {
    precondition(threads > 0, "a handler pool needs a thread")
    self.queueMax = queueMax
    alive = threads
    for index in 0..<threads {
      let thread = Thread { [self] in work() }
      thread.name = "\(name)-\(index)"
      thread.stackSize = 1 << 20
      thread.start()
    }
  }

  /// Queues a job; false if the queue is full or the pool is stopping, and then the job never runs.
  func submit(_ job: @escaping Job) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    guard !isStopping, queue.count - head < queueMax else { return false }
    queue.append(job)
    if waiting > 0 { condition.signal() }
    return true
  }

  /// Lets queued jobs finish, ends the threads and waits for them at most `seconds`; false if some still run then.
  func stop(waitingSeconds seconds: Double) -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    isStopping = true
    condition.broadcast()
    while alive > 0 {
      if !condition.wait(until: deadline) { break }
    }
    return alive == 0
  }

  private func work() {
    condition.lock()
    while true {
      if head < queue.count {
        let job = queue[head]
        head += 1
        // The used front goes once it is the larger part: amortised constant time.
        if head * 2 > queue.count {
          queue.removeFirst(head)
          head = 0
        }
        condition.unlock()
        job()
        condition.lock()
      } else if isStopping {
        alive -= 1
        condition.broadcast()
        condition.unlock()
        return
      } else {
        waiting += 1
        condition.wait()
        waiting -= 1
      }
    }
  }
}
