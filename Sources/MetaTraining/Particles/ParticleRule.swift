// What an estimator asks of its particles: when noise is drawn, which trainings go on, what a loss counts. The estimators
// of a campaign are settings of this one rule:
//
//   full ES         whole episodes with a fresh eps each                              (Salimans et al. 2017)
//   truncated ES    windows with a fresh eps, both members from one state             (Metz et al. 2019)
//   PES             a fresh eps for every window, xi = sum of the episode's eps       (Vicol et al. 2021, arXiv 2112.13835)
//   NRES            one eps for the whole episode, xi = eps                           (Li et al. 2023, arXiv 2304.12180)
//   GPES-K          a fresh eps every K steps of an episode, xi = sum of them         (same)
//   truncated backpropagation: no noise, the derivative of the window                (Werbos 1990)
import Contract
import Foundation

/// How particles run.
struct ParticleRule: Sendable {
  /// When a particle draws noise.
  enum Noise: Sendable, Hashable {
    case perEpisode
    case perWindow
    /// After so many steps of the episode.
    case every(Int)
  }

  /// What the members of a pair are at the start of a window.
  enum Trainings: Sendable, Hashable {
    /// Each goes on from its own state.
    case persistent
    /// Both begin at one state: the one that theta + eps led to, or the one that theta itself leads to.
    case shared(isMean: Bool)
    /// Both are at the start of an episode, and the window is as long as it is.
    case wholeEpisodes
    /// There is one training, at theta itself, which is differentiated.
    case differentiated
  }

  /// What of an episode, or of a window's steps, is counted.
  enum Measure: Sendable, Hashable {
    /// The loss of every step before its update.
    case steps
    /// The loss on other batches at so many steps of the episode, evenly spread, the last one at its end.
    case validation(count: Int)
    /// Whole episodes alone: the smallest loss, the last one, or the mean over so many batches at the end.
    case smallest
    case last
    case recomputed(batches: Int)
  }

  /// How the first episodes are kept from all being at the same step.
  enum Stagger: Sendable, Hashable {
    case none
    /// The first episode ends a random number of steps early.
    case offset
    /// The first window is at a random multiple of the window's length, reached under theta itself.
    case burnIn
    /// The first episode is cut to a share of its length that runs evenly through the pairs.
    case spread
  }

  var noise: Noise
  var trainings: Trainings
  /// Inner steps of a window.
  var window: Int
  var measure = Measure.steps
  /// Steps between two validation losses that the optimizer is told of; nil tells it none.
  var observedEvery: Int?
  var stagger = Stagger.spread
  /// Whether a loss that is not finite counts as the normaliser's ceiling in place of dropping the pair.
  var usesCeiling = false
  /// Losses l count as log(floor + l).
  var logarithmFloor: Double?
  /// Step t of T counts ((t + 1)/T)^power over the mean of that.
  var power = 0.0
  /// The credit of the published PES code: a reset takes a step of the window, and from an episode's last step on
  /// differences are credited to the window's noise alone. Biased; for comparison.
  var isLegacyCredit = false

  /// Whether noises of one episode add up.
  var accumulates: Bool { trainings == .persistent }

  /// How many trainings a pair keeps from one window to the next.
  var keptTrainings: Int {
    switch trainings {
    case .persistent: 2
    case .shared, .differentiated: 1
    case .wholeEpisodes: 0
    }
  }

  /// A normalised loss as it is counted, but for the weight of its step.
  func counted(_ normalised: Double) -> Double {
    guard let logarithmFloor else { return normalised }
    return log(logarithmFloor + max(normalised, 0))
  }

  /// The derivative of ``counted(_:)``.
  func countedDerivative(_ normalised: Double) -> Double {
    guard let logarithmFloor else { return 1 }
    return normalised > 0 ? 1 / (logarithmFloor + normalised) : 0
  }

  /// Whether validation losses are measured after `done` steps of `length`.
  func isMeasured(_ done: Int, of length: Int) -> Bool {
    guard case .validation(let count) = measure else { return false }
    // Where the number of evaluations due goes up.
    return done * count / length > (done - 1) * count / length
  }

  /// The most noises that add up, for episodes of at most `longest` steps.
  func noisesMax(longest: Int) -> Int {
    guard trainings == .persistent else { return 1 }
    switch noise {
    case .perEpisode: return 1
    // A window more for each end of the episode.
    case .perWindow: return longest / window + 3
    case .every(let steps): return longest / steps + 3
    }
  }
}

extension ParticleRule {
  /// The rule of an estimator.
  init(_ spec: EstimatorSpec) {
    switch spec.kind {
    case .fullES: (noise, trainings) = (.perWindow, .wholeEpisodes)
    case .truncatedES: (noise, trainings) = (.perWindow, .shared(isMean: spec.followsMean))
    case .pes: (noise, trainings) = (.perWindow, .persistent)
    case .nres: (noise, trainings) = (.perEpisode, .persistent)
    case .tbptt: (noise, trainings) = (.perEpisode, .differentiated)
    case .gpes: (noise, trainings) = (.every(spec.refreshEvery ?? spec.window), .persistent)
    }
    window = spec.window
    switch spec.metaLoss {
    case .average: measure = .steps
    case .minimum: measure = .smallest
    case .last: measure = .last
    case .lastRecompute: measure = .recomputed(batches: spec.recomputeSamples)
    case .validAverage: measure = .validation(count: spec.evaluations)
    }
    observedEvery = spec.validationEvery
    switch spec.stagger {
    case .none: stagger = .none
    case .offset: stagger = .offset
    case .burnIn: stagger = .burnIn
    case .spread: stagger = .spread
    }
    usesCeiling = spec.nonFinite == .ceiling
    logarithmFloor = spec.logFloor
    power = spec.weightingPower
    isLegacyCredit = spec.usesPublishedCredit
  }
}
