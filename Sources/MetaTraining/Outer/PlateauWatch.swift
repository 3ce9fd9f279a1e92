// When episodes grow by the law that waits for plateaus: the smoothed meta-loss has not improved for so many outer steps.
import Contract
import Foundation

/// Watches the meta-loss of a phase.
///
///   s <- s + (loss - s)/(patience/10, from 1 up);  the level goes up when s was not below its best for `patience` steps
///
/// Longer episodes have other losses, so that the watch begins anew with each level.
struct PlateauWatch: Hashable {
  private let patience: Int?
  private(set) var level = 0
  private var smoothed = 0.0
  private var best = Double.greatestFiniteMagnitude
  private var entered = 0
  private var since = 0

  init(_ lengths: LengthSchedule) {
    // The bound above leads; the one below goes along with it.
    if case .plateau(let law) = lengths.high {
      patience = law.patience
    } else if case .plateau(let law) = lengths.low {
      patience = law.patience
    } else {
      patience = nil
    }
  }

  /// Enters the loss of an outer step; one that is not finite is no improvement.
  mutating func enter(_ loss: Double) {
    guard let patience else { return }
    if loss.isFinite {
      entered += 1
      smoothed += (loss - smoothed) / min(Double(entered), max(1, Double(patience) / 10))
    }
    if loss.isFinite, smoothed < best {
      (best, since) = (smoothed, 0)
    } else {
      since += 1
    }
    if since >= patience {
      level += 1
      (smoothed, best, entered, since) = (0, .greatestFiniteMagnitude, 0, 0)
    }
  }

  func write(_ sealer: inout ByteSealer) {
    for count in [level, entered, since] { sealer.append(UInt32(count)) }
    sealer.append(smoothed)
    sealer.append(best)
  }

  mutating func read(_ reader: inout SealedReader) throws(SnapshotError) {
    level = Int(try reader.integer(UInt32.self))
    entered = Int(try reader.integer(UInt32.self))
    since = Int(try reader.integer(UInt32.self))
    smoothed = try reader.finiteDouble()
    best = try reader.finiteDouble()
  }
}
