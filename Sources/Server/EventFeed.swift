// Streams of events: stored events in order and without gaps, progress between them. One thread reads for all streams,
// woken by notifications or a slow poll, so no stream holds one. Routes/Events.swift opens them.
import Contract
import Foundation
import HTTP
import Store

/// The streams that are open, by what they follow.
// @unchecked: everything that changes is guarded by the condition.
final class EventFeed: @unchecked Sendable {
  /// Where something that is followed stands.
  struct Standing: Sendable {
    var state: String
    /// Whether nothing happens to it any more.
    var isTerminal: Bool
    /// Rises with every change.
    var revision: Int
    /// The number of the newest event.
    var eventCount: Int
    /// What clients are told between events.
    var progress: JSON
  }

  /// A stored event.
  struct Event: Sendable {
    /// From 1, without gaps.
    var sequence: Int
    var kind: String
    var json: JSON
  }

  /// How a kind of resource is read. Both may block.
  struct Source: Sendable {
    /// Nil when the project has none of that id (any more).
    let standing: @Sendable (_ id: String, _ project: String) throws -> Standing?
    /// Events after a number, in order.
    let events: @Sendable (_ id: String, _ after: Int, _ limit: Int) throws -> [Event]
  }

  private struct Subscriber {
    let stream: EventStream
    let endsAt: ContinuousClock.Instant
    /// The number of the last event sent.
    var after: Int
    /// Of the progress sent last.
    var revision: Int?
    /// Whether it was told how soon to come back.
    var isGreeted = false
  }

  private struct Topic {
    let source: Source
    let project: String
    var subscribers: [Int: Subscriber] = [:]
    /// When it is read next.
    var dueAt: ContinuousClock.Instant
    var readAt: ContinuousClock.Instant?
  }

  private let streamsMax: Int
  private let pollSeconds: Double
  private let streamSeconds: Double
  private let condition = NSCondition()
  private var topics: [String: Topic] = [:]
  private var openByProject: [String: Int] = [:]
  private var nextNumber = 0
  private var isRunning = false

  /// Something that changes all the time is read and told this often at most.
  private static let intervalSeconds = 0.25
  /// The pause before the next page for a stream that has more to come.
  private static let pageSeconds = 0.02
  /// The pause after the database could not be read.
  private static let troubleSeconds = 1.0
  /// Events read at once.
  private static let pageEvents = 500
  /// Nothing is queued for a client that has yet to take this much: what is stored can be read later.
  private static let queuedBytesMax = 64 << 10
  /// How soon a client comes back after a stream broke.
  private static let retryMilliseconds = 1000

  /// - Parameters:
  ///   - streamsMax: streams of a project at a time.
  ///   - pollSeconds: after so long something is read without a notification, since one may have been lost.
  ///     Default 5 s.
  ///   - streamSeconds: after so long a stream is ended and its client comes back, so that a key that was revoked does
  ///     not read for ever. Default 15 minutes.
  init(streamsMax: Int, pollSeconds: Double = 5, streamSeconds: Double = 900) {
    self.streamsMax = streamsMax
    self.pollSeconds = pollSeconds
    self.streamSeconds = streamSeconds
  }

  /// Opens a stream of the events after number `after`.
  ///
  /// - Parameters:
  ///   - id: of something that the project has.
  ///   - source: how it is read.
  /// - Throws: ``Problem`` 429 when the project has as many streams as it may.
  func open(_ id: String, of source: Source, project: String, after: Int) throws -> EventStream {
    condition.lock()
    defer { condition.unlock() }
    guard openByProject[project, default: 0] < streamsMax else {
      throw Problem(
        .quota, status: 429, title: "Too Many Requests",
        detail:
          "the project has \(streamsMax) streams of events open, which is its quota; close some, or ask with ?wait=",
        retryable: true)
    }
    openByProject[project, default: 0] += 1
    nextNumber += 1
    let number = nextNumber
    let stream = EventStream(onClose: { [self] in remove(number, id, project) })
    let now = ContinuousClock.now
    topics[id, default: Topic(source: source, project: project, dueAt: now)].subscribers[number] = Subscriber(
      stream: stream, endsAt: now + .seconds(streamSeconds), after: after)
    topics[id]!.dueAt = now
    if isRunning {
      condition.signal()
    } else {
      isRunning = true
      let thread = Thread { [self] in run() }
      thread.name = "event-feed"
      thread.stackSize = 1 << 20
      thread.start()
    }
    return stream
  }

  /// Something about `id` changed; an empty id means that anything may have.
  func wake(_ id: String) {
    condition.lock()
    defer { condition.unlock() }
    guard id.isEmpty ? !topics.isEmpty : topics[id] != nil else { return }
    let now = ContinuousClock.now
    for id in id.isEmpty ? Array(topics.keys) : [id] {
      let soonest = topics[id]!.readAt.map { max(now, $0 + .seconds(Self.intervalSeconds)) } ?? now
      topics[id]!.dueAt = min(topics[id]!.dueAt, soonest)
    }
    condition.signal()
  }

  /// How many streams are open.
  var count: Int {
    condition.lock()
    defer { condition.unlock() }
    return openByProject.values.reduce(0, +)
  }

  private func remove(_ number: Int, _ id: String, _ project: String) {
    condition.lock()
    defer { condition.unlock() }
    topics[id]?.subscribers[number] = nil
    if topics[id]?.subscribers.isEmpty == true { topics[id] = nil }
    openByProject[project, default: 0] -= 1
    if openByProject[project] == 0 { openByProject[project] = nil }
    condition.signal()
  }

  // MARK: The thread

  /// Reads what is due until no stream is left.
  private func run() {
    condition.lock()
    defer { condition.unlock() }
    while let (id, topic) = topics.min(by: { $0.value.dueAt < $1.value.dueAt }) {
      let now = ContinuousClock.now
      if topic.dueAt > now {
        condition.wait(until: Date(timeIntervalSinceNow: (topic.dueAt - now) / .seconds(1)))
        continue
      }
      // A change from here on counts as news again.
      topics[id]!.dueAt = now + .seconds(pollSeconds)
      topics[id]!.readAt = now
      condition.unlock()
      let result = Result { try tell(id, topic, now) }
      condition.lock()
      switch result {
      case .success(let told):
        for (number, subscriber) in told.subscribers where topics[id]?.subscribers[number] != nil {
          topics[id]!.subscribers[number] = subscriber
        }
        if let dueAt = topics[id]?.dueAt { topics[id]!.dueAt = min(dueAt, now + .seconds(told.pauseSeconds)) }
      case .failure(let error as StoreError) where error.isRetryable:
        // The streams stay: what they missed is read when the database is back. Their heartbeats go on meanwhile.
        topics[id]?.dueAt = .now + .seconds(Self.troubleSeconds)
      case .failure:
        // Who comes back is told what is wrong.
        for subscriber in topic.subscribers.values { subscriber.stream.finish() }
      }
    }
    isRunning = false
  }

  /// Reads one resource and sends every stream what it has not seen.
  ///
  /// - Returns: the subscribers after it, and when to look again without news.
  private func tell(
    _ id: String, _ topic: Topic, _ now: ContinuousClock.Instant
  ) throws -> (subscribers: [Int: Subscriber], pauseSeconds: Double) {
    var subscribers = topic.subscribers.filter { $0.value.stream.isOpen }
    // Before the events: those of a terminal state are then all there.
    guard let standing = try topic.source.standing(id, topic.project) else {
      for subscriber in subscribers.values { Self.end(subscriber.stream, "deleted", state: nil) }
      return ([:], pollSeconds)
    }
    func hasRoom(_ subscriber: Subscriber) -> Bool { subscriber.stream.queuedBytes < Self.queuedBytesMax }
    let lowest = subscribers.values.filter(hasRoom).map(\.after).min() ?? standing.eventCount
    let events = lowest < standing.eventCount ? try topic.source.events(id, lowest, Self.pageEvents) : []
    var pauseSeconds = pollSeconds
    for (number, before) in subscribers {
      var subscriber = before
      // A stream that had no room when the page was chosen may have some now, but the page may begin after what it needs.
      for event in events where before.after >= lowest && event.sequence > subscriber.after {
        guard hasRoom(subscriber), Self.send(event.json, id: event.sequence, event.kind, to: &subscriber) else { break }
        subscriber.after = event.sequence
      }
      if subscriber.after < standing.eventCount {
        pauseSeconds = min(pauseSeconds, subscriber.after > before.after ? Self.pageSeconds : Self.intervalSeconds)
      } else if hasRoom(subscriber) {
        if subscriber.revision != standing.revision {
          Self.send(standing.progress, id: nil, "progress", to: &subscriber)
          subscriber.revision = standing.revision
        }
        if standing.isTerminal { Self.end(subscriber.stream, "finished", state: standing.state) }
      } else if standing.isTerminal {
        pauseSeconds = min(pauseSeconds, Self.intervalSeconds)
      }
      if subscriber.endsAt <= now { subscriber.stream.finish() }
      subscribers[number] = subscriber
    }
    return (subscribers, pauseSeconds)
  }

  @discardableResult
  private static func send(_ data: JSON, id: Int?, _ name: String, to subscriber: inout Subscriber) -> Bool {
    let retry = subscriber.isGreeted ? nil : retryMilliseconds
    subscriber.isGreeted = true
    return subscriber.stream.send(
      ServerSentEvent(id: id.map(String.init), name: name, data: data.text, retryMilliseconds: retry))
  }

  /// Tells a client that nothing more comes, and ends its stream.
  private static func end(_ stream: EventStream, _ reason: String, state: String?) {
    let data: JSON = ["reason": .string(reason), "state": .optional(state)]
    stream.send(ServerSentEvent(name: "end", data: data.text))
    stream.finish()
  }
}
