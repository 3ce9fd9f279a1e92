// Columns of text for people; machines ask for --json. All list commands print through it.

/// Rows under headings, each column as wide as its widest cell.
struct Table {
  let headings: [String]
  /// Columns that hold numbers and are set to the right.
  var rightAligned: Set<Int> = []
  private(set) var rows: [[String]] = []

  init(_ headings: [String], rightAligned: Set<Int> = []) {
    self.headings = headings
    self.rightAligned = rightAligned
  }

  /// Adds a row; nil cells show as a dash.
  mutating func add(_ cells: [String?]) {
    precondition(cells.count == headings.count, "a row needs a cell for each heading")
    rows.append(cells.map { Self.printable($0 ?? "-") })
  }

  /// All lines, headings first.
  var text: String {
    let all = [headings] + rows
    let widths = headings.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        let gap = String(repeating: " ", count: widths[column] - cell.count)
        line += (column == 0 ? "" : "  ") + (rightAligned.contains(column) ? gap + cell : cell + gap)
      }
      return String(line.reversed().drop { $0 == " " }.reversed())
    }.joined(separator: "\n")
  }

  /// Text from a server without control characters, which could command the terminal.
  static func printable(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.map { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) ? "\u{FFFD}" : $0 }))
  }
}
