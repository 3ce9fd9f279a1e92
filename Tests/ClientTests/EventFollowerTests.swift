// Tests for Client/EventFollower.swift, against servers that break off by script.
import Contract
import Foundation
import Testing

@testable import Client

struct EventFollowerTests {
  private func client(_ server: ScriptedServer) -> APIClient { APIClient(server: server.url, key: "ty_secret") }

  /// Takes events until the stream has ended for good.
  private func all(_ follower: EventFollower) throws -> [EventFollower.Event] {
    let deadline = ContinuousClock.now + .seconds(60)
    var events: [EventFollower.Event] = []
    while events.last?.name != "end" {
      try #require(ContinuousClock.now < deadline, "\(events)")
      events += try follower.take(seconds: 1)
    }
    return events
  }

  private static func stored(_ number: Int) -> String { "id: \(number)\nevent: state\ndata: {\"seq\":\(number)}\n\n" }
  private static let end = "event: end\ndata: {\"reason\":\"finished\"}\n\n"

  @Test("a stream is taken up after the last whole event, over every kind of break")
  func resumes() throws {
    let server = ScriptedServer([
      ScriptedServer.events("retry: 10\n" + Self.stored(1) + Self.stored(2) + "id: 3\nevent: state\ndata: {\"se"),
      "",
      ScriptedServer.json(503, #"{"title":"Starting","retryable":true}"#),
      ScriptedServer.json(429, #"{"title":"Too many","retryable":true}"#),
      ScriptedServer.json(200, #"{"items":[]}"#),
      ScriptedServer.events(": beat\n\nevent: progress\ndata: {\"step\":5}\n\n"),
      ScriptedServer.events(Self.stored(3) + "data: \u{0}\n"),
      ScriptedServer.events(Self.stored(4) + Self.end),
    ])
    let follower = EventFollower(client(server), job: "job_1")
    let events = try all(follower)
    follower.stop()
    #expect(events.compactMap(\.sequence) == [1, 2, 3, 4])
    #expect(events.map(\.name) == ["state", "state", "progress", "state", "state", "end"])
    #expect(events[0].data["seq"] == 1 && events[2].data["step"] == 5)
    #expect(server.requests.map { $0.header("last-event-id") } == [nil, "2", "2", "2", "2", "2", "2", "3"])
    #expect(server.requests.allSatisfy { $0.header("accept") == "text/event-stream" })
    #expect(server.requests.allSatisfy { $0.line == "GET /v1/jobs/job_1/events HTTP/1.1" })
    #expect(server.requests.allSatisfy { $0.header("authorization") == "Bearer ty_secret" })
  }

  @Test("events arrive while the stream is open, and a stream that has gone silent is left for another")
  func silence() throws {
    let server = ScriptedServer(
      [ScriptedServer.events(Self.stored(1)), ScriptedServer.events(Self.stored(2) + Self.end)], held: [0])
    var client = client(server)
    client.silenceSecondsMax = 1
    let follower = EventFollower(client, campaign: "cmp_1", after: 0)
    let first = try follower.take(seconds: 30)
    #expect(first.map(\.sequence) == [1], "the first came while its connection was open")
    #expect(try all(follower).compactMap(\.sequence) == [2])
    #expect(server.requests.last?.header("last-event-id") == "1")
    #expect(server.requests.last?.line == "GET /v1/campaigns/cmp_1/events HTTP/1.1")
  }

  @Test("a refusal ends it, with what came before still to be had", arguments: [401, 403, 404, 422])
  func refused(status: Int) throws {
    let server = ScriptedServer([
      ScriptedServer.events("retry: 10\n" + Self.stored(6)), ScriptedServer.json(status, #"{"title":"No"}"#),
    ])
    let follower = EventFollower(client(server), job: "job_1", after: 5)
    #expect(try follower.take(seconds: 30).map(\.sequence) == [6])
    let error = #expect(throws: APIError.self) { while true { _ = try follower.take(seconds: 30) } }
    #expect(error?.status == status)
    #expect(server.requests[0].header("last-event-id") == "5")
  }

  @Test("while there is no stream it says why, and stopping needs no server")
  func trouble() throws {
    let url: URL
    do { url = ScriptedServer([]).url }
    let follower = EventFollower(APIClient(server: url, key: nil), job: "job_1")
    let deadline = ContinuousClock.now + .seconds(30)
    while follower.trouble == nil, ContinuousClock.now < deadline { #expect(try follower.take(seconds: 0.1).isEmpty) }
    #expect(follower.trouble?.kind == .unreachable)
    follower.stop()
  }
}
