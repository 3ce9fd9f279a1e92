// A node of the key tree: every random number of a run or campaign is named by the path of tags that leads to its
// key and by its index there. Equal paths give equal numbers on every machine.
import CKernels
import Foundation

/// A 64-bit key for Philox. Keys are derived, never advanced.
public struct RandomKey: Sendable, Hashable {
  public let low: UInt32
  public let high: UInt32

  /// The root of a tree.
  public init(seed: UInt64) {
    low = UInt32(truncatingIfNeeded: seed)
    high = UInt32(truncatingIfNeeded: seed >> 32)
  }

  private init(low: UInt32, high: UInt32) {
    self.low = low
    self.high = high
  }

  /// The child at (tag, a, b): the first two words of the block with that counter.
  public func derive(_ tag: UInt32, _ a: UInt32, _ b: UInt32) -> RandomKey {
    let block = Philox.block(counter: (tag, a, b, 0), key: (low, high))
    return RandomKey(low: block.0, high: block.1)
  }

  /// Random words number 4 · block to 4 · block + 3.
  @inline(__always)
  public func words(block: UInt32) -> Philox.Block {
    Philox.block(counter: (block, 0, 0, 0), key: (low, high))
  }

  /// Standard normals number 4 · block to 4 · block + 3: Box-Muller in Float64, rounded once. At most 6.77 in size.
  public func normals(block: UInt32) -> (Float, Float, Float, Float) {
    let (a, b, c, d) = words(block: block)
    let first = RandomKey.boxMuller(a, b)
    let second = RandomKey.boxMuller(c, d)
    return (first.0, first.1, second.0, second.1)
  }

  private static func boxMuller(_ a: UInt32, _ b: UInt32) -> (Float, Float) {
    let radius = (-2 * log(uniform(a))).squareRoot()
    let angle = 2 * Double.pi * uniform(b)
    return (Float(radius * cos(angle)), Float(radius * sin(angle)))
  }

  /// A word as a number in (0, 1).
  @inline(__always)
  public static func uniform(_ word: UInt32) -> Double { (Double(word) + 0.5) * 0x1p-32 }

  /// Fills memory with the key's standard normals from number 4 · `firstBlock` on, about 10⁸ a second.
  ///
  /// The vector form of `normals(block:)`: Float32 arithmetic without fused operations, within 10⁻⁶ of the Float64 path
  /// and with the same bits at every level and on every machine. Throws where the machine lacks `level`.
  public func fillNormals(_ values: UnsafeMutableBufferPointer<Float>, firstBlock: UInt64 = 0, level: CPULevel) throws {
    let kernels = try Kernels(level: level)
    guard let base = values.baseAddress else { return }
    kernels.table.pointee.normals(UInt64(low) | UInt64(high) << 32, firstBlock, Int64(values.count), base)
  }

  /// Fills `values` with the key's standard normals from number 0 on, by the Float64 path.
  public func fillNormals(_ values: inout [Float]) {
    for start in stride(from: 0, to: values.count, by: 4) {
      let (a, b, c, d) = normals(block: UInt32(start / 4))
      values[start] = a
      if start + 1 < values.count { values[start + 1] = b }
      if start + 2 < values.count { values[start + 2] = c }
      if start + 3 < values.count { values[start + 3] = d }
    }
  }

  /// Writes a random permutation of 0 ..< order.count (Fisher-Yates) into `order`.
  public func shuffle(_ order: inout [Int32]) {
    for index in order.indices { order[index] = Int32(index) }
    guard order.count > 1 else { return }
    var word = 0
    var block = words(block: 0)
    for index in stride(from: order.count - 1, through: 1, by: -1) {
      if word == 4 {
        block = words(block: UInt32((order.count - 1 - index) / 4))
        word = 0
      }
      let random = word == 0 ? block.0 : word == 1 ? block.1 : word == 2 ? block.2 : block.3
      word += 1
      order.swapAt(index, Int((UInt64(random) * UInt64(index + 1)) >> 32))
    }
  }
}
