// TLS on real sockets: handshakes good, bad and half-open, bodies, streams, ends, reload; mirrors TLSSession.swift and
// Connection+Handshake.swift.

import COpenSSL
import Foundation
import TestSupport
import Testing

@testable import HTTP

/// A server that speaks TLS, with a certificate of its own.
private struct SecureServer {
  let certificate: TestCertificate
  let test: TestServer

  init(_ configure: (inout Configuration) -> Void = { _ in }) throws {
    let certificate = try TestCertificate()
    let credentials = try TLSCredentials(certificateFile: certificate.certificate, keyFile: certificate.key)
    self.certificate = certificate
    test = try TestServer {
      $0.credentials = credentials
      configure(&$0)
    }
  }

  func client(_ settings: TLSClientSettings = TLSClientSettings(), receiveBufferBytes: Int32? = nil) throws -> RawClient
  {
    try RawClient(port: test.port, receiveBufferBytes: receiveBufferBytes, timeoutSeconds: 30, secured: settings)
  }
}

struct TLSTests {
  @Test(
    "requests are answered over TLS 1.3 and 1.2, one after another on one connection",
    arguments: [
      (TLS1_3_VERSION, "TLSv1.3"), (TLS1_2_VERSION, "TLSv1.2"),
    ])
  func requests(version: Int32, name: String) throws {
    let server = try SecureServer()
    let client = try server.client(TLSClientSettings(newestVersion: version))
    #expect(client.tls?.version == name)
    #expect(client.tls?.chosenProtocol == "http/1.1")
    for _ in 0..<3 { #expect(try client.exchange(get("/hello")).text == "hello") }
    #expect(try client.exchange(get("/inline")).text == "inline")
    // A client that offers no protocol by name gets the one there is.
    #expect(try server.client(TLSClientSettings(protocols: [])).exchange(get("/hello")).status == 200)
  }

  @Test("a thousand pipelined requests in a few records are all answered, in order")
  func pipelined() throws {
    let server = try SecureServer()
    let client = try server.client()
    try client.send((0..<1000).map { get($0 % 3 == 0 ? "/inline" : "/echo/\($0)") }.joined())
    for number in 0..<1000 {
      #expect(try client.readResponse().text == (number % 3 == 0 ? "inline" : "\(number) -"))
    }
  }

  @Test("what came in one record with a request that waits is not forgotten")
  func heldBack() throws {
    let server = try SecureServer()
    let client = try server.client()
    try client.send(get("/later") + get("/echo/next"))
    server.test.deferrals.wait(for: 1)[0].signal()
    #expect(try client.readResponse().text == "signalled")
    #expect(try client.readResponse().text == "next -")
  }

  @Test("handshake and request byte by byte")
  func byteByByte() throws {
    let server = try SecureServer()
    let client = try server.client(TLSClientSettings(pieceBytes: 1))
    #expect(
      try client.exchange("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc").text
        == "memory 3 294")
  }

  @Test("bodies of 100 MB arrive whole, up and down")
  func largeBodies() throws {
    let server = try SecureServer()
    let client = try server.client()
    let count = 100_000_000
    let piece = [UInt8](repeating: 0x61, count: 1_000_000)
    try client.send("POST /digest HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(count)\r\n\r\n")
    for _ in 0..<100 { try client.send(piece) }
    let sent = try client.readResponse()
    #expect(sent.status == 200)
    let response = try client.exchange(get("/large/\(count)"))
    #expect(response.body.count == count)
    // Both were so many times "a".
    #expect(sent.text == Self.sha256(response.body))
    #expect(response.body.allSatisfy { $0 == 0x61 })
  }

  @Test("a client that reads slowly gets all of a long answer")
  func slowReader() throws {
    let server = try SecureServer()
    let client = try server.client(receiveBufferBytes: 4096)
    try client.send(get("/large/3000000") + get("/hello"))
    #expect(try client.readResponse().body == [UInt8](repeating: 0x61, count: 3_000_000))
    #expect(try client.readResponse().text == "hello")
  }

  @Test("new keys in the middle of a connection are taken")
  func keyUpdate() throws {
    let server = try SecureServer()
    let client = try server.client()
    for _ in 0..<3 {
      client.tls?.renewKeys()
      #expect(try client.exchange(get("/hello")).text == "hello")
    }
  }

  @Test("event streams and answers that wait come over TLS as they are made")
  func streams() throws {
    let server = try SecureServer()
    let reader = try server.client()
    try reader.send(get("/events?heartbeat=0.2"))
    let stream = server.test.streams.wait(for: 1)[0]
    stream.send(ServerSentEvent(id: "1", data: "first"))
    #expect(try reader.read(until: "data: first\n\n").contains("id: 1"))
    _ = try reader.read(until: ":\n\n")
    stream.send(ServerSentEvent(id: "2", data: "second"))
    _ = try reader.read(until: "data: second\n\n")
    stream.finish()
    #expect(try reader.read(until: "0\r\n\r\n").isEmpty == false)
    let waiting = try server.client()
    #expect(try waiting.exchange(get("/later?seconds=0.2")).text == "timedOut")
  }

  @Test("the end of a connection is said, so that a cut-off answer differs from a complete one")
  func closeNotify() throws {
    let server = try SecureServer()
    let closing = try server.client()
    #expect(try closing.exchange(get("/hello", "Connection: close\r\n")).text == "hello")
    _ = try closing.readToEnd()
    #expect(closing.tls?.serverSaidEnd == true)
    // HTTP/1.0 knows the end of a stream by the connection's alone.
    let old = try server.client()
    try old.send("GET /stream/2000 HTTP/1.0\r\n\r\n")
    #expect(try old.readResponse().body.count == 2_000_000)
    #expect(old.tls?.serverSaidEnd == true)
    let cut = try server.client()
    try cut.send(get("/stream/3?announce=5000"))
    _ = try cut.readToEnd()
    #expect(cut.tls?.serverSaidEnd == false)
  }

  @Test("TLS 1.1 is refused, and so is a client that wants HTTP/2 alone")
  func refusedHandshakes() throws {
    let server = try SecureServer()
    #expect(throws: RawClientError.self) { try server.client(TLSClientSettings(newestVersion: TLS1_1_VERSION)) }
    #expect(throws: RawClientError.self) { try server.client(TLSClientSettings(protocols: ["h2"])) }
    let failures = server.test.handshakeFailures.wait(for: 2)
    #expect(failures.count == 2)
    #expect(failures.contains { $0.contains("protocol") }, "\(failures)")
    #expect(try server.client(TLSClientSettings(protocols: ["h2", "http/1.1"])).tls?.chosenProtocol == "http/1.1")
  }

  @Test("plain HTTP on the TLS port is told so in clear text")
  func plainHTTP() throws {
    let server = try SecureServer()
    let client = try RawClient(port: server.test.port)
    let answer = try client.exchange(get("/hello"))
    #expect(answer.status == 400)
    #expect(answer.text.contains("this port speaks TLS"))
    #expect(answer["Connection"] == "close")
    #expect(try client.isClosedByServer())
  }

  @Test("garbage in place of a handshake ends that connection alone")
  func garbage() throws {
    let server = try SecureServer()
    let good = try server.client()
    var random = SplitMix(seed: 7)
    for round in 0..<20 {
      let client = try RawClient(port: server.test.port)
      var bytes = (0..<300).map { _ in UInt8(random.next(below: 256)) }
      // Not a request's first byte; every other time the head of a handshake record, with nonsense in it.
      bytes[0] = 0x80
      if round % 2 == 0 { bytes.replaceSubrange(0..<5, with: [22, 3, 1, 0, 200]) }
      try client.send(bytes)
      // An alert perhaps, then the end.
      _ = try client.readToEnd()
    }
    #expect(server.test.handshakeFailures.wait(for: 20).count == 20)
    #expect(try good.exchange(get("/hello")).text == "hello")
  }

  @Test("handshakes that do not go on are given up, and do not keep others out")
  func halfOpen() throws {
    let server = try SecureServer { $0.limits.headerSeconds = 0.5 }
    let silent = try (0..<50).map { _ in try RawClient(port: server.test.port) }
    let begun = try RawClient(port: server.test.port)
    try begun.send([22, 3, 1, 0, 200, 1, 0])
    #expect(try server.client().exchange(get("/hello")).text == "hello")
    for client in silent + [begun] { #expect(try client.isClosedByServer()) }
    #expect(server.test.handshakeFailures.wait(for: 51).count == 51)
  }

  @Test("a server with handshakes half done stops at once")
  func stopping() throws {
    let server = try SecureServer()
    let silent = try RawClient(port: server.test.port)
    let begun = try RawClient(port: server.test.port)
    try begun.send([22, 3, 1, 0, 200, 1, 0])
    #expect(try server.client().exchange(get("/hello")).text == "hello")
    #expect(server.test.server.stop(drainSeconds: 30))
    #expect(try silent.isClosedByServer() && begun.isClosedByServer())
  }

  @Test("a connection above the cap hears so over TLS")
  func overTheCap() throws {
    let server = try SecureServer { $0.limits.connectionsMax = 1 }
    let first = try server.client()
    #expect(try first.exchange(get("/hello")).status == 200)
    #expect(try server.client().readResponse().status == 503)
    #expect(try first.exchange(get("/hello")).status == 200)
  }

  @Test("other credentials hold for new connections, and open ones go on")
  func reload() throws {
    let server = try SecureServer()
    let old = try server.client()
    #expect(old.tls?.serverSerial == server.certificate.serial)
    let fresh = try TestCertificate(names: "DNS:train.example", serial: "0B02")
    server.test.server.use(try TLSCredentials(certificateFile: fresh.certificate, keyFile: fresh.key))
    let new = try server.client()
    #expect(new.tls?.serverSerial == "0B02")
    for client in [old, new] { #expect(try client.exchange(get("/hello")).text == "hello") }
    // A host that the certificate is for needs no setting.
    #expect(try new.exchange("GET /hello HTTP/1.1\r\nHost: train.example\r\n\r\n").status == 200)
    #expect(try new.exchange("GET /hello HTTP/1.1\r\nHost: other.example\r\n\r\n").status == 421)
  }

  private static func sha256(_ bytes: [UInt8]) -> String {
    var digest = [UInt8](repeating: 0, count: 32)
    EVP_Digest(bytes, bytes.count, &digest, nil, EVP_sha256(), nil)
    return digest.map { String(format: "%02x", $0) }.joined()
  }
}

struct TLSCredentialsTests {
  @Test("a certificate tells the hosts it is for and how long it holds")
  func facts() throws {
    let files = try TestCertificate(names: "DNS:Train.Example,DNS:*.lab.example,IP:10.1.2.3,IP:::1", days: 10)
    let credentials = try TLSCredentials(certificateFile: files.certificate, keyFile: files.key)
    #expect(credentials.names == ["train.example", "*.lab.example", "10.1.2.3", "::1"])
    for host in ["train.example", "TRAIN.example", "a.lab.example", "10.1.2.3", "[::1]"] {
      #expect(credentials.covers(host), "\(host)")
    }
    for host in ["example", "lab.example", "a.b.lab.example", "10.1.2.4", ".lab.example"] {
      #expect(!credentials.covers(host), "\(host)")
    }
    #expect((9.9...10.1).contains(credentials.expiresAt.timeIntervalSince(credentials.startsAt) / 86_400))
  }

  @Test("a pair that is no good is refused with the file, the fault and the cure")
  func faults() throws {
    let files = try TestCertificate()
    let other = try TestCertificate()
    func message(_ certificate: String, _ key: String) -> String {
      do {
        _ = try TLSCredentials(certificateFile: certificate, keyFile: key)
        return "accepted"
      } catch { return error.description }
    }
    #expect(message(files.certificate, files.key) == "accepted")
    #expect(message("/nowhere", files.key) == "/nowhere: No such file or directory")
    #expect(message(files.key, files.key).contains("there is no certificate in it"))
    #expect(message(files.certificate, files.certificate).contains("there is no private key in it"))
    #expect(message(files.certificate, other.key).contains("not the key of the certificate in \(files.certificate)"))
    let encrypted = other.key + ".encrypted"
    try TestCertificate.openssl("pkey", "-in", other.key, "-aes256", "-passout", "pass:secret", "-out", encrypted)
    #expect(message(other.certificate, encrypted).contains("encrypted"))
    let damaged = other.certificate + ".damaged"
    let text = try String(contentsOfFile: other.certificate, encoding: .utf8)
    try (text + text.replacingOccurrences(of: "MII", with: "AAA")).write(
      toFile: damaged, atomically: true, encoding: .utf8)
    #expect(message(damaged, other.key).contains("of the chain cannot be read"))
  }
}
