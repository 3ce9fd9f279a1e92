// Counts answered requests by route, for Routes/Metrics.swift; fed by the event loop with what RequestLog gets too.
import HTTP
import Synchronization

/// How many requests came, how they were answered and how long that took.
final class RequestMetrics: Sendable {
  /// A route as it stands in the table, so that there are as many as there are routes, whatever clients ask for.
  struct Route: Hashable, Sendable {
    let method: String
    let pattern: String

    static func < (one: Route, other: Route) -> Bool { (one.pattern, one.method) < (other.pattern, other.method) }
  }

  /// What is known of one route.
  struct Tally: Sendable {
    /// Answers by the first digit of their status.
    var byClass: [Int: Int] = [:]
    /// By bucket, the last for what took longer than all bounds.
    var counts = [Int](repeating: 0, count: bounds.count + 1)
    var seconds = 0.0
  }

  /// What was counted so far.
  struct Counts: Sendable {
    var routes: [Route: Tally] = [:]
    /// Requests refused by their status: 401, 403, 421, 429.
    var refused: [Int: Int] = [:]
    var failedHandshakes = 0
    var bytesIn = 0
    var bytesOut = 0
  }

  /// Upper bounds of the buckets in seconds: from a read by key to a minute's `?wait=`.
  static let bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]

  private let counts = Mutex(Counts())

  /// Takes a record; never blocks for long.
  func record(_ record: RequestRecord) {
    let route = Route(method: record.method?.rawValue ?? "none", pattern: record.pattern ?? "none")
    let bucket = Self.bounds.firstIndex { record.seconds <= $0 } ?? Self.bounds.count
    counts.withLock { counts in
      counts.routes[route, default: Tally()].byClass[record.status.code / 100, default: 0] += 1
      counts.routes[route]!.counts[bucket] += 1
      counts.routes[route]!.seconds += record.seconds
      counts.bytesIn += record.requestBytes
      counts.bytesOut += record.responseBytes
      if [401, 403, 421, 429].contains(record.status.code) { counts.refused[record.status.code, default: 0] += 1 }
    }
  }

  /// Takes a TLS handshake that led to nothing.
  func handshakeFailed() { counts.withLock { $0.failedHandshakes += 1 } }

  var current: Counts { counts.withLock { $0 } }
}
