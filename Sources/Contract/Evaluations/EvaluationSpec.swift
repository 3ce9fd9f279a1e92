// An evaluation of optimizers as clients write it: what is compared, on which tasks, for how long, how it is measured.
// Read from YAML or JSON; MetaTraining/Evaluation runs it.
import Foundation

/// A comparison of optimizers on tasks.
public struct EvaluationSpec: Sendable, Hashable {
  public var name: String
  /// What is compared; labels are unique.
  public var optimizers: [EvaluatedOptimizer]
  /// What losses are measured in: speed-ups are steps that it would need. By default ``EvaluatedOptimizer/tunedAdam``.
  public var baseline: EvaluatedOptimizer
  public var tasks: [EvaluationTask]
  /// The uploaded dataset that stands for each data set that tasks name; `synth_*` need none.
  public var data: [String: String]
  /// The budgets, rising; every optimizer is run for each.
  public var steps: [Int]
  /// How long the baseline is run; speed-ups are known up to `baselineSteps / steps`.
  public var baselineSteps: Int
  /// One training each; initial weights and batches hang on it.
  public var seeds: [Int]
  public var measurement: EvaluationMeasurement
  public var details: Set<EvaluationDetail>

  /// The limits of what is taken.
  public static let optimizersMax = 32
  public static let tasksMax = 1000
  public static let stepsRange = 10...1_000_000
  /// Trainings of one evaluation.
  public static let runsMax = 100_000

  /// - Parameter baselineSteps: nil for the longest budget.
  public init(
    name: String, optimizers: [EvaluatedOptimizer], baseline: EvaluatedOptimizer = .tunedAdam,
    tasks: [EvaluationTask], data: [String: String] = [:], steps: [Int], baselineSteps: Int? = nil,
    seeds: [Int] = [0, 1, 2], measurement: EvaluationMeasurement = EvaluationMeasurement(),
    details: Set<EvaluationDetail> = Set(EvaluationDetail.allCases)
  ) {
    self.name = name
    self.optimizers = optimizers
    self.baseline = baseline
    self.tasks = tasks
    self.data = data
    self.steps = steps
    self.baselineSteps = baselineSteps ?? steps.max() ?? 0
    self.seeds = seeds
    self.measurement = measurement
    self.details = details
  }

  public var json: JSON {
    [
      "name": .string(name), "optimizers": .array(optimizers.map(\.json)), "baseline": baseline.json,
      "tasks": .array(tasks.map(\.json)), "data": .object(data.mapValues(JSON.string)),
      "steps": .array(steps.map(JSON.integer)), "baseline_steps": .integer(baselineSteps),
      "seeds": .array(seeds.map(JSON.integer)), "measurement": measurement.json,
      "details": .array(EvaluationDetail.allCases.filter(details.contains).map { .string($0.rawValue) }),
    ]
  }

  /// Reads a whole document.
  ///
  /// - Throws: every fault of it at once.
  public static func decode(_ json: JSON) throws(SpecError) -> EvaluationSpec {
    try Faults.collect { read(json, path: "", faults: $0) }
  }

  /// Reads one that is part of something else, such as a campaign.
  public static func read(_ json: JSON, path: String, faults: Faults) -> EvaluationSpec? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let before = faults.list.count
    let name = fields.string("name") ?? "evaluation"
    let optimizers = fields.array(
      "optimizers", counts: 1...optimizersMax, required: "what is compared, such as [\"celo\"]",
      read: EvaluatedOptimizer.read)
    let baseline =
      fields.value("baseline").map {
        EvaluatedOptimizer.read($0, path: fields.pointer("baseline"), faults: faults)
      } ?? .tunedAdam
    let tasks = fields.array(
      "tasks", counts: 1...256, required: "tasks or sets of them, such as [\"quick\"]", read: EvaluationTask.read)
    let data = readData(&fields)
    let steps = readSteps(&fields)
    let longest = steps?.last ?? stepsRange.lowerBound
    let baselineSteps = fields.integer("baseline_steps", in: longest...stepsRange.upperBound)
    let seeds = readSeeds(&fields)
    let measurement =
      fields.value("measurement").map {
        EvaluationMeasurement.read($0, path: fields.pointer("measurement"), faults: faults)
      } ?? EvaluationMeasurement()
    let details =
      fields.array("details", counts: 0...EvaluationDetail.allCases.count) { json, path, faults -> EvaluationDetail? in
        if let word = json.string, let detail = EvaluationDetail(rawValue: word) { return detail }
        let words = EvaluationDetail.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
        faults.add(path, "expected one of \(words), got \(json.kind)")
        return nil
      } ?? EvaluationDetail.allCases
    fields.finish()
    guard let optimizers, let baseline, let tasks, let steps, let seeds, let measurement,
      faults.list.count == before
    else { return nil }
    let spec = EvaluationSpec(
      name: name, optimizers: optimizers, baseline: baseline, tasks: tasks, data: data, steps: steps,
      baselineSteps: baselineSteps, seeds: seeds, measurement: measurement, details: Set(details))
    spec.check(path, faults)
    return faults.list.count == before ? spec : nil
  }

  /// Reads the evaluation that a campaign asks for: its theta comes after the optimizers that the document names.
  public static func read(
    ofCampaign campaign: String, version: Int, _ json: JSON, path: String, faults: Faults
  ) -> EvaluationSpec? {
    guard case .object(var members) = json else {
      faults.add(path, "expected an object, got \(json.kind)")
      return nil
    }
    let theta: JSON = [
      "campaign": .string(campaign), "version": .integer(version), "label": .string("theta \(version)"),
    ]
    members["optimizers"] = .array((members["optimizers"]?.array ?? []) + [theta])
    return read(.object(members), path: path, faults: faults)
  }

  /// What hangs on several members together.
  private func check(_ path: String, _ faults: Faults) {
    switch baseline.source {
    case .setting(let own) where !own.name.isLearned: break
    case .tuned: break
    default:
      faults.add(
        "\(path)/baseline", "expected a hand-designed optimizer such as \"adam_lr\"; learned ones go to /optimizers")
    }
    var labels: Set<String> = [baseline.label]
    for (index, optimizer) in optimizers.enumerated() where !labels.insert(optimizer.label).inserted {
      faults.add(
        "\(path)/optimizers/\(index)", "\"\(optimizer.label)\" is there already; give this one a \"label\" of its own")
    }
    let tasksCount = tasks.reduce(0) { $0 + $1.countMax }
    if tasksCount > Self.tasksMax {
      faults.add("\(path)/tasks", "expected at most \(Self.tasksMax) tasks, got \(tasksCount)")
    }
    if runsMax > Self.runsMax {
      faults.add(path, "expected at most \(Self.runsMax) trainings, got \(runsMax): fewer tasks, trials or seeds")
    }
  }

  /// Trainings at most; families may give fewer tasks.
  public var runsMax: Int {
    let trials = ([baseline] + optimizers).reduce(0) { sum, optimizer in
      sum + optimizer.trials * (optimizer.plansAhead ? steps.count : 1)
    }
    return trials * seeds.count * tasks.reduce(0) { $0 + $1.countMax }
  }

  /// The optimizers that only a process with files can run.
  public var files: [String] {
    optimizers.compactMap { if case .file(let path) = $0.source { path } else { nil } }
  }

  private static func readData(_ fields: inout Fields) -> [String: String] {
    guard let value = fields.value("data") else { return [:] }
    guard case .object(let members) = value, members.count <= 64 else {
      fields.fault(
        "data", "expected an object of at most 64 dataset ids by the names that tasks use, got \(value.kind)")
      return [:]
    }
    var data: [String: String] = [:]
    for (name, id) in members.sorted(by: { $0.key < $1.key }) {
      if let id = id.string, Identifier.isValid(id, .dataset), (1...64).contains(name.unicodeScalars.count) {
        data[name] = id
      } else {
        fields.fault("data", "\"\(name.prefix(64))\": expected a dataset's id, got \(id.kind)")
      }
    }
    return data
  }

  private static func readSteps(_ fields: inout Fields) -> [Int]? {
    // One budget may stand alone.
    if let one = fields.value("steps"), one.array == nil { return fields.integer("steps", in: stepsRange).map { [$0] } }
    let steps = fields.array("steps", counts: 1...8, required: "the budgets, such as [2000]") {
      json, path, faults -> Int? in
      if let value = json.integer, stepsRange.contains(value) { return value }
      faults.add(
        path, "expected an integer from \(stepsRange.lowerBound) to \(stepsRange.upperBound), got \(json.kind)")
      return nil
    }
    guard let steps else { return nil }
    if zip(steps, steps.dropFirst()).contains(where: { $0 >= $1 }) {
      fields.fault("steps", "expected rising budgets, got \(steps)")
      return nil
    }
    return steps
  }

  /// A number of seeds from 0 on, or the seeds themselves.
  private static func readSeeds(_ fields: inout Fields) -> [Int]? {
    guard let value = fields.value("seeds") else { return [0, 1, 2] }
    if value.array == nil { return fields.integer("seeds", in: 1...100).map { Array(0..<$0) } }
    let seeds = fields.array("seeds", counts: 1...100) { json, path, faults -> Int? in
      if let value = json.integer, TrainingSpec.seedRange.contains(value) { return value }
      faults.add(path, "expected an integer from 0 to \(TrainingSpec.seedRange.upperBound), got \(json.kind)")
      return nil
    }
    guard let seeds else { return nil }
    if Set(seeds).count < seeds.count {
      fields.fault("seeds", "expected each seed once")
      return nil
    }
    return seeds
  }
}

/// What is kept of the first seed's trainings beside their losses.
public enum EvaluationDetail: String, Sendable, CaseIterable {
  /// How far each tensor moves in an update, over the training.
  case updates
  /// The loss around the end of the longest training, along random directions and on the way from its start.
  case landscape
  /// Paths on test functions of two variables.
  case trajectories
}
