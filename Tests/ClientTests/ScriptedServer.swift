// A server on a real socket whose connections each follow a script: read one request, answer these bytes, close.
// It can break off mid-answer, which no well-behaved server does. Used by APIClientTests.swift.
import Foundation
import Glibc

/// Answers connections in order from a list; the requests it got can be looked at afterwards.
///
/// `@unchecked Sendable`: `seen` is guarded by its lock, the rest is set before the thread starts.
final class ScriptedServer: @unchecked Sendable {
  struct Request: Sendable {
    var head: String
    var body: [UInt8]

    /// The value of a header field.
    func header(_ name: String) -> String? {
      head.split(separator: "\r\n").first { $0.lowercased().hasPrefix(name.lowercased() + ":") }
        .map { $0.drop { $0 != ":" }.dropFirst().trimmingCharacters(in: .whitespaces) }
    }
    var line: String { String(head.prefix { $0 != "\r\n" }) }
  }

  let url: URL
  private let descriptor: Int32
  private let answers: [String]
  private let held: Set<Int>
  private let lock = NSLock()
  private var seen: [Request] = []

  /// - Parameters:
  ///   - answers: whole answers as bytes on the wire; an empty one closes the connection at once.
  ///   - held: numbers, from 0, of connections that stay open after their answer.
  init(_ answers: [String], held: Set<Int> = []) {
    self.answers = answers
    self.held = held
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        precondition(bind(descriptor, $0, length) == 0 && listen(descriptor, 16) == 0, "no port")
        getsockname(descriptor, $0, &length)
      }
    }
    url = URL(string: "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))")!
    self.descriptor = descriptor
    let thread = Thread { [self] in serve() }
    thread.start()
  }

  deinit { close(descriptor) }

  var requests: [Request] { lock.withLock { seen } }

  /// An answer with a JSON body and the right length.
  static func json(_ status: Int, _ body: String, headers: [String] = []) -> String {
    let lines = ["HTTP/1.1 \(status) X", "Content-Type: application/json", "Content-Length: \(body.utf8.count)"]
    return (lines + headers + ["Connection: close"]).joined(separator: "\r\n") + "\r\n\r\n" + body
  }

  /// An answer that is a stream of events and ends when the connection does.
  static func events(_ text: String) -> String {
    "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + text
  }

  private func serve() {
    var open: [Int32] = []
    defer { for connection in open { close(connection) } }
    for (number, answer) in answers.enumerated() {
      var connection = accept(descriptor, nil, nil)
      guard connection >= 0 else { return }
      var request = Self.read(connection)
      // A sign of life may be asked for before a stream; it is no part of the script.
      while request.line.hasPrefix("GET /livez ") {
        let alive = Array(Self.json(200, "{}").utf8)
        _ = alive.withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        close(connection)
        connection = accept(descriptor, nil, nil)
        guard connection >= 0 else { return }
        request = Self.read(connection)
      }
      lock.withLock { seen.append(request) }
      let bytes = Array(answer.utf8)
      var sent = 0
      while sent < bytes.count {
        let count = bytes[sent...].withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        if count <= 0 { break }
        sent += count
      }
      if held.contains(number) { open.append(connection) } else { close(connection) }
    }
  }

  private static func read(_ connection: Int32) -> Request {
    var bytes: [UInt8] = []
    func more() -> Bool {
      var piece = [UInt8](repeating: 0, count: 65_536)
      let count = recv(connection, &piece, piece.count, 0)
      if count > 0 { bytes += piece[..<count] }
      return count > 0
    }
    func headEnd() -> Int? { bytes.firstRange(of: Array("\r\n\r\n".utf8))?.upperBound }
    while headEnd() == nil { if !more() { return Request(head: "", body: []) } }
    let end = headEnd()!
    var request = Request(head: String(decoding: bytes[..<end], as: UTF8.self), body: [])
    if request.header("transfer-encoding") == "chunked" {
      while !bytes.suffix(5).elementsEqual("0\r\n\r\n".utf8) { if !more() { break } }
      var rest = bytes[end...]
      while let lineEnd = rest.firstRange(of: Array("\r\n".utf8)),
        let size = Int(String(decoding: rest[..<lineEnd.lowerBound], as: UTF8.self), radix: 16), size > 0
      {
        let start = lineEnd.upperBound
        request.body += rest[start..<start + size]
        rest = rest[(start + size + 2)...]
      }
    } else {
      let length = request.header("content-length").flatMap(Int.init) ?? 0
      while bytes.count < end + length { if !more() { break } }
      request.body = Array(bytes[end...])
    }
    return request
  }
}
