// How a learning rate changes over a run: a factor of the base rate for each update. Hand-designed optimizers multiply
// by it; learned ones set their own steps.
import Foundation

/// A learning rate with the schedule it follows.
public struct LearningRate: Sendable, Hashable {
  public let base: Double
  public let schedule: LearningRateSchedule

  public init(base: Double, schedule: LearningRateSchedule = .constant) {
    self.base = base
    self.schedule = schedule
  }

  /// The rate of the update after `iteration` others of a run of `totalSteps`.
  public func at(_ iteration: Int, of totalSteps: Int) -> Double {
    base * schedule.factor(iteration, of: totalSteps)
  }
}

/// A function of the updates done, t, and the updates planned, n.
public enum LearningRateSchedule: Sendable, Hashable {
  /// 1 throughout.
  case constant
  /// (t + 1)/warmup while that is below 1, then `shape`.
  indirect case warmup(steps: Int, then: LearningRateSchedule)
  /// From 1 to `final` over the run, along a line or half a cosine, after as many updates as a warm-up around it takes.
  case linear(final: Double)
  case cosine(final: Double)
  /// 1 until the last `decayFraction` of the run, then along a line to `final`.
  case hold(decayFraction: Double, final: Double)
  /// min(t/peak, sqrt(peak/t)) with t at least 1.
  case inverseSquareRoot(peakSteps: Int)
  /// (1 - decay)^t.
  case exponential(decay: Double)
  /// `factor` to the power of how often `every` updates have passed.
  case step(every: Int, factor: Double)
  /// Linear between knots (t, factor), constant outside them.
  case piecewise([Knot])
  /// Up from `start` along a line for `peakFraction` of the run, then down to `final` along half a cosine.
  case oneCycle(peakFraction: Double, start: Double, final: Double)
  /// Constant for a share of the run, then half a cosine to `final`; see ``heldCosine(_:_:_:)``.
  case heldCosine(HeldCosine)

  public struct Knot: Sendable, Hashable {
    public let step: Double
    public let factor: Double
  }

  /// The schedule that VeLO's NAdamW baseline was tuned with (Metz et al. 2022, arXiv 2211.09760).
  public struct HeldCosine: Sendable, Hashable {
    /// Share of the run at the full rate.
    public var constantFraction = 0.5
    /// Share of the run on the way up to it.
    public var warmupFraction = 0.01
    /// Factor at the end.
    public var final = 0.0
    /// Whether the way up takes all of the constant share, as in the published list of settings.
    public var warmupFillsConstant = false

    public init(
      constantFraction: Double = 0.5, warmupFraction: Double = 0.01, final: Double = 0,
      warmupFillsConstant: Bool = false
    ) {
      self.constantFraction = constantFraction
      self.warmupFraction = warmupFraction
      self.final = final
      self.warmupFillsConstant = warmupFillsConstant
    }
  }

  /// The factor at `iteration` of `totalSteps`; updates beyond the plan keep the last one's where the shape ends.
  public func factor(_ iteration: Int, of totalSteps: Int) -> Double {
    factor(Double(iteration), Double(max(totalSteps, 1)), after: 0)
  }

  private func factor(_ t: Double, _ n: Double, after start: Double) -> Double {
    let progress = n > start ? min(max((t - start) / (n - start), 0), 1) : 1
    switch self {
    case .constant: return 1
    case .warmup(let steps, let then):
      return t < Double(steps) ? (t + 1) / Double(steps) : then.factor(t, n, after: Double(steps))
    case .linear(let final): return 1 + (final - 1) * progress
    case .cosine(let final): return final + (1 - final) * (0.5 + 0.5 * cos(.pi * progress))
    case .hold(let decayFraction, let final):
      let begin = 1 - decayFraction
      return progress <= begin ? 1 : 1 + (final - 1) * (progress - begin) / decayFraction
    case .inverseSquareRoot(let peakSteps):
      let tau = max(t, 1), peak = Double(peakSteps)
      return min(tau / peak, (peak / tau).squareRoot())
    case .exponential(let decay): return pow(1 - decay, t)
    case .step(let every, let factor): return pow(factor, (t / Double(every)).rounded(.down))
    case .piecewise(let knots):
      guard let next = knots.firstIndex(where: { t <= $0.step }) else { return knots[knots.count - 1].factor }
      guard next > 0 else { return knots[0].factor }
      let (a, b) = (knots[next - 1], knots[next])
      return a.factor + (b.factor - a.factor) * (t - a.step) / (b.step - a.step)
    case .oneCycle(let peakFraction, let start, let final):
      if progress < peakFraction { return start + (1 - start) * progress / peakFraction }
      let down = peakFraction < 1 ? (progress - peakFraction) / (1 - peakFraction) : 1
      return final + (1 - final) * (0.5 + 0.5 * cos(.pi * down))
    case .heldCosine(let shape):
      let s = min(t, n), hold = n * shape.constantFraction
      let rise =
        n * (shape.warmupFillsConstant ? max(shape.warmupFraction, shape.constantFraction) : shape.warmupFraction)
      if shape.warmupFraction > 0, s < rise { return s / rise }
      guard n > hold else { return 1 }
      return (1 - shape.final) * (0.5 * cos(.pi * (max(s, hold) - hold) / (n - hold)) + 0.5) + shape.final
    }
  }
}
