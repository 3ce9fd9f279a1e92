// TableRow.swift: what single cells are, held against the standard library's own reading of numbers.
import Foundation
import Testing

@testable import Learning

/// Always the same numbers.
private struct Draws: RandomNumberGenerator {
  private var state: UInt64 = 11

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state >> 32) << 32 | (state &* 0x9E37_79B9_7F4A_7C15) >> 32
  }
}

@Suite struct TableRowTests {
  private func cell(_ text: String) -> Cell {
    var row = TableRow()
    row.append(cell: text)
    return row.withCell(0) { Cell($0) }
  }

  @Test func `decimal numbers are the doubles that the standard library reads`() {
    var draws = Draws()
    func digits(_ count: Int) -> String {
      String((0..<count).map { _ in Character(String(Int.random(in: 0...9, using: &draws))) })
    }
    let signs = ["", "-", "+"]
    for _ in 0..<20_000 {
      let whole = Int.random(in: 0...15, using: &draws), part = Int.random(in: 0...15, using: &draws)
      var text = signs.randomElement(using: &draws)! + digits(whole)
      if part > 0 { text += "." + digits(part) }
      if Int.random(in: 0...3, using: &draws) == 0 {
        text += "e" + signs.randomElement(using: &draws)! + digits(Int.random(in: 1...2, using: &draws))
      }
      if whole + part == 0 {
        if case .number = cell(text) { Issue.record("\(text) has no digits") }
        continue
      }
      let value = Double(text)!
      #expect(cell(text) == (abs(value) < 1e30 ? .number(value) : .lookalike("a number below 1e30")), "\(text)")
    }
    for text in ["9007199254740993", "123456789012345678901234567890", "0.1e-400", "4.9e-324", "00000.000010", "1e22"] {
      #expect(cell(text) == .number(Double(text)!), "\(text)")
    }
  }

  @Test func `what is no decimal number is missing, text, or said to look like a number`() {
    for text in ["", "  ", "\t", "NA", "n/a", "NaN", "?", " null "] { #expect(cell(text) == .missing, "\(text)") }
    for text in ["red", "-", ".", "e5", "1e", "1e+", "1.2.3", "--1", "é", "1 2"] {
      #expect(cell(text) == .text, "\(text)")
    }
    for text in ["0x1F", "inf", "1,000", "1_000", "1e31"] {
      guard case .lookalike = cell(text) else {
        Issue.record("\(text)")
        continue
      }
    }
  }

  @Test func `spaces of all kinds around a cell are no part of it`() {
    for space in [" ", "\t", "\u{A0}", "\u{1680}", "\u{2003}", "\u{200B}", "\u{202F}", "\u{205F}", "\u{3000}"] {
      #expect(cell(space + "1.5" + space + space) == .number(1.5), "\(space.unicodeScalars)")
      #expect(cell(space) == .missing)
    }
    var row = TableRow()
    row.append(cell: " über \u{2003}")
    #expect(row.withCell(0) { String(decoding: $0, as: UTF8.self) } == "über")
    #expect(row.text(0) == " über \u{2003}")
  }

  @Test func `a row is used again without what it held before`() {
    var row = TableRow()
    #expect(row.isBlank)
    row.append(cell: "a")
    row.append(cell: "")
    #expect(row.count == 2 && !row.isBlank && row.text(1) == "")
    row.removeAll()
    row.append(cell: "b")
    #expect(row.count == 1 && row.text(0) == "b")
  }
}
