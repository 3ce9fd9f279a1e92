// The meta-loss of a whole episode for both members of a pair: the mean of its losses, the smallest, the last, or that on
// other batches during it or at its end. Particle feeds it.

/// Gathers an episode's losses.
struct EpisodeMeasure {
  /// When a loss was taken.
  enum Moment {
    case step, validation, end
  }

  private let measure: ParticleRule.Measure
  private var plus = 0.0
  private var minus = 0.0
  private var lossSum = 0.0
  private var count = 0

  init(_ measure: ParticleRule.Measure) { self.measure = measure }

  /// Batches on which both members are evaluated after the last step.
  var batchesAtEnd: Int {
    if case .recomputed(let batches) = measure { return batches }
    return 0
  }

  /// Enters a counted loss of each member, and the loss to report.
  mutating func enter(_ moment: Moment, _ up: Double, _ down: Double, weight: Double, loss: Double) {
    switch (measure, moment) {
    case (.steps, .step), (.validation, .validation), (.recomputed, .end):
      plus += weight * up
      minus += weight * down
      lossSum += loss
      count += 1
    case (.smallest, .step):
      plus = count == 0 ? up : min(plus, up)
      minus = count == 0 ? down : min(minus, down)
      lossSum = 0.5 * (plus + minus)
      count = 1
    case (.last, .step):
      (plus, minus, lossSum, count) = (up, down, loss, 1)
    default: break
    }
  }

  /// The meta-loss of both members; 0 where nothing was entered.
  var result: (plus: Double, minus: Double) {
    let divisor = Double(max(1, count))
    return (plus / divisor, minus / divisor)
  }

  /// The mean of both members' losses as they are reported.
  var meanLoss: Double { lossSum / Double(max(1, count)) }
}
