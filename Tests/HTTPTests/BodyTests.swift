// Request bodies on real sockets: framing, limits, 100-continue, spooling, smuggling; mirrors Connection+Request.swift.

import Foundation
import Testing

@testable import HTTP

struct BodyTests {
  private func post(_ path: String, _ fields: String, _ body: String = "") -> String {
    "POST \(path) HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n\(body)"
  }

  @Test("a body arrives by length and in chunks")
  func arrives() throws {
    let test = try TestServer()
    let client = try test.client()
    #expect(try client.exchange(post("/body", "Content-Length: 3\r\n", "abc")).text == "memory 3 294")
    #expect(try client.exchange(post("/body", "Content-Length: 0\r\n")).text == "memory 0 0")
    #expect(try client.exchange(post("/body", "")).text == "memory 0 0")
    let chunked = post("/body", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n2;x\r\nbc\r\n0\r\nTrailer: x\r\n\r\n")
    #expect(try client.exchange(chunked).text == "memory 3 294")
  }

  @Test("a body above the memory limit is spooled to a file that leaves nothing behind", arguments: [true, false])
  func spools(chunked: Bool) throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let test = try TestServer {
      $0.spoolFolder = folder.path
      $0.limits.bodyMemoryBytesMax = 10_000
    }
    let client = try test.client()
    var random = SplitMix(seed: 1)
    let bytes = (0..<3_000_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    let sum = bytes.reduce(0) { $0 + Int($1) }
    for _ in 0..<2 {
      if chunked {
        try client.send(post("/body", "Transfer-Encoding: chunked\r\n"))
        for start in stride(from: 0, to: bytes.count, by: 300_000) {
          try client.send("493e0\r\n")
          try client.send(Array(bytes[start..<start + 300_000]))
          try client.send("\r\n")
        }
        try client.send("0\r\n\r\n")
      } else {
        try client.send(post("/body", "Content-Length: \(bytes.count)\r\n"))
        try client.send(bytes)
      }
      #expect(try client.readResponse().text == "file 3000000 \(sum)")
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == [])
  }

  @Test("a body that would fill the spool is refused, and the budget comes back with each body")
  func spoolBudget() throws {
    let test = try TestServer {
      $0.limits.bodyMemoryBytesMax = 1000
      $0.limits.spoolTotalBytesMax = 100_000
    }
    let big = String(repeating: "x", count: 60_000)
    for _ in 0..<4 {
      // The file goes with the handler's last reference, which may be a moment after the answer.
      let statuses = (0..<100).lazy.map { _ in
        try? test.client().exchange(post("/body", "Content-Length: 60000\r\n", big)).status
      }
      #expect(statuses.contains(200))
    }
    #expect(try test.client().exchange(post("/body", "Content-Length: 100001\r\n")).status == 503)
    let client = try test.client()
    try client.send(post("/body", "Transfer-Encoding: chunked\r\n"))
    for _ in 0..<2 { try client.send("ea60\r\n\(big)\r\n") }
    try client.send("0\r\n\r\n")
    #expect(try client.readResponse().status == 503)
  }

  @Test("when the memory for all bodies is used up, small ones are spooled too")
  func memoryBudget() throws {
    let test = try TestServer { $0.limits.bodyMemoryTotalBytesMax = 10 }
    let client = try test.client()
    #expect(try client.exchange(post("/body", "Content-Length: 3\r\n", "abc")).text == "memory 3 294")
    #expect(try client.exchange(post("/body", "Content-Length: 11\r\n", "aaaaaaaaaaa")).text == "file 11 1067")
  }

  @Test("a spool folder that does not exist is a 503 without internals")
  func noFolder() throws {
    let test = try TestServer {
      $0.spoolFolder = "/nonexistent/folder"
      $0.limits.bodyMemoryBytesMax = 2
    }
    let response = try test.client().exchange(post("/body", "Content-Length: 3\r\n", "abc"))
    #expect(response.status == 503)
    #expect(!response.text.contains("nonexistent"))
  }

  @Test("a full disk is a 507")
  func fullDisk() throws {
    // The device that is always full stands in for the file.
    let file = NamelessFile(descriptor: open("/dev/full", O_RDWR))
    let error = #expect(throws: HTTPError.self) { try file.write([1], at: 0) }
    #expect(error?.status == .insufficientStorage)
  }

  @Test("100 Continue is sent only when route, key, length and type are fine")
  func expectContinue() throws {
    let test = try TestServer()
    let client = try test.client()
    let expect = "Expect: 100-continue\r\nContent-Length: 3\r\n"
    try client.send(post("/body", expect))
    #expect(try client.readResponse().status == 100)
    try client.send("abc")
    #expect(try client.readResponse().text == "memory 3 294")
    #expect(try client.exchange(get("/hello")).status == 200)
    let refusals: [(String, Int)] = [
      (post("/nothing", expect), 404), (post("/hello", expect), 405), (post("/locked", expect), 401),
      (post("/body", "Expect: 100-continue\r\nContent-Length: 99999999\r\n"), 413),
      ("PUT /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\(expect)\r\n", 415),
      (post("/body", "Expect: tea\r\nContent-Length: 3\r\n"), 417),
    ]
    for (request, status) in refusals {
      let client = try test.client()
      let response = try client.exchange(request)
      #expect(response.status == status)
      // Whether the body follows is unknown, so nothing after it could be told apart from a request.
      #expect(response["Connection"] == "close", "\(status)")
      #expect(try client.isClosedByServer(), "\(status)")
    }
  }

  @Test("a client that does not wait for 100 Continue is served all the same")
  func impatient() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send(post("/body", "Expect: 100-continue\r\nContent-Length: 3\r\n", "abc"))
    var response = try client.readResponse()
    if response.status == 100 { response = try client.readResponse() }
    #expect(response.text == "memory 3 294")
  }

  @Test("an HTTP/1.0 client gets no 100 Continue")
  func oldContinue() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send("POST /body HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
    #expect(try client.readResponse().status == 200)
  }

  @Test("a body longer than the route allows is 413, declared or not")
  func tooLarge() throws {
    let test = try TestServer()
    #expect(try test.client().exchange(post("/body", "Content-Length: 8388609\r\n")).status == 413)
    #expect(try test.client().exchange(post("/body", "Content-Length: 99999999999999999999\r\n")).status == 413)
    let chunked = try test.client()
    try chunked.send(post("/locked", "Authorization: key\r\nTransfer-Encoding: chunked\r\n", "3e9\r\n"))
    try chunked.send(String(repeating: "x", count: 1001))
    #expect(try chunked.readResponse().status == 413)
    #expect(try chunked.isClosedByServer())
    #expect(try test.client().exchange(get("/hello", "Content-Length: 1\r\n") + "x").status == 413)
  }

  @Test("a body of a type the route does not accept is 415; parameters and letter case do not matter")
  func contentTypes() throws {
    let test = try TestServer()
    let client = try test.client()
    func put(_ type: String) throws -> RawResponse {
      try client.exchange("PUT /json HTTP/1.1\r\nHost: localhost\r\n\(type)Content-Length: 2\r\n\r\n{}")
    }
    #expect(try put("Content-Type: application/json\r\n").status == 200)
    #expect(try put("Content-Type: Application/JSON ; charset=utf-8\r\n").status == 200)
    let refused = try put("Content-Type: text/plain\r\n")
    #expect(refused.status == 415)
    #expect(refused["Accept"] == "application/json")
    #expect(try put("").status == 415)
    #expect(try put("Content-Type: application/json\r\n").status == 200, "the refused bodies were read past")
  }

  @Test("a small unread body is read past, a large one closes the connection")
  func unread() throws {
    let test = try TestServer()
    let client = try test.client()
    // What would be a request, were the unread body not known to be a body.
    let hidden = get("/inline")
    #expect(try client.exchange(post("/nothing", "Content-Length: \(hidden.utf8.count)\r\n", hidden)).status == 404)
    let chunked = String(hidden.utf8.count, radix: 16) + "\r\n\(hidden)\r\n0\r\n\r\n"
    #expect(try client.exchange(post("/locked", "Transfer-Encoding: chunked\r\n", chunked)).status == 401)
    #expect(try client.exchange(get("/echo/next")).text == "next -")
    let large = try client.exchange(post("/nothing", "Content-Length: 70000\r\n"))
    #expect(large["Connection"] == "close")
    try client.send(get("/hello"))
    #expect(try client.isClosedByServer())
  }

  @Test("an answer to a large refused body arrives although the client is still sending")
  func refusedWhileSending() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send(post("/locked", "Authorization: key\r\nContent-Length: 20000000\r\n"))
    try client.send([UInt8](repeating: 0x61, count: 20_000_000))
    #expect(try client.readResponse().status == 413)
  }

  @Test("a smuggled request is never answered")
  func smuggling() throws {
    let test = try TestServer()
    let hidden = "GET /inline HTTP/1.1\r\nHost: localhost\r\n\r\n"
    let attempts = [
      post("/body", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", hidden),
      post("/body", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n" + hidden),
      post("/body", "Content-Length: 0\r\nContent-Length: 45\r\n", hidden),
      post("/body", "Content-Length: 0,45\r\n", hidden),
      post("/body", "Content-Length: 00x\r\n", hidden),
      post("/body", "Transfer-Encoding: xchunked\r\n", hidden),
      post("/body", "Transfer-Encoding : chunked\r\n", hidden),
      post("/body", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n" + hidden),
      post("/body", "X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + hidden),
      post("/body", "Transfer-Encoding: chunked\r\n", "0\r\n\r" + hidden),
      post("/body", "Transfer-Encoding: chunked\r\n", "1\r\nab\r\n0\r\n\r\n" + hidden),
      post("/body", "Transfer-Encoding: chunked\r\n", "0\n\n" + hidden),
      post("/body", "Transfer-Encoding: chunked\r\n", "ffffffffffffffff1\r\n" + hidden),
      "GET /hello HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n" + hidden,
      "GET /hello HTTP/1.1\r\nHost: localhost\r\n X: folded\r\n\r\n" + hidden,
    ]
    for attempt in attempts {
      let client = try test.client()
      try client.send(attempt)
      let answers = try client.readToEnd()
      #expect(answers.components(separatedBy: "HTTP/1.1 ").count == 2, "one answer to \(attempt.debugDescription)")
      #expect(answers.hasPrefix("HTTP/1.1 400") || answers.hasPrefix("HTTP/1.1 501"))
      #expect(!answers.contains("inline"))
      #expect(answers.contains("Connection: close"))
    }
  }

  @Test("a body that ends too early is a 400, or nothing, and never reaches the handler")
  func truncated() throws {
    let test = try TestServer()
    for request in [
      post("/body", "Content-Length: 10\r\n", "abc"), post("/body", "Transfer-Encoding: chunked\r\n", "5\r\nab"),
      "POST /body HTTP/1.1\r\nHost: local",
    ] {
      let client = try test.client()
      try client.send(request)
      client.halfClose()
      #expect(try client.readToEnd().hasPrefix("HTTP/1.1 400"))
    }
  }
}
