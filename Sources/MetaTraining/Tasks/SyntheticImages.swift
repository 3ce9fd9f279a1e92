// Image sets that need no file, named `synth_*` so that no result on them is taken for one on a public set: blobs of a
// Gaussian for each class, images labelled by a random teacher, and drawn strokes with jitter.
import Compute
import Foundation

/// A recipe for labelled images, fixed for all time: the same name gives the same images on every machine.
public enum SyntheticImages: String, Sendable, CaseIterable {
  /// Smooth random fields around a mean for each class.
  case blobs = "synth_blobs"
  /// Smooth random fields, labelled by a random linear teacher.
  case teacher = "synth_teacher"
  /// Each class a figure of four strokes, drawn with shifted and scaled ends; in one colour.
  case glyphs = "synth_glyphs"
  /// The same with coloured strokes on a coloured ground.
  case colourGlyphs = "synth_glyphs_rgb"

  /// The recipe of that name.
  init?(name: String) { self.init(rawValue: name) }

  static let names = allCases.map(\.rawValue)
  private static let classes = 10

  private var channels: Int { self == .colourGlyphs ? 3 : 1 }

  /// Images at the size of a request.
  func images(_ request: TaskDataSets.ImageRequest, rows: Int) -> TaskImages {
    let size = request.size
    let channels = request.isGrey ? 1 : self.channels
    let width = size * size * channels
    let rows = max(1, min(rows, (256 << 20) / (4 * width)))
    var pixels = [Float](repeating: 0, count: rows * width)
    var labels = [Int32](repeating: 0, count: rows)
    // The seed is the name's, so that sets differ.
    let key = RandomKey(seed: UInt64(Self.allCases.firstIndex(of: self)!) + 100)
    let figures = (0..<Self.classes).map { Figure(Draw(key.derive(1, UInt32($0), 0))) }
    let waves = (0..<Self.classes).map { Waves(Draw(key.derive(2, UInt32($0), 0))) }
    for row in 0..<rows {
      var draw = Draw(key.derive(3, UInt32(row), 0))
      let label = min(Int(draw.uniform(0, Double(Self.classes))), Self.classes - 1)
      labels[row] = Int32(label)
      let image = pixels.withUnsafeMutableBufferPointer { memory -> Int32 in
        let place = UnsafeMutableBufferPointer(rebasing: memory[row * width..<(row + 1) * width])
        switch self {
        case .blobs:
          let field = Waves(draw)
          for y in 0..<size {
            for x in 0..<size {
              let (u, v) = ((Double(x) + 0.5) / Double(size), (Double(y) + 0.5) / Double(size))
              place[y * size + x] = Self.bounded(0.5 + 0.15 * waves[label](u, v) + 0.15 * field(u, v))
            }
          }
          return Int32(label)
        case .teacher:
          let field = Waves(draw)
          for y in 0..<size {
            for x in 0..<size {
              place[y * size + x] = Self.bounded(
                0.5 + 0.25 * field((Double(x) + 0.5) / Double(size), (Double(y) + 0.5) / Double(size)))
            }
          }
          return Int32(waves.indices.max { field.product(waves[$0]) < field.product(waves[$1]) }!)
        case .glyphs, .colourGlyphs:
          figures[label].draw(into: place, size: size, channels: channels, &draw)
          return Int32(label)
        }
      }
      labels[row] = image
    }
    return TaskImages(pixels: pixels, labels: labels, size: size, channels: channels, classes: Self.classes)
  }

  private static func bounded(_ value: Double) -> Float { Float(min(max(value, 0), 1)) }

  /// A smooth field over the unit square: cosines of low frequency.
  private struct Waves {
    private static let frequencies = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1)]
    private var amplitudes: [Double] = []

    init(_ start: Draw) {
      var draw = start
      amplitudes = Self.frequencies.map { _ in draw.uniform(-1, 1) * 1.5 }
    }

    func callAsFunction(_ u: Double, _ v: Double) -> Double {
      zip(amplitudes, Self.frequencies).reduce(0) {
        $0 + $1.0 * cos(.pi * Double($1.1.0) * u) * cos(.pi * Double($1.1.1) * v)
      }
    }

    func product(_ other: Waves) -> Double { zip(amplitudes, other.amplitudes).reduce(0) { $0 + $1.0 * $1.1 } }
  }

  /// Strokes between points of the unit square.
  private struct Figure {
    private var strokes: [(Double, Double, Double, Double)] = []

    init(_ start: Draw) {
      var draw = start
      var (x, y) = (draw.uniform(0.2, 0.8), draw.uniform(0.2, 0.8))
      for _ in 0..<4 {
        let (nextX, nextY) = (draw.uniform(0.15, 0.85), draw.uniform(0.15, 0.85))
        strokes.append((x, y, nextX, nextY))
        (x, y) = (nextX, nextY)
      }
    }

    /// Draws the figure shifted and scaled, with a soft pen and a little noise.
    func draw(
      into image: UnsafeMutableBufferPointer<Float>, size: Int, channels: Int, _ draw: inout Draw
    ) {
      let (shiftX, shiftY) = (draw.uniform(-0.12, 0.12), draw.uniform(-0.12, 0.12))
      let zoom = draw.uniform(0.75, 1.2), pen = draw.uniform(0.04, 0.09)
      let colours = (0..<channels).map { _ in (ink: draw.uniform(0.6, 1), ground: draw.uniform(0, 0.3)) }
      func moved(_ x: Double, _ shift: Double) -> Double { 0.5 + zoom * (x - 0.5) + shift }
      let lines = strokes.map {
        (moved($0.0, shiftX), moved($0.1, shiftY), moved($0.2, shiftX), moved($0.3, shiftY))
      }
      for y in 0..<size {
        for x in 0..<size {
          let (u, v) = ((Double(x) + 0.5) / Double(size), (Double(y) + 0.5) / Double(size))
          let distance = lines.map { Self.distance(u, v, $0) }.min()!
          let ink = exp(-distance * distance / (2 * pen * pen)) + draw.uniform(-0.05, 0.05)
          for channel in 0..<channels {
            let (full, ground) = channels == 1 ? (1, 0) : (colours[channel].ink, colours[channel].ground)
            image[(y * size + x) * channels + channel] = SyntheticImages.bounded(ground + (full - ground) * ink)
          }
        }
      }
    }

    private static func distance(_ x: Double, _ y: Double, _ line: (Double, Double, Double, Double)) -> Double {
      let (dx, dy) = (line.2 - line.0, line.3 - line.1)
      let length = dx * dx + dy * dy
      let t = length > 0 ? min(max(((x - line.0) * dx + (y - line.1) * dy) / length, 0), 1) : 0
      return hypot(x - line.0 - t * dx, y - line.1 - t * dy)
    }
  }
}
