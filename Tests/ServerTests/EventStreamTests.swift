// Streams of events over the wire: order, resuming without gaps, ends, limits, slow readers, and what they cost.
// Mirrors EventFeed.swift and Routes/Events.swift.
import Contract
import Foundation
import Glibc
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct EventStreamTests {
  let server: ServerUnderTest
  let job: Job

  init() throws {
    server = try ServerUnderTest()
    job = try server.store.makeJob(on: server.readyDataset())
  }

  private var path: String { "/v1/jobs/\(job.id)/events" }

  private func read(_ lastEventID: Int? = nil) throws -> EventReader {
    try EventReader(server, path, lastEventID: lastEventID.map(String.init))
  }

  /// Reports a step with an event, as a worker does.
  private func report(_ lease: Lease, _ sequence: Int, message: String = "looked") throws {
    _ = try server.store.commit(
      progress: JobProgress(
        sequence: sequence, step: sequence, loss: 1 / Float(sequence), chunks: [],
        events: [ProgressEvent(kind: .evaluation, message: message, data: ["n": .integer(sequence)])]), lease: lease)
  }

  @Test(.timeLimit(.minutes(2)))
  func `a stream has what happened, what happens, progress between, and an end`() throws {
    let reader = try read()
    #expect(reader.status == 200)
    #expect(reader.head.contains("Content-Type: text/event-stream"))
    let first = try #require(try reader.next())
    #expect(first.id == 1 && first.name == "state" && first.retryMilliseconds == 1000)
    #expect(first.data == (try server.get(path).json["items"]?.array?.first))
    let queued = try #require(try reader.next())
    #expect(queued.id == nil && queued.name == "progress" && queued.retryMilliseconds == nil)
    #expect(
      queued.data == [
        "state": "queued", "reason": "submitted", "step": 0, "steps": .integer(job.spec.steps), "loss": .null,
        "attempt": 0, "revision": 1,
      ])
    let lease = try #require(try server.store.claimJob())
    let claimed = try #require(try reader.next())
    #expect(claimed.id == 2 && claimed.data["data"]?["state"] == "running")
    #expect(try reader.next()?.data["state"] == "running")
    // Progress without an event.
    _ = try server.store.commit(
      progress: JobProgress(sequence: 1, step: 7, loss: 0.5, chunks: [], events: []), lease: lease)
    let step = try #require(try reader.next())
    #expect(step.name == "progress" && step.data["step"] == 7 && step.data["loss"] == 0.5)
    try server.succeed(lease, model: [1])
    let rest = try reader.rest()
    let stored = try server.get(path).json["items"]?.array ?? []
    #expect(rest.filter { $0.id != nil }.map(\.data) == Array(stored.dropFirst(2)))
    #expect(rest.last?.name == "end" && rest.last?.id == nil)
    #expect(rest.last?.data == ["reason": "finished", "state": "succeeded"])
    #expect(rest.dropLast().last?.name == "progress" && rest.dropLast().last?.data["state"] == "succeeded")
    let revisions = rest.filter { $0.name == "progress" }.compactMap { $0.data["revision"]?.integer }
    #expect(zip(revisions, revisions.dropFirst()).allSatisfy { $0 < $1 })
  }

  @Test(.timeLimit(.minutes(2)))
  func `a stream of a job that has ended gives its events and ends`() throws {
    try server.succeed(#require(try server.store.claimJob()), model: [1])
    let all = try read().rest()
    let count = try #require(server.get(path).json["items"]?.array?.count)
    #expect(all.compactMap(\.id) == Array(1...count))
    #expect(all.last?.name == "end")
    #expect(try read(2).rest().compactMap(\.id) == Array(3...count))
    #expect(try EventReader(server, path + "?after=3").rest().compactMap(\.id) == Array(4...count))
    // The header is where a browser was; the query is where it began.
    let both = try EventReader(server, path + "?after=1", lastEventID: String(count))
    #expect(try both.rest().map(\.name) == ["progress", "end"])
    #expect(try server.get(path, headers: [("Accept", "text/event-stream")]).contentType == "text/event-stream")
    #expect(try server.get(path, headers: [("Accept", "application/json")]).contentType == "application/json")
    let either = [("Accept", "text/event-stream;q=0.5, application/json")]
    #expect(try server.get(path, headers: either).contentType == "application/json")
  }

  @Test(.timeLimit(.minutes(3)))
  func `who comes back again and again misses nothing and gets nothing twice, while events are added`() throws {
    let lease = try #require(try server.store.claimJob())
    let added = Thread { [self] in
      for sequence in 1...300 { try? report(lease, sequence) }
      try? server.store.finishJob(lease: lease, outcome: .failed(.internalError, "enough"), last: nil)
    }
    added.start()
    let seen = try concurrently(4) { [self] reader in
      var random = UInt64(reader) &* 7919 &+ 17
      var seen: [Int] = []
      while true {
        let stream = try read(seen.last ?? 0)
        random = random &* 6_364_136_223_846_793_005 &+ 1
        // Leaves after a few events, in the middle of whatever comes.
        for _ in 0..<(random >> 33) % 40 + 1 {
          guard let event = try stream.next(), event.name != "end" else { break }
          if let id = event.id { seen.append(id) }
        }
        if try server.store.standing(job: job.id, project: "demo")?.eventCount == seen.last,
          try server.store.job(id: job.id, project: "demo")?.state.isTerminal == true
        {
          return seen
        }
      }
    }
    let count = try #require(try server.store.standing(job: job.id, project: "demo")?.eventCount)
    #expect(count == 303)
    for numbers in seen { #expect(numbers == Array(1...count)) }
  }

  @Test(.timeLimit(.minutes(3)))
  func `a reader that stops holds back neither memory nor other readers, and goes on without a gap`() throws {
    let count = 4000
    // 8 MB: more than the buffers of the system take.
    try server.database.run(
      """
      INSERT INTO job_events (job, sequence, kind, message, data)
      SELECT '\(job.id)', n, 'warning', repeat('x', 2000), '{}' FROM generate_series(2, \(count)) n;
      UPDATE jobs SET event_count = \(count), revision = 2 WHERE id = '\(job.id)'
      """)
    let slow = try read()
    let quick = try read()
    var ids: [Int] = []
    while ids.last != count { if let id = try #require(try quick.next()).id { ids.append(id) } }
    #expect(ids == Array(1...count), "the quick one did not wait for the slow one")
    for id in 1...10 { #expect(try slow.next()?.id == id) }
    // Is cut, and comes back.
    let again = try read(10)
    _ = try server.store.cancelJob(id: job.id, project: "demo")
    #expect(try again.rest().compactMap(\.id) == Array(11...count + 1))
    #expect(try slow.rest().compactMap(\.id) == Array(11...count + 1))
  }

  @Test(.timeLimit(.minutes(2)))
  func `what cannot be an id, and a page of a stream, are refused`() throws {
    for id in ["x", "-1", "1.5", "99999999999999999999", "1, 2"] {
      let answer = try server.get(path, headers: [("Accept", "text/event-stream"), ("Last-Event-ID", id)])
      #expect(answer.status == 422 && answer.detail.contains("Last-Event-ID"), "\(id)")
    }
    let page = try server.get(path + "?limit=3&after=-2", headers: [("Accept", "text/event-stream")])
    #expect(Set(page.faultPaths) == ["?limit", "?after"])
    let stranger = try server.key(Set(Scope.allCases), project: "other")
    #expect(try EventReader(server, path, key: stranger).status == 404)
    #expect(try EventReader(server, path, key: try server.key([.datasetsRead])).status == 403)
    #expect(try EventReader(server, path, key: "ty_none").status == 401)
    #expect(try server.call("HEAD", path, headers: [("Accept", "text/event-stream")]).status == 200)
    #expect(server.app.feed.count == 0)
  }

  @Test(.timeLimit(.minutes(2)))
  func `a project has so many streams and no more, and one that is closed makes room`() throws {
    let server = try ServerUnderTest(limits: { $0.eventStreamsMax = 2 })
    let job = try server.store.makeJob(on: server.readyDataset())
    let path = "/v1/jobs/\(job.id)/events"
    var streams = try (0..<2).map { _ in try EventReader(server, path) }
    let refused = try server.get(path, headers: [("Accept", "text/event-stream")])
    #expect(refused.status == 429 && refused.headers["retry-after"] != nil)
    #expect(refused.json["retryable"] == true && refused.detail.contains("2 streams"))
    #expect(try server.get("/v1/capabilities").json["limits"]?["event_streams_max"] == 2)
    let other = try server.store.makeJob(on: server.readyDataset(project: "other"))
    let stranger = try server.key(Set(Scope.allCases), project: "other")
    #expect(try EventReader(server, "/v1/jobs/\(other.id)/events", key: stranger).status == 200)
    streams.removeLast()
    let deadline = ContinuousClock.now + .seconds(60)
    while try EventReader(server, path).status != 200 {
      try #require(ContinuousClock.now < deadline)
      usleep(10_000)
    }
  }

  @Test(.timeLimit(.minutes(3)))
  func `a thousand streams hold no thread, and all of them hear of a change`() throws {
    let server = try ServerUnderTest(limits: { $0.eventStreamsMax = 1000 })
    let job = try server.store.makeJob(on: server.readyDataset())
    func threads() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count }
    let before = try threads()
    let readers = try (0..<1000).map { _ in try EventReader(server, "/v1/jobs/\(job.id)/events") }
    for reader in readers { #expect(try reader.next()?.id == 1) }
    #expect(server.app.feed.count == 1000)
    // Tests beside this one have threads too, but not hundreds.
    #expect(try threads() - before < 500)
    #expect(try server.get("/v1/jobs/\(job.id)").status == 200)
    _ = try server.store.cancelJob(id: job.id, project: "demo")
    for reader in readers { #expect(try reader.rest().compactMap(\.id) == [2]) }
    let deadline = ContinuousClock.now + .seconds(60)
    while server.app.feed.count > 0, ContinuousClock.now < deadline { usleep(10_000) }
    #expect(server.app.feed.count == 0)
  }

  @Test(.timeLimit(.minutes(2)))
  func `a job that is deleted, a time that is over and a server that stops end streams, each in its way`() throws {
    let server = try ServerUnderTest(pollSeconds: 0.05)
    let job = try server.store.makeJob(on: server.readyDataset())
    let path = "/v1/jobs/\(job.id)/events"
    let deleted = try EventReader(server, path)
    #expect(try deleted.next()?.id == 1)
    // Behind the store's back: nobody is notified.
    try server.database.run(
      """
      DELETE FROM work WHERE subject = '\(job.id)';
      DELETE FROM job_events WHERE job = '\(job.id)';
      DELETE FROM jobs WHERE id = '\(job.id)'
      """)
    #expect(try deleted.rest().last?.data == ["reason": "deleted", "state": .null])

    let brief = try ServerUnderTest(pollSeconds: 0.05, streamSeconds: 0.2)
    let other = try brief.store.makeJob(on: brief.readyDataset())
    let over = try EventReader(brief, "/v1/jobs/\(other.id)/events").rest()
    #expect(over.map(\.name) == ["state", "progress"], "no end: the client comes back")

    let last = try self.read()
    #expect(try last.next()?.id == 1)
    #expect(self.server.server.stop(drainSeconds: 30))
    #expect(try last.rest().allSatisfy { $0.name == "progress" })
  }

  @Test(.timeLimit(.minutes(2)))
  func `a campaign's events are streamed too`() throws {
    let id = try server.store.createCampaign(.sample, project: "demo", author: "key_1").campaign.id
    let reader = try EventReader(server, "/v1/campaigns/\(id)/events")
    #expect(try reader.next()?.id == 1)
    let progress = try #require(try reader.next())
    #expect(progress.data["state"] == "queued" && progress.data["version"] == 0 && progress.data["outer_steps"] == 50)
    #expect(try server.call("POST", "/v1/campaigns/\(id)/cancel").json["state"] == "cancelled")
    let rest = try reader.rest()
    #expect(rest.compactMap(\.id) == [2])
    #expect(rest.last?.data == ["reason": "finished", "state": "cancelled"])
    #expect(try server.get("/v1/campaigns/\(id)/events?after=1").json["items"]?.array?.count == 1)
  }
}
