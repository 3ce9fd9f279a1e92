// Deadlines and caps on real sockets, with settings small enough to be reached at once; mirrors Configuration.swift.

import Foundation
import HTTP
import Testing

struct LimitTests {
  @Test("a head that does not arrive in time is 408, however it drips")
  func slowHead() throws {
    let test = try TestServer { $0.limits.headerSeconds = 0.2 }
    let silent = try test.client()
    try silent.send("GET /hello HTTP/1.1\r\n")
    #expect(try silent.readResponse().status == 408)
    #expect(try silent.isClosedByServer())
    let dripping = try test.client()
    // Each byte is progress, but only the whole head counts. The server's answer ends the sending.
    for byte in (get("/hello").dropLast(2) + String(repeating: "X: y\r\n", count: 90)).utf8 {
      guard (try? dripping.send([byte])) != nil else { break }
      usleep(5000)
      if test.records.wait(for: 1).count > 1 { break }
    }
    #expect(try dripping.readResponse().status == 408)
  }

  @Test("two hundred clients that stop in the middle of a head are all let go")
  func slowLoris() throws {
    let test = try TestServer { $0.limits.headerSeconds = 0.3 }
    let clients = try (0..<200).map { _ in try test.client() }
    for client in clients { try client.send("GET /hello HTTP/1.1\r\nHost: loc") }
    #expect(try test.client().exchange(get("/hello")).status == 200)
    for client in clients { #expect(try client.readToEnd().hasPrefix("HTTP/1.1 408")) }
  }

  @Test("an idle connection is closed without a word, before its first request and after it")
  func idle() throws {
    let test = try TestServer { $0.limits.idleSeconds = 0.2 }
    let unused = try test.client()
    let used = try test.client()
    #expect(try used.exchange(get("/hello")).status == 200)
    #expect(try unused.isClosedByServer())
    #expect(try used.isClosedByServer())
  }

  @Test("a body that is too slow is 408; one that keeps the rate outlasts the grace")
  func slowBody() throws {
    let test = try TestServer {
      $0.limits.bodyGraceSeconds = 0.3
      $0.limits.bodyBytesPerSecondMin = 1000
    }
    let stalled = try test.client()
    try stalled.send("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
    #expect(try stalled.readResponse().status == 408)
    #expect(try stalled.isClosedByServer())
    let steady = try test.client()
    try steady.send("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
    for _ in 0..<10 {
      try steady.send([UInt8](repeating: 1, count: 500))
      usleep(60_000)
    }
    #expect(try steady.readResponse().text == "memory 5000 5000")
  }

  @Test("a body has a total time too, whatever its rate")
  func longBody() throws {
    let test = try TestServer { $0.limits.bodySeconds = 0.3 }
    let client = try test.client()
    try client.send("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n")
    try client.send([UInt8](repeating: 1, count: 1_000_000))
    #expect(try client.readResponse().status == 408)
  }

  @Test("a handler that takes too long is answered for with 503, and its late answer is dropped")
  func slowHandler() throws {
    let test = try TestServer { $0.limits.handlerSeconds = 0.2 }
    let client = try test.client()
    let response = try client.exchange(get("/gate"))
    #expect(response.status == 503)
    #expect(response["Connection"] == "close")
    test.gate.signal()
    #expect(try client.isClosedByServer())
    #expect(test.records.wait(for: 1).first?.failure != nil)
    #expect(try test.client().exchange(get("/hello")).status == 200)
  }

  @Test(
    "when all handlers are busy and the queue is full, the next request is 503 at once, and inline routes still answer")
  func handlerQueue() throws {
    let test = try TestServer {
      $0.handlerThreads = 1
      $0.limits.handlerQueueMax = 1
    }
    let running = try test.client()
    try running.send(get("/gate"))
    _ = test.gateEntries.wait(for: 1)
    let queued = try test.client()
    try queued.send(get("/gate"))
    // The loop takes bytes in the order of the connections' events, so a full exchange says that the one before was queued.
    #expect(try test.client().exchange(get("/inline")).status == 200)
    let refused = try test.client().exchange(get("/hello"))
    #expect(refused.status == 503)
    #expect(refused["Retry-After"] != nil)
    test.gate.signal()
    test.gate.signal()
    #expect(try running.readResponse().text == "through the gate")
    #expect(try queued.readResponse().text == "through the gate")
  }

  @Test("a client that does not read its answer is cut off")
  func slowReader() throws {
    let test = try TestServer { $0.limits.writeStallSeconds = 0.2 }
    for (index, path) in ["/large/30000000", "/stream/30000?announce=30000000"].enumerated() {
      let client = try RawClient(port: test.port, receiveBufferBytes: 4096)
      try client.send(get(path))
      _ = try client.read(until: "\r\n\r\n")
      let records = test.records.wait(for: index + 1)
      #expect(records.count == index + 1)
      #expect(records.last?.failure?.contains("took nothing") == true)
    }
  }

  @Test("above the cap a connection gets 503 and is closed; when one leaves, the next is welcome")
  func connectionCap() throws {
    let test = try TestServer {
      $0.limits.connectionsMax = 3
      $0.limits.lingerSeconds = 0.1
    }
    var clients = try (0..<3).map { _ in try test.client() }
    for client in clients { #expect(try client.exchange(get("/hello")).status == 200) }
    let refused = try test.client()
    let response = try refused.readResponse()
    #expect(response.status == 503)
    #expect(response["Retry-After"] != nil)
    #expect(try refused.isClosedByServer())
    _ = try clients.removeLast().exchange(get("/hello", "Connection: close\r\n"))
    _ = test.records.wait(for: 5)
    // The place is free once the server has seen both ends closed.
    var status = 0
    for _ in 0..<100 where status != 200 { status = (try? test.client().exchange(get("/hello")).status) ?? 0 }
    #expect(status == 200)
  }

  @Test("one address may hold only so many connections, unless it is loopback and exempt")
  func peerCap() throws {
    let strict = try TestServer {
      $0.limits.connectionsPerPeerMax = 2
      $0.limits.loopbackIsExempt = false
    }
    let clients = try (0..<2).map { _ in try strict.client() }
    for client in clients { #expect(try client.exchange(get("/hello")).status == 200) }
    #expect(try strict.client().readResponse().status == 429)
    let exempt = try TestServer { $0.limits.connectionsPerPeerMax = 2 }
    let many = try (0..<5).map { _ in try exempt.client() }
    for client in many { #expect(try client.exchange(get("/hello")).status == 200) }
  }

  @Test("heads over the limits are 414 and 431 on the wire")
  func headLimits() throws {
    let test = try TestServer()
    #expect(try test.client().exchange(get("/" + String(repeating: "a", count: 9000))).status == 414)
    #expect(try test.client().exchange(get("/", "X: \(String(repeating: "b", count: 17_000))\r\n")).status == 431)
    #expect(try test.client().exchange(get("/", String(repeating: "X: y\r\n", count: 101))).status == 431)
  }

  @Test("a thousand idle connections stay open and do not slow the next request's answer away")
  func thousandIdle() throws {
    let test = try TestServer()
    let clients = try (0..<1000).map { _ in try test.client() }
    #expect(try test.client().exchange(get("/hello")).status == 200)
    for client in clients { try client.send(get("/inline")) }
    for client in clients { #expect(try client.readResponse().text == "inline") }
  }
}
