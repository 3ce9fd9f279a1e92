// Brings images to one size: averages over areas to shrink, interpolates linearly to grow, each axis by itself.
// ImageFolders.swift calls it.

/// Scales images of any size to one.
struct ImageScaler {
  let width: Int
  let height: Int
  let channels: Int
  /// For each source length and target length the shares of source pixels in each target pixel.
  private var weights: [[Int]: [Share]] = [:]

  /// Source pixels from `first` on, with weights that sum to one.
  private struct Share {
    let first: Int
    let weights: [Float]
  }

  init(width: Int, height: Int, channels: Int) {
    self.width = width
    self.height = height
    self.channels = channels
  }

  /// The pixels of `image` at this scaler's size; aspect is not kept.
  mutating func scale(_ image: Image) -> [UInt8] {
    precondition(image.channels == channels, "an image of \(image.channels) channels for a scaler of \(channels)")
    if image.width == width, image.height == height { return image.pixels }
    let columns = shares(from: image.width, to: width)
    let rows = shares(from: image.height, to: height)
    var narrow = [Float](repeating: 0, count: image.height * width * channels)
    for y in 0..<image.height {
      for (x, share) in columns.enumerated() {
        for channel in 0..<channels {
          var sum: Float = 0
          var place = (y * image.width + share.first) * channels + channel
          for weight in share.weights {
            sum += weight * Float(image.pixels[place])
            place += channels
          }
          narrow[(y * width + x) * channels + channel] = sum
        }
      }
    }
    let stride = width * channels
    var pixels = [UInt8](repeating: 0, count: height * stride)
    for (y, share) in rows.enumerated() {
      for x in 0..<stride {
        var sum: Float = 0
        for (offset, weight) in share.weights.enumerated() {
          sum += weight * narrow[(share.first + offset) * stride + x]
        }
        pixels[y * stride + x] = UInt8(min(max(sum.rounded(), 0), 255))
      }
    }
    return pixels
  }

  private mutating func shares(from source: Int, to target: Int) -> [Share] {
    if let known = weights[[source, target]] { return known }
    let step = Double(source) / Double(target)
    let made = (0..<target).map { index -> Share in
      if step > 1 {
        let start = Double(index) * step
        let end = min(start + step, Double(source))
        let first = Int(start)
        let last = max(first + 1, min(source, Int(end.rounded(.up))))
        let shares = (first..<last).map { min(end, Double($0 + 1)) - max(start, Double($0)) }
        let total = shares.reduce(0, +)
        return Share(first: first, weights: shares.map { Float($0 / total) })
      }
      let place = min(max((Double(index) + 0.5) * step - 0.5, 0), Double(source - 1))
      let first = min(Int(place), source - 1)
      let share = Float(place - Double(first))
      return Share(first: first, weights: first + 1 < source ? [1 - share, share] : [1])
    }
    // Images of many sizes must not fill the memory with shares.
    if weights.count >= 64 { weights.removeAll() }
    weights[[source, target]] = made
    return made
  }
}
