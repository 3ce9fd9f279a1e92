// A server with the routes that the socket tests need, and a log of what it finished.

import COpenSSL
import Foundation
@testable import HTTP

/// Who may use a route of the test server: anyone, or who brings `Authorization: key`.
enum Access: Sendable { case anyone, keyHolder }

/// A thrown error the server knows nothing about.
struct Unforeseen: Error {}

/// A list that other threads fill and a test waits for.
///
/// `@unchecked Sendable`: guarded by the condition.
final class Journal<Entry: Sendable>: @unchecked Sendable {
  private let condition = NSCondition()
  private var entries: [Entry] = []

  func add(_ entry: Entry) {
    condition.lock()
    entries.append(entry)
    condition.broadcast()
    condition.unlock()
  }

  /// All entries once there are at least `count`, or what there is after ten seconds.
  func wait(for count: Int) -> [Entry] {
    condition.lock()
    defer { condition.unlock() }
    let deadline = Date(timeIntervalSinceNow: 10)
    while entries.count < count, condition.wait(until: deadline) {}
    return entries
  }
}

/// A running server on a free port; stopped when released.
final class TestServer: Sendable {
  let server: HTTPServer
  let records = Journal<RequestRecord>()
  let deferrals = Journal<Deferral>()
  let streams = Journal<EventStream>()
  /// Says that a handler of `/gate` has begun.
  let gateEntries = Journal<String>()
  let gate = DispatchSemaphore(value: 0)
  let endings = Journal<String>()
  let handshakeFailures = Journal<String>()

  var port: Int { server.port }

  init(_ configure: (inout Configuration) -> Void = { _ in }) throws {
    var configuration = Configuration(address: "127.0.0.1:0")
    configure(&configuration)
    configuration.onComplete = { [records] in records.add($0) }
    configuration.onHandshakeFailure = { [handshakeFailures] _, reason in handshakeFailures.add(reason) }
    let router = try Router(Self.routes(self.deferrals, streams, gateEntries, gate, endings)) { policy, head in
      if policy == .keyHolder, head.headers["authorization"] != "key" {
        throw HTTPError(.unauthorized, detail: "bring a key", headers: ["WWW-Authenticate": "Bearer"])
      }
      return head.headers["authorization"] ?? "anyone"
    }
    server = try HTTPServer(configuration, router: router)
  }

  deinit { server.stop(drainSeconds: 0) }

  func client() throws -> RawClient { try RawClient(port: port) }

  private static func routes(
    _ deferrals: Journal<Deferral>, _ streams: Journal<EventStream>, _ gateEntries: Journal<String>,
    _ gate: DispatchSemaphore, _ endings: Journal<String>
  ) -> [Route<Access, String>] {
    [
      Route(.get, "/hello", policy: .anyone) { _, _ in .text("hello") },
      Route(.get, "/inline", policy: .anyone, inline: true) { _, _ in .text("inline") },
      Route(.get, "/echo/{word}", policy: .anyone) { request, _ in
        .text("\(request.parameter("word")) \(request.query("q") ?? "-")")
      },
      Route(.get, "/who", policy: .keyHolder) { _, identity in .text(identity) },
      Route(.post, "/body", policy: .anyone, bodyBytesMax: 8 << 20) { request, _ in
        var sum = 0
        try request.body.forEachChunk { bytes in for byte in bytes { sum += Int(byte) } }
        let kind = if case .file = request.body { "file" } else { "memory" }
        return .text("\(kind) \(request.body.byteCount) \(sum)")
      },
      // Long bodies; what came of one is told by its hash.
      Route(.post, "/digest", policy: .anyone, bodyBytesMax: 256 << 20) { request, _ in
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        EVP_DigestInit_ex(context, EVP_sha256(), nil)
        try request.body.forEachChunk { EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
        var digest = [UInt8](repeating: 0, count: 32)
        EVP_DigestFinal_ex(context, &digest, nil)
        return .text(digest.map { String(format: "%02x", $0) }.joined())
      },
      Route(.post, "/locked", policy: .keyHolder, bodyBytesMax: 1000) { request, _ in
        .text("took \(request.body.byteCount)")
      },
      Route(.put, "/json", policy: .anyone, bodyBytesMax: 1000, acceptedContentTypes: ["application/json"]) {
        request, _ in
        .text("json \(request.body.byteCount)")
      },
      Route(.get, "/fail", policy: .anyone) { _, _ in throw Unforeseen() },
      Route(.get, "/teapot", policy: .anyone) { _, _ in
        throw HTTPError(418, title: "Teapot", detail: "short and stout", headers: ["X-Pot": "yes"])
      },
      Route(.get, "/inject", policy: .anyone) { request, _ in
        Response(headers: ["X-Echo": request.query("q") ?? ""], body: .bytes(Array("split".utf8)))
      },
      Route(.get, "/gate", policy: .anyone, handlerSeconds: nil) { request, _ in
        gateEntries.add(request.requestId)
        gate.wait()
        return .text("through the gate")
      },
      Route(.get, "/large/{bytes}", policy: .anyone) { request, _ in
        .bytes([UInt8](repeating: 0x61, count: Int(request.parameter("bytes"))!), contentType: "text/plain")
      },
      Route(.get, "/stream/{pieces}", policy: .anyone) { request, _ in
        let pieces = Int(request.parameter("pieces"))!
        let made = Guarded(0)
        let announced = request.query("announce").flatMap { Int($0) }
        return Response(
          body: .stream(
            BodyStream(byteCount: announced) {
              made.withLock { made in
                made += 1
                return made <= pieces ? [UInt8](repeating: UInt8(ascii: "a") + UInt8(made % 26), count: 1000) : nil
              }
            }))
      },
      Route(.get, "/later", policy: .anyone) { request, _ in
        let seconds = request.query("seconds").flatMap { Double($0) } ?? 10
        let deferral = Deferral(seconds: seconds, onEnd: { endings.add("deferral") }) { reason in .text("\(reason)") }
        deferrals.add(deferral)
        return .later(deferral)
      },
      Route(.get, "/events", policy: .anyone) { request, _ in
        let heartbeat = request.query("heartbeat").flatMap { Double($0) } ?? 15
        let stream = EventStream(
          heartbeatSeconds: heartbeat, pendingBytesMax: 64 << 10, onClose: { endings.add("events") })
        streams.add(stream)
        return .events(stream)
      },
    ]
  }
}

/// A GET of HTTP/1.1 with a Host, and more fields if wanted (each with its CRLF).
func get(_ target: String, _ fields: String = "") -> String {
  "GET \(target) HTTP/1.1\r\nHost: localhost\r\n\(fields)\r\n"
}
