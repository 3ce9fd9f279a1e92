// Which rows make up the batch of a step: shuffled epochs without repeats, each step computable on its own, so a
// resumed run draws exactly what an undisturbed one would.
import Compute

/// The row order of a run.
public struct BatchStream {
  public let rows: Int
  public let batchSize: Int
  private let key: RandomKey
  private var epoch = -1
  private var order: [Int32]

  /// Rows that do not fill a last batch sit out that epoch; the next epoch's shuffle brings them in.
  public init(rows: Int, batchSize: Int, key: RandomKey) {
    precondition(batchSize >= 1 && rows >= batchSize, "a batch of \(batchSize) needs as many rows; there are \(rows)")
    self.rows = rows
    self.batchSize = batchSize
    self.key = key
    order = [Int32](repeating: 0, count: rows)
  }

  /// Calls `body` with each place in the batch and the row that stands there.
  @inline(__always)
  public mutating func batch(step: Int, _ body: (_ place: Int, _ row: Int) -> Void) {
    let stepsPerEpoch = rows / batchSize
    let wanted = step / stepsPerEpoch
    if wanted != epoch {
      epoch = wanted
      key.derive(2, UInt32(truncatingIfNeeded: epoch), UInt32(truncatingIfNeeded: epoch >> 32)).shuffle(&order)
    }
    let start = step % stepsPerEpoch * batchSize
    for place in 0..<batchSize { body(place, Int(order[start + place])) }
  }
}
