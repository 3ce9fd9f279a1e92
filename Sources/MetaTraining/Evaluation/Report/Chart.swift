// Plots as SVG text: axes, lines, bands, cells. Colours come from the page's style sheet by class, so that the same plot
// is right on light and on dark; nothing is loaded from anywhere and nothing runs.
import Foundation

/// One axis.
struct Scale {
  let low: Double
  let high: Double
  /// The base of a logarithmic axis; nil for a linear one.
  let base: Double?

  /// An axis from `low` to `high`, made a little wider where they are equal. Logarithmic ones need positive ends.
  init(_ low: Double, _ high: Double, base: Double? = nil) {
    self.base = base
    guard low.isFinite, high.isFinite, low <= high, base == nil || low > 0 else {
      (self.low, self.high) = base == nil ? (0, 1) : (0.1, 10)
      return
    }
    if low < high {
      (self.low, self.high) = (low, high)
    } else if base == nil {
      (self.low, self.high) = (low - max(abs(low), 1) * 0.5, high + max(abs(high), 1) * 0.5)
    } else {
      (self.low, self.high) = (low / 2, high * 2)
    }
  }

  /// Where a value lies, 0 at the low end and 1 at the high one; beyond them for values outside.
  func place(_ value: Double) -> Double {
    base == nil
      ? (value - low) / (high - low) : (log(max(value, low * 1e-6)) - log(low)) / (log(high) - log(low))
  }

  /// Round values along the axis, at most about `count`.
  func ticks(_ count: Int = 6) -> [Double] {
    guard let base else {
      let raw = (high - low) / Double(count)
      let size = pow(10, floor(log10(raw)))
      let step = size * ([1, 2, 5, 10].first { $0 * size >= raw } ?? 10)
      return stride(from: (low / step).rounded(.up) * step, through: high + step * 1e-9, by: step).map {
        abs($0) < step * 1e-9 ? 0 : $0
      }
    }
    let first = Int((log(low) / log(base) - 1e-9).rounded(.up)),
      last = Int((log(high) / log(base) + 1e-9).rounded(.down))
    guard first < last else { return [low, high] }
    let step = max(1, (last - first + count - 1) / count)
    return stride(from: first, through: last, by: step).map { pow(base, Double($0)) }
  }
}

/// A plot under construction.
struct Chart {
  static let width = 640.0, height = 320.0
  private static let left = 64.0, right = 12.0, top = 12.0, bottom = 44.0

  let title: String
  /// What the plot shows, in words, for those who cannot see it.
  let description: String
  let x: Scale
  let y: Scale
  let xTitle: String
  let yTitle: String
  /// Unique on the page: names the clipping area.
  let id: String
  /// Whether the vertical axis has numbers.
  var hasNumbers = true
  private var marks: [String] = []

  init(
    _ title: String, description: String, id: String, x: Scale, y: Scale, xTitle: String, yTitle: String
  ) {
    self.title = title
    self.description = description
    self.id = id
    self.x = x
    self.y = y
    self.xTitle = xTitle
    self.yTitle = yTitle
  }

  private func across(_ value: Double) -> Double {
    Self.left + min(max(x.place(value), -2), 3) * (Self.width - Self.left - Self.right)
  }

  private func down(_ value: Double) -> Double {
    Self.height - Self.bottom - min(max(y.place(value), -2), 3) * (Self.height - Self.top - Self.bottom)
  }

  /// A line through points; gaps where one is not finite.
  mutating func line(_ points: [(x: Double, y: Double)], style: String) {
    var path = "", isDown = false
    for point in points {
      guard point.x.isFinite, point.y.isFinite else {
        isDown = false
        continue
      }
      path += "\(isDown ? "L" : "M")\(Self.short(across(point.x))) \(Self.short(down(point.y)))"
      isDown = true
    }
    guard !path.isEmpty else { return }
    marks.append("<path class=\"line \(style)\" d=\"\(path)\"/>")
  }

  /// The area between two curves.
  mutating func band(_ points: [(x: Double, low: Double, high: Double)], style: String) {
    let finite = points.filter { $0.x.isFinite && $0.low.isFinite && $0.high.isFinite }
    guard finite.count > 1 else { return }
    let there = finite.map { "\(Self.short(across($0.x))) \(Self.short(down($0.high)))" }
    let back = finite.reversed().map { "\(Self.short(across($0.x))) \(Self.short(down($0.low)))" }
    marks.append("<path class=\"band \(style)\" d=\"M\((there + back).joined(separator: "L"))Z\"/>")
  }

  mutating func dot(_ x: Double, _ y: Double, radius: Double = 3, style: String) {
    guard x.isFinite, y.isFinite else { return }
    marks.append(
      "<circle class=\"dot \(style)\" cx=\"\(Self.short(across(x)))\" cy=\"\(Self.short(down(y)))\" r=\"\(radius)\"/>")
  }

  /// Words that begin at a point.
  mutating func words(_ text: String, _ x: Double, _ y: Double) {
    marks.append(
      "<text class=\"tick\" x=\"\(Self.short(across(x)))\" y=\"\(Self.short(down(y)))\">\(Self.escape(text))</text>")
  }

  /// A rectangle between two points.
  mutating func cell(_ x0: Double, _ x1: Double, _ y0: Double, _ y1: Double, style: String) {
    let left = across(min(x0, x1)), right = across(max(x0, x1)), top = down(max(y0, y1)), bottom = down(min(y0, y1))
    marks.append(
      "<rect class=\"\(style)\" x=\"\(Self.short(left))\" y=\"\(Self.short(top))\" "
        + "width=\"\(Self.short(right - left))\" height=\"\(Self.short(bottom - top))\"/>")
  }

  /// A square grid of values as shades, equal neighbours in one piece. `values` is row by row from the lowest y.
  mutating func shades(_ values: [Double], side: Int, levels: Int = 12) {
    guard values.count == side * side, side > 1 else { return }
    // By rank, so that a few huge values do not hide the rest.
    let finite = values.filter(\.isFinite).sorted()
    guard let lowest = finite.first else { return }
    func level(_ value: Double) -> Int {
      guard value.isFinite else { return levels }
      var low = 0, high = finite.count
      while low < high {
        let middle = (low + high) / 2
        if finite[middle] < value { low = middle + 1 } else { high = middle }
      }
      return value == lowest ? 0 : min(levels - 1, low * levels / finite.count)
    }
    let dx = (x.high - x.low) / Double(side), dy = (y.high - y.low) / Double(side)
    for row in 0..<side {
      var start = 0
      while start < side {
        let shade = level(values[row * side + start])
        var end = start + 1
        while end < side, level(values[row * side + end]) == shade { end += 1 }
        cell(
          x.low + Double(start) * dx, x.low + Double(end) * dx, y.low + Double(row) * dy, y.low + Double(row + 1) * dy,
          style: "s\(shade)")
        start = end
      }
    }
  }

  /// The finished picture.
  var svg: String {
    var parts = [
      "<svg viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" aria-labelledby=\"\(id)-t \(id)-d\">",
      "<title id=\"\(id)-t\">\(Self.escape(title))</title><desc id=\"\(id)-d\">\(Self.escape(description))</desc>",
      "<clipPath id=\"\(id)-c\"><rect x=\"\(Self.left)\" y=\"\(Self.top)\" width=\"\(Self.width - Self.left - Self.right)\" "
        + "height=\"\(Self.height - Self.top - Self.bottom)\"/></clipPath>",
    ]
    for tick in x.ticks() {
      let place = Self.short(across(tick))
      parts.append(
        "<path class=\"grid\" d=\"M\(place) \(Self.top)V\(Self.height - Self.bottom)\"/>"
          + "<text class=\"tick middle\" x=\"\(place)\" y=\"\(Self.height - Self.bottom + 16)\">\(Self.figure(tick))</text>"
      )
    }
    for tick in hasNumbers ? y.ticks() : [] {
      let place = Self.short(down(tick))
      parts.append(
        "<path class=\"grid\" d=\"M\(Self.left) \(place)H\(Self.width - Self.right)\"/>"
          + "<text class=\"tick end\" x=\"\(Self.left - 6)\" y=\"\(Self.short(down(tick) + 4))\">\(Self.figure(tick))</text>"
      )
    }
    parts.append("<g clip-path=\"url(#\(id)-c)\">" + marks.joined() + "</g>")
    let middle = (Self.top + Self.height - Self.bottom) / 2
    parts.append(
      "<text class=\"axis middle\" x=\"\((Self.left + Self.width - Self.right) / 2)\" y=\"\(Self.height - 8)\">"
        + "\(Self.escape(xTitle))</text><text class=\"axis middle\" x=\"14\" y=\"\(middle)\" "
        + "transform=\"rotate(-90 14 \(middle))\">\(Self.escape(yTitle))</text></svg>")
    return parts.joined()
  }

  // MARK: Text

  /// A coordinate to a tenth.
  private static func short(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10)" : "\(Double(tenths) / 10)"
  }

  /// Three significant digits.
  static func figure(_ value: Double) -> String {
    guard value.isFinite else { return value.isNaN ? "–" : value > 0 ? "∞" : "−∞" }
    if value != 0, abs(value) >= 1000, abs(value) < 1e6 { return String(Int(value.rounded())) }
    return String(format: "%.3g", value)
  }

  /// Text that may stand in markup: labels come from clients.
  static func escape(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "&": out += "&amp;"
      case "\"": out += "&quot;"
      case "'": out += "&#39;"
      default: out.unicodeScalars.append(scalar.value < 0x20 ? " " : scalar)
      }
    }
    return out
  }
}
