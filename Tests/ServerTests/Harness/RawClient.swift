// A blocking HTTP client for tests that hides nothing: one connection a request, the answer as it came.
import Contract
import Foundation
import Glibc

/// An answer as it came over the wire.
struct RawAnswer: Sendable {
  var status: Int
  /// Names in lower case.
  var headers: [String: String]
  var body: [UInt8]

  var text: String { String(decoding: body, as: UTF8.self) }
  /// The body as JSON; null when it is not.
  var json: JSON { (try? JSON.parse(body)) ?? .null }
  var contentType: String { headers["content-type"]?.prefix { $0 != ";" }.description ?? "" }
  /// The paths of a problem's faults.
  var faultPaths: [String] { (json["errors"]?.array ?? []).compactMap { $0["path"]?.string } }
  var detail: String { json["detail"]?.string ?? "" }
}

struct RawClientError: Error {
  let what: String
}

/// Sends one request and reads the answer to its end.
struct RawClient: Sendable {
  let port: Int

  func send(
    _ method: String, _ target: String, headers: [(String, String)] = [], body: [UInt8]? = nil
  ) throws -> RawAnswer {
    let descriptor = try ask(method, target, headers: headers, body: body)
    defer { close(descriptor) }
    return try Self.parse(readAll(descriptor), hasBody: method != "HEAD")
  }

  /// Sends a request and returns the socket, which the caller closes.
  func ask(
    _ method: String, _ target: String, headers: [(String, String)] = [], body: [UInt8]? = nil
  ) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw RawClientError(what: "socket") }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port).bigEndian)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard connected == 0 else {
      close(descriptor)
      throw RawClientError(what: "connect: \(String(cString: strerror(errno)))")
    }
    var timeout = timeval(tv_sec: 90, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))

    var head = "\(method) \(target) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for (name, value) in headers { head += "\(name): \(value)\r\n" }
    if let body { head += "Content-Length: \(body.count)\r\n" }
    write(Array((head + "\r\n").utf8) + (body ?? []), to: descriptor)
    return descriptor
  }

  private func write(_ bytes: [UInt8], to descriptor: Int32) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      // A server that refuses a body answers before it is all sent.
      guard count > 0 else { return }
      sent += count
    }
  }

  private func readAll(_ descriptor: Int32) throws -> [UInt8] {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      if count == 0 || count < 0 && errno == ECONNRESET && !all.isEmpty { return all }
      guard count > 0 else { throw RawClientError(what: "read: \(String(cString: strerror(errno)))") }
      all += buffer[..<count]
    }
  }

  private static func parse(_ bytes: [UInt8], hasBody: Bool) throws -> RawAnswer {
    guard let end = bytes.firstRange(of: Array("\r\n\r\n".utf8)) else { throw RawClientError(what: "no answer") }
    let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
    let words = lines[0].split(separator: " ")
    guard words.count >= 2, let status = Int(words[1]) else { throw RawClientError(what: "bad status: \(lines[0])") }
    var headers: [String: String] = [:]
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { throw RawClientError(what: "bad header: \(line)") }
      headers[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
    }
    let body = Array(bytes[end.upperBound...])
    if hasBody, let length = headers["content-length"].flatMap(Int.init), length != body.count {
      throw RawClientError(what: "the body has \(body.count) of \(length) bytes")
    }
    return RawAnswer(status: status, headers: headers, body: body)
  }
}
