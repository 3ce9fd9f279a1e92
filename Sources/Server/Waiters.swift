// Requests that wait for a job or dataset to change (`?wait=`). None holds a thread: a notification of the database, or
// a slow poll as the net, has the state read again.
import Contract
import Foundation
import HTTP
import Store
import Synchronization

/// The requests that wait, by what they wait for.
final class Waiters: Sendable {
  private struct Waiting {
    var next = 0
    var byID: [String: [Int: Deferral]] = [:]
  }
  private let waiting = Mutex(Waiting())
  private let pollSeconds: Double

  /// - Parameter pollSeconds: after so long the state is read without a notification, since one may have been lost.
  ///   Default 5 s.
  init(pollSeconds: Double = 5) { self.pollSeconds = pollSeconds }

  /// Answers at once if `isOver`, else as soon as it is, at the latest after `seconds`.
  ///
  /// - Parameters:
  ///   - id: of the job or dataset, as notifications name it.
  ///   - read: the state now; may throw, for example when it was deleted. Runs where it may block.
  ///   - isOver: whether the client need not wait any longer.
  ///   - answer: the answer for a state.
  func answer<State>(
    id: String, seconds: Double, read: @escaping @Sendable () throws -> State,
    isOver: @escaping @Sendable (State) -> Bool, answer: @escaping @Sendable (State) -> Response
  ) throws -> Response {
    guard seconds > 0 else { return answer(try read()) }
    return try wait(id, until: .now.advanced(by: .seconds(seconds)), read, isOver, answer)
  }

  private func wait<State>(
    _ id: String, until end: ContinuousClock.Instant, _ read: @escaping @Sendable () throws -> State,
    _ isOver: @escaping @Sendable (State) -> Bool, _ answer: @escaping @Sendable (State) -> Response
  ) throws -> Response {
    let left = (end - .now) / .seconds(1)
    let number = waiting.withLock { waiting in
      waiting.next += 1
      return waiting.next
    }
    let deferral = Deferral(seconds: min(max(left, 0), pollSeconds), onEnd: { [self] in remove(number, id) }) {
      [self] reason in
      if case .stopping = reason { return answer(try read()) }
      return try wait(id, until: end, read, isOver, answer)
    }
    // On the list before the state is read: a change in between then wakes it.
    waiting.withLock { $0.byID[id, default: [:]][number] = deferral }
    do {
      let state = try read()
      if left > 0, !isOver(state) { return .later(deferral) }
      remove(number, id)
      return answer(state)
    } catch {
      remove(number, id)
      throw error
    }
  }

  /// Something about `id` changed; an empty id means that anything may have.
  func wake(_ id: String) {
    let woken = waiting.withLock { waiting in
      id.isEmpty ? waiting.byID.values.flatMap(\.values) : waiting.byID[id].map { Array($0.values) } ?? []
    }
    for deferral in woken { deferral.signal() }
  }

  /// How many requests wait.
  var count: Int { waiting.withLock { $0.byID.values.reduce(0) { $0 + $1.count } } }

  private func remove(_ number: Int, _ id: String) {
    waiting.withLock { waiting in
      waiting.byID[id]?[number] = nil
      if waiting.byID[id]?.isEmpty == true { waiting.byID[id] = nil }
    }
  }
}
