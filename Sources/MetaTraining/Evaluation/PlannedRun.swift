// One training of an evaluation with all that it depends on, as the queue and the archive know it.
import Compute
import Contract
import Learning

/// A training that an evaluation comes to.
public struct PlannedRun: Sendable {
  /// Whose training it is: 0 for the baseline, then the optimizers of the spec from 1.
  public var entrant: Int
  /// Which of the entrant's settings.
  public var trial: Int
  /// Place among the evaluation's tasks.
  public var task: Int
  public var config: TaskConfig
  /// Nil for weights that only their file names.
  public var settings: OptimizerSettings?
  public var keepsHorizon: Bool
  public var run: EvaluationRun

  /// Raised whenever the same training comes to measure something else, so that no older result is taken for it.
  public static let engineVersion = 1

  /// Place of the weights in the spec's optimizers; nil for the baseline.
  public var weights: Int? { entrant > 0 ? entrant - 1 : nil }

  /// Builds the task with the optimizer; `measure` of ``run`` trains it.
  ///
  /// - Throws: `SpecError` for weights of another optimizer, and for more parameters than the optimizer trains.
  public func join(_ task: TrainingTask, theta: Theta?, level: CPULevel) throws -> InnerTask {
    let name = settings?.name ?? theta?.schema.name ?? .auto
    if name.isLearned {
      guard let theta else { throw Self.fault("no weights were given for \(name.rawValue)") }
      guard name == .auto || theta.schema.name == name else {
        throw Self.fault("expected weights of \(name.rawValue), got those of \(theta.schema.name.rawValue)")
      }
    }
    let settings = settings ?? OptimizerSettings(name)
    let theta = name.isLearned ? theta : nil
    let horizon = keepsHorizon ? theta?.provenance["horizon_steps"].flatMap(LearnedOptimizerRecord.horizonSteps) : nil
    return try InnerTask(task) {
      try OptimizerCatalog.checkSize(of: $0, for: theta?.schema.name ?? name)
      return OptimizerCatalog.make(
        settings, parameters: $0, theta: theta?.schema, horizonSteps: horizon, totalSteps: run.steps, level: level)
    }
  }

  private static func fault(_ reason: String) -> SpecError { SpecError([Fault(path: "", reason: reason)]) }

  /// The hash of all that the measurements depend on.
  ///
  /// - Parameters:
  ///   - weights: hash of the weights' file; nil for hand-designed optimizers.
  ///   - data: hash of the content of each data set by its name; those that the task does not use do not count.
  public func key(weights: String?, data: [String: String], level: CPULevel) -> String {
    let used = config.dataNames
    var members = trained
    // How long a training may take changes nothing of what it measures.
    members["measurement"] = timeless(run.measurement).json
    members["config"] = .string(config.id)
    members["weights"] = .optional(weights)
    members["data"] = .object(data.filter { used.contains($0.key) }.mapValues(JSON.string))
    members["engine"] = .integer(Self.engineVersion)
    members["cpu"] = .string(level.rawValue)
    return SHA256Digest.hexadecimal(of: JSON.object(members).bytes)
  }

  private func timeless(_ measurement: EvaluationMeasurement) -> EvaluationMeasurement {
    var copy = measurement
    copy.timeLimitSeconds = 0
    return copy
  }

  /// The members that say how it is trained.
  private var trained: [String: JSON] {
    var optimizer = settings?.json ?? [:]
    optimizer["name"] = settings.map { .string($0.name.rawValue) }
    return [
      "optimizer": settings == nil ? .null : .object(optimizer), "keep_horizon": .bool(keepsHorizon),
      "steps": .integer(run.steps), "marks": .array(run.marks.map(JSON.integer)), "seed": .integer(run.seed),
      "measurement": run.measurement.json,
      "keep": .array(
        [(run.keepsUpdates, "updates"), (run.keepsLandscape, "landscape"), (run.keepsPath, "path")]
          .filter(\.0).map { .string($0.1) }),
    ]
  }

  /// As the queue keeps it.
  public var json: JSON {
    .object(
      trained.merging([
        "entrant": .integer(entrant), "trial": .integer(trial), "task": .integer(task), "config": config.json,
      ]) { $1 })
  }

  /// Reads what ``json`` wrote.
  public static func decode(_ json: JSON) throws(SpecError) -> PlannedRun {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let entrant = fields.integer("entrant", in: 0...1000, required: "the entrant")
      let trial = fields.integer("trial", in: 0...EvaluatedOptimizer.trialsMax, required: "the trial")
      let task = fields.integer("task", in: 0...1_000_000, required: "the task's place")
      let config = fields.required("config", "the task").flatMap {
        TaskConfig.read($0, path: "/config", faults: faults)
      }
      let optimizer = fields.value("optimizer").flatMap { OptimizerSpec.read($0, path: "/optimizer", faults: faults) }
      let keepsHorizon = fields.bool("keep_horizon") ?? false
      let steps = fields.integer("steps", in: 1...EvaluationSpec.stepsRange.upperBound, required: "the steps")
      let marks = fields.array("marks", counts: 0...64) { json, path, faults in json.integer } ?? []
      let seed = fields.integer("seed", in: TrainingSpec.seedRange, required: "the seed")
      let measurement = fields.value("measurement").flatMap {
        EvaluationMeasurement.read($0, path: "/measurement", faults: faults)
      }
      let keep = Set((fields.value("keep")?.array ?? []).compactMap(\.string))
      fields.finish()
      guard let entrant, let trial, let task, let config, let steps, let seed, let measurement else { return nil }
      return PlannedRun(
        entrant: entrant, trial: trial, task: task, config: config, settings: optimizer?.settings,
        keepsHorizon: keepsHorizon,
        run: EvaluationRun(
          steps: steps, marks: marks, seed: seed, measurement: measurement, keepsUpdates: keep.contains("updates"),
          keepsLandscape: keep.contains("landscape"), keepsPath: keep.contains("path")))
    }
  }
}

extension TaskConfig {
  /// The data sets that the tree names.
  public var dataNames: Set<String> {
    var names: Set<String> = []
    func walk(_ json: JSON) {
      switch json {
      case .array(let elements): elements.forEach(walk)
      case .object(let members):
        for (key, value) in members {
          if key == "data", let name = value["obj"]?.string { names.insert(name) }
          walk(value)
        }
      default: break
      }
    }
    walk(.object(arguments))
    return names
  }
}
