// Starting and stopping; mirrors HTTPServer.swift.

import Foundation
import HTTP
import Testing

struct HTTPServerTests {
  private func serve(_ address: String) throws -> HTTPServer {
    let route = Route<Access, String>(.get, "/hello", policy: .anyone) { _, _ in .text("hello") }
    return try HTTPServer(Configuration(address: address), router: Router([route]) { _, _ in "" })
  }

  @Test("a port in use is an error that names the address")
  func portInUse() throws {
    let first = try serve("127.0.0.1:0")
    defer { first.stop() }
    #expect(first.address == "127.0.0.1:\(first.port)")
    let error = #expect(throws: ListenError.self) { try serve(first.address) }
    #expect(error?.description.hasPrefix("address \(first.address) is already in use") == true)
  }

  @Test("a malformed or foreign address is an error that says so")
  func badAddress() {
    for address in [
      "8080", "localhost", "::1:80", "127.0.0.1:99999", ":80", "203.0.113.7:0", "no.such.host.invalid:80",
    ] {
      let error = #expect(throws: ListenError.self) { try serve(address) }
      #expect(error?.description.contains(address) == true)
    }
  }

  @Test("a port is free again as soon as stop returns")
  func restarts() throws {
    let first = try serve("127.0.0.1:0")
    let client = try RawClient(port: first.port)
    #expect(try client.exchange(get("/hello")).status == 200)
    #expect(first.stop())
    let second = try serve("127.0.0.1:\(first.port)")
    #expect(try RawClient(port: second.port).exchange(get("/hello")).status == 200)
    second.stop()
  }

  @Test("stop closes idle connections at once and lets the request in progress finish")
  func drains() throws {
    let test = try TestServer { $0.limits.lingerSeconds = 0.1 }
    let idle = try test.client()
    #expect(try idle.exchange(get("/hello")).status == 200)
    let busy = try test.client()
    try busy.send(get("/gate"))
    _ = test.gateEntries.wait(for: 1)
    let stopped = Journal<Bool>()
    Thread.detachNewThread { stopped.add(test.server.stop(drainSeconds: 10)) }
    #expect(try idle.isClosedByServer())
    #expect(throws: (any Error).self, "nobody listens any more") { try test.client() }
    test.gate.signal()
    let response = try busy.readResponse()
    #expect(response.text == "through the gate")
    #expect(response["Connection"] == "close")
    #expect(try busy.isClosedByServer())
    #expect(stopped.wait(for: 1) == [true])
  }

  @Test("stop ends event streams and has waiting answers made")
  func endsWaiting() throws {
    let test = try TestServer { $0.limits.lingerSeconds = 0.1 }
    let waiting = try test.client()
    try waiting.send(get("/later"))
    let reader = try test.client()
    try reader.send(get("/events"))
    _ = try reader.read(until: "\r\n\r\n")
    _ = test.deferrals.wait(for: 1)
    let stopped = Journal<Bool>()
    Thread.detachNewThread { stopped.add(test.server.stop(drainSeconds: 10)) }
    #expect(try waiting.readResponse().text == "stopping")
    #expect(try reader.readToEnd().hasSuffix("0\r\n\r\n"))
    #expect(try waiting.isClosedByServer())
    #expect(stopped.wait(for: 1) == [true])
  }

  @Test("stop does not wait longer than it is told to")
  func stopsInTime() throws {
    let test = try TestServer()
    let stuck = try test.client()
    try stuck.send(get("/gate"))
    _ = test.gateEntries.wait(for: 1)
    #expect(test.server.stop(drainSeconds: 0.2) == false)
    #expect(try stuck.isClosedByServer())
    #expect(test.records.wait(for: 1).first?.failure != nil)
    test.gate.signal()
  }

  @Test("IPv6 is listened on in brackets")
  func ipv6() throws {
    // A machine without IPv6 cannot say anything about it.
    guard let server = try? serve("[::1]:0") else { return }
    defer { server.stop() }
    #expect(server.address == "[::1]:\(server.port)")
  }
}
