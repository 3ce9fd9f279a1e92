// From the rows of all pairs to one gradient with respect to theta's trained coordinates.
//
//   task k:  g_k = sum over its rows of w S xi / (2 sigma_j^2 sum of w c)      S, c: a row's sum and count, xi its noises
//   all:     g   = sum of weight_k norm(g_k) / sum of weight_k                 over tasks with a surviving pair
//
// w discounts stale windows; sigma_j is sigma times the leaf's factor. Sums run in Float64 over pairs in rising order and
// their rows in order, so that equal rows give equal bits.
import Contract
import Foundation

/// One pair's part in an outer step.
struct WeighedOutcome {
  var pair: Int
  var outcome: PairOutcome
  /// The share at which it counts, 1 for a window around the newest theta.
  var weight = 1.0
}

/// What is done to loss differences and gradients before they are averaged.
struct GradientRule: Sendable {
  /// Standard deviation of the perturbations, but for the leaves' factors.
  let sigma: Double
  /// A pair's mean difference is cut to ±bound, then ...
  var differenceClip: Double?
  /// ... only its sign counts, times this, or ...
  var sign: Double?
  /// ... its rank among the task's pairs from -1/2 to 1/2, where equal ones share theirs; then ...
  var usesRanks = false
  /// ... it is divided by the deviation of the pairs' mean losses and multiplied by sigma (Li et al. 2023).
  var dividesByDeviation = false
  /// Whether each task's gradient is scaled to length 1.
  var isUnitLength = false
}

extension GradientRule {
  init(_ spec: EstimatorSpec) {
    sigma = spec.sigma
    differenceClip = spec.differenceClip
    sign = spec.sign
    usesRanks = spec.usesRanks
    dividesByDeviation = spec.dividesByDeviation
    isUnitLength = spec.taskNormalisation == .unit
  }
}

/// A gradient with what was seen on the way.
struct GradientEstimate {
  /// Over the trained coordinates.
  var values: [Double]
  /// The mean of the pairs' mean losses; NaN where none survived.
  var meanLoss: Double
  /// The share of pairs that were not dropped.
  var surviving: Double
  /// Whether any row was there to learn from.
  var isEmpty: Bool
}

/// Makes gradients; keeps its memory from one to the next.
struct OuterGradient {
  private let mask: ThetaMask
  private let rule: GradientRule
  private let taskWeights: [Double]
  private var sum: [Double]

  /// - Parameter taskWeights: one for each task, positive.
  init(mask: ThetaMask, rule: GradientRule, taskWeights: [Double]) {
    self.mask = mask
    self.rule = rule
    self.taskWeights = taskWeights
    sum = [Double](repeating: 0, count: mask.count)
  }

  /// The gradient of an outer step.
  ///
  /// - Parameters:
  ///   - tasks: the pairs of each task, in rising order.
  ///   - noise: the sum of a pair's noises, over the trained coordinates.
  mutating func estimate(
    _ tasks: [[WeighedOutcome]], noise: (_ row: WindowRow) -> UnsafePointer<Float>
  ) -> GradientEstimate {
    var total = [Double](repeating: 0, count: mask.count)
    var weights = 0.0
    var losses = 0.0, survivors = 0, pairs = 0
    for (task, outcomes) in tasks.enumerated() {
      pairs += outcomes.count
      let living = outcomes.filter { !$0.outcome.isDropped }
      survivors += living.count
      let heard = living.filter { $0.outcome.counted > 0 }
      guard !heard.isEmpty else { continue }
      losses += taskWeights[task] * heard.reduce(0) { $0 + $1.outcome.meanLoss } / Double(heard.count)
      gather(heard, noise)
      let norm = sum.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let factor = taskWeights[task] * (rule.isUnitLength ? 1 / (norm + 1e-12) : 1)
      for index in total.indices { total[index] += factor * sum[index] }
      weights += taskWeights[task]
    }
    if weights > 0 { for index in total.indices { total[index] /= weights } }
    return GradientEstimate(
      values: total, meanLoss: weights > 0 ? losses / weights : .nan,
      surviving: pairs == 0 ? 0 : Double(survivors) / Double(pairs), isEmpty: weights == 0)
  }

  /// One task's gradient, into `sum`.
  private mutating func gather(_ pairs: [WeighedOutcome], _ noise: (WindowRow) -> UnsafePointer<Float>) {
    for index in sum.indices { sum[index] = 0 }
    let stands = standsFor(pairs.map(\.outcome))
    var count = 0.0
    for (number, pair) in pairs.enumerated() {
      let difference = pair.outcome.difference
      for row in pair.outcome.rows {
        let value: Double
        if rule.sign != nil || rule.usesRanks {
          value = stands[number] * Double(row.count)
        } else {
          // Rows share the change of their pair's mean in proportion.
          value = stands[number] == difference ? row.sum : row.sum * (stands[number] / difference)
        }
        add(noise(row), times: pair.weight * value)
        count += pair.weight * Double(row.count)
      }
      if !pair.outcome.dense.isEmpty {
        for index in sum.indices { sum[index] += pair.weight * Double(pair.outcome.dense[index]) }
        count += pair.weight * Double(pair.outcome.counted)
      }
    }
    let isDense = pairs.contains { !$0.outcome.dense.isEmpty }
    var place = 0
    for (range, scale) in zip(mask.ranges, mask.scales) {
      let sigma = rule.sigma * Double(scale)
      // A leaf that is not moved has no gradient.
      let factor = isDense ? 1 / count : sigma > 0 ? 1 / (2 * sigma * sigma * count) : 0
      for index in place..<place + range.count { sum[index] *= factor }
      place += range.count
    }
  }

  private mutating func add(_ noise: UnsafePointer<Float>, times value: Double) {
    sum.withUnsafeMutableBufferPointer { sum in
      for index in 0..<sum.count { sum[index] += value * Double(noise[index]) }
    }
  }

  /// What stands for the pairs' mean differences.
  private func standsFor(_ pairs: [PairOutcome]) -> [Double] {
    var values = pairs.map(\.difference)
    if let bound = rule.differenceClip { values = values.map { min(max($0, -bound), bound) } }
    if let scale = rule.sign { values = values.map { $0 > 0 ? scale : $0 < 0 ? -scale : 0 } }
    if rule.usesRanks, values.count > 1 {
      let most = Double(values.count - 1)
      values = values.map { own in
        let below = values.count { $0 < own }, equal = values.count { $0 == own }
        return (Double(below) + Double(equal - 1) / 2) / most - 0.5
      }
    } else if rule.usesRanks {
      values = values.map { $0 > 0 ? 0.5 : $0 < 0 ? -0.5 : 0 }
    }
    if rule.dividesByDeviation {
      let losses = pairs.map(\.meanLoss)
      let mean = losses.reduce(0, +) / Double(losses.count)
      let variance = losses.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(losses.count)
      let factor = rule.sigma / (variance.squareRoot() + 1e-12)
      values = values.map { $0 * factor }
    }
    return values
  }
}

extension PairOutcome {
  /// The mean of both members' normalised losses; 0 where nothing was counted.
  var meanLoss: Double { counted == 0 ? 0 : lossSum / Double(counted) }
}
