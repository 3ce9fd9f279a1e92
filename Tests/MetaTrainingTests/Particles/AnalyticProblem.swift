// Unrolled systems whose losses are formulas, for tests whose answers are known: particles run them as they run trainings.
import Compute
import Contract
import Foundation

@testable import MetaTraining

/// A system with a few numbers of state.
final class AnalyticProblem: UnrolledProblem {
  final class State {
    var values: [Double]
    /// Steps made since the state was allocated, episodes that ended included.
    var calls = 0
    init(_ values: [Double]) { self.values = values }
  }

  private let start: [Double]
  private let ceiling: Double
  private let rule: (_ state: State, _ theta: UnsafePointer<Float>, _ step: Int) -> Double

  /// - Parameters:
  ///   - ceiling: the largest normalised loss.
  ///   - rule: changes the state and returns the step's loss.
  init(
    start: [Double], ceiling: Double = .infinity,
    _ rule: @escaping (_ state: State, _ theta: UnsafePointer<Float>, _ step: Int) -> Double
  ) {
    self.start = start
    self.ceiling = ceiling
    self.rule = rule
  }

  var variantCount: Int { 1 }
  func makeTraining() -> State { State(start) }
  func copy(_ training: State, into other: State) { (other.values, other.calls) = (training.values, training.calls) }
  func select(variant: Int) {}
  func reset(_ training: State, initial: RandomKey, episode: RandomKey, theta: UnsafePointer<Float>?) {
    training.values = start
  }
  func drawBatch(_ key: RandomKey) {}
  func advance(_ training: State, theta: UnsafePointer<Float>, iteration: Int, totalSteps: Int) -> Double {
    training.calls += 1
    return rule(training, theta, iteration)
  }
  func loss(_ training: State, iteration: Int) -> Double { training.values.reduce(0, +) }
  func observe(_ training: State, validationLoss: Double) {}
  func normalised(_ loss: Double) -> Double { min(loss, ceiling) }

  /// By central differences of the whole stretch.
  func differentiate(
    _ training: State, theta: UnsafePointer<Float>, stretch: DifferentiatedStretch
  ) -> StretchDerivative {
    var found = StretchDerivative(gradient: [Double](repeating: 0, count: stretch.thetaFloats))
    let moved = AlignedBuffer(floats: stretch.thetaFloats)
    func run(_ state: State) -> (counted: Double, losses: Double) {
      var (sum, losses) = (0.0, 0.0)
      for step in stretch.iteration..<stretch.iteration + stretch.steps {
        let loss = advance(state, theta: moved.pointer, iteration: step, totalSteps: stretch.totalSteps)
        sum += stretch.counted(step, loss).value
        losses += loss
      }
      return (sum, losses)
    }
    for index in 0..<stretch.thetaFloats {
      var sums = [0.0, 0.0]
      for (side, sign) in [Float(1), -1].enumerated() {
        moved.pointer.update(from: theta, count: stretch.thetaFloats)
        moved.pointer[index] += sign / 64
        let copied = makeTraining()
        copy(training, into: copied)
        sums[side] = run(copied).counted
      }
      found.gradient[index] = (sums[0] - sums[1]) * 32
    }
    moved.pointer.update(from: theta, count: stretch.thetaFloats)
    found.lossSum = run(training).losses
    return found
  }

  /// s <- s + sum of theta, the loss is s after that.
  static func sum(_ count: Int = 1) -> AnalyticProblem {
    AnalyticProblem(start: [0]) { state, theta, _ in
      for index in 0..<count { state.values[0] += Double(theta[index]) }
      return state.values[0]
    }
  }

  /// A loss of theta alone.
  static func plain(_ loss: @escaping (UnsafePointer<Float>) -> Double) -> AnalyticProblem {
    AnalyticProblem(start: [0]) { _, theta, _ in loss(theta) }
  }

  /// Momentum on 0.5 sum h (x - c(t))^2 from (1, -1), theta = (log learning rate, momentum logit); the loss is the one
  /// before the update.
  static func movingQuadratic() -> AnalyticProblem {
    AnalyticProblem(start: [1, -1, 0, 0]) { state, theta, step in
      let rate = exp(Double(theta[0])), momentum = 1 / (1 + exp(-Double(theta[1])))
      let t = Double(step)
      let h = [1.0, 10.0], c = [0.1 * sin(0.7 * t), 0.1 * cos(1.3 * t)]
      var loss = 0.0
      for index in 0..<2 {
        let error = state.values[index] - c[index]
        loss += 0.5 * h[index] * error * error
        state.values[2 + index] = momentum * state.values[2 + index] + h[index] * error
        state.values[index] -= rate * state.values[2 + index]
      }
      return loss
    }
  }
}

/// Pairs on one analytic problem, with the learner's gradient of their windows.
final class AnalyticPairs {
  let particles: [Particle<AnalyticProblem>]
  let lane: ParticleLane<AnalyticProblem>
  let theta: AlignedBuffer
  private let sigma: Double
  private let mask: ThetaMask

  /// - Parameter noise: the numbered vectors of a pair, times sigma; nil draws normals.
  init(
    _ problem: AnalyticProblem, _ rule: ParticleRule, theta: [Float], sigma: Double, pairs: Int, length: Int,
    seed: UInt64 = 1, noise: ((_ pair: Int, _ index: UInt32) -> [Float])? = nil
  ) {
    let layout = ParameterLayout([("theta", Shape([theta.count]))])
    let mask = ThetaMask(layout, prefixes: [])
    self.mask = mask
    self.sigma = sigma
    self.theta = AlignedBuffer(floats: layout.floats)
    for (index, value) in theta.enumerated() { self.theta.pointer[index] = value }
    let lane = ParticleLane(problem, PerturbedTheta(thetaFloats: layout.floats, mask: mask))
    self.lane = lane
    let key = RandomKey(seed: seed)
    let setting = ParticleSetting(
      rule: rule, mask: mask, lengths: .logUniform(length...length), sharedKey: key.derive(99, 0, 0))
    particles = (0..<pairs).map { pair in
      let own = key.derive(2, UInt32(pair), 0)
      // Tests run on one thread.
      nonisolated(unsafe) let given = noise
      let vectors =
        given == nil
        ? PairNoise(key: own, sigma: sigma, mask: mask, level: .best)
        : PairNoise(count: mask.count) { index, vector in
          _ = vector.update(fromContentsOf: given!(pair, index))
        }
      return Particle(
        pair: pair, key: own, noise: vectors, setting: setting, firstShare: (Double(pair) + 0.5) / Double(pairs),
        problem: problem)
    }
  }

  /// Runs a window of every pair.
  func run(_ context: WindowContext = WindowContext(version: 0, outerIteration: 0)) -> [PairOutcome] {
    particles.map { $0.run(lane, theta: theta.pointer, context: context) }
  }

  /// The gradient that a learner makes of outcomes.
  func gradient(_ outcomes: [PairOutcome], rule: GradientRule? = nil) -> [Double] {
    var gradient = OuterGradient(mask: mask, rule: rule ?? GradientRule(sigma: sigma), taskWeights: [1])
    let weighed = outcomes.enumerated().map { WeighedOutcome(pair: $0.offset, outcome: $0.element) }
    return gradient.estimate([weighed]) { [self] in
      particles[$0.pair].noise.sum($0.firstNoise, $0.lastNoise)
    }.values
  }

  /// The gradient of one pair's outcome alone.
  func gradient(of pair: Int, _ outcome: PairOutcome) -> [Double] {
    var gradient = OuterGradient(mask: mask, rule: GradientRule(sigma: sigma), taskWeights: [1])
    return gradient.estimate([[WeighedOutcome(pair: pair, outcome: outcome)]]) { [self] in
      particles[$0.pair].noise.sum($0.firstNoise, $0.lastNoise)
    }.values
  }
}

extension ParticleRule {
  /// The rule of an estimator whose pairs all begin at step 0, with a window.
  static func of(
    _ kind: EstimatorSpec.Kind, window: Int, refreshEvery: Int? = nil, stagger: EstimatorSpec.Stagger = .none,
    followsMean: Bool = false, usesPublishedCredit: Bool = false
  ) -> ParticleRule {
    ParticleRule(
      EstimatorSpec(
        kind: kind, window: window, refreshEvery: refreshEvery, stagger: stagger, followsMean: followsMean,
        usesPublishedCredit: usesPublishedCredit))
  }
}
