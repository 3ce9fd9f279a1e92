// What a campaign comes to before it runs: trainings, steps, time, memory, bytes in the database. Counts are exact but for
// lengths, of which the mean is taken; times hang on what an inner step of each task costs, which the caller tells:
// the server from layers and measured speeds, the command line by running the tasks.
import Foundation

/// A campaign's cost, phase by phase.
public struct CampaignPlan: Sendable, Hashable {
  /// What one inner step of a task costs on one core.
  public struct TaskCost: Sendable, Hashable {
    /// The learned optimizer's update included; nil where it cannot be told.
    public var secondsPerStep: Double?
    /// Of the model that is trained.
    public var parameters: Int?

    public init(secondsPerStep: Double?, parameters: Int?) {
      self.secondsPerStep = secondsPerStep
      self.parameters = parameters
    }
  }

  /// One entry of a phase's task mix.
  public struct Entry: Sendable, Hashable {
    public var name: String
    /// How many tasks it stands for.
    public var tasks: Int
    /// Of each task.
    public var pairs: Int
    /// Of all its tasks.
    public var groups: Int
    /// The mean over its tasks; nil where one cannot be told.
    public var secondsPerStep: Double?
    public var parameters: Int?

    public var json: JSON {
      [
        "name": .string(name), "tasks": .integer(tasks), "pairs": .integer(pairs), "groups": .integer(groups),
        "seconds_per_step": secondsPerStep.map(JSON.number) ?? .null,
        "parameters": parameters.map(JSON.integer) ?? .null,
      ]
    }
  }

  public struct Phase: Sendable, Hashable {
    public var name: String
    /// Fewer than planned where the budget of inner steps ends the phase before.
    public var outerSteps: Int
    public var entries: [Entry]
    /// Inner steps of one outer step, both members of each pair counted.
    public var innerStepsPerOuterStep: Int
    public var innerSteps: Int
    /// Inner steps of an episode on average, and of the longest.
    public var episodeMean: Double
    public var episodeLongest: Int
    /// Of one core; nil where the cost of an entry cannot be told.
    public var coreSeconds: Double?
    /// On the cores of the plan.
    public var wallSeconds: Double?
    /// Bytes that the pairs' trainings hold together; nil where the size of a model cannot be told.
    public var memoryBytes: Int?

    public var json: JSON {
      [
        "name": .string(name), "outer_steps": .integer(outerSteps), "tasks": .array(entries.map(\.json)),
        "pairs": .integer(entries.reduce(0) { $0 + $1.tasks * $1.pairs }),
        "groups": .integer(entries.reduce(0) { $0 + $1.groups }),
        "inner_steps_per_outer_step": .integer(innerStepsPerOuterStep), "inner_steps": .integer(innerSteps),
        "episode_mean": .number(episodeMean.rounded()), "episode_longest": .integer(episodeLongest),
        "core_seconds": coreSeconds.map(JSON.finite) ?? .null, "wall_seconds": wallSeconds.map(JSON.finite) ?? .null,
        "memory_bytes": memoryBytes.map(JSON.integer) ?? .null,
      ]
    }
  }

  public var phases: [Phase]
  /// Cores that compute at a time; nil where that is not known.
  public var cores: Int?
  /// Numbers of theta; nil where that is not known.
  public var thetaParameters: Int?
  /// Steps' records, kept thetas and states, about; nil where the size of theta or of a model is not known.
  public var databaseBytes: Int?

  /// Plans a campaign.
  ///
  /// - Parameters:
  ///   - cost: of each task that an entry stands for; nil where that cannot be told. Called once for each entry.
  public init(
    of spec: CampaignSpec, cores: Int?, thetaParameters: Int?,
    cost: (_ phase: Int, _ entry: Int, CampaignTask) throws -> [TaskCost]?
  ) rethrows {
    self.cores = cores
    self.thetaParameters = thetaParameters
    let traits = OptimizerSettings(spec.optimizer).stateFloatsPerParameter
    phases = try spec.phases.enumerated().map { index, phase in
      let entries = try phase.tasks.enumerated().map { place, task in
        try Self.entry(task, of: phase, costs: cost(index, place, task))
      }
      return Self.phase(phase, entries, cores: cores, floatsPerParameter: 2 + traits)
    }
    if let thetaParameters, phases.allSatisfy({ $0.memoryBytes != nil }) {
      // A step keeps about 24 bytes of each pair beside its columns. Thetas: at the ends of phases and the newest.
      let records = phases.map { phase in
        Size.product([phase.outerSteps, 200 + 24 * phase.entries.reduce(0) { $0 + $1.tasks * $1.pairs }])
      }
      let thetas = Size.product([4, thetaParameters, phases.count + Self.thetasKept])
      let states = phases.compactMap(\.memoryBytes).max() ?? 0
      databaseBytes = Size.sum(Size.sum(records), Size.sum(thetas, states))
    }
  }

  private static let thetasKept = 25

  private static func entry(_ task: CampaignTask, of phase: CampaignPhase, costs: [TaskCost]?) -> Entry {
    let name: String
    var count = 1
    switch task.task {
    case .images(let spec): name = "\(spec.data) \(spec.imageSize)×\(spec.imageSize)"
    case .named(let text, let draws): (name, count) = (text, draws)
    case .config(let config): name = config.object
    }
    count = costs?.count ?? count
    let pairs = task.pairs ?? phase.estimator.pairs
    let seconds = costs?.compactMap(\.secondsPerStep) ?? []
    let parameters = costs?.compactMap(\.parameters) ?? []
    return Entry(
      name: name, tasks: count, pairs: pairs,
      groups: count * ((pairs + phase.policy.groupPairs - 1) / phase.policy.groupPairs),
      secondsPerStep: seconds.count == count && count > 0 ? seconds.reduce(0, +) / Double(count) : nil,
      parameters: parameters.count == count && count > 0 ? Size.sum(parameters) / count : nil)
  }

  private static func phase(
    _ phase: CampaignPhase, _ entries: [Entry], cores: Int?, floatsPerParameter: Int
  ) -> Phase {
    let mean = phase.lengths.mean(overOuterSteps: phase.outerSteps)
    // Whole episodes, or one window of each.
    let window = phase.estimator.kind == .fullES ? max(1, Int(min(mean.rounded(), 1e6))) : phase.estimator.window
    let members = entries.reduce(0) { Size.sum($0, Size.product([2, $1.tasks, $1.pairs])) }
    let perStep = Size.product([members, window])
    let outerSteps = phase.innerStepsMax.map { min(phase.outerSteps, ($0 + perStep - 1) / perStep) } ?? phase.outerSteps
    // Losses on fresh batches at the end are about a third of a step each.
    let recomputed = phase.estimator.metaLoss == .lastRecompute ? Double(phase.estimator.recomputeSamples) / 3 : 0
    var core: Double? = 0
    var longest = 0.0
    for entry in entries {
      guard let seconds = entry.secondsPerStep else {
        core = nil
        break
      }
      let pair = 2 * seconds * (Double(window) + recomputed)
      core = core.map { $0 + pair * Double(entry.tasks * entry.pairs) }
      longest = max(longest, pair * Double(min(entry.pairs, phase.policy.groupPairs)))
    }
    let memory = entries.map { entry in
      entry.parameters.map { Size.product([8, entry.tasks, entry.pairs, $0, floatsPerParameter]) }
    }
    return Phase(
      name: phase.name, outerSteps: outerSteps, entries: entries, innerStepsPerOuterStep: perStep,
      innerSteps: Size.product([outerSteps, perStep]), episodeMean: mean, episodeLongest: phase.lengths.longest,
      coreSeconds: core.map { $0 * Double(outerSteps) },
      wallSeconds: core.flatMap { core in
        cores.map { max(core / Double($0), longest) * Double(outerSteps) }
      },
      memoryBytes: memory.contains { $0 == nil } ? nil : Size.sum(memory.compactMap { $0 }))
  }

  /// The whole, summed up; nil where a phase cannot be told.
  public var coreSeconds: Double? { sum(\.coreSeconds) }
  public var wallSeconds: Double? { sum(\.wallSeconds) }

  private func sum(_ value: (Phase) -> Double?) -> Double? {
    let values = phases.compactMap(value)
    return values.count == phases.count ? values.reduce(0, +) : nil
  }

  public var json: JSON {
    [
      "object": "campaign_plan", "phases": .array(phases.map(\.json)),
      "outer_steps": .integer(phases.reduce(0) { $0 + $1.outerSteps }),
      "inner_steps": .integer(Size.sum(phases.map(\.innerSteps))),
      "core_seconds": coreSeconds.map(JSON.finite) ?? .null, "wall_seconds": wallSeconds.map(JSON.finite) ?? .null,
      "cores": cores.map(JSON.integer) ?? .null,
      "memory_bytes": phases.allSatisfy { $0.memoryBytes != nil }
        ? .integer(phases.compactMap(\.memoryBytes).max() ?? 0) : .null,
      "theta_parameters": thetaParameters.map(JSON.integer) ?? .null,
      "database_bytes": databaseBytes.map(JSON.integer) ?? .null,
    ]
  }
}

extension LengthSchedule {
  /// The mean length over the outer steps of a phase, before any plateau.
  public func mean(overOuterSteps outerSteps: Int) -> Double {
    let samples = min(outerSteps, 64)
    let sum = (0..<samples).reduce(0.0) { sum, sample in
      // At the middles of equal parts.
      let iteration = (2 * sample + 1) * outerSteps / (2 * samples)
      let low = self.low.value(at: iteration, level: 0)
      let high = max(low, self.high.value(at: iteration, level: 0))
      switch kind {
      case .constant: return sum + low
      case .scheduled: return sum + max(10, low)
      case .uniform: return sum + (low + high) / 2
      case .logUniform: return sum + (high > low ? (high - low) / log(high / low) : low)
      case .logUniformWindows: return sum + (high > low ? low * high * log(high / low) / (high - low) : low)
      }
    }
    return sum / Double(samples)
  }
}
