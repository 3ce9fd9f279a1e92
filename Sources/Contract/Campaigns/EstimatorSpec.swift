// How a gradient with respect to theta is estimated from inner trainings: the estimator with its constants, what of an
// episode counts as its loss, and what becomes of it on the way to a gradient. MetaTraining's estimators read it.
import Foundation

/// How the gradient with respect to theta is estimated.
public struct EstimatorSpec: Sendable, Hashable {
  public enum Kind: String, Sendable, CaseIterable {
    /// Whole episodes of one length that all pairs share, begun anew in every outer step (Metz et al. 2022, arXiv
    /// 2211.09760).
    case fullES = "full_es"
    /// Windows whose start is shared by both members: biased to short horizons.
    case truncatedES = "truncated_es"
    /// Persistent evolution strategies (Vicol et al. 2021, arXiv 2112.13835).
    case pes
    /// Noise-reuse evolution strategies (Li et al. 2023, arXiv 2304.12180).
    case nres
    /// Between both: fresh noise every ``refreshEvery`` inner steps.
    case gpes
    /// Backpropagation through windows, for optimizers that can be differentiated.
    case tbptt
  }
  /// What of an episode is its loss.
  public enum MetaLoss: String, Sendable, CaseIterable {
    /// The mean of the training losses.
    case average = "avg"
    /// The smallest one; the last one; the mean over ``recomputeSamples`` fresh batches at the end. Full ES alone.
    case minimum = "min"
    case last
    case lastRecompute = "last_recompute"
    /// The mean of losses on other batches of the validation split, measured ``evaluations`` times an episode.
    case validAverage = "valid_avg"
  }
  /// Where gradients of several tasks are made comparable before they are averaged.
  public enum TaskNormalisation: String, Sendable, CaseIterable {
    case none
    /// Every task's gradient has length one.
    case unit
  }
  /// What becomes of a pair with a loss that is not finite.
  public enum NonFinite: String, Sendable, CaseIterable {
    /// It counts in no average and starts anew.
    case drop
    /// The loss counts as the worst that the task's normaliser knows.
    case ceiling
  }
  /// How the pairs of a task are spread over the phases of training at the start.
  public enum Stagger: String, Sendable, CaseIterable {
    /// All start at step 0.
    case none
    /// The first episode is shorter by a random share of the longest.
    case offset
    /// Each pair is trained up to a random step with the unperturbed theta first.
    case burnIn = "burn_in"
    /// The first episode of pair i of N has the share (i + ½)/N of its length.
    case spread
  }

  public var kind: Kind
  /// Standard deviation of the perturbation of theta.
  public var sigma: Double
  /// Factors of sigma for leaves whose path starts with the key; the longest matching key counts.
  public var leafSigmas: [String: Double]
  /// Antithetic pairs of each task.
  public var pairs: Int
  /// Inner steps between two outer steps; full ES takes whole episodes instead.
  public var window: Int
  /// GPES: inner steps after which fresh noise is added.
  public var refreshEvery: Int?
  public var metaLoss: MetaLoss
  public var recomputeSamples: Int
  /// How often an episode's validation loss is measured for `valid_avg`.
  public var evaluations: Int
  /// Inner steps between two validation losses that the optimizer is told; nil tells none.
  public var validationEvery: Int?
  /// Losses count as log(loss + ``logFloor``), so that a factor counts the same at every height; nil leaves them.
  public var logFloor: Double?
  /// The loss of step t counts ((t + 1)/T)^power, scaled to a mean of 1 over the episode.
  public var weightingPower: Double
  /// Bound on a pair's difference of losses; nil for none.
  public var differenceClip: Double?
  /// Only the sign of a pair's difference counts, times this; nil leaves the difference.
  public var sign: Double?
  /// Differences are replaced by their centred ranks over the pairs of a task.
  public var usesRanks: Bool
  /// Differences are divided by the standard deviation of the losses over the pairs of a task.
  public var dividesByDeviation: Bool
  public var taskNormalisation: TaskNormalisation
  public var nonFinite: NonFinite
  public var stagger: Stagger
  /// Truncated ES: go on from an unperturbed training in place of the positive member's.
  public var followsMean: Bool
  /// PES: credit the last step of an episode that ends inside a window as the published code does, which is biased.
  public var usesPublishedCredit: Bool

  public init(
    kind: Kind, sigma: Double = 0.01, leafSigmas: [String: Double] = [:], pairs: Int = 8, window: Int = 50,
    refreshEvery: Int? = nil, metaLoss: MetaLoss = .average, recomputeSamples: Int = 50, evaluations: Int = 10,
    validationEvery: Int? = nil, logFloor: Double? = nil, weightingPower: Double = 0, differenceClip: Double? = nil,
    sign: Double? = nil, usesRanks: Bool = false, dividesByDeviation: Bool = false,
    taskNormalisation: TaskNormalisation = .none, nonFinite: NonFinite = .drop, stagger: Stagger = .spread,
    followsMean: Bool = false, usesPublishedCredit: Bool = false
  ) {
    self.kind = kind
    self.sigma = sigma
    self.leafSigmas = leafSigmas
    self.pairs = pairs
    self.window = window
    self.refreshEvery = refreshEvery
    self.metaLoss = metaLoss
    self.recomputeSamples = recomputeSamples
    self.evaluations = evaluations
    self.validationEvery = validationEvery
    self.logFloor = logFloor
    self.weightingPower = weightingPower
    self.differenceClip = differenceClip
    self.sign = sign
    self.usesRanks = usesRanks
    self.dividesByDeviation = dividesByDeviation
    self.taskNormalisation = taskNormalisation
    self.nonFinite = nonFinite
    self.stagger = stagger
    self.followsMean = followsMean
    self.usesPublishedCredit = usesPublishedCredit
  }

  public var json: JSON {
    [
      "kind": .string(kind.rawValue), "sigma": .number(sigma),
      "leaf_sigmas": .object(leafSigmas.mapValues(JSON.number)),
      "pairs": .integer(pairs), "window": .integer(window), "refresh_every": refreshEvery.map(JSON.integer) ?? .null,
      "meta_loss": .string(metaLoss.rawValue), "recompute_samples": .integer(recomputeSamples),
      "evaluations": .integer(evaluations), "validation_every": validationEvery.map(JSON.integer) ?? .null,
      "log_floor": logFloor.map(JSON.number) ?? .null, "weighting_power": .number(weightingPower),
      "difference_clip": differenceClip.map(JSON.number) ?? .null, "sign": sign.map(JSON.number) ?? .null,
      "ranks": .bool(usesRanks), "divide_by_deviation": .bool(dividesByDeviation),
      "task_normalisation": .string(taskNormalisation.rawValue), "non_finite": .string(nonFinite.rawValue),
      "stagger": .string(stagger.rawValue), "follow_mean": .bool(followsMean),
      "published_credit": .bool(usesPublishedCredit),
    ]
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> EstimatorSpec? {
    guard var fields = Fields(json, path: path, faults: faults),
      let kind = fields.choice("kind", of: Kind.self, required: "the estimator")
    else { return nil }
    var spec = EstimatorSpec(kind: kind)
    spec.sigma = fields.number("sigma", in: 1e-6...10) ?? spec.sigma
    spec.leafSigmas = fields.numbers("leaf_sigmas", in: 0...1000) ?? [:]
    spec.pairs = fields.integer("pairs", in: 1...4096) ?? spec.pairs
    spec.window = fields.integer("window", in: 1...100_000) ?? spec.window
    spec.refreshEvery = fields.integer("refresh_every", in: 1...1_000_000)
    spec.metaLoss = fields.choice("meta_loss", of: MetaLoss.self) ?? spec.metaLoss
    spec.recomputeSamples = fields.integer("recompute_samples", in: 1...1000) ?? spec.recomputeSamples
    spec.evaluations = fields.integer("evaluations", in: 1...1000) ?? spec.evaluations
    spec.validationEvery = fields.integer("validation_every", in: 1...100_000)
    spec.logFloor = fields.number("log_floor", in: 1e-12...1)
    spec.weightingPower = fields.number("weighting_power", in: 0...20) ?? 0
    spec.differenceClip = fields.number("difference_clip", in: 1e-9...1e9)
    spec.sign = fields.number("sign", in: 1e-9...1e9)
    spec.usesRanks = fields.bool("ranks") ?? false
    spec.dividesByDeviation = fields.bool("divide_by_deviation") ?? false
    spec.taskNormalisation = fields.choice("task_normalisation", of: TaskNormalisation.self) ?? .none
    spec.nonFinite = fields.choice("non_finite", of: NonFinite.self) ?? .drop
    spec.stagger = fields.choice("stagger", of: Stagger.self) ?? .spread
    spec.followsMean = fields.bool("follow_mean") ?? false
    spec.usesPublishedCredit = fields.bool("published_credit") ?? false
    spec.check(&fields)
    fields.finish()
    return spec
  }

  /// What does not go together.
  private func check(_ fields: inout Fields) {
    if kind == .gpes {
      if let refreshEvery, refreshEvery % window != 0 {
        fields.fault("refresh_every", "expected a multiple of the window, \(window), got \(refreshEvery)")
      } else if refreshEvery == nil {
        fields.fault("refresh_every", "gpes needs the inner steps after which noise is added, a multiple of the window")
      }
    } else if refreshEvery != nil {
      fields.fault("refresh_every", "only gpes refreshes its noise; \(kind.rawValue) does not")
    }
    if kind != .fullES && [.minimum, .last, .lastRecompute].contains(metaLoss) {
      fields.fault("meta_loss", "\(metaLoss.rawValue) needs whole episodes: use full_es, or avg or valid_avg")
    }
    if followsMean && kind != .truncatedES { fields.fault("follow_mean", "only truncated_es follows a mean") }
    if usesPublishedCredit && kind != .pes { fields.fault("published_credit", "only pes has it") }
    if usesRanks && sign != nil { fields.fault("ranks", "ranks and sign are both given; take one") }
  }
}

extension Fields {
  /// An array of integers.
  mutating func integers(_ key: String, required: String? = nil) -> [Int]? {
    array(key, counts: 0...64, required: required) { json, path, faults in
      if let value = json.integer { return value }
      faults.add(path, "expected an integer, got \(json.kind)")
      return nil
    }
  }

  /// An object of at most 1,000 numbers.
  mutating func numbers(_ key: String, in range: ClosedRange<Double>) -> [String: Double]? {
    guard let json = value(key) else { return nil }
    guard case .object(let members) = json, members.count <= 1000 else {
      fault(key, "expected an object of at most 1000 numbers, got \(json.kind)")
      return nil
    }
    var numbers: [String: Double] = [:]
    for (name, json) in members.sorted(by: { $0.key < $1.key }) {
      guard let number = json.number, range.contains(number) else {
        fault(key, "expected a number from \(range.lowerBound) to \(range.upperBound) at \"\(name)\", got \(json.text)")
        continue
      }
      numbers[name] = number
    }
    return numbers
  }
}
