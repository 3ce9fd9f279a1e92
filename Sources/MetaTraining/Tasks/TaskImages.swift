// The images of inner tasks, at the size a task asks for and kept as floats. ImageBatches draws from them;
// SyntheticImages makes ones that need no file.
import Compute
import Contract
import Foundation
import Learning

/// Square images of one size with their classes. Immutable; all lanes share it.
public final class TaskImages: Sendable {
  /// How many images there are.
  public let rows: Int
  /// Side of the images.
  public let size: Int
  /// Numbers of a pixel: 1 for grey, 3 for colours.
  public let channels: Int
  /// How many classes the labels are of.
  public let classes: Int
  /// [rows, size * size * channels], values from 0 to 1.
  let pixels: [Float]
  let labels: [Int32]

  /// How images get to another size.
  public enum Resampling: Sendable {
    /// Means over the area of a pixel: no aliasing.
    case area
    /// Between the four nearest pixels, at half-pixel centres: what the published tasks use.
    case bilinear
  }

  /// Images kept are bounded by this many bytes: more rows teach a learned optimizer nothing, but miss the cache.
  public static let bytesMax = 32 << 20

  /// Numbers of one image.
  public var width: Int { size * size * channels }

  /// Images as given: [rows, size * size * channels] with a class each.
  init(pixels: [Float], labels: [Int32], size: Int, channels: Int = 1, classes: Int) {
    precondition(
      pixels.count == labels.count * size * size * channels, "\(pixels.count) pixels for \(labels.count) images")
    self.pixels = pixels
    self.labels = labels
    self.size = size
    self.channels = channels
    self.classes = classes
    rows = labels.count
  }

  /// The first `rowsMax` (nil: as many as fit) training images of `data` at `size`.
  ///
  /// - Parameters:
  ///   - isGrey: takes the mean of the colours.
  ///   - bytesMax: bounds the memory of the images.
  /// - Throws: `DataFault` when the data is not square images with classes.
  public convenience init(
    _ data: TrainingData, size: Int, rowsMax: Int? = nil, isGrey: Bool = false, resampling: Resampling = .area,
    bytesMax: Int = TaskImages.bytesMax
  ) throws {
    let shape = data.schema.shape
    guard case .classes(let classes) = shape.target, (2...3).contains(shape.input.count),
      shape.input[0] == shape.input[1], resampling == .bilinear || size <= shape.input[0]
    else {
      throw DataFault(
        "expected square images of at least \(size) x \(size) with classes, got elements of shape \(shape.input)")
    }
    let side = shape.input[0]
    let depth = shape.input.count == 3 ? shape.input[2] : 1
    let channels = isGrey ? 1 : depth
    let width = size * size * channels
    let rows = min(data.train.rows, max(1, bytesMax / (4 * width)), rowsMax ?? .max)
    var pixels = [Float](repeating: 0, count: rows * width)
    var labels = [Int32](repeating: 0, count: rows)
    var source = [Float](repeating: 0, count: side * side * depth)
    let weights = resampling == .area ? Self.overlaps(from: side, to: size) : Self.nearest(from: side, to: size)
    for row in 0..<rows {
      source.withUnsafeMutableBufferPointer { data.train.input(row, into: $0.baseAddress!) }
      labels.withUnsafeMutableBufferPointer { data.train.labels(row, into: $0.baseAddress! + row) }
      for y in 0..<size {
        for x in 0..<size {
          for channel in 0..<depth {
            var sum: Float = 0
            for (sourceY, weightY) in weights[y] {
              for (sourceX, weightX) in weights[x] {
                sum += weightY * weightX * source[(sourceY * side + sourceX) * depth + channel]
              }
            }
            let place = row * width + (y * size + x) * channels
            if isGrey { pixels[place] += sum / Float(depth) } else { pixels[place + channel] = sum }
          }
        }
      }
    }
    self.init(pixels: pixels, labels: labels, size: size, channels: channels, classes: classes)
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

  /// For each target pixel the two source pixels around its centre and their shares.
  private static func nearest(from side: Int, to size: Int) -> [[(Int, Float)]] {
    (0..<size).map { index in
      let centre = (Double(index) + 0.5) * Double(side) / Double(size) - 0.5
      let low = floor(centre)
      let share = Float(centre - low)
      let first = min(max(Int(low), 0), side - 1), second = min(max(Int(low) + 1, 0), side - 1)
      return first == second || share == 0 ? [(first, Float(1))] : [(first, Float(1) - share), (second, share)]
    }
  }
}

/// Batches of images, drawn with replacement.
public struct ImageBatches: BatchSource {
  /// What the plan is given besides the images.
  public enum Target: Sendable {
    case labels
    /// One-hot vectors as `targets`.
    case oneHot
    /// Nothing: the images are their own targets.
    case none
  }

  /// The images, and the target.
  public let inputs: [BatchInput]
  private let images: TaskImages
  private let batchSize: Int
  private let target: Target

  /// `batchSize` of `images` in each draw.
  public init(_ images: TaskImages, batchSize: Int, target: Target = .labels) {
    self.images = images
    self.batchSize = batchSize
    self.target = target
    switch target {
    case .labels: inputs = [BatchInput("inputs"), BatchInput("labels", .int32)]
    case .oneHot: inputs = [BatchInput("inputs"), BatchInput("targets")]
    case .none: inputs = [BatchInput("inputs")]
    }
  }

  /// Fills the batch of `key`: equal keys give equal batches. Allocates nothing.
  public func draw(_ key: RandomKey, into places: BatchPlaces) {
    let width = images.width
    let floats = places.floats(0)
    images.pixels.withUnsafeBufferPointer { pixels in
      images.labels.withUnsafeBufferPointer { classes in
        var words: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
        for place in 0..<batchSize {
          if place & 3 == 0 { words = key.words(block: UInt32(place >> 2)) }
          let word = place & 3 == 0 ? words.0 : place & 3 == 1 ? words.1 : place & 3 == 2 ? words.2 : words.3
          let row = Int((UInt64(word) * UInt64(images.rows)) >> 32)
          (floats + place * width).update(from: pixels.baseAddress! + row * width, count: width)
          switch target {
          case .labels: places.int32(1)[place] = classes[row]
          case .oneHot:
            let vector = places.floats(1) + place * images.classes
            vector.update(repeating: 0, count: images.classes)
            vector[Int(classes[row])] = 1
          case .none: break
          }
        }
      }
    }
  }
}
