// `GET /metrics`: the service in numbers, for Prometheus with a key of the scope `metrics:read`. RequestMetrics counts
// requests, the store's figures come from the database and are kept for some seconds, so that scraping cannot load it.
import Contract
import Foundation
import Glibc
import HTTP
import Store
import Synchronization

final class MetricsRoutes: Sendable {
  private struct Kept: Sendable {
    let figures: Figures
    let at: ContinuousClock.Instant
  }
  private let store: Store
  private let settings: ServerSettings
  private let requests: RequestMetrics
  private let gauges: ServerGauges
  private let waiters: Waiters
  private let startedAt = Date()
  private let kept = Mutex<Kept?>(nil)

  /// For so long the database's figures are given again.
  static let figuresSeconds = 10.0
  /// A worker that has not reported itself for so long is called silent; it does so every few seconds.
  private static let silentSeconds = 30.0

  init(
    store: Store, settings: ServerSettings, requests: RequestMetrics, gauges: ServerGauges, waiters: Waiters
  ) {
    self.store = store
    self.settings = settings
    self.requests = requests
    self.gauges = gauges
    self.waiters = waiters
  }

  func metrics(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    return .bytes(Array(text().utf8), contentType: MetricsText.contentType)
  }

  /// All metrics at this moment.
  func text() -> String {
    var text = MetricsText()
    text.add(
      "trainyard_build_info", .gauge, "Always 1; the label says which version this is.",
      [
        .init(1, ["version": settings.version])
      ])
    addProcess(&text)
    addRequests(&text)
    // What the process knows by itself is told also while the database is away.
    let figures = try? currentFigures()
    text.add("trainyard_database_up", .gauge, "Whether the database answered.", [.init(figures == nil ? 0 : 1)])
    if let figures { add(figures, &text) }
    return text.text
  }

  private func currentFigures() throws -> Figures {
    let now = ContinuousClock.now
    if let kept = kept.withLock({ $0 }), now - kept.at < .seconds(Self.figuresSeconds) { return kept.figures }
    let figures = try store.figures()
    kept.withLock { $0 = Kept(figures: figures, at: now) }
    return figures
  }

  private func addProcess(_ text: inout MetricsText) {
    text.add(
      "process_start_time_seconds", .gauge, "When the server started, in seconds since 1970.",
      [.init(startedAt.timeIntervalSince1970)])
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    let seconds = { (time: timeval) in Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    text.add(
      "process_cpu_seconds_total", .counter, "Processor time of the server, without workers and database.",
      [.init(seconds(usage.ru_utime) + seconds(usage.ru_stime))])
    let pages = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8))?.split(separator: " ")
    if let pages, pages.count > 1, let resident = Int(pages[1]) {
      text.add(
        "process_resident_memory_bytes", .gauge, "Memory of the server, without workers and database.",
        [.init(Double(resident * sysconf(Int32(_SC_PAGESIZE))))])
    }
    if let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
      text.add("process_open_fds", .gauge, "Open descriptors.", [.init(Double(names.count))])
    }
    if let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task") {
      text.add("process_threads", .gauge, "Threads.", [.init(Double(names.count))])
    }
  }

  private func addRequests(_ text: inout MetricsText) {
    let counts = requests.current
    let routes = counts.routes.sorted { $0.key < $1.key }
    text.add(
      "trainyard_http_requests_total", .counter, "Answered requests by route and class of status.",
      routes.flatMap { route, tally in
        tally.byClass.sorted { $0.key < $1.key }.map { status, count in
          MetricsText.Sample(
            Double(count), ["method": route.method, "route": route.pattern, "status": "\(status)xx"])
        }
      })
    text.add(
      "trainyard_http_request_seconds",
      "From the first byte of a request to the last of its answer, waiting by ?wait= and event streams included.",
      routes.map { route, tally in
        MetricsText.Histogram(
          labels: ["method": route.method, "route": route.pattern], bounds: RequestMetrics.bounds,
          counts: tally.counts, sum: tally.seconds)
      })
    text.add(
      "trainyard_http_refused_total", .counter, "Requests refused for their key, their host or their number.",
      [401, 403, 421, 429].map { .init(Double(counts.refused[$0] ?? 0), ["status": String($0)]) })
    text.add(
      "trainyard_tls_failed_handshakes_total", .counter, "TLS handshakes that led to nothing.",
      [.init(Double(counts.failedHandshakes))])
    text.add(
      "trainyard_http_received_bytes_total", .counter, "Bytes of request bodies.", [.init(Double(counts.bytesIn))])
    text.add("trainyard_http_sent_bytes_total", .counter, "Bytes of answers.", [.init(Double(counts.bytesOut))])
    text.add("trainyard_http_connections", .gauge, "Open connections.", [.init(Double(gauges.connections))])
    text.add("trainyard_http_event_streams", .gauge, "Open event streams.", [.init(Double(gauges.eventStreams))])
    text.add(
      "trainyard_http_waiting_requests", .gauge, "Requests that wait for a change by ?wait=.",
      [.init(Double(waiters.count))])
  }

  private func add(_ figures: Figures, _ text: inout MetricsText) {
    text.add(
      "trainyard_queue_items", .gauge, "Pieces of work that are queued or leased.",
      figures.work.map { .init(Double($0.count), ["kind": $0.kind, "state": $0.state]) })
    text.add(
      "trainyard_queue_oldest_seconds", .gauge,
      "How long the oldest piece of queued work that could be taken has waited.",
      figures.oldest.map { .init($0.seconds, ["kind": $0.kind]) })
    text.add(
      "trainyard_jobs", .gauge, "Jobs by state.", figures.jobs.map { .init(Double($0.count), ["state": $0.state]) })
    text.add(
      "trainyard_campaigns", .gauge, "Campaigns by state.",
      figures.campaigns.map { .init(Double($0.count), ["state": $0.state]) })
    let silent = figures.workers.filter { $0.unseenSeconds > Self.silentSeconds }.count
    text.add(
      "trainyard_workers", .gauge, "Worker processes seen within the last hour.",
      [
        .init(Double(figures.workers.count - silent), ["state": "active"]),
        .init(Double(silent), ["state": "silent"]),
      ])
    text.add(
      "trainyard_worker_unseen_seconds", .gauge, "Time since a worker last reported itself.",
      figures.workers.map { .init($0.unseenSeconds, ["worker": $0.id, "host": $0.host]) })
    text.add(
      "trainyard_worker_slots", .gauge, "Jobs that active workers can train at a time.",
      [.init(Double(figures.workers.filter { $0.unseenSeconds <= Self.silentSeconds }.reduce(0) { $0 + $1.slots }))])
    text.add("trainyard_database_bytes", .gauge, "Size of the database.", [.init(Double(figures.databaseBytes))])
  }
}
