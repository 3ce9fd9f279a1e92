// PhaseProblem: all that a phase of a campaign is before anything has run: its tasks built, the trained coordinates of
// theta, its pairs and how they are cut into groups. Immutable; whoever runs pairs or takes outer steps makes one from the
// same specification and has the same problem.
import Compute
import Contract
import Foundation
import Learning

/// One phase of a campaign, ready to be run.
public final class PhaseProblem: Sendable {
  /// The campaign.
  public let campaign: CampaignSpec
  /// The settings of this phase.
  public let phase: CampaignPhase
  /// The number that the phase's random keys hang on.
  public let number: Int
  /// The kernels' level, on which bits depend.
  public let level: CPULevel
  /// What theta is.
  public let schema: ThetaSchema
  /// Where theta's leaves lie.
  public let thetaLayout: ParameterLayout
  /// The coordinates that this phase trains.
  public let mask: ThetaMask
  /// The antithetic pairs by their number: first all of the first task, then those of the next.
  public let pairs: [Pair]
  /// The units of work: neighbouring pairs of one task.
  public let groups: [Group]

  /// One antithetic pair.
  public struct Pair: Sendable, Hashable {
    /// The task's number in the phase, families' draws counted each.
    public let task: Int
    /// Its number among the task's pairs.
    public let index: Int
  }

  /// Pairs that are run together.
  public struct Group: Sendable, Hashable {
    public let index: Int
    public let task: Int
    /// Numbers in ``PhaseProblem/pairs``.
    public let pairs: Range<Int>
  }

  let tasks: [InnerTask]
  let taskWeights: [Double]
  let setting: ParticleSetting
  private let key: RandomKey
  private let configs: [String]

  /// Pairs of a phase, over all its tasks.
  public static let pairsMax = 1 << 16

  /// Builds the phase.
  ///
  /// - Parameters:
  ///   - number: of the phase in its campaign; another one gives other random numbers.
  ///   - data: the data sets by the names that the tasks use.
  /// - Throws: `SpecError` with the path of what does not fit, and what building tasks throws.
  public init(
    _ campaign: CampaignSpec, _ phase: CampaignPhase, number: Int, data: TaskDataSets, level: CPULevel
  ) throws {
    self.campaign = campaign
    self.phase = phase
    self.number = number
    self.level = level
    let schema = try Self.schema(of: campaign)
    self.schema = schema
    let thetaLayout = schema.layout
    self.thetaLayout = thetaLayout
    mask = ThetaMask(thetaLayout, prefixes: phase.trainable, multipliers: phase.estimator.leafSigmas)
    guard mask.count > 0 else {
      throw SpecError([
        Fault(
          path: "/trainable",
          reason: "no leaf of theta starts with \(phase.trainable); the leaves are \(thetaLayout.tensors.map(\.name))")
      ])
    }
    key = Self.key(of: campaign).derive(2, UInt32(truncatingIfNeeded: number), 0)
    setting = ParticleSetting(
      rule: ParticleRule(phase.estimator), mask: mask, lengths: phase.lengths, sharedKey: key)
    let builder = TaskBuilder(data: data, level: level)
    var tasks: [InnerTask] = [], weights: [Double] = [], counts: [Int] = []
    for (index, entry) in phase.tasks.enumerated() {
      let built = try Self.tasks(entry.task, number: index, campaign, phase, schema, builder)
      tasks += built
      weights += built.map { _ in entry.weight / Double(built.count) }
      counts += built.map { _ in entry.pairs ?? phase.estimator.pairs }
    }
    guard counts.reduce(0, +) <= Self.pairsMax else {
      throw SpecError([
        Fault(
          path: "/estimator/pairs",
          reason: "the \(tasks.count) tasks have \(counts.reduce(0, +)) pairs in all; expected at most \(Self.pairsMax)"
        )
      ])
    }
    if phase.estimator.kind == .tbptt { try DifferentiatedTraining.check(campaign, phase, tasks) }
    self.tasks = tasks
    taskWeights = weights
    configs = tasks.map { $0.variants.map(\.config.id).joined(separator: " ") }
    var pairs: [Pair] = [], groups: [Group] = []
    for (task, count) in counts.enumerated() {
      for start in stride(from: 0, to: count, by: phase.policy.groupPairs) {
        let first = pairs.count + start
        groups.append(
          Group(
            index: groups.count, task: task,
            pairs: first..<first + min(phase.policy.groupPairs, count - start)))
      }
      pairs += (0..<count).map { Pair(task: task, index: $0) }
    }
    self.pairs = pairs
    self.groups = groups
  }

  // MARK: The campaign's theta

  /// The architecture that a campaign trains, with its constants.
  public static func schema(of campaign: CampaignSpec) throws -> ThetaSchema {
    try schema(of: campaign, with: [:])
  }

  private static func schema(of campaign: CampaignSpec, with more: [String: JSON]) throws -> ThetaSchema {
    try Faults.collect { faults in
      let constants = JSON.object(campaign.constants.merging(more) { $1 })
      guard var fields = Fields(constants, path: "/constants", faults: faults) else { return nil }
      let schema = OptimizerCatalog.schema(of: campaign.optimizer, reading: &fields)
      fields.finish()
      return schema
    }
  }

  /// The theta that a campaign without a start begins with: drawn from its seed, but for the leaves that it sets.
  ///
  /// - Throws: `SpecError` for constants and leaves that the architecture does not have.
  public static func initialTheta(of campaign: CampaignSpec) throws -> Theta {
    let schema = try schema(of: campaign)
    let drawn = Theta.initial(schema, key: key(of: campaign).derive(5, 0, 0))
    var values = drawn.values
    for (name, given) in campaign.initial {
      guard let tensor = drawn.layout[name] else {
        throw SpecError([
          Fault(
            path: "/initial/\(name)",
            reason:
              "theta has no such leaf; the leaves are \(drawn.layout.tensors.map(\.name).joined(separator: ", "))")
        ])
      }
      guard given.count == 1 || given.count == tensor.count else {
        throw SpecError([
          Fault(
            path: "/initial/\(name)",
            reason: "expected one value or \(tensor.count), as many as the leaf has, got \(given.count)")
        ])
      }
      for element in 0..<tensor.count {
        values[tensor.offset + element] = Float(given[given.count == 1 ? 0 : element])
      }
    }
    return try Theta(schema: schema, values: values)
  }

  private static func key(of campaign: CampaignSpec) -> RandomKey {
    RandomKey(seed: UInt64(bitPattern: Int64(campaign.seed))).derive(1, 0, 0)
  }

  /// The tasks that an entry of the mix stands for.
  private static func tasks(
    _ entry: TaskSpec, number: Int, _ campaign: CampaignSpec, _ phase: CampaignPhase, _ schema: ThetaSchema,
    _ builder: TaskBuilder
  ) throws -> [InnerTask] {
    let path = "/tasks/\(number)"
    // The schema with what of it acts in this phase; its tensors are the same.
    let acting =
      try schema.configuration["phase"] == nil
      ? schema
      : Self.schema(
        of: campaign, with: ["phase": .string((phase.usesScheduler ? Celo.Phase.full : .updateRule).rawValue)])
    // Draws of families hang on the campaign's seed and on what is drawn, not on the phase.
    let key = key(of: campaign).derive(9, UInt32(number), 0)
    return try TaskRegistry.standard.configs(of: entry, path: path, key: key).map { variants in
      let built: [TrainingTask]
      do { built = try variants.map { try builder.build($0) } } catch let error as SpecError {
        throw SpecError(error.faults.map { Fault(path: path + $0.path, reason: $0.reason) })
      }
      return try InnerTask(variants: built) { layout in
        do { try OptimizerCatalog.checkSize(of: layout, for: campaign.optimizer) } catch let error as SpecError {
          throw SpecError(error.faults.map { Fault(path: path, reason: $0.reason) })
        }
        return acting.optimizer(parameters: layout, level: builder.level)
      }
    }
  }

  // MARK: What groups need

  /// The key of a pair.
  func key(ofPair pair: Int) -> RandomKey { key.derive(2, UInt32(pair), 0) }

  /// The key of what an outer optimizer draws.
  func key(ofStep step: Int) -> RandomKey { key.derive(13, UInt32(truncatingIfNeeded: step), 0) }

  /// The perturbations of a pair.
  func noise(ofPair pair: Int) -> PairNoise {
    PairNoise(key: key(ofPair: pair), sigma: phase.estimator.sigma, mask: mask, level: level)
  }

  /// Inner updates that a group makes in a window on average, all members counted.
  public func innerStepsPerWindow(_ group: Group) -> Int {
    let rule = setting.rule
    // Each step is taken once and seen twice more for its curvature.
    let members = rule.trainings == .shared(isMean: true) || rule.trainings == .differentiated ? 3 : 2
    let steps = rule.trainings == .wholeEpisodes ? phase.lengths.longest : rule.window
    return members * group.pairs.count * steps
  }

  /// The memory of all pairs with their trainings and sums of noises, which one process holds that runs the whole phase.
  public var residentBytes: Int {
    groups.reduce(0) { sum, group in
      let task = tasks[group.task]
      // What augmentations keep of a training is mostly a copy of the parameters.
      let training = 2 * task.layout.floats + task.optimizer.state.floats
      let noise = max(1, setting.rule.keptTrainings) * mask.count
      return sum + 4 * group.pairs.count * (setting.rule.keptTrainings * training + noise)
    }
  }

  /// Refuses a phase that one process cannot hold.
  ///
  /// - Throws: `SpecError` where its pairs need more than `bytesMax`.
  public func checkMemory(bytesMax: UInt64) throws(SpecError) {
    guard residentBytes > bytesMax else { return }
    throw SpecError([
      Fault(
        path: "/estimator/pairs",
        reason: "\(pairs.count) pairs need \(residentBytes >> 20) MiB in one process, which has \(bytesMax >> 20) MiB; "
          + "take fewer pairs, or the mode distributed on more machines")
    ])
  }

  /// The arithmetic of a group's window, optimizers left out.
  public func flopsPerWindow(_ group: Group) -> Double {
    Double(innerStepsPerWindow(group)) * tasks[group.task].variants[0].flopsPerStep
  }

  /// What a snapshot of a group belongs to: all settings that its pairs' states depend on.
  func fingerprint(_ group: Group) -> UInt64 {
    ByteHash.of(
      """
      \(campaign.seed) \(campaign.optimizer.rawValue) \(schema.configuration.text) \(number) \(level.rawValue)
      \(phase.estimator.json.text) \(phase.trainable) \(phase.usesScheduler) \(configs[group.task])
      \(group.index) \(group.pairs)
      """)
  }

  /// What a snapshot of the learner belongs to.
  var fingerprint: UInt64 {
    ByteHash.of(
      """
      \(campaign.seed) \(campaign.optimizer.rawValue) \(schema.configuration.text) \(number) \(phase.trainable)
      \(phase.outer.optimizer.name.rawValue) \(phase.outer.accumulate)
      """)
  }
}
