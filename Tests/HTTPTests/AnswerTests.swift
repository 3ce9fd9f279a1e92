// Streams, deferred answers and events on real sockets; mirrors Connection+Answer.swift, Deferral.swift, EventStream.swift.

import Foundation
import HTTP
import Testing

struct AnswerTests {
  @Test("a large answer arrives whole")
  func large() throws {
    let test = try TestServer()
    let client = try test.client()
    #expect(try client.exchange(get("/large/5000000")).body == [UInt8](repeating: 0x61, count: 5_000_000))
    #expect(try client.exchange(get("/hello")).status == 200)
  }

  @Test("a stream is sent with its length, in chunks without one, and to the end of the connection with HTTP/1.0")
  func streams() throws {
    let test = try TestServer()
    let client = try test.client()
    let expected = (1...50).flatMap { [UInt8](repeating: UInt8(ascii: "a") + UInt8($0 % 26), count: 1000) }
    let known = try client.exchange(get("/stream/50?announce=50000"))
    #expect(known["Content-Length"] == "50000")
    #expect(known.body == expected)
    let unknown = try client.exchange(get("/stream/50"))
    #expect(unknown["Transfer-Encoding"] == "chunked")
    #expect(unknown.body == expected)
    #expect(try client.exchange(get("/stream/0")).body == [])
    let old = try test.client()
    let response = try old.exchange("GET /stream/50 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    #expect(response["Transfer-Encoding"] == nil)
    #expect(response["Connection"] == "close")
    #expect(response.body == expected)
  }

  @Test("a stream of another length than announced cuts the connection instead of lying", arguments: [49_000, 51_000])
  func wrongLength(announced: Int) throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send(get("/stream/50?announce=\(announced)"))
    let answer = try client.readToEnd()
    #expect(answer.components(separatedBy: "\r\n\r\n")[1].utf8.count <= announced)
    #expect(test.records.wait(for: 1).first?.failure?.contains("\(announced) bytes announced") == true)
  }

  @Test("a deferred answer comes when it is signalled or completed, before or after the handler returned")
  func deferral() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send(get("/later"))
    test.deferrals.wait(for: 1)[0].signal()
    #expect(try client.readResponse().text == "signalled")
    try client.send(get("/later"))
    let deferral = test.deferrals.wait(for: 2)[1]
    deferral.complete(.text("here", status: 201))
    deferral.signal()
    let response = try client.readResponse()
    #expect(response.status == 201)
    #expect(response.text == "here")
    #expect(try client.exchange(get("/hello")).text == "hello", "the second resolution did not count")
    #expect(test.endings.wait(for: 2) == ["deferral", "deferral"])
  }

  @Test("a deferral that nobody resolves answers when its time is up")
  func deferralTimesOut() throws {
    let test = try TestServer()
    let client = try test.client()
    #expect(try client.exchange(get("/later?seconds=0.1")).text == "timedOut")
  }

  @Test("waiting answers hold no thread: a hundred wait while two handlers serve")
  func deferralsHoldNoThread() throws {
    let test = try TestServer { $0.handlerThreads = 2 }
    let clients = try (0..<100).map { _ in try test.client() }
    for client in clients { try client.send(get("/later")) }
    let deferrals = test.deferrals.wait(for: 100)
    #expect(try test.client().exchange(get("/hello")).status == 200)
    for deferral in deferrals { deferral.signal() }
    for client in clients { #expect(try client.readResponse().text == "signalled") }
  }

  @Test("a client that goes away ends its deferral")
  func deferralAbandoned() throws {
    let test = try TestServer()
    var client: RawClient? = try test.client()
    try client?.send(get("/later"))
    _ = test.deferrals.wait(for: 1)
    // Unread bytes make the close a reset, which the server sees at once.
    try client?.send("x")
    client = nil
    test.deferrals.wait(for: 1)[0].signal()
    #expect(test.endings.wait(for: 1) == ["deferral"])
  }

  @Test("events arrive as they are sent, from any thread, until the stream is finished")
  func events() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send(get("/events"))
    let head = try client.read(until: "\r\n\r\n")
    #expect(head.contains("Content-Type: text/event-stream"))
    let stream = test.streams.wait(for: 1)[0]
    #expect(stream.isOpen)
    stream.send(ServerSentEvent(id: "7", name: "progress", data: "line 1\nline 2\r\nline 3"))
    let event = "id: 7\nevent: progress\ndata: line 1\ndata: line 2\ndata: line 3\n\n"
    #expect(try client.read(until: "\n\n").hasSuffix(event))
    stream.send(ServerSentEvent(data: ""))
    #expect(try client.read(until: "\n\n").hasSuffix("data: \n\n"))
    stream.finish()
    _ = try client.read(until: "0\r\n\r\n")
    #expect(stream.send(ServerSentEvent(data: "late")) == false)
    #expect(try client.exchange(get("/hello")).text == "hello", "the connection goes on after the stream")
    #expect(test.endings.wait(for: 1) == ["events"])
  }

  @Test("a quiet stream has heartbeats")
  func heartbeat() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send(get("/events?heartbeat=0.05"))
    for _ in 0..<3 { _ = try client.read(until: ":\n\n") }
  }

  @Test("a client that leaves a stream is noticed at once")
  func streamLeft() throws {
    let test = try TestServer()
    var client: RawClient? = try test.client()
    try client?.send(get("/events"))
    _ = try client?.read(until: "\r\n\r\n")
    client = nil
    #expect(test.endings.wait(for: 1) == ["events"])
    #expect(test.streams.wait(for: 1)[0].isOpen == false)
  }

  @Test("a reader too slow for the bound has its stream ended, and the sender is told")
  func slowEventReader() throws {
    let test = try TestServer()
    let client = try RawClient(port: test.port, receiveBufferBytes: 4096)
    try client.send(get("/events"))
    let stream = test.streams.wait(for: 1)[0]
    var sent = 0
    while sent < 100_000, stream.send(ServerSentEvent(data: String(repeating: "x", count: 1000))) { sent += 1 }
    #expect(sent < 100_000, "the bound was reached")
    #expect(!stream.isOpen)
    #expect(try client.readResponse().body.count >= 64_000, "what was queued before still arrives")
  }

  @Test("line ends in an event's id and name cannot forge fields")
  func eventInjection() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send(get("/events"))
    let stream = test.streams.wait(for: 1)[0]
    stream.send(ServerSentEvent(id: "1\ndata: forged", name: "a\r\nid: 2", data: "x\rdata: y"))
    let text = try client.read(until: "\n\n")
    #expect(text.hasSuffix("id: 1data: forged\nevent: aid: 2\ndata: x\ndata: data: y\n\n"))
  }
}
