// A loss curve as lines of text: braille dots, a logarithmic y axis where the values allow one, steps below.
// JobFollower.swift draws it live, `job curve` once.
import Contract
import Foundation

/// Draws a curve of a known horizon into a block of text.
struct CurveView {
  /// Characters of the whole block, labels included.
  var columns: Int
  /// Lines of the plot itself; the x axis takes two more.
  var rows: Int
  /// The x axis runs from step 0 to here.
  var horizon: Int

  // Width of "1.23e-04 " and the axis line.
  private static let labelColumns = 9

  /// The lines of the block, without line ends; `rows + 2` of them.
  func lines(_ points: CurvePoints, title: String) -> [String] {
    let plotColumns = max(10, columns - Self.labelColumns - 1)
    let finite = zip(points.steps, points.values).filter { $0.1.isFinite }
    let scale = Scale(values: finite.map { Double($0.1) })
    var canvas = BrailleCanvas(columns: plotColumns, rows: rows)
    let span = Double(max(1, horizon))

    // Each column of dots shows the range of the values that fall on it, joined to the column before.
    var ranges: [Int: (low: Int, high: Int)] = [:]
    var order: [Int] = []
    for (step, value) in finite {
      let x = min(canvas.width - 1, max(0, Int(Double(step) / span * Double(canvas.width - 1))))
      let y = canvas.height - 1 - Int((scale.fraction(Double(value)) * Double(canvas.height - 1)).rounded())
      if let range = ranges[x] {
        ranges[x] = (min(range.low, y), max(range.high, y))
      } else {
        ranges[x] = (y, y)
        order.append(x)
      }
    }
    var previous: (x: Int, low: Int, high: Int)?
    for x in order {
      guard let range = ranges[x] else { continue }
      canvas.setColumn(x: x, from: range.low, to: range.high)
      if let previous, x == previous.x + 1 {
        if range.low > previous.high + 1 { canvas.setColumn(x: x, from: previous.high + 1, to: range.low) }
        if range.high < previous.low - 1 { canvas.setColumn(x: x, from: range.high, to: previous.low - 1) }
      } else if let previous, x > previous.x {
        join(&canvas, from: (previous.x, (previous.low + previous.high) / 2), to: (x, (range.low + range.high) / 2))
      }
      previous = (x, range.low, range.high)
    }
    return framed(canvas, scale: scale, title: title, empty: finite.isEmpty)
  }

  private func join(_ canvas: inout BrailleCanvas, from a: (x: Int, y: Int), to b: (x: Int, y: Int)) {
    for x in a.x...b.x {
      let t = Double(x - a.x) / Double(b.x - a.x)
      canvas.set(x: x, y: Int((Double(a.y) + t * Double(b.y - a.y)).rounded()))
    }
  }

  private func framed(_ canvas: BrailleCanvas, scale: Scale, title: String, empty: Bool) -> [String] {
    var lines: [String] = []
    for row in 0..<rows {
      let isLabelled = !empty && (row == 0 || row == rows - 1 || (rows >= 7 && row == rows / 2))
      let fraction = 1 - Double(row) / Double(max(1, rows - 1))
      let label = isLabelled ? Self.short(scale.value(fraction)) : ""
      lines.append(Self.padLeft(label, Self.labelColumns - 1) + " │" + canvas.line(row))
    }
    lines.append(String(repeating: " ", count: Self.labelColumns) + "└" + String(repeating: "─", count: canvas.columns))
    let right = "\(horizon) steps"
    let kind = empty ? "\(title), no points yet" : "\(title)\(scale.isLogarithmic ? ", log scale" : "")"
    let gap = canvas.columns - kind.count - right.count - 2
    lines.append(
      String(repeating: " ", count: Self.labelColumns + 1) + "0 " + kind
        + (gap > 0 ? String(repeating: " ", count: gap) : " ") + right)
    return lines
  }

  /// At most eight characters that tell a value: `2.303`, `0.0412`, `1.2e-05`.
  static func short(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "NaN" : value < 0 ? "-inf" : "inf" }
    let size = abs(value)
    if size != 0 && (size < 1e-3 || size >= 1e5) { return String(format: "%.1e", value) }
    return String(format: size >= 100 ? "%.1f" : size >= 0.1 ? "%.3f" : "%.4f", value)
  }

  static func padLeft(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }

  /// Maps values to 0...1, by their logarithms when all are positive and span enough to deserve it.
  struct Scale {
    let isLogarithmic: Bool
    private let low: Double
    private let high: Double

    init(values: [Double]) {
      let least = values.min() ?? 0
      let most = values.max() ?? 1
      isLogarithmic = least > 0 && most / least >= 1.5
      let a = isLogarithmic ? log(least) : least
      let b = isLogarithmic ? log(most) : most
      // A flat curve gets a band around it, so that it lies in the middle.
      let margin = b > a ? 0 : max(abs(a) * 0.1, 1e-6)
      low = a - margin
      high = b + margin
    }

    /// Place of a value between the lowest (0) and the highest (1).
    func fraction(_ value: Double) -> Double {
      ((isLogarithmic ? log(value) : value) - low) / (high - low)
    }

    /// The value at a place.
    func value(_ fraction: Double) -> Double {
      let x = low + fraction * (high - low)
      return isLogarithmic ? exp(x) : x
    }
  }
}
