// The perturbations of a pair: vector number k is sigma times the normals of the pair's k-th noise key, over the trained
// coordinates of theta. What weighs a loss difference is a sum of consecutive ones. Particles keep theirs running; a
// learner that sees rows alone makes the same sums from the same keys, addition by addition.
import Compute

/// Where the trained coordinates of theta lie, and how far each is moved.
public struct ThetaMask: Sendable {
  /// Places in theta, in rising order; packed vectors hold them one after another.
  let ranges: [Range<Int>]
  /// A factor of sigma for each range.
  let scales: [Float]
  /// The number of trained coordinates.
  public let count: Int

  /// The tensors of `layout` whose name starts with one of the prefixes; all of them without prefixes.
  ///
  /// - Parameter multipliers: factors of sigma by the prefix of a tensor's name; the longest that fits counts.
  init(_ layout: ParameterLayout, prefixes: [String], multipliers: [String: Double] = [:]) {
    let chosen = layout.tensors.filter { tensor in
      prefixes.isEmpty || prefixes.contains { tensor.name.hasPrefix($0) }
    }
    ranges = chosen.map { $0.offset..<$0.offset + $0.count }
    scales = chosen.map { tensor in
      let fitting = multipliers.filter { tensor.name.hasPrefix($0.key) }
      return Float(fitting.max { $0.key.count < $1.key.count }?.value ?? 1)
    }
    count = ranges.reduce(0) { $0 + $1.count }
  }

  /// out = theta + sign · packed.
  func perturb(
    _ out: UnsafeMutablePointer<Float>, _ theta: UnsafePointer<Float>, floats: Int, _ packed: UnsafePointer<Float>,
    sign: Float
  ) {
    out.update(from: theta, count: floats)
    var index = 0
    for number in ranges.indices {
      let range = ranges[number]
      let target = out + range.lowerBound, noise = packed + index
      for place in 0..<range.count { target[place] += sign * noise[place] }
      index += range.count
    }
  }
}

/// The numbered perturbation vectors of one pair.
struct PairNoise: Sendable {
  /// Coordinates of a vector.
  let count: Int
  /// Writes vector number `index`, times sigma already.
  let draw: @Sendable (_ index: UInt32, _ vector: UnsafeMutableBufferPointer<Float>) -> Void

  init(count: Int, draw: @escaping @Sendable (UInt32, UnsafeMutableBufferPointer<Float>) -> Void) {
    self.count = count
    self.draw = draw
  }

  /// Normals of the pair's key times sigma and each tensor's factor.
  init(key: RandomKey, sigma: Double, mask: ThetaMask, level: CPULevel) {
    self.init(count: mask.count) { index, vector in
      // The level was checked when the phase was built.
      try! key.derive(10, index, 0).fillNormals(vector, level: level)
      var place = 0
      for (range, scale) in zip(mask.ranges, mask.scales) {
        let factor = Float(sigma) * scale
        for element in place..<place + range.count { vector[element] *= factor }
        place += range.count
      }
    }
  }
}

/// Sums of consecutive perturbation vectors, the last one or two of them kept. Used by one thread at a time.
final class NoiseSum {
  private struct Kept {
    var first: UInt32 = 1
    var last: UInt32 = 0
    let values: AlignedBuffer
  }
  private var noise: PairNoise
  private let keptMax: Int
  private var kept: [Kept] = []
  private var newest = 0
  private var scratch: AlignedBuffer?

  init(_ noise: PairNoise, keeping keptMax: Int = 2) {
    self.noise = noise
    self.keptMax = keptMax
  }

  /// Serves another pair from here on; what is kept is of no use then.
  func reset(to noise: PairNoise) {
    precondition(noise.count == self.noise.count, "NoiseSum: pairs of one phase have vectors of one length")
    self.noise = noise
    for index in kept.indices { (kept[index].first, kept[index].last) = (1, 0) }
  }

  /// Writes vector number `index` alone.
  func vector(_ index: UInt32, into vector: UnsafeMutablePointer<Float>) {
    if let place = kept.firstIndex(where: { $0.first == index && $0.last == index }) {
      vector.update(from: kept[place].values.pointer, count: noise.count)
    } else {
      noise.draw(index, UnsafeMutableBufferPointer(start: vector, count: noise.count))
    }
  }

  /// Keeps the sum `first` ... `last`, given the vector number `last`.
  func keep(first: UInt32, last: UInt32, vector: UnsafePointer<Float>) {
    if let place = kept.firstIndex(where: { $0.first == first && $0.last == last }) {
      newest = place
    } else if first < last, let place = kept.firstIndex(where: { $0.first == first && $0.last == last - 1 }) {
      add(vector, to: place)
      (kept[place].last, newest) = (last, place)
    } else if first == last {
      let place = replaced(first, last)
      kept[place].values.pointer.update(from: vector, count: noise.count)
    } else {
      _ = sum(first, last)
    }
  }

  /// The sum of the vectors `first` ... `last`, valid until the next call.
  func sum(_ first: UInt32, _ last: UInt32) -> UnsafePointer<Float> {
    precondition(first <= last, "NoiseSum: noise \(first) to \(last) is no sum")
    if let place = kept.firstIndex(where: { $0.first == first && $0.last == last }) {
      return UnsafePointer(kept[place].values.pointer)
    }
    let place: Int
    // From the left, one after another: so sums that grew and sums made at once have the same bits.
    if let begun = kept.firstIndex(where: { $0.first == first && $0.last < last && $0.first <= $0.last }) {
      place = begun
      newest = begun
    } else {
      place = replaced(first, first)
      noise.draw(first, UnsafeMutableBufferPointer(start: kept[place].values.pointer, count: noise.count))
    }
    let scratch = self.scratch ?? AlignedBuffer(floats: noise.count)
    self.scratch = scratch
    while kept[place].last < last {
      let next = kept[place].last + 1
      noise.draw(next, UnsafeMutableBufferPointer(start: scratch.pointer, count: noise.count))
      add(scratch.pointer, to: place)
      kept[place].last = next
    }
    return UnsafePointer(kept[place].values.pointer)
  }

  private func add(_ vector: UnsafePointer<Float>, to place: Int) {
    let values = kept[place].values.pointer
    for index in 0..<noise.count { values[index] += vector[index] }
  }

  /// The place of the oldest sum, for another one.
  private func replaced(_ first: UInt32, _ last: UInt32) -> Int {
    if kept.count < keptMax {
      kept.append(Kept(values: AlignedBuffer(floats: noise.count)))
      newest = kept.count - 1
    } else {
      newest = (newest + 1) % keptMax
    }
    (kept[newest].first, kept[newest].last) = (first, last)
    return newest
  }
}
