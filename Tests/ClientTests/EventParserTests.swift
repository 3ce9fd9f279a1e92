// Tests for Client/EventParser.swift: a table of texts, any cut of them, and bytes that are no stream at all.
import Foundation
import Testing

@testable import Client

struct EventParserTests {
  /// Numbers for the properties; the same ones in every run.
  private struct Dice {
    var state: UInt64
    mutating func roll(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(count))
    }
  }

  private static func event(_ data: String, id: String? = nil, name: String = "message") -> WireEvent {
    WireEvent(id: id, name: name, data: data)
  }

  @Test(
    "texts and their events",
    arguments: [
      ("", []),
      ("data: one\n\n", [event("one")]),
      ("data: one\r\rdata: two\r\n\r\n", [event("one"), event("two")]),
      ("data: a\ndata: b\n\n", [event("a\nb")]),
      ("data\n\ndata\ndata\n\ndata:", [event(""), event("\n")]),
      ("data:a\ndata:  b\n\n", [event("a\n b")]),
      (": comment\n\n:\n\ndata: x\n\n", [event("x")]),
      ("id: 7\nevent: state\ndata: {}\n\n", [event("{}", id: "7", name: "state")]),
      ("id: 7\n\ndata: x\n\n", [event("x")]),
      ("event: state\n\ndata: x\n\n", [event("x")]),
      ("id: 1\ndata: a\n\ndata: b\n\n", [event("a", id: "1"), event("b")]),
      ("\u{FEFF}data: first\n\n", [event("first")]),
      ("data: \u{FEFF}inside\n\n", [event("\u{FEFF}inside")]),
      ("unknown: field\nnocolon\ndata: x\nDATA: y\n\n", [event("x")]),
      ("id: a\u{0}b\ndata: x\n\n", [event("x")]),
      ("data: not ended\n", []),
      ("data: ünïcödé \u{1F600}\n\n", [event("ünïcödé \u{1F600}")]),
    ] as [(String, [WireEvent])])
  func table(text: String, expected: [WireEvent]) throws {
    var parser = EventParser()
    #expect(try parser.take(text.utf8) == expected)
    // Byte by byte.
    var slow = EventParser()
    var events: [WireEvent] = []
    for byte in text.utf8 { events += try slow.take([byte]) }
    #expect(events == expected)
    #expect(slow.lastID == parser.lastID)
  }

  @Test("the last id stays through events without one, is taken without data, and can be taken back")
  func lastID() throws {
    var parser = EventParser(lastID: "3")
    #expect(try parser.take("data: x\n\n".utf8).count == 1 && parser.lastID == "3")
    _ = try parser.take("id: 4\n\n".utf8)
    #expect(parser.lastID == "4")
    // An event that is not complete has not been seen.
    _ = try parser.take("id: 5\ndata: half".utf8)
    #expect(parser.lastID == "4")
    _ = try parser.take("\n\nid\n\n".utf8)
    #expect(parser.lastID == nil)
  }

  @Test("a pause is a number, and anything else leaves it as it was")
  func retry() throws {
    var parser = EventParser()
    _ = try parser.take("retry: 250\nretry: soon\nretry: -1\nretry:\nretry: 99999999999\n".utf8)
    #expect(parser.retryMilliseconds == 250)
  }

  @Test("what is no UTF-8, and what has no end, is refused")
  func refused() throws {
    for bytes in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80]] as [[UInt8]] {
      var parser = EventParser()
      #expect(throws: EventParserFault.self) { try parser.take(Array("data: ".utf8) + bytes + Array("\n\n".utf8)) }
    }
    var line = EventParser()
    let piece = [UInt8](repeating: 0x61, count: 1 << 16)
    #expect(throws: EventParserFault.self) { for _ in 0...EventParser.eventBytesMax >> 16 { _ = try line.take(piece) } }
    var event = EventParser()
    let data = Array("data: ".utf8) + piece + [0x0A]
    #expect(throws: EventParserFault.self) { for _ in 0...EventParser.eventBytesMax >> 16 { _ = try event.take(data) } }
  }

  @Test("events come out as they were written, wherever the bytes are cut and however lines end")
  func anyCut() throws {
    var dice = Dice(state: 5)
    let letters = Array("aé:0 \u{1F600}{}\"\t")
    for _ in 0..<500 {
      var text = dice.roll(4) == 0 ? "\u{FEFF}" : ""
      var written: [WireEvent] = []
      for number in 0..<dice.roll(6) {
        let end = ["\n", "\r", "\r\n"][dice.roll(3)]
        let lines = (0...dice.roll(3)).map { _ in
          String((0..<dice.roll(12)).map { _ in letters[dice.roll(letters.count)] })
        }
        let id = dice.roll(2) == 0 ? String(number) : nil
        let name = dice.roll(2) == 0 ? "state" : nil
        if dice.roll(3) == 0 { text += ": beat\(end)" }
        if let id { text += "id: \(id)\(end)" }
        for line in lines { text += "data: \(line)\(end)" }
        if let name { text += "event: \(name)\(end)" }
        text += end
        written.append(WireEvent(id: id, name: name ?? "message", data: lines.joined(separator: "\n")))
      }
      // A lone CR that ends the text waits for no LF.
      let bytes = Array(text.utf8)
      var parser = EventParser()
      var read: [WireEvent] = []
      var place = 0
      while place < bytes.count {
        let count = min(bytes.count - place, dice.roll(9) + 1)
        read += try parser.take(bytes[place..<place + count])
        place += count
      }
      #expect(read == written, "\(text.debugDescription)")
    }
  }

  @Test("bytes of any kind end in events or in a fault, and the same ones in one piece end alike")
  func anyBytes() {
    var dice = Dice(state: 9)
    let pieces: [[UInt8]] = ["data: ", "id: ", "event:", "retry: 5", "\n", "\r", "\n\n", ":", "x"].map {
      Array($0.utf8)
    }
    for _ in 0..<2000 {
      var bytes: [UInt8] = []
      for _ in 0..<dice.roll(40) {
        bytes += dice.roll(5) == 0 ? [UInt8(dice.roll(256))] : pieces[dice.roll(pieces.count)]
      }
      func events(cut: Int) -> [WireEvent]? {
        var parser = EventParser()
        var events: [WireEvent] = []
        var place = 0
        while place < bytes.count {
          guard let more = try? parser.take(bytes[place..<min(place + cut, bytes.count)]) else { return nil }
          events += more
          place += cut
        }
        return events
      }
      #expect(events(cut: 1) == events(cut: max(bytes.count, 1)))
    }
  }
}
