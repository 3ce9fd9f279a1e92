// A small bitmap drawn with braille characters, two dots wide and four high a cell. CurveView.swift plots on it.

/// Dots on a grid, printed as Unicode braille.
struct BrailleCanvas {
  /// Size in characters.
  let columns: Int
  let rows: Int
  /// Size in dots.
  var width: Int { columns * 2 }
  var height: Int { rows * 4 }

  private var cells: [UInt8]

  init(columns: Int, rows: Int) {
    precondition(columns > 0 && rows > 0, "a canvas needs at least one cell")
    self.columns = columns
    self.rows = rows
    cells = [UInt8](repeating: 0, count: columns * rows)
  }

  // Bit of each dot in a braille character, by column and row (Unicode 15, block U+2800).
  private static let bits: [[UInt8]] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]]

  /// Sets a dot; `x` counts from the left, `y` from the top. Dots outside are left out.
  mutating func set(x: Int, y: Int) {
    guard (0..<width).contains(x), (0..<height).contains(y) else { return }
    cells[y / 4 * columns + x / 2] |= Self.bits[x % 2][y % 4]
  }

  /// Sets the dots of one column from `y0` to `y1`, in either order.
  mutating func setColumn(x: Int, from y0: Int, to y1: Int) {
    for y in max(0, min(y0, y1))...max(0, min(height - 1, max(y0, y1))) { set(x: x, y: y) }
  }

  /// The characters of one row from the left.
  func line(_ row: Int) -> String {
    let scalars = cells[row * columns..<(row + 1) * columns].map { Unicode.Scalar(0x2800 + UInt32($0))! }
    return String(String.UnicodeScalarView(scalars))
  }
}
