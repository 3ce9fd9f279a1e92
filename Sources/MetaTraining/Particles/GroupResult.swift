// The result of a group's window and its bytes: what travels from whoever ran it to the learner, and what is kept for
// replay. Bytes from elsewhere are held against the problem before anything is made of them.
import Contract
import Foundation

/// What a group's window came to.
public struct GroupResult: Sendable, Hashable {
  /// The group's number in its phase.
  public let group: Int
  /// The group's windows before this one.
  public let window: Int
  /// The theta that it was run around.
  public let version: Int
  /// One for each pair of the group, in their order.
  public let outcomes: [PairOutcome]

  /// Inner updates made.
  public var innerSteps: Int { outcomes.reduce(0) { $0 + $1.innerSteps } }
  /// Sum over the counted losses of the mean of both members' normalised losses.
  public var lossSum: Double { outcomes.reduce(0) { $0 + $1.lossSum } }
  /// Losses counted.
  public var counted: Int { outcomes.reduce(0) { $0 + $1.counted } }
  /// Pairs with a loss that was not finite.
  public var dropped: Int { outcomes.count { $0.isDropped } }

  init(group: Int, window: Int, version: Int, outcomes: [PairOutcome]) {
    self.group = group
    self.window = window
    self.version = version
    self.outcomes = outcomes
  }

  private static let form: UInt32 = 1

  /// The result as bytes: 24 for each row, and 29 for each pair.
  public var bytes: [UInt8] {
    var sealer = ByteSealer(kind: "TYGR", version: Self.form, owner: UInt64(group))
    sealer.append(UInt64(window))
    sealer.append(UInt64(version))
    sealer.append(UInt32(outcomes.count))
    for outcome in outcomes {
      sealer.append(UInt8(outcome.isDropped ? 1 : 0))
      sealer.append(outcome.lossSum)
      sealer.append(UInt32(outcome.counted))
      sealer.append(UInt64(outcome.innerSteps))
      sealer.append(UInt32(outcome.rows.count))
      for row in outcome.rows {
        sealer.append(row.firstNoise)
        sealer.append(row.lastNoise)
        sealer.append(row.sum)
        sealer.append(UInt32(row.count))
      }
      sealer.append(UInt32(outcome.dense.count))
      outcome.dense.withUnsafeBufferPointer { sealer.append($0) }
    }
    return sealer.sealed()
  }

  /// Reads the bytes of a group's result.
  ///
  /// - Throws: ``SnapshotError`` where they are damaged or cannot be the result of a window of that group.
  public init(bytes: [UInt8], group: Int, of problem: PhaseProblem) throws(SnapshotError) {
    let name = "the result of group \(group)"
    guard problem.groups.indices.contains(group) else {
      throw SnapshotError("\(name): the phase has \(problem.groups.count) groups")
    }
    let pairs = problem.groups[group].pairs
    var reader = try SealedReader(
      bytes[...], kind: "TYGR", version: Self.form, owner: UInt64(group), name: name)
    self.group = group
    window = try Self.count(&reader, UInt64.self, atMost: 1 << 30, "windows")
    version = try Self.count(&reader, UInt64.self, atMost: 1 << 40, "versions")
    guard try Int(reader.integer(UInt32.self)) == pairs.count else {
      throw SnapshotError("\(name): expected \(pairs.count) pairs")
    }
    let rule = problem.setting.rule
    let steps = rule.trainings == .wholeEpisodes ? LengthSchedule.range.upperBound : rule.window
    let noisesMax = rule.noisesMax(longest: LengthSchedule.range.upperBound)
    var outcomes: [PairOutcome] = []
    for pair in pairs {
      var outcome = PairOutcome()
      outcome.isDropped = try Self.count(&reader, UInt8.self, atMost: 1, "flags") == 1
      outcome.lossSum = try reader.finiteDouble()
      outcome.counted = try Self.count(&reader, UInt32.self, atMost: steps, "losses")
      outcome.innerSteps = try Self.count(&reader, UInt64.self, atMost: 1 << 40, "inner steps")
      let rows = try Self.count(&reader, UInt32.self, atMost: min(steps, reader.left / 20), "rows")
      var counted = 0
      for _ in 0..<rows {
        let row = WindowRow(
          pair: pair, firstNoise: try reader.integer(UInt32.self), lastNoise: try reader.integer(UInt32.self),
          sum: try reader.finiteDouble(), count: try Self.count(&reader, UInt32.self, atMost: steps, "steps"))
        guard row.count > 0, row.firstNoise <= row.lastNoise, row.lastNoise < 1 << 30,
          Int(row.lastNoise - row.firstNoise) < noisesMax
        else { throw SnapshotError("\(name): pair \(pair) has a row that no window makes, \(row)") }
        counted += row.count
        outcome.rows.append(row)
      }
      guard counted == outcome.counted || rows == 0, !outcome.isDropped || (rows == 0 && outcome.counted == 0) else {
        throw SnapshotError("\(name): pair \(pair) counts \(outcome.counted) losses, its rows \(counted)")
      }
      let dense = try Self.count(&reader, UInt32.self, atMost: reader.left / 4, "coordinates")
      guard dense == 0 || (dense == problem.mask.count && rows == 0) else {
        throw SnapshotError("\(name): pair \(pair) has a gradient of \(dense) coordinates")
      }
      outcome.dense = [Float](repeating: 0, count: dense)
      var failure: SnapshotError?
      outcome.dense.withUnsafeMutableBufferPointer { memory in
        do throws(SnapshotError) { try reader.floats(into: memory) } catch { failure = error }
      }
      if let failure { throw failure }
      guard outcome.dense.allSatisfy(\.isFinite) else {
        throw SnapshotError("\(name): pair \(pair) has a gradient that is not finite")
      }
      outcomes.append(outcome)
    }
    try reader.finish()
    self.outcomes = outcomes
  }

  private static func count<Value: FixedWidthInteger>(
    _ reader: inout SealedReader, _ type: Value.Type, atMost: Int, _ what: String
  ) throws(SnapshotError) -> Int {
    let value = try reader.integer(type)
    guard value >= 0, UInt64(value) <= UInt64(max(0, atMost)) else {
      throw SnapshotError("\(reader.name): \(value) \(what) are more than the \(atMost) that there can be")
    }
    return Int(value)
  }
}
