// What a pair's window comes to: rows that say which noises acted on which loss differences. Theta can be replayed from
// these alone; OuterGradient makes gradients of them.

/// What a window is told of the campaign besides theta.
public struct WindowContext: Sendable, Hashable {
  /// Which theta the window is run around.
  public var version: Int
  /// Outer steps of the phase before it: lengths of episodes may grow with it.
  public var outerIteration: Int
  /// How often lengths have grown by the law that waits for plateaus.
  public var growthLevel: Int

  /// Describes the window around theta number `version`.
  public init(version: Int, outerIteration: Int, growthLevel: Int = 0) {
    self.version = version
    self.outerIteration = outerIteration
    self.growthLevel = growthLevel
  }
}

/// One stretch of steps on which the same noises acted.
public struct WindowRow: Sendable, Hashable {
  /// The pair's number in the phase.
  public var pair: Int
  /// The difference is weighed by the sum of the pair's noises with these numbers, both ends included.
  public var firstNoise: UInt32
  public var lastNoise: UInt32
  /// Sum over the steps of the meta-loss of theta + eps minus that of theta - eps.
  public var sum: Double
  /// How many steps were summed; at least 1.
  public var count: Int
}

/// What one pair's window measured.
public struct PairOutcome: Sendable, Hashable {
  /// None where the pair was dropped.
  public var rows: [WindowRow] = []
  /// A gradient over the trained coordinates, summed over `counted` losses, of estimators that differentiate; else none.
  public var dense: [Float] = []
  /// Sum over the counted losses of the mean of both members' normalised losses.
  public var lossSum = 0.0
  /// Losses that were counted.
  public var counted = 0
  /// Inner updates made, all members and those before the first window included.
  public var innerSteps = 0
  /// Whether a loss was not finite, so that the pair counts in no average and starts anew.
  public var isDropped = false

  /// The mean over the counted losses of theta + eps minus theta - eps.
  var difference: Double {
    let count = rows.reduce(0) { $0 + $1.count }
    return count == 0 ? 0 : rows.reduce(0) { $0 + $1.sum } / Double(count)
  }
}
