// A meta-training campaign: which learned optimizer is trained, on which tasks, by which estimator, in which
// phases. Read from YAML or JSON; MetaTraining runs it.
import Foundation

/// A campaign as admins write it.
public struct CampaignSpec: Sendable, Hashable {
  public var name: String
  /// The learned optimizer to train.
  public var optimizer: OptimizerName
  /// Constants of its architecture that differ from the published ones, such as `lstm_hidden`.
  public var constants: [String: JSON]
  /// Seed of everything random in the campaign.
  public var seed: Int
  /// Leaves of theta that start at one value in place of random ones; such as an output bias.
  public var initial: [String: Double]
  public var phases: [CampaignPhase]

  public var json: JSON {
    [
      "name": .string(name), "optimizer": .string(optimizer.rawValue), "constants": .object(constants),
      "seed": .integer(seed),
      "initial": .object(initial.mapValues(JSON.number)), "phases": .array(phases.map(\.json)),
    ]
  }

  public static func decode(_ json: JSON) throws(SpecError) -> CampaignSpec {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let name = fields.string("name", required: "the campaign's name")
      let optimizer = fields.choice("optimizer", of: OptimizerName.self, required: "the learned optimizer to train")
      if let optimizer, !optimizer.isLearned || optimizer == .auto {
        let learned = OptimizerName.allCases.filter { $0.isLearned && $0 != .auto }.map(\.rawValue)
        fields.fault(
          "optimizer", "expected one of \(learned.joined(separator: ", ")), got \"\(optimizer.rawValue)\"")
      }
      var constants: [String: JSON] = [:]
      if let value = fields.value("constants") {
        if case .object(let members) = value {
          constants = members
        } else {
          fields.fault("constants", "expected an object, got \(value.kind)")
        }
      }
      let seed = fields.integer("seed", in: TrainingSpec.seedRange) ?? 0
      var initial: [String: Double] = [:]
      if let value = fields.value("initial") {
        if case .object(let leaves) = value {
          for (name, number) in leaves {
            initial[name] = number.number
            if number.number == nil { faults.add("/initial/\(name)", "expected a number, got \(number.kind)") }
          }
        } else {
          fields.fault("initial", "expected an object of numbers, got \(value.kind)")
        }
      }
      let phases = fields.array("phases", counts: 1...16, required: "one phase or more", read: CampaignPhase.read)
      fields.finish()
      guard let name, let optimizer, let phases else { return nil }
      return CampaignSpec(
        name: name, optimizer: optimizer, constants: constants, seed: seed, initial: initial, phases: phases)
    }
  }
}

/// One stretch of a campaign with fixed settings. It starts from the theta that the phase before it left.
public struct CampaignPhase: Sendable, Hashable {
  public var name: String
  /// Path prefixes of the theta leaves that are trained; empty trains all.
  public var trainable: [String]
  /// Celo: whether the scheduler's multiplier acts (false while the update rule is trained alone).
  public var usesScheduler: Bool
  public var estimator: EstimatorSpec
  /// Episode lengths are drawn log-uniformly from this range of inner steps.
  public var lengths: ClosedRange<Int>
  public var outerSteps: Int
  /// Outer Adam's learning rate at the start and, by a cosine, at the end.
  public var learningRate: Double
  public var finalLearningRate: Double
  /// Per-coordinate bound on the averaged gradient, before Adam.
  public var clip: Double
  public var tasks: [TaskSpec]

  public init(
    name: String, trainable: [String], usesScheduler: Bool, estimator: EstimatorSpec, lengths: ClosedRange<Int>,
    outerSteps: Int, learningRate: Double, finalLearningRate: Double, clip: Double, tasks: [TaskSpec]
  ) {
    self.name = name
    self.trainable = trainable
    self.usesScheduler = usesScheduler
    self.estimator = estimator
    self.lengths = lengths
    self.outerSteps = outerSteps
    self.learningRate = learningRate
    self.finalLearningRate = finalLearningRate
    self.clip = clip
    self.tasks = tasks
  }

  public var json: JSON {
    [
      "name": .string(name), "trainable": .array(trainable.map(JSON.string)), "uses_scheduler": .bool(usesScheduler),
      "estimator": estimator.json, "lengths": [.integer(lengths.lowerBound), .integer(lengths.upperBound)],
      "outer_steps": .integer(outerSteps), "learning_rate": .number(learningRate),
      "final_learning_rate": .number(finalLearningRate), "clip": .number(clip), "tasks": .array(tasks.map(\.json)),
    ]
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> CampaignPhase? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let name = fields.string("name", required: "the phase's name")
    let trainable =
      fields.array("trainable", counts: 0...100) { json, path, faults -> String? in
        if let text = json.string { return text }
        faults.add(path, "expected a path prefix, got \(json.kind)")
        return nil
      } ?? []
    let usesScheduler = fields.bool("uses_scheduler") ?? true
    let estimator = fields.required("estimator", "the gradient estimator")
      .flatMap { EstimatorSpec.read($0, path: fields.pointer("estimator"), faults: faults) }
    let lengths = fields.integers("lengths", required: "shortest and longest episode, such as [100, 2000]")
    if let lengths, lengths.count != 2 || lengths[0] < 10 || lengths[1] < lengths[0] || lengths[1] > 1_000_000 {
      fields.fault("lengths", "expected two rising integers from 10 to 1000000, got \(lengths)")
    }
    let outerSteps = fields.integer("outer_steps", in: 1...10_000_000, required: "the number of outer steps")
    let learningRate = fields.number("learning_rate", in: 1e-8...1) ?? 1e-3
    let finalLearningRate = fields.number("final_learning_rate", in: 0...1) ?? learningRate
    let clip = fields.number("clip", in: 1e-6...1e9) ?? 3
    let tasks = fields.array("tasks", counts: 1...64, required: "the inner tasks", read: TaskSpec.read)
    fields.finish()
    guard faults.isEmpty, let name, let estimator, let lengths, let outerSteps, let tasks else { return nil }
    return CampaignPhase(
      name: name, trainable: trainable, usesScheduler: usesScheduler, estimator: estimator,
      lengths: lengths[0]...lengths[1], outerSteps: outerSteps, learningRate: learningRate,
      finalLearningRate: finalLearningRate, clip: clip, tasks: tasks)
  }
}

/// How the gradient with respect to theta is estimated.
public struct EstimatorSpec: Sendable, Hashable {
  public enum Kind: String, Sendable, CaseIterable {
    /// Persistent evolution strategies (Vicol et al. 2021, arXiv 2112.13835).
    case pes
    /// Noise-reuse evolution strategies (Li et al. 2023, arXiv 2304.12180).
    case nres
  }
  public var kind: Kind
  /// Standard deviation of the perturbation of theta.
  public var sigma: Double
  /// Antithetic pairs of each task.
  public var pairs: Int
  /// Inner steps between two outer steps.
  public var window: Int

  public init(kind: Kind, sigma: Double = 0.01, pairs: Int = 8, window: Int = 50) {
    self.kind = kind
    self.sigma = sigma
    self.pairs = pairs
    self.window = window
  }

  public var json: JSON {
    [
      "kind": .string(kind.rawValue), "sigma": .number(sigma), "pairs": .integer(pairs), "window": .integer(window),
    ]
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> EstimatorSpec? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let kind = fields.choice("kind", of: Kind.self, required: "the estimator")
    let sigma = fields.number("sigma", in: 1e-6...10) ?? 0.01
    let pairs = fields.integer("pairs", in: 1...4096) ?? 8
    let window = fields.integer("window", in: 1...100_000) ?? 50
    fields.finish()
    return kind.map { EstimatorSpec(kind: $0, sigma: sigma, pairs: pairs, window: window) }
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
}
