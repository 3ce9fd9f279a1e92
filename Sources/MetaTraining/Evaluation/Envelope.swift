// The envelope of a tuned baseline: the least loss that any of its settings has reached by a step, and its inverse, the
// steps that the baseline would have needed for a loss (Metz et al. 2022, arXiv 2211.09760).
//
//   c_trial(step) = mean over seeds of the smoothed loss            a seed without a loss spoils its mean
//   E(step) = min over steps' <= step and trials of c_trial(step')
//   S(loss) = the earliest step with E(step) <= loss, linear between measurements; 0 above E(0)

/// A curve that never rises.
struct Envelope: Sendable, Hashable {
  /// Rising.
  let steps: [Double]
  /// Not rising, finite.
  let losses: [Double]

  /// The inverse at a loss.
  struct Reading: Sendable, Hashable {
    let steps: Double
    /// Whether the baseline never got there, so that `steps` is its end and the truth is more.
    let isCensored: Bool
  }

  /// The envelope of curves of mean losses, each a map from steps to losses; what is not finite does not count. Nil where
  /// nothing is finite.
  init?(_ curves: [[Int: Double]]) {
    var least: [Int: Double] = [:]
    for curve in curves {
      for (step, loss) in curve where loss.isFinite { least[step] = min(least[step] ?? .infinity, loss) }
    }
    guard !least.isEmpty else { return nil }
    let ordered = least.sorted { $0.key < $1.key }
    var running = Double.infinity
    steps = ordered.map { Double($0.key) }
    losses = ordered.map {
      running = min(running, $0.value)
      return running
    }
  }

  /// S of a loss; a loss that is not finite takes no steps at all.
  func read(_ loss: Double) -> Reading {
    guard loss.isFinite, loss <= losses[0] else { return Reading(steps: 0, isCensored: false) }
    // The first place at or below the loss.
    var low = 0, high = losses.count
    while low < high {
      let middle = (low + high) / 2
      if losses[middle] <= loss { high = middle } else { low = middle + 1 }
    }
    guard low < losses.count else { return Reading(steps: steps[steps.count - 1], isCensored: true) }
    guard low > 0 else { return Reading(steps: steps[0], isCensored: false) }
    let share = (losses[low - 1] - loss) / (losses[low - 1] - losses[low])
    return Reading(steps: steps[low - 1] + share * (steps[low] - steps[low - 1]), isCensored: false)
  }
}
