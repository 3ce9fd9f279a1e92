// A client on a bare socket: sends exactly the bytes it is told to and reads answers by their framing.

import Foundation
import Glibc

/// What came back for one request.
struct RawResponse {
  var status: Int
  var headers: [(name: String, value: String)]
  var body: [UInt8]

  var text: String { String(decoding: body, as: UTF8.self) }

  subscript(name: String) -> String? { headers.first { $0.name.lowercased() == name.lowercased() }?.value }
}

struct RawClientError: Error, CustomStringConvertible { let description: String }

/// A blocking socket with a bound on each wait. `@unchecked Sendable`: each test uses one from one thread at a time.
final class RawClient: @unchecked Sendable {
  private let descriptor: Int32
  private var received: [UInt8] = []
  private let pieceBytes: Int?
  /// Nil on a plain connection.
  let tls: TLSClientSession?

  /// - Parameter secured: makes a TLS handshake; nil speaks plain HTTP.
  init(port: Int, receiveBufferBytes: Int32? = nil, timeoutSeconds: Int = 10, secured: TLSClientSettings? = nil) throws
  {
    tls = secured.map(TLSClientSession.init)
    pieceBytes = secured?.pieceBytes
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var wait = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &wait, socklen_t(MemoryLayout<timeval>.size))
    if var bytes = receiveBufferBytes {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard connected == 0 else { throw RawClientError(description: "connect: \(String(cString: strerror(errno)))") }
    if let tls {
      while true {
        let isOver = try tls.handshake()
        try sendOnWire(tls.takeOutgoing())
        if isOver { break }
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { throw RawClientError(description: "the connection ended during the handshake") }
        tls.feed(buffer[..<count])
      }
    }
  }

  deinit { close(descriptor) }

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) throws {
    guard let tls else { return try sendOnWire(bytes) }
    try tls.encrypt(bytes)
    try sendOnWire(tls.takeOutgoing())
  }

  /// Sends bytes that TLS, if there is any, does not see.
  func sendOnWire(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(
          descriptor, $0.baseAddress! + done, min(pieceBytes ?? .max, bytes.count - done), Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { throw RawClientError(description: "send: \(String(cString: strerror(errno)))") }
      done += count
    }
  }

  func halfClose() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Reads more; false at the end of the connection, a reset included.
  func receive() throws -> Bool {
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    if count < 0, errno == EAGAIN { throw RawClientError(description: "nothing came in time; so far: \(soFar)") }
    guard count > 0 else { return false }
    if let tls {
      tls.feed(buffer[..<count])
      received += try tls.decrypt()
    } else {
      received.append(contentsOf: buffer[..<count])
    }
    return true
  }

  private var soFar: String { String(decoding: received.prefix(300), as: UTF8.self) }

  /// Everything until the server closes.
  func readToEnd() throws -> String {
    while try receive() {}
    defer { received = [] }
    return String(decoding: received, as: UTF8.self)
  }

  /// Waits for the given text and takes everything up to its end.
  func read(until text: String) throws -> String {
    let wanted = Array(text.utf8)
    while true {
      if let end = Self.end(of: wanted, in: received) {
        defer { received.removeFirst(end) }
        return String(decoding: received[..<end], as: UTF8.self)
      }
      guard try receive() else {
        throw RawClientError(description: "the connection ended before \(text.debugDescription); so far: \(soFar)")
      }
    }
  }

  /// Reads one answer by its framing.
  func readResponse(toHead: Bool = false) throws -> RawResponse {
    let head = try read(until: "\r\n\r\n")
    let lines = head.components(separatedBy: "\r\n")
    let parts = lines[0].split(separator: " ")
    guard parts.count >= 2, parts[0] == "HTTP/1.1", let status = Int(parts[1]) else {
      throw RawClientError(description: "not a status line: \(lines[0])")
    }
    let headers = lines[1...].filter { !$0.isEmpty }.map { line -> (name: String, value: String) in
      let colon = line.firstIndex(of: ":")!
      return (String(line[..<colon]), line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces))
    }
    var response = RawResponse(status: status, headers: headers, body: [])
    if toHead || status == 100 || status == 204 || status == 304 { return response }
    if let length = response["Content-Length"].flatMap(Int.init) {
      response.body = try take(length)
    } else if response["Transfer-Encoding"] == "chunked" {
      while true {
        let line = try read(until: "\r\n").dropLast(1)
        guard let size = Int(line.trimmingCharacters(in: .whitespacesAndNewlines), radix: 16) else {
          throw RawClientError(description: "not a chunk size: \(line)")
        }
        response.body += try take(size)
        _ = try read(until: "\r\n")
        if size == 0 { break }
      }
    } else {
      response.body = Array(try readToEnd().utf8)
    }
    return response
  }

  func exchange(_ request: String) throws -> RawResponse {
    try send(request)
    return try readResponse(toHead: request.hasPrefix("HEAD "))
  }

  /// Whether the server closes without sending anything more.
  func isClosedByServer() throws -> Bool {
    try !receive()
  }

  private func take(_ count: Int) throws -> [UInt8] {
    while received.count < count {
      guard try receive() else {
        throw RawClientError(description: "the connection ended \(count - received.count) bytes too early")
      }
    }
    defer { received.removeFirst(count) }
    return Array(received[..<count])
  }

  private static func end(of wanted: [UInt8], in bytes: [UInt8]) -> Int? {
    guard bytes.count >= wanted.count else { return nil }
    for start in 0...(bytes.count - wanted.count) where bytes[start..<start + wanted.count].elementsEqual(wanted) {
      return start + wanted.count
    }
    return nil
  }
}
