// Thins out a series while it is read, and merges its chunks: one pass, memory for the result only.
import Contract
import Foundation

/// Takes the points of a range in order and keeps what `CurvePoints.sampled(pointsMax:)` would keep of all of them.
///
/// The first and the last point stay; buckets of equal point counts between them each give their lowest and highest
/// point. NaN counts as highest.
struct CurveSampler {
  private(set) var points = CurvePoints()
  private let total: Int
  /// 0 when everything is kept.
  private let buckets: Int
  private var index = 0
  private var bucket = 0
  private var bucketEnd = 0
  private var low: (index: Int, step: Int, value: Float)?
  private var high: (index: Int, step: Int, value: Float)?

  init(total: Int, pointsMax: Int) {
    self.total = total
    buckets = total > pointsMax && pointsMax >= 2 ? (pointsMax - 2) / 2 : 0
    isSampling = total > pointsMax && pointsMax >= 2
    if isSampling { bucketEnd = end(of: 0) }
  }

  private let isSampling: Bool

  private func end(of bucket: Int) -> Int {
    buckets == 0 ? total - 1 : 1 + (bucket + 1) * (total - 2) / buckets
  }

  /// Adds `count` little-endian values.
  mutating func add(_ bytes: UnsafeRawBufferPointer, count: Int, firstStep: Int, stride: Int) {
    for offset in 0..<count {
      let value = Float(
        bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset * 4, as: UInt32.self)))
      add(value, step: firstStep + offset * stride)
    }
  }

  private mutating func keep(_ step: Int, _ value: Float) {
    points.steps.append(step)
    points.values.append(value)
  }

  @inline(__always)
  private mutating func add(_ value: Float, step: Int) {
    defer { index += 1 }
    guard isSampling else { return keep(step, value) }
    if index == 0 { return keep(step, value) }
    if index == total - 1 {
      closeBucket()
      return keep(step, value)
    }
    if buckets == 0 { return }
    while index >= bucketEnd {
      closeBucket()
      bucket += 1
      bucketEnd = end(of: bucket)
    }
    guard let low, let high else {
      self.low = (index, step, value)
      self.high = (index, step, value)
      return
    }
    if value < low.value || low.value.isNaN && !value.isNaN { self.low = (index, step, value) }
    if value > high.value || value.isNaN && !high.value.isNaN { self.high = (index, step, value) }
  }

  private mutating func closeBucket() {
    guard let low, let high else { return }
    let first = low.index <= high.index ? low : high
    let second = low.index <= high.index ? high : low
    keep(first.step, first.value)
    if low.index != high.index { keep(second.step, second.value) }
    self.low = nil
    self.high = nil
  }
}

/// Puts the points of a series into as few chunks as their steps allow.
struct ChunkMerger {
  private let series: CurveSeries
  private var merged: [CurveChunk] = []
  private var current: CurveChunk?

  init(series: CurveSeries) { self.series = series }

  /// Adds a chunk of little-endian values; chunks come in order.
  mutating func add(_ bytes: UnsafeRawBufferPointer, firstStep: Int, stride: Int) {
    for offset in 0..<bytes.count / 4 {
      let value = Float(
        bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset * 4, as: UInt32.self)))
      add(value, step: firstStep + offset * stride)
    }
  }

  private mutating func add(_ value: Float, step: Int) {
    if current == nil {
      current = CurveChunk(series: series, firstStep: step, stride: 1, values: [value])
    } else if current!.values.count == 1 {
      // The second point decides the stride.
      current!.stride = step - current!.firstStep
      current!.values.append(value)
    } else if current!.values.count < CurveChunk.valuesMax, step == current!.lastStep + current!.stride {
      current!.values.append(value)
    } else {
      merged.append(current!)
      current = CurveChunk(series: series, firstStep: step, stride: 1, values: [value])
    }
  }

  /// All chunks, in order.
  mutating func finish() -> [CurveChunk] {
    if let current { merged.append(current) }
    current = nil
    return merged
  }
}
