// Reads a stream of server-sent events from a socket as it comes, for EventStreamTests.swift: chunks and fields are taken
// apart here on their own, so that the program's reader is not needed to judge the program's writer.
import Contract
import Foundation
import Glibc

/// One open stream.
final class EventReader {
  struct Event {
    var id: Int?
    var name: String
    var data: JSON
    var retryMilliseconds: Int?
  }

  let status: Int
  let head: String
  private let descriptor: Int32
  private var raw: [UInt8] = []
  private var body: [UInt8] = []
  /// Where the next line of the body begins.
  private var place = 0
  private var event = Event(id: nil, name: "message", data: .null)
  private var hasData = false
  private var hasEnded = false

  /// Asks and reads the head of the answer.
  ///
  /// - Parameter lastEventID: as a client sends it that comes back.
  init(
    _ server: ServerUnderTest, _ target: String, lastEventID: String? = nil, key: String? = nil, method: String = "GET"
  ) throws {
    var headers = [("Accept", "text/event-stream"), ("Authorization", "Bearer \(key ?? server.key)")]
    if let lastEventID { headers.append(("Last-Event-ID", lastEventID)) }
    descriptor = try server.client.ask(method, target, headers: headers)
    while true {
      if let end = raw.firstRange(of: Array("\r\n\r\n".utf8)) {
        head = String(decoding: raw[..<end.lowerBound], as: UTF8.self)
        status = Int(head.split(separator: " ")[1]) ?? 0
        raw.removeFirst(end.upperBound)
        return
      }
      guard try Self.more(descriptor, &raw) else { throw RawClientError(what: "no answer") }
    }
  }

  deinit { close(descriptor) }

  /// The next event; nil at the end of the stream.
  func next() throws -> Event? {
    while true {
      while let line = takeLine() {
        let value = String(line.drop { $0 != ":" }.dropFirst(2))
        switch line.prefix(while: { $0 != ":" }) {
        case "id": event.id = Int(value)
        case "event": event.name = value
        case "retry": event.retryMilliseconds = Int(value)
        case "data":
          event.data = try JSON.parse(value)
          hasData = true
        default: break
        }
        guard line.isEmpty else { continue }
        let ended = event
        event = Event(id: nil, name: "message", data: .null)
        // A heartbeat is a comment.
        if hasData {
          hasData = false
          return ended
        }
      }
      if hasEnded { return nil }
      try readChunk()
    }
  }

  private func takeLine() -> String? {
    guard let end = body[place...].firstIndex(of: 0x0A) else {
      body.removeFirst(place)
      place = 0
      return nil
    }
    defer { place = end + 1 }
    return String(decoding: body[place..<end], as: UTF8.self)
  }

  /// All events until the stream ends.
  func rest() throws -> [Event] {
    var events: [Event] = []
    while let event = try next() { events.append(event) }
    return events
  }

  private func readChunk() throws {
    while true {
      if let line = raw.firstRange(of: Array("\r\n".utf8)) {
        guard let size = Int(String(decoding: raw[..<line.lowerBound], as: UTF8.self), radix: 16) else {
          throw RawClientError(what: "bad chunk")
        }
        if size == 0 {
          hasEnded = true
          return
        }
        if raw.count >= line.upperBound + size + 2 {
          body += raw[line.upperBound..<line.upperBound + size]
          raw.removeFirst(line.upperBound + size + 2)
          return
        }
      }
      guard try Self.more(descriptor, &raw) else {
        hasEnded = true
        return
      }
    }
  }

  private static func more(_ descriptor: Int32, _ bytes: inout [UInt8]) throws -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    let count = read(descriptor, &buffer, buffer.count)
    guard count >= 0 else { throw RawClientError(what: "read: \(String(cString: strerror(errno)))") }
    bytes += buffer[..<count]
    return count > 0
  }
}
