// Metrics: their text by a strict reading of the format, and what they say of a server that was asked things.
import Contract
import Foundation
import HTTP
import Store
import TestSupport
import Testing

@testable import Server

/// A strict reading of the text format: what a scraper would take, and what it would stumble over.
private struct ReadMetrics {
  var values: [String: Double] = [:]
  var types: [String: String] = [:]
  var faults: [String] = []

  init(_ text: String) {
    var helped: Set<String> = []
    var current = ""
    if !text.hasSuffix("\n") { faults.append("the last line has no end") }
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
      if let match = line.wholeMatch(of: #/# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)/#) {
        let name = String(match.2)
        if match.1 == "HELP" {
          if !helped.insert(name).inserted { faults.append("\(name) is explained twice") }
        } else {
          if types[name] != nil { faults.append("\(name) has two types") }
          if !helped.contains(name) { faults.append("\(name) is not explained first") }
          if !["counter", "gauge", "histogram"].contains(match.3) { faults.append("\(name) is a \(match.3)") }
          types[name] = String(match.3)
          current = name
        }
        continue
      }
      let label = #"[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*""#
      let pattern = try! Regex(
        #"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{LABEL(?:,LABEL)*\})? (\S+)"#.replacing("LABEL", with: label))
      guard let match = try? pattern.wholeMatch(in: line), let name = match[1].substring,
        let number = match[3].substring
      else {
        faults.append("not a sample: \(line)")
        continue
      }
      let family = types[current] == "histogram" && name.hasPrefix(current + "_") ? current : String(name)
      if family != current { faults.append("\(name) stands outside of its family") }
      guard let value = number == "+Inf" ? .infinity : Double(number) else {
        faults.append("not a number: \(line)")
        continue
      }
      let series = String(name) + (match[2].substring.map(String.init) ?? "")
      if values.updateValue(value, forKey: series) != nil { faults.append("\(series) stands there twice") }
    }
    checkHistograms()
  }

  private mutating func checkHistograms() {
    for (family, type) in types where type == "histogram" {
      var buckets: [String: [(bound: Double, count: Double)]] = [:]
      for (series, value) in values where series.hasPrefix(family + "_bucket{") {
        guard let match = series.wholeMatch(of: #/(.+?),?le="([^"]+)"\}/#) else {
          faults.append("\(series) has no bound at its end")
          continue
        }
        let bound = match.2 == "+Inf" ? Double.infinity : Double(match.2) ?? .nan
        buckets[String(match.1.dropFirst(family.count + "_bucket".count)), default: []].append((bound, value))
      }
      for (labels, entries) in buckets {
        let rising = entries.sorted { $0.bound < $1.bound }
        let counts = rising.map(\.count)
        if counts != counts.sorted() { faults.append("\(family)\(labels): buckets do not rise") }
        let total = values[family + "_count" + (labels == "{" ? "" : labels + "}")]
        if rising.last?.bound != .infinity || rising.last?.count != total {
          faults.append("\(family)\(labels): the last bucket is not all")
        }
        if values[family + "_sum" + (labels == "{" ? "" : labels + "}")] == nil {
          faults.append("\(family)\(labels): no sum")
        }
      }
    }
  }
}

@Suite struct MetricsTests {
  @Test func `the text is what the format asks for, whatever stands in labels`() {
    var text = MetricsText()
    text.add(
      "things", .gauge, "What\nthere \\ is.",
      [
        .init(1.5, ["name": "a\"b\\c\nd", "other": "é"]), .init(.infinity, ["name": "x", "other": ""]),
      ])
    text.add("bare_total", .counter, "One.", [.init(3)])
    text.add("nothing", .gauge, "Left out.", [])
    text.add(
      "seconds", "Times.",
      [
        .init(labels: ["route": "/"], bounds: [0.5, 1], counts: [2, 0, 1], sum: 9.25),
        .init(labels: [:], bounds: [0.5, 1], counts: [0, 0, 0], sum: 0),
      ])
    #expect(
      text.text == #"""
        # HELP things What\nthere \\ is.
        # TYPE things gauge
        things{name="a\"b\\c\nd",other="é"} 1.5
        things{name="x",other=""} +Inf
        # HELP bare_total One.
        # TYPE bare_total counter
        bare_total 3
        # HELP seconds Times.
        # TYPE seconds histogram
        seconds_bucket{route="/",le="0.5"} 2
        seconds_bucket{route="/",le="1"} 2
        seconds_bucket{route="/",le="+Inf"} 3
        seconds_sum{route="/"} 9.25
        seconds_count{route="/"} 3
        seconds_bucket{le="0.5"} 0
        seconds_bucket{le="1"} 0
        seconds_bucket{le="+Inf"} 0
        seconds_sum 0
        seconds_count 0

        """#)
    #expect(ReadMetrics(text.text).faults == [])
  }

  @Test func `the reader of these tests finds what is wrong`() {
    let wrong = """
      a 1
      # HELP b B.
      # TYPE b gauge
      b{x="1"} 1
      b{x="1"} 2
      b{x="\\q"} 1
      # TYPE c histogram
      c_bucket{le="1"} 5
      c_bucket{le="+Inf"} 3
      c_count 3

      """
    #expect(ReadMetrics(wrong).faults.count == 6)
  }

  @Test func `a server tells its requests, its queue, its jobs, its workers and itself`() throws {
    let server = try ServerUnderTest()
    let dataset = try server.readyDataset()
    for _ in 0..<3 { try server.store.makeJob(on: dataset) }
    _ = try server.store.claimJob()
    try server.store.registerWorker(
      WorkerRecord(
        id: "wrk_1", host: "here", processID: 1, slots: 2, cpuLevel: "avx2", speed: .sample,
        startedAt: Timestamp(Date()), seenAt: Timestamp(Date())))
    for _ in 0..<5 { _ = try server.get("/v1/jobs") }
    _ = try server.get("/v1/jobs", key: "")
    _ = try server.get("/v1/jobs/\(Identifier.make(.job))")
    _ = try server.get("/nowhere-at-all")

    let answer = try server.get("/metrics")
    #expect(answer.headers["content-type"] == MetricsText.contentType)
    let read = ReadMetrics(answer.text)
    #expect(read.faults == [])
    let value = { (series: String) in read.values[series] }
    #expect(value(#"trainyard_http_requests_total{method="GET",route="/v1/jobs",status="2xx"}"#) == 5)
    #expect(value(#"trainyard_http_requests_total{method="GET",route="/v1/jobs",status="4xx"}"#) == 1)
    #expect(value(#"trainyard_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="4xx"}"#) == 1)
    #expect(value(#"trainyard_http_requests_total{method="GET",route="none",status="4xx"}"#) == 1)
    #expect(value(#"trainyard_http_request_seconds_count{method="GET",route="/v1/jobs"}"#) == 6)
    #expect(value(#"trainyard_http_refused_total{status="401"}"#) == 1)
    #expect(value(#"trainyard_queue_items{kind="job",state="queued"}"#) == 2)
    #expect(value(#"trainyard_queue_items{kind="job",state="leased"}"#) == 1)
    #expect(value(#"trainyard_jobs{state="running"}"#) == 1 && value(#"trainyard_jobs{state="queued"}"#) == 2)
    #expect((value(#"trainyard_queue_oldest_seconds{kind="job"}"#) ?? -1) >= 0)
    #expect(value(#"trainyard_workers{state="active"}"#) == 1 && value("trainyard_worker_slots") == 2)
    #expect((value("trainyard_database_bytes") ?? 0) > 1_000_000 && value("trainyard_database_up") == 1)
    #expect((value("process_resident_memory_bytes") ?? 0) > 1_000_000 && (value("process_open_fds") ?? 0) > 3)
    #expect((value("trainyard_http_connections") ?? 0) >= 1)
    #expect(!answer.text.contains("nowhere-at-all"))
  }

  @Test func `scraping asks the database once in ten seconds, and goes on when it is gone`() throws {
    let server = try ServerUnderTest()
    let read = { try ReadMetrics(server.get("/metrics").text).values }
    #expect(try read()["trainyard_database_up"] == 1)
    let dataset = try server.readyDataset()
    try server.store.makeJob(on: dataset)
    #expect(try read()[#"trainyard_jobs{state="queued"}"#] == nil)
    let lost = try server.database.store()
    lost.close()
    let alone = MetricsRoutes(
      store: lost, settings: server.app.settings, requests: RequestMetrics(), gauges: ServerGauges(), waiters: Waiters()
    )
    let values = ReadMetrics(alone.text()).values
    #expect(values["trainyard_database_up"] == 0 && values["process_start_time_seconds"] != nil)
  }
}
