// Requests and answers on real sockets: routing, errors, persistence, pipelining, HEAD; mirrors Connection.swift.

import Foundation
import HTTP
import Testing

struct ConnectionTests {
  @Test("an answer has Date, request id and length, and the connection goes on")
  func keepAlive() throws {
    let test = try TestServer()
    let client = try test.client()
    for _ in 0..<3 {
      let response = try client.exchange(get("/hello"))
      #expect(response.status == 200)
      #expect(response.text == "hello")
      #expect(response["Content-Length"] == "5")
      #expect(response["Date"]?.hasSuffix("GMT") == true)
      #expect(response["X-Request-Id"]?.count == 24)
      #expect(response["Connection"] == nil)
    }
    #expect(try client.exchange(get("/inline")).text == "inline")
  }

  @Test("Connection: close is honoured, and HTTP/1.0 closes unless it asks otherwise")
  func closes() throws {
    let test = try TestServer()
    let closing = try test.client()
    #expect(try closing.exchange(get("/hello", "Connection: close\r\n"))["Connection"] == "close")
    #expect(try closing.isClosedByServer())
    let old = try test.client()
    #expect(try old.exchange("GET /hello HTTP/1.0\r\n\r\n")["Connection"] == "close")
    #expect(try old.isClosedByServer())
    let keeping = try test.client()
    #expect(try keeping.exchange("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")["Connection"] == "keep-alive")
    #expect(try keeping.exchange(get("/hello")).status == 200)
  }

  @Test("pipelined requests are answered in order, slow ones before fast ones")
  func pipelining() throws {
    let test = try TestServer()
    let client = try test.client()
    let body = "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab"
    try client.send(get("/echo/1") + get("/later") + get("/inline") + body + get("/echo/5"))
    #expect(try client.readResponse().text == "1 -")
    test.deferrals.wait(for: 1)[0].signal()
    #expect(try client.readResponse().text == "signalled")
    #expect(try client.readResponse().text == "inline")
    #expect(try client.readResponse().text == "memory 2 195")
    #expect(try client.readResponse().text == "5 -")
  }

  @Test("a thousand pipelined requests are all answered")
  func manyPipelined() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send((0..<1000).map { get("/echo/\($0)") }.joined())
    for number in 0..<1000 { #expect(try client.readResponse().text == "\(number) -") }
  }

  @Test("a request that arrives byte by byte is understood")
  func byteByByte() throws {
    let test = try TestServer()
    let client = try test.client()
    for byte in "POST /body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".utf8
    {
      try client.send([byte])
    }
    #expect(try client.readResponse().text == "memory 2 195")
  }

  @Test("HEAD is answered like GET without the body")
  func head() throws {
    let test = try TestServer()
    let client = try test.client()
    for path in ["/hello", "/large/100000", "/stream/3?announce=3000"] {
      let full = try client.exchange(get(path))
      let bare = try client.exchange("HEAD \(path) HTTP/1.1\r\nHost: localhost\r\n\r\n")
      #expect(bare.status == 200)
      #expect(bare["Content-Length"] == full["Content-Length"])
      #expect(Int(full["Content-Length"] ?? "") == full.body.count)
    }
    #expect(try client.exchange("HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 404)
    #expect(try client.exchange(get("/hello")).text == "hello", "no body was left between the answers")
  }

  @Test("an unknown path is 404 and an unknown method 405 with Allow, as problems, and the connection goes on")
  func notThere() throws {
    let test = try TestServer()
    let client = try test.client()
    let missing = try client.exchange(get("/nothing/here"))
    #expect(missing.status == 404)
    #expect(missing["Content-Type"] == "application/problem+json")
    let problem = try JSONSerialization.jsonObject(with: Data(missing.body)) as? [String: Any]
    #expect(problem?["status"] as? Int == 404)
    #expect(problem?["title"] as? String == "Not Found")
    #expect(problem?["type"] as? String == "about:blank")
    #expect(problem?["retryable"] as? Bool == false)
    #expect(problem?["request_id"] as? String == missing["X-Request-Id"])
    let wrong = try client.exchange("DELETE /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
    #expect(wrong.status == 405)
    #expect(wrong["Allow"] == "GET, HEAD")
    let options = try client.exchange("OPTIONS /body HTTP/1.1\r\nHost: localhost\r\n\r\n")
    #expect(options.status == 405)
    #expect(options["Allow"] == "POST")
    #expect(try client.exchange(get("/hello")).status == 200)
  }

  @Test("authorisation runs before the handler and gives it the identity")
  func authorisation() throws {
    let test = try TestServer()
    let client = try test.client()
    let refused = try client.exchange(get("/who"))
    #expect(refused.status == 401)
    #expect(refused["WWW-Authenticate"] == "Bearer")
    #expect(try client.exchange(get("/who", "Authorization: key\r\n")).text == "key")
  }

  @Test("a thrown HTTPError is rendered; any other error goes to the responder or hides behind a 500")
  func thrown() throws {
    let test = try TestServer()
    let client = try test.client()
    let teapot = try client.exchange(get("/teapot"))
    #expect(teapot.status == 418)
    #expect(teapot["X-Pot"] == "yes")
    #expect(teapot.text.contains("short and stout"))
    let hidden = try client.exchange(get("/fail"))
    #expect(hidden.status == 500)
    #expect(!hidden.text.contains("Unforeseen"))
    #expect(test.records.wait(for: 2).last?.failure?.contains("Unforeseen") == true)
    let mapped = try TestServer { configuration in
      configuration.respondToError = { error, head in
        error is Unforeseen ? .text("mapped \(head.pattern ?? "")", status: 409) : nil
      }
    }
    let response = try mapped.client().exchange(get("/fail"))
    #expect(response.status == 409)
    #expect(response.text == "mapped /fail")
  }

  @Test("a response header cannot be split by what a client sent")
  func injection() throws {
    let test = try TestServer()
    let client = try test.client()
    #expect(try client.exchange(get("/inject?q=fine"))["X-Echo"] == "fine")
    let response = try client.exchange(get("/inject?q=a%0d%0aX-Evil:%201%0d%0a%0d%0abody"))
    #expect(response.status == 500)
    #expect(response["X-Evil"] == nil)
    #expect(try client.exchange(get("/hello")).status == 200)
  }

  @Test("a sane request id is taken over, any other replaced")
  func requestIds() throws {
    let test = try TestServer()
    let client = try test.client()
    #expect(try client.exchange(get("/hello", "X-Request-Id: abc-1.2_Z\r\n"))["X-Request-Id"] == "abc-1.2_Z")
    for id in ["a b", "a\"b", String(repeating: "x", count: 65), ""] {
      #expect(try client.exchange(get("/hello", "X-Request-Id: \(id)\r\n"))["X-Request-Id"]?.count == 24)
    }
  }

  @Test("each request is reported once with its pattern, status, sizes and trace")
  func records() throws {
    let test = try TestServer()
    let client = try test.client()
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    _ = try client.exchange(get("/echo/a?q=secret", "traceparent: \(trace)\r\nX-Request-Id: r1\r\n"))
    _ = try client.exchange("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde")
    _ = try client.exchange("nonsense\r\n\r\n")
    let records = test.records.wait(for: 3)
    #expect(records.count == 3)
    #expect(records[0].requestId == "r1")
    #expect(records[0].pattern == "/echo/{word}")
    #expect(records[0].method == .get)
    #expect(records[0].traceparent == trace)
    #expect(records[0].peer == "127.0.0.1")
    #expect(records[0].responseBytes > 50)
    #expect(records[1].requestBytes == 5)
    #expect(records[2].status == 400)
    #expect(records[2].pattern == nil)
  }

  @Test("a host that is not ours is 421 unless it is allowed")
  func hosts() throws {
    let test = try TestServer { $0.allowedHosts = ["trains.example"] }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]", "trains.example", "Trains.Example:443"] {
      let response = try test.client().exchange("GET /hello HTTP/1.1\r\nHost: \(host)\r\n\r\n")
      #expect(response.status == 200, "\(host)")
    }
    for host in ["evil.example", "10.0.0.1", "localhost.evil.example"] {
      let response = try test.client().exchange("GET /hello HTTP/1.1\r\nHost: \(host)\r\n\r\n")
      #expect(response.status == 421, "\(host)")
    }
    #expect(
      try test.client().exchange("GET http://evil.example/hello HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 421)
    let open = try TestServer { $0.allowedHosts = ["*"] }
    #expect(try open.client().exchange("GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n").status == 200)
  }

  @Test("common headers are on every answer, its own and the server's errors, unless it sets them itself")
  func commonHeaders() throws {
    let test = try TestServer { $0.commonHeaders = ["X-Content-Type-Options": "nosniff", "X-Pot": "no"] }
    let client = try test.client()
    #expect(try client.exchange(get("/hello"))["X-Content-Type-Options"] == "nosniff")
    let teapot = try client.exchange(get("/teapot"))
    #expect(teapot.headers.filter { $0.name == "X-Pot" }.map(\.value) == ["yes"])
    #expect(try client.exchange("bad\r\n\r\n")["X-Content-Type-Options"] == "nosniff")
  }

  @Test("a client that half-closes after its request still gets the answer")
  func halfClose() throws {
    let test = try TestServer()
    let client = try test.client()
    try client.send(get("/hello"))
    client.halfClose()
    #expect(try client.readResponse().text == "hello")
    #expect(try client.isClosedByServer())
  }
}
