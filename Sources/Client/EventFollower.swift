// Follows the events of a job or a campaign as a stream, over every break of it: a thread of its own reads, comes back
// with the last id it saw, and keeps what came until it is taken. EventParser.swift reads the bytes.
import Contract
import Foundation
import FoundationNetworking

/// The events of one job or campaign from some number on, each once and in order, for as long as it lives.
///
/// `@unchecked Sendable`: everything that changes is guarded by the condition.
public final class EventFollower: @unchecked Sendable {
  /// Something that a stream told.
  public struct Event: Sendable, Hashable {
    /// The number of a stored event, from 1 without gaps; nil for `progress` and `end`.
    public var sequence: Int?
    /// A stored event's type, `progress`, or `end`.
    public var name: String
    public var data: JSON
  }

  private let client: APIClient
  private let path: String
  private let condition = NSCondition()
  private var parser: EventParser
  private var events: [Event] = []
  private var failure: APIError?
  private var passing: APIError?
  private var failures = 0
  private var isOver = false
  private var isStopped = false
  private var task: URLSessionTask?

  /// With so many events waiting to be taken nothing more is read.
  private static let eventsMax = 10_000
  private static let backOff = RetryPolicy(firstDelaySeconds: 0.1, delaySecondsMax: 5, deadlineSeconds: .infinity)

  /// Begins to follow a job.
  ///
  /// - Parameter sequence: the events after this number are wanted; 0 for all.
  public convenience init(_ client: APIClient, job id: String, after sequence: Int = 0) {
    self.init(client, path: "/v1/jobs/\(client.segment(id))/events", after: sequence)
  }

  /// Begins to follow a campaign.
  ///
  /// - Parameter sequence: the events after this number are wanted; 0 for all.
  public convenience init(_ client: APIClient, campaign id: String, after sequence: Int = 0) {
    self.init(client, path: "/v1/campaigns/\(client.segment(id))/events", after: sequence)
  }

  private init(_ client: APIClient, path: String, after sequence: Int) {
    self.client = client
    self.path = path
    parser = EventParser(lastID: sequence > 0 ? String(sequence) : nil)
    let thread = Thread { [self] in run() }
    thread.name = "event-follower"
    thread.start()
  }

  /// What came since the last call; waits for something up to `seconds`, and then it is empty.
  ///
  /// - Throws: ``APIError`` when the server refuses the stream for good: the job is gone, or the key.
  public func take(seconds: Double) throws(APIError) -> [Event] {
    let deadline = Date(timeIntervalSinceNow: seconds)
    condition.lock()
    defer { condition.unlock() }
    while events.isEmpty, failure == nil, !isOver, seconds > 0 {
      guard condition.wait(until: deadline) else { break }
    }
    let taken = events
    events = []
    condition.broadcast()
    if taken.isEmpty, let failure { throw failure }
    return taken
  }

  /// Why there is no stream at the moment; nil while there is one. It is tried again by itself.
  public var trouble: APIError? {
    condition.lock()
    defer { condition.unlock() }
    return passing
  }

  /// Ends the stream. Whoever follows must call it when done.
  public func stop() {
    condition.lock()
    isStopped = true
    let task = task
    condition.broadcast()
    condition.unlock()
    task?.cancel()
  }

  // MARK: The thread

  private func run() {
    while let lastID = waitForTurn() {
      let result = Result { () throws(APIError) in
        try client.stream(path, lastID: lastID.value, onStart: { [self] in began($0) }, sink: { [self] in receive($0) })
      }
      if !goesOn(after: result) { return }
    }
  }

  /// An id, or none, to take up after.
  private struct Place {
    let value: String?
  }

  /// Waits until there is room for events; nil when it is time to end.
  private func waitForTurn() -> Place? {
    condition.lock()
    defer { condition.unlock() }
    while events.count >= Self.eventsMax, !isStopped { condition.wait() }
    if isStopped { return nil }
    // What came of a broken event is not worth keeping.
    parser = EventParser(lastID: parser.lastID)
    return Place(value: parser.lastID)
  }

  private func began(_ task: URLSessionTask) {
    condition.lock()
    self.task = task
    let isStopped = isStopped
    condition.unlock()
    if isStopped { task.cancel() }
  }

  private func receive(_ data: Data) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    // Any byte shows that there is a stream.
    failures = 0
    passing = nil
    do throws(EventParserFault) {
      for event in try parser.take(data) {
        let content = (try? JSON.parse(event.data)) ?? .null
        events.append(Event(sequence: event.id.flatMap(Int.init), name: event.name, data: content))
        if event.name == "end" { isOver = true }
      }
    } catch {
      passing = APIError(.malformedAnswer, title: "the stream of events is broken", detail: error.reason)
      return false
    }
    condition.broadcast()
    return !isStopped && events.count < Self.eventsMax
  }

  /// Waits before the next try; false when there is none.
  private func goesOn(after result: Result<Void, APIError>) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    task = nil
    defer { condition.broadcast() }
    if isOver || isStopped { return false }
    var pauseSeconds = Double(parser.retryMilliseconds ?? 0) / 1000
    if case .failure(let error) = result, events.count < Self.eventsMax {
      guard Self.isPassing(error) else {
        failure = error
        return false
      }
      passing = passing ?? error
      failures += 1
      pauseSeconds = max(
        pauseSeconds, Self.backOff.delaySeconds(failures: failures, elapsedSeconds: 0) ?? 5)
    }
    condition.broadcast()
    let deadline = Date(timeIntervalSinceNow: pauseSeconds)
    while !isStopped, condition.wait(until: deadline) {}
    return !isStopped
  }

  /// Whether a stream may come about later: everything but a refusal of this very request.
  private static func isPassing(_ error: APIError) -> Bool {
    switch error.kind {
    case .answered(let status): return status >= 500 || status == 429 || status == 408
    default: return true
    }
  }
}
