// An answer that comes later without holding a thread, e.g. for `?wait=`; returned by handlers, driven by Connection.

import Synchronization

/// The promise of an answer: a handler returns `.later(deferral)` and its thread is free; from then on any thread may `signal`
/// or `complete` it, and at the latest its time runs out.
public final class Deferral: Sendable {
  /// Why the answer is made now.
  public enum Reason: Sendable {
    case signalled
    case timedOut
    /// The server is stopping; answer with what is known.
    case stopping
  }

  enum Resolution: Sendable {
    case run(Reason)
    case response(Response)
  }

  private enum State {
    case detached
    case attached(@Sendable (Resolution) -> Void)
    case resolved(Resolution)
    case taken
  }

  let seconds: Double
  let answer: @Sendable (Reason) throws -> Response
  private let onEnd: @Sendable () -> Void
  private let state = Guarded(State.detached)
  private let hasEnded = Atomic(false)

  /// - Parameters:
  ///   - seconds: when `answer(.timedOut)` is called if nothing came before; counted from the handler's return.
  ///   - onEnd: called exactly once when the answer is on its way or the client has gone, from any thread: the place to take this
  ///     deferral off the list of those waiting. It must not block.
  ///   - answer: makes the answer on a handler thread, where it may block; it may be `.later` again.
  public init(
    seconds: Double, onEnd: @escaping @Sendable () -> Void = {},
    answer: @escaping @Sendable (Reason) throws -> Response
  ) {
    self.seconds = seconds
    self.onEnd = onEnd
    self.answer = answer
  }

  /// Something happened: has `answer(.signalled)` called on a handler thread. Only the first of all calls counts.
  public func signal() { resolve(.run(.signalled)) }

  /// Answers with a response that is already there. Only the first of all calls counts.
  public func complete(_ response: Response) { resolve(.response(response)) }

  func resolve(_ resolution: Resolution) {
    let deliver = state.withLock { state -> (@Sendable (Resolution) -> Void)? in
      switch state {
      case .detached:
        state = .resolved(resolution)
        return nil
      case .attached(let deliver):
        state = .taken
        return deliver
      case .resolved, .taken:
        return nil
      }
    }
    deliver?(resolution)
  }

  /// Connects the deferral with its connection; `deliver` is called once, at once if it was resolved before.
  func attach(_ deliver: @escaping @Sendable (Resolution) -> Void) {
    let early = state.withLock { state -> Resolution? in
      switch state {
      case .detached:
        state = .attached(deliver)
        return nil
      case .resolved(let resolution):
        state = .taken
        return resolution
      case .attached, .taken:
        preconditionFailure("a deferral answers one request only")
      }
    }
    if let early { deliver(early) }
  }

  /// The connection needs it no more.
  func end() {
    state.withLock { $0 = .taken }
    if !hasEnded.exchange(true, ordering: .relaxed) { onEnd() }
  }
}
