// The images of inner tasks, averaged down to the size a task asks for and kept as floats, small enough to stay
// near the core.
import Contract
import Foundation
import Learning

/// Square grey images of one size with their classes. Immutable; all lanes share it.
public final class TaskImages: Sendable {
  public let rows: Int
  /// Side of the images.
  public let size: Int
  public let classes: Int
  /// [rows, size * size], values from 0 to 1.
  let pixels: [Float]
  let labels: [Int32]

  /// Images kept are bounded by this many bytes: more rows teach a learned optimizer nothing, but miss the cache.
  static let bytesMax = 32 << 20

  /// Images as given: [rows, size * size] with a class each.
  init(pixels: [Float], labels: [Int32], size: Int, classes: Int) {
    precondition(pixels.count == labels.count * size * size, "\(pixels.count) pixels for \(labels.count) images")
    self.pixels = pixels
    self.labels = labels
    self.size = size
    self.classes = classes
    rows = labels.count
  }

  /// Averages the first `rowsMax` (nil: as many as fit) training images of `data` down to `size`.
  ///
  /// - Throws: `DataFault` when the data is not square images with classes.
  public init(_ data: TrainingData, size: Int, rowsMax: Int? = nil) throws {
    let shape = data.schema.shape
    guard case .classes(let classes) = shape.target, shape.input.count == 2, shape.input[0] == shape.input[1],
      size <= shape.input[0]
    else {
      throw DataFault(
        "expected square images of at least \(size) x \(size) with classes, got elements of shape \(shape.input)")
    }
    let side = shape.input[0]
    self.size = size
    self.classes = classes
    rows = min(data.train.rows, Self.bytesMax / (4 * size * size), rowsMax ?? .max)
    var pixels = [Float](repeating: 0, count: rows * size * size)
    var labels = [Int32](repeating: 0, count: rows)
    var source = [Float](repeating: 0, count: side * side)
    let weights = TaskImages.overlaps(from: side, to: size)
    for row in 0..<rows {
      source.withUnsafeMutableBufferPointer { data.train.input(row, into: $0.baseAddress!) }
      labels.withUnsafeMutableBufferPointer { data.train.labels(row, into: $0.baseAddress! + row) }
      for y in 0..<size {
        for x in 0..<size {
          var sum: Float = 0
          for (sourceY, weightY) in weights[y] {
            for (sourceX, weightX) in weights[x] { sum += weightY * weightX * source[sourceY * side + sourceX] }
          }
          pixels[row * size * size + y * size + x] = sum
        }
      }
    }
    self.pixels = pixels
    self.labels = labels
  }

  /// For each target pixel the source pixels it covers and their shares, which sum to one.
  private static func overlaps(from side: Int, to size: Int) -> [[(Int, Float)]] {
    let step = Double(side) / Double(size)
    return (0..<size).map { index in
      let start = Double(index) * step
      let end = start + step
      return (Int(start)..<min(side, Int(end.rounded(.up)))).compactMap { pixel in
        let share = min(end, Double(pixel + 1)) - max(start, Double(pixel))
        return share > 1e-9 ? (pixel, Float(share / step)) : nil
      }
    }
  }
}
