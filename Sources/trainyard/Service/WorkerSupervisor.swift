// Keeps worker processes running: starts them, passes their output on, restarts them with back-off, ends them gently.
// `serve` owns one; ChildProcess.swift is a single start.
import Foundation
import Glibc
import Logging

/// Pauses between the starts of one worker.
struct RestartBackoff {
  var firstDelaySeconds = 0.2
  var delaySecondsMax = 30.0
  /// A worker that ran so long was healthy: its next end starts the pauses afresh.
  var healthySeconds = 60.0
  private var failures = 0

  init() {}

  /// The pause before the next start of a worker that ended after `ranSeconds`.
  mutating func delaySeconds(ranSeconds: Double) -> Double {
    if ranSeconds >= healthySeconds { failures = 0 }
    failures += 1
    return min(delaySecondsMax, firstDelaySeconds * pow(2, Double(min(failures, 30) - 1)))
  }
}

/// A fixed number of worker processes, each watched by a thread of its own.
///
/// `@unchecked Sendable`: all mutable state is guarded by `condition`.
final class WorkerSupervisor: @unchecked Sendable {
  private let program: String
  private let arguments: [String]
  private let environment: [String: String]
  private let logger: Logger
  private let passOn: @Sendable (_ worker: String, _ line: String) -> Void

  private let condition = NSCondition()
  private var isStopping = false
  private var running: [Int: pid_t] = [:]
  private var threadCount = 0

  /// - Parameters:
  ///   - program: the executable to start, by its path.
  ///   - arguments: what follows its name.
  ///   - environment: all its variables.
  ///   - logger: told of starts and ends.
  ///   - passOn: given each line of output of a worker, with the worker's name.
  init(
    program: String, arguments: [String], environment: [String: String], logger: Logger,
    passOn: @escaping @Sendable (_ worker: String, _ line: String) -> Void
  ) {
    self.program = program
    self.arguments = arguments
    self.environment = environment
    self.logger = logger
    self.passOn = passOn
  }

  /// Starts `count` workers and returns at once.
  func start(count: Int) {
    condition.withLock { threadCount += count }
    for index in 0..<count {
      let thread = Thread { [self] in
        watch(index + 1)
        condition.withLock {
          threadCount -= 1
          condition.broadcast()
        }
      }
      thread.name = "worker-\(index + 1)"
      // It only waits and copies lines.
      thread.stackSize = 256 << 10
      thread.start()
    }
  }

  /// The process ids of the workers that run now.
  var processIDs: [pid_t] { condition.withLock { Array(running.values) } }

  /// Asks all workers to end, kills those that have not done so in time, and returns when all are gone.
  ///
  /// - Parameter graceSeconds: time for a last checkpoint.
  /// - Returns: whether all ended by themselves.
  @discardableResult
  func stop(graceSeconds: Double) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    isStopping = true
    condition.broadcast()
    for id in running.values { kill(id, SIGTERM) }
    let deadline = Date(timeIntervalSinceNow: graceSeconds)
    while threadCount > 0 && condition.wait(until: deadline) {}
    let isClean = running.isEmpty
    for id in running.values {
      logger.warning("a worker did not end in time and is killed", metadata: ["process": "\(id)"])
      kill(id, SIGKILL)
    }
    while threadCount > 0 { condition.wait() }
    return isClean
  }

  private func watch(_ number: Int) {
    var backoff = RestartBackoff()
    while true {
      let started = ContinuousClock.now
      var end = "not started"
      if let child = start(number) {
        copyLines(from: child.output, of: "worker \(number)")
        child.waitForEnd()
        // From here on the process id may belong to somebody else, so nobody may signal it any more.
        end = condition.withLock {
          running[number] = nil
          return child.collect().text
        }
      }
      let delay = backoff.delaySeconds(ranSeconds: (ContinuousClock.now - started) / .seconds(1))
      let isStopping = condition.withLock { self.isStopping }
      if isStopping { return }
      logger.warning("worker \(number) ended (\(end)); the next start is in \(delay) s")
      condition.lock()
      let wake = Date(timeIntervalSinceNow: delay)
      while !self.isStopping && condition.wait(until: wake) {}
      let stops = self.isStopping
      condition.unlock()
      if stops { return }
    }
  }

  /// Starts a worker unless all are to end; nil when that failed.
  private func start(_ number: Int) -> ChildProcess? {
    condition.withLock {
      if isStopping { return nil }
      do {
        let child = try ChildProcess(program: program, arguments: arguments, environment: environment)
        running[number] = child.id
        logger.debug("worker \(number) started", metadata: ["process": "\(child.id)"])
        return child
      } catch {
        logger.error("worker \(number) cannot be started: \((error as? CommandFailure)?.message ?? "\(error)")")
        return nil
      }
    }
  }

  /// Passes lines on until the other end is closed; overlong ones come in pieces.
  private func copyLines(from descriptor: Int32, of worker: String) {
    let lineBytesMax = 8192
    var pending: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(descriptor, &piece, piece.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { break }
      pending += piece[..<count]
      while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
        passOn(worker, String(decoding: pending[..<end], as: UTF8.self))
        pending.removeFirst(end + 1)
      }
      if pending.count > lineBytesMax {
        passOn(worker, String(decoding: pending, as: UTF8.self))
        pending.removeAll()
      }
    }
    if !pending.isEmpty { passOn(worker, String(decoding: pending, as: UTF8.self)) }
  }
}
