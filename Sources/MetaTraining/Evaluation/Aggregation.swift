// Scores of many trainings as few numbers with their uncertainty (Agarwal et al. 2021, arXiv 2108.13264; Dolan and Moré
// 2002, arXiv cs/0102001).
//
//   IQM         mean of the middle half of all scores; scores on its edges count by their share
//   interval    scores are resampled within each task, 2.5 % and 97.5 % percentiles of the IQMs
//   profile     share of scores above tau                 time profile   share of tasks with t <= tau · best t
//   P(X > Y)    per task, share of pairs of trainings in which X is better, ties half; mean over tasks
//   gap         mean of max(0, gamma - score)
import Compute
import Foundation

/// Statistics over tasks and seeds. Every function takes the scores of each task on their own.
enum Aggregation {
  /// Resamplings behind an interval.
  static let replicates = 2000
  /// Resamplings behind the band of a profile.
  static let bandReplicates = 500

  /// An interval of 95 %.
  struct Interval: Sendable, Hashable {
    let low: Double
    let high: Double
    /// Whether tasks were resampled, because each has a single training.
    let isOverTasks: Bool
  }

  static func interquartileMean(_ scores: [Double]) -> Double {
    guard !scores.isEmpty else { return .nan }
    return interquartileMean(sorted: scores.sorted())
  }

  private static func interquartileMean(sorted: [Double]) -> Double {
    let count = Double(sorted.count), low = count / 4, high = 3 * count / 4
    var sum = 0.0
    for place in Int(low)..<min(sorted.count, Int(high.rounded(.up))) {
      let weight = min(Double(place + 1), high) - max(Double(place), low)
      if weight > 0 { sum += weight * sorted[place] }
    }
    return sum / (high - low)
  }

  static func mean(_ scores: [Double]) -> Double {
    scores.isEmpty ? .nan : scores.reduce(0, +) / Double(scores.count)
  }

  static func deviation(_ scores: [Double]) -> Double {
    guard scores.count > 1 else { return .nan }
    let mean = mean(scores)
    return (scores.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(scores.count - 1)).squareRoot()
  }

  /// The quantile at a share from 0 to 1, linear between scores.
  static func quantile(_ scores: [Double], _ share: Double) -> Double {
    guard !scores.isEmpty else { return .nan }
    return quantile(sorted: scores.sorted(), share)
  }

  private static func quantile(sorted: [Double], _ share: Double) -> Double {
    let place = share * Double(sorted.count - 1)
    let low = Int(place), high = min(low + 1, sorted.count - 1)
    return sorted[low] + (place - Double(low)) * (sorted[high] - sorted[low])
  }

  /// Mean of what scores lack of `target`.
  static func optimalityGap(_ scores: [Double], target: Double = 1) -> Double {
    mean(scores.map { max(0, target - $0) })
  }

  /// The interval of the interquartile mean, by the stratified bootstrap; equal keys give equal intervals.
  static func interval(_ tasks: [[Double]], key: RandomKey) -> Interval {
    let tasks = tasks.filter { !$0.isEmpty }
    guard !tasks.isEmpty else { return Interval(low: .nan, high: .nan, isOverTasks: false) }
    let isOverTasks = tasks.allSatisfy { $0.count == 1 }
    var sample: [Double] = []
    let values = (0..<replicates).map { replicate in
      resample(tasks, isOverTasks, key.derive(1, UInt32(replicate), 0), into: &sample)
      sample.sort()
      return interquartileMean(sorted: sample)
    }.sorted()
    return Interval(
      low: quantile(sorted: values, 0.025), high: quantile(sorted: values, 0.975), isOverTasks: isOverTasks)
  }

  /// Draws as many scores again, within each task or among tasks of one score.
  private static func resample(_ tasks: [[Double]], _ isOverTasks: Bool, _ key: RandomKey, into out: inout [Double]) {
    out.removeAll(keepingCapacity: true)
    var index: UInt32 = 0
    func place(_ count: Int) -> Int {
      defer { index += 1 }
      let words = key.words(block: index / 4)
      let word = [words.0, words.1, words.2, words.3][Int(index % 4)]
      return Int((UInt64(word) * UInt64(count)) >> 32)
    }
    if isOverTasks {
      for _ in tasks { out.append(tasks[place(tasks.count)][0]) }
    } else {
      for scores in tasks { for _ in scores { out.append(scores[place(scores.count)]) } }
    }
  }

  /// The share of scores above each threshold, with a pointwise band.
  static func profile(
    _ tasks: [[Double]], thresholds: [Double], key: RandomKey
  ) -> [(share: Double, low: Double, high: Double)] {
    let tasks = tasks.filter { !$0.isEmpty }
    guard !tasks.isEmpty else { return thresholds.map { _ in (.nan, .nan, .nan) } }
    func shares(_ scores: [Double]) -> [Double] {
      thresholds.map { threshold in Double(scores.count { $0 > threshold }) / Double(scores.count) }
    }
    let isOverTasks = tasks.allSatisfy { $0.count == 1 }
    var sample: [Double] = []
    let replicas = (0..<bandReplicates).map { replicate in
      resample(tasks, isOverTasks, key.derive(2, UInt32(replicate), 0), into: &sample)
      return shares(sample)
    }
    return shares(tasks.flatMap(\.self)).enumerated().map { place, share in
      let column = replicas.map { $0[place] }.sorted()
      return (share, quantile(sorted: column, 0.025), quantile(sorted: column, 0.975))
    }
  }

  /// The mean over tasks of the share of pairs in which `x` is above `y`, ties half; nil where no task has both.
  static func probabilityOfImprovement(_ x: [[Double]], over y: [[Double]]) -> Double? {
    var shares: [Double] = []
    for (own, others) in zip(x, y) where !own.isEmpty && !others.isEmpty {
      let sum = own.reduce(0.0) { sum, score in
        others.reduce(sum) { $0 + (score > $1 ? 1 : score == $1 ? 0.5 : 0) }
      }
      shares.append(sum / Double(own.count * others.count))
    }
    return shares.isEmpty ? nil : mean(shares)
  }

  /// For each entrant, the share of tasks whose target it reached within tau times the fastest entrant's time.
  ///
  /// - Parameter times: [entrant][task]; infinite where the target was missed. Tasks that nobody solved count as missed.
  static func timeProfile(_ times: [[Double]], ratios: [Double]) -> [[Double]] {
    guard let taskCount = times.first?.count, taskCount > 0 else { return times.map { _ in ratios.map { _ in .nan } } }
    let best = (0..<taskCount).map { task in times.map { $0[task] }.min()! }
    return times.map { own in
      ratios.map { ratio in
        let solved = (0..<taskCount).count {
          own[$0].isFinite && own[$0] <= ratio * max(best[$0], .leastNormalMagnitude)
        }
        return Double(solved) / Double(taskCount)
      }
    }
  }
}
