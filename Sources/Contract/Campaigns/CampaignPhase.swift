// One stretch of a campaign with fixed settings: everything that may be changed while a campaign runs stands here and
// nowhere in code.
import Foundation

/// An entry of a phase's task mix.
public struct CampaignTask: Sendable, Hashable {
  public var task: TaskSpec
  /// Antithetic pairs of each task it stands for; nil takes the estimator's.
  public var pairs: Int?
  /// Its share in the mean over tasks, relative to the others'.
  public var weight: Double

  public init(_ task: TaskSpec, pairs: Int? = nil, weight: Double = 1) {
    self.task = task
    self.pairs = pairs
    self.weight = weight
  }

  public var json: JSON {
    guard case .object(var members) = task.json else { return task.json }
    members["pairs"] = pairs.map(JSON.integer) ?? .null
    members["weight"] = .number(weight)
    return .object(members)
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> CampaignTask? {
    guard case .object(var members) = json, var fields = Fields(json, path: path, faults: faults) else {
      faults.add(path, "expected an object, got \(json.kind)")
      return nil
    }
    let pairs = fields.integer("pairs", in: 1...4096)
    let weight = fields.number("weight", in: 1e-6...1e6) ?? 1
    members["pairs"] = nil
    members["weight"] = nil
    return TaskSpec.read(.object(members), path: path, faults: faults)
      .map { CampaignTask($0, pairs: pairs, weight: weight) }
  }
}

/// One stretch of a campaign. It starts from the theta that the one before it left.
public struct CampaignPhase: Sendable, Hashable {
  public var name: String
  /// Path prefixes of the theta leaves that are trained; empty trains all.
  public var trainable: [String]
  /// Celo: whether the scheduler's multiplier acts (false while the update rule is trained alone).
  public var usesScheduler: Bool
  public var estimator: EstimatorSpec
  public var lengths: LengthSchedule
  /// Outer steps: averaged gradients, also where several make one move of theta.
  public var outerSteps: Int
  /// The phase also ends when it has made so many inner steps; nil for no such bound.
  public var innerStepsMax: Int?
  public var outer: OuterSpec
  /// Whether the outer optimizer starts anew with this phase, in place of going on from the phase before.
  public var resetsOuterOptimizer: Bool
  public var policy: CampaignPolicy
  public var tasks: [CampaignTask]

  public init(
    name: String, trainable: [String] = [], usesScheduler: Bool = true, estimator: EstimatorSpec,
    lengths: LengthSchedule, outerSteps: Int, innerStepsMax: Int? = nil, outer: OuterSpec = OuterSpec(),
    resetsOuterOptimizer: Bool = true, policy: CampaignPolicy = CampaignPolicy(), tasks: [CampaignTask]
  ) {
    self.name = name
    self.trainable = trainable
    self.usesScheduler = usesScheduler
    self.estimator = estimator
    self.lengths = lengths
    self.outerSteps = outerSteps
    self.innerStepsMax = innerStepsMax
    self.outer = outer
    self.resetsOuterOptimizer = resetsOuterOptimizer
    self.policy = policy
    self.tasks = tasks
  }

  public var json: JSON {
    [
      "name": .string(name), "trainable": .array(trainable.map(JSON.string)), "uses_scheduler": .bool(usesScheduler),
      "estimator": estimator.json, "lengths": lengths.json, "outer_steps": .integer(outerSteps),
      "inner_steps_max": innerStepsMax.map(JSON.integer) ?? .null, "outer": outer.json,
      "reset_outer_optimizer": .bool(resetsOuterOptimizer), "policy": policy.json,
      "tasks": .array(tasks.map(\.json)),
    ]
  }

  /// Reads a phase; faults are collected under `path`.
  public static func read(_ json: JSON, path: String, faults: Faults) -> CampaignPhase? {
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
    let lengths = fields.required("lengths", "shortest and longest episode, such as [100, 2000]")
      .flatMap { LengthSchedule.read($0, path: fields.pointer("lengths"), faults: faults) }
    let outerSteps = fields.integer("outer_steps", in: 1...10_000_000, required: "the number of outer steps")
    let innerStepsMax = fields.integer("inner_steps_max", in: 1...1_000_000_000_000_000)
    let outer = fields.value("outer").map { OuterSpec.read($0, path: fields.pointer("outer"), faults: faults) }
    let resets = fields.bool("reset_outer_optimizer") ?? true
    let policy = fields.value("policy").map {
      CampaignPolicy.read($0, path: fields.pointer("policy"), faults: faults)
    }
    let tasks = fields.array("tasks", counts: 1...64, required: "the inner tasks", read: CampaignTask.read)
    fields.finish()
    guard faults.isEmpty, let name, let estimator, let lengths, let outerSteps, let tasks else { return nil }
    return CampaignPhase(
      name: name, trainable: trainable, usesScheduler: usesScheduler, estimator: estimator, lengths: lengths,
      outerSteps: outerSteps, innerStepsMax: innerStepsMax, outer: outer.flatMap { $0 } ?? OuterSpec(),
      resetsOuterOptimizer: resets, policy: policy.flatMap { $0 } ?? CampaignPolicy(), tasks: tasks)
  }

  /// Reads one phase that must be free of faults.
  public static func decode(_ json: JSON) throws(SpecError) -> CampaignPhase {
    try Faults.collect { read(json, path: "", faults: $0) }
  }

  /// Whether the pairs of `other` may go on where this phase's stand: what they are and what they do is the same.
  public func sharesParticles(with other: CampaignPhase) -> Bool {
    estimator == other.estimator && lengths == other.lengths && tasks == other.tasks && trainable == other.trainable
      && usesScheduler == other.usesScheduler && policy.groupPairs == other.policy.groupPairs
  }
}
