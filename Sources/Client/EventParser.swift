// Reads server-sent events (WHATWG HTML §9.2.6) from bytes as they come, however they are cut: a pure function with
// bounds. EventFollower.swift feeds it.
import Foundation

/// One event as it came over the wire.
struct WireEvent: Sendable, Hashable {
  /// The id that this event carries itself; nil where it carries none.
  var id: String?
  /// `message` where the event has no name.
  var name: String
  /// Lines are joined by line feeds.
  var data: String
}

/// Why bytes are no stream of events.
struct EventParserFault: Error, Hashable {
  let reason: String
}

/// The state between two pieces of a stream.
struct EventParser {
  /// Longest line, and all the data of one event; an event of ours has a few hundred bytes.
  static let eventBytesMax = 1 << 20

  /// The id of the last event that had one; what a client names when it comes back.
  private(set) var lastID: String?
  /// The pause that the server asked for before coming back.
  private(set) var retryMilliseconds: Int?

  private var line: [UInt8] = []
  private var isAtStart = true
  private var endedWithReturn = false
  private var data: [UInt8] = []
  private var hasData = false
  private var name = ""
  private var id: String?

  init(lastID: String? = nil) { self.lastID = lastID }

  /// Takes the next bytes.
  ///
  /// - Returns: the events that they complete. One that the stream ends in the middle of never comes out.
  /// - Throws: ``EventParserFault`` for what is no UTF-8, and for a line or an event that is too long.
  mutating func take(_ bytes: some Sequence<UInt8>) throws(EventParserFault) -> [WireEvent] {
    var events: [WireEvent] = []
    for byte in bytes {
      // A line ends with CR, LF or both; the two may come in different pieces.
      let followsReturn = endedWithReturn
      endedWithReturn = byte == 0x0D
      if byte == 0x0A && followsReturn { continue }
      guard byte == 0x0A || byte == 0x0D else {
        guard line.count < Self.eventBytesMax else {
          throw EventParserFault(reason: "a line is longer than \(Self.eventBytesMax) bytes")
        }
        line.append(byte)
        continue
      }
      if isAtStart {
        isAtStart = false
        if line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
      }
      if let event = try endLine() { events.append(event) }
      line.removeAll(keepingCapacity: true)
    }
    return events
  }

  private mutating func endLine() throws(EventParserFault) -> WireEvent? {
    if line.isEmpty { return try dispatch() }
    guard line[0] != UInt8(ascii: ":") else { return nil }
    let colon = line.firstIndex(of: UInt8(ascii: ":"))
    var value = line[(colon.map { $0 + 1 } ?? line.count)...]
    if value.first == 0x20 { value.removeFirst() }
    switch String(decoding: line[..<(colon ?? line.count)], as: UTF8.self) {
    case "data":
      guard data.count + value.count < Self.eventBytesMax else {
        throw EventParserFault(reason: "an event is longer than \(Self.eventBytesMax) bytes")
      }
      if hasData { data.append(0x0A) }
      data += value
      hasData = true
    case "event": name = try Self.text(value)
    case "id": if !value.contains(0) { id = try Self.text(value) }
    case "retry":
      if !value.isEmpty, value.count < 10, value.allSatisfy({ (0x30...0x39).contains($0) }) {
        retryMilliseconds = Int(String(decoding: value, as: UTF8.self))
      }
    default: break
    }
    return nil
  }

  private mutating func dispatch() throws(EventParserFault) -> WireEvent? {
    defer {
      data.removeAll(keepingCapacity: true)
      hasData = false
      name = ""
      id = nil
    }
    if let id { lastID = id.isEmpty ? nil : id }
    guard hasData else { return nil }
    return WireEvent(id: id, name: name.isEmpty ? "message" : name, data: try Self.text(data[...]))
  }

  private static func text(_ bytes: ArraySlice<UInt8>) throws(EventParserFault) -> String {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw EventParserFault(reason: "the stream is not UTF-8")
    }
    return text
  }
}
