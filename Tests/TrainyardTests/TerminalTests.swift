// Tests for what the terminal shows: BrailleCanvas, CurveView, ProgressBar, Pace, Table.
import Contract
import Testing

@testable import trainyard

struct BrailleCanvasTests {
  @Test("each dot of a cell is its own bit of the character")
  func dots() {
    var canvas = BrailleCanvas(columns: 2, rows: 1)
    canvas.set(x: 0, y: 0)
    #expect(canvas.line(0) == "\u{2801}\u{2800}")
    for x in 0..<2 { for y in 0..<4 { canvas.set(x: x, y: y) } }
    #expect(canvas.line(0) == "\u{28FF}\u{2800}")
    canvas.set(x: 3, y: 3)
    #expect(canvas.line(0) == "\u{28FF}\u{2880}")
  }

  @Test("dots outside the canvas are left out")
  func outside() {
    var canvas = BrailleCanvas(columns: 1, rows: 1)
    for (x, y) in [(-1, 0), (2, 0), (0, -1), (0, 4)] { canvas.set(x: x, y: y) }
    #expect(canvas.line(0) == "\u{2800}")
    canvas.setColumn(x: 0, from: 9, to: -9)
    #expect(canvas.line(0) == "\u{2847}")
  }
}

struct CurveViewTests {
  private let view = CurveView(columns: 40, rows: 4, horizon: 100)

  @Test("a loss over decades is drawn on a logarithmic axis from its highest to its lowest value")
  func logarithmic() {
    let lines = view.lines(CurvePoints(steps: [0, 100], values: [10, 0.001]), title: "loss")
    #expect(lines.count == 6)
    #expect(lines[0].hasPrefix("  10.000 │"))
    #expect(lines[3].hasPrefix("  0.0010 │"))
    #expect(lines[5].contains("loss, log scale") && lines[5].hasSuffix("100 steps"))
    #expect(lines.allSatisfy { $0.count <= 40 })
    // A straight line in the logarithm: each quarter of the width lies in its own row.
    for (row, line) in lines.prefix(4).enumerated() {
      let plot = Array(line.drop { $0 != "│" }.dropFirst())
      let marked = plot.indices.filter { plot[$0] != "\u{2800}" }
      #expect(marked.min()! >= plot.count * row / 4 - 2 && marked.max()! <= plot.count * (row + 1) / 4 + 1)
    }
  }

  @Test("values at or below zero take a linear axis")
  func linear() {
    let lines = view.lines(CurvePoints(steps: [0, 50, 100], values: [0, 0.5, 1]), title: "accuracy")
    #expect(lines[5].contains("accuracy") && !lines[5].contains("log"))
  }

  @Test("points that are not finite leave a gap, and no points at all say so")
  func gaps() {
    let empty = view.lines(CurvePoints(), title: "loss")
    #expect(empty[5].contains("loss, no points yet"))
    let all = view.lines(CurvePoints(steps: [0, 1], values: [.nan, .infinity]), title: "loss")
    #expect(all[5].contains("no points yet"))
  }

  @Test("a flat curve lies in the middle")
  func flat() {
    let lines = view.lines(CurvePoints(steps: [0, 100], values: [2, 2]), title: "loss")
    #expect(
      lines[1].contains { ("\u{2801}"..."\u{28FF}").contains($0) }
        || lines[2].contains { ("\u{2801}"..."\u{28FF}").contains($0) })
    #expect(!lines[0].contains { ("\u{2801}"..."\u{28FF}").contains($0) })
  }

  @Test(
    "values are told in few characters",
    arguments: [(2.3026, "2.303"), (0.04119, "0.0412"), (0.0000123, "1.2e-05"), (123.456, "123.5"), (0, "0.0000")])
  func short(value: Double, text: String) {
    #expect(CurveView.short(value) == text)
  }
}

struct ProgressTests {
  @Test("the bar fills by eighths of a character and never overflows")
  func bar() {
    let bar = ProgressBar(columns: 4)
    #expect(bar.text(done: 0, total: 32) == "░░░░")
    #expect(bar.text(done: 9, total: 32) == "█▏░░")
    #expect(bar.text(done: 99, total: 32) == "████")
    #expect(bar.text(done: 1, total: 0) == "░░░░")
  }

  @Test("the pace is that of the recent past")
  func pace() throws {
    var pace = Pace(windowSeconds: 10)
    #expect(pace.stepsPerSecond == nil)
    pace.note(step: 0, seconds: 0)
    pace.note(step: 100, seconds: 1)
    #expect(pace.stepsPerSecond == 100)
    #expect(pace.secondsLeft(total: 1100) == 10)
    for second in 2...30 { pace.note(step: 100 + (second - 1) * 10, seconds: Double(second)) }
    #expect(try abs(#require(pace.stepsPerSecond) - 10) < 0.01)
  }

  @Test("a job that went back to a checkpoint starts its pace afresh")
  func restart() {
    var pace = Pace()
    pace.note(step: 500, seconds: 0)
    pace.note(step: 600, seconds: 1)
    pace.note(step: 550, seconds: 2)
    #expect(pace.stepsPerSecond == nil)
    pace.note(step: 560, seconds: 3)
    #expect(pace.stepsPerSecond == 10)
  }

  @Test("times are short", arguments: [(0.2, "1s"), (59, "59s"), (185, "3m05s"), (7800, "2h10m"), (352_800, "4d02h")])
  func times(seconds: Double, text: String) {
    #expect(Pace.short(seconds: seconds) == text)
  }
}

struct TableTests {
  @Test("columns line up, numbers to the right, missing cells as dashes")
  func alignment() {
    var table = Table(["ID", "N"], rightAligned: [1])
    table.add(["a", "5"])
    table.add(["long", nil])
    #expect(table.text == "ID    N\na     5\nlong  -")
  }

  @Test("control characters from a server do not reach the terminal")
  func control() {
    #expect(Table.printable("a\u{1B}[2Jb\n") == "a\u{FFFD}[2Jb\u{FFFD}")
  }
}
