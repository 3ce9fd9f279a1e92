// From an evaluation's spec to its trainings: sets and families become tasks, tuned optimizers become trials. Equal specs
// give equal schedules, so that a report can be made by another process than the one that planned.
import Compute
import Contract
import Foundation

/// The tasks and trainings of an evaluation.
public struct EvaluationSchedule: Sendable {
  /// A task with its name in tables.
  public struct Task: Sendable, Hashable {
    public var name: String
    public var config: TaskConfig
    /// Whether only paths on it are drawn; it counts in no average.
    public var isDrawing: Bool
  }

  public let spec: EvaluationSpec
  public let tasks: [Task]
  public let runs: [PlannedRun]

  /// The baseline and the optimizers, as ``PlannedRun/entrant`` counts them.
  public var entrants: [EvaluatedOptimizer] { [spec.baseline] + spec.optimizers }

  /// Test functions of two variables that paths are drawn on.
  static let drawings = [
    "Valley", "Product", "Bowl100", "rosenbrock_2d", "beale_2d", "branin_2d", "ackley_2d", "styblinski_tang_2d",
  ]
  static let drawingSteps = 200

  /// - Throws: `SpecError` with the path of each task that does not exist.
  public init(_ spec: EvaluationSpec) throws {
    self.spec = spec
    var tasks = try Self.tasks(spec)
    if spec.details.contains(.trajectories) {
      tasks += try Self.drawings.map {
        Task(name: $0, config: try TaskRegistry.standard.record($0).config(RandomKey(seed: 0)), isDrawing: true)
      }
    }
    self.tasks = tasks
    runs = tasks.enumerated().flatMap { Self.runs(spec, $1, $0) }
    guard runs.count <= EvaluationSpec.runsMax else {
      throw SpecError([
        Fault(path: "", reason: "expected at most \(EvaluationSpec.runsMax) trainings, got \(runs.count)")
      ])
    }
  }

  // MARK: Tasks

  private static func tasks(_ spec: EvaluationSpec) throws -> [Task] {
    let registry = TaskRegistry.standard
    var tasks: [Task] = []
    var known: Set<String> = []
    var faults: [Fault] = []
    func add(_ name: String, _ config: TaskConfig) {
      if known.insert(config.id).inserted { tasks.append(Task(name: name, config: config, isDrawing: false)) }
    }
    for (index, entry) in spec.tasks.enumerated() {
      let path = "/tasks/\(index)"
      switch entry {
      case .set(let set):
        for name in names(of: set) { add(name, try registry.record(name).config(RandomKey(seed: 0))) }
      case .task(let task):
        // Draws of a family hang on nothing but their number: they are held-out tasks, the same in all evaluations.
        do {
          let drawn = try registry.configs(of: task, path: path, key: RandomKey(seed: 0xE7A1).derive(9, 0, 0))
          for (number, variants) in drawn.enumerated() { add(name(task, number, of: drawn.count), variants[0]) }
        } catch let error as SpecError { faults += error.faults }
      }
    }
    guard faults.isEmpty else { throw SpecError(faults) }
    return tasks
  }

  private static func name(_ task: TaskSpec, _ number: Int, of count: Int) -> String {
    switch task {
    case .named(let name, _): count == 1 ? name : "\(name) #\(number)"
    case .images(let spec): "\(spec.data) \(spec.imageSize)x\(spec.imageSize) \(spec.hidden)"
    case .config(let config): "\(config.object) \(config.id.prefix(8))"
    }
  }

  /// The registry's names in a set.
  static func names(of set: EvaluationTask.Named) -> [String] {
    switch set {
    case .cpuDrome, .synthDrome:
      return TaskRegistry.standard.records.filter { $0.tags.contains(set.rawValue) }.map(\.name)
    case .quick:
      return [
        "synth_ImageMLP_FashionMnist8_Relu32", "synth_ImageMLP_Cifar10_8_Relu32", "synth_Conv_Cifar10_8_16x32",
        "SoftmaxRegression", "synth_TransformerLM_LM1B_MultiRuntime_2",
      ]
    }
  }

  // MARK: Trainings

  private static func runs(_ spec: EvaluationSpec, _ task: Task, _ place: Int) -> [PlannedRun] {
    var runs: [PlannedRun] = []
    for (entrant, optimizer) in ([spec.baseline] + spec.optimizers).enumerated() {
      let candidates: [OptimizerSettings?] = optimizer.candidates.isEmpty ? [nil] : optimizer.candidates
      for (trial, settings) in candidates.enumerated() {
        for (steps, marks) in task.isDrawing ? [(drawingSteps, [])] : lengths(spec, optimizer, isBaseline: entrant == 0)
        {
          for (place_, seed) in (task.isDrawing ? Array(spec.seeds.prefix(1)) : spec.seeds).enumerated() {
            // Only trainings that are sure to be shown keep what takes room: not those of many settings.
            let isShown = place_ == 0 && candidates.count == 1 && !task.isDrawing
            runs.append(
              PlannedRun(
                entrant: entrant, trial: trial, task: place, config: task.config, settings: settings,
                keepsHorizon: optimizer.keepsHorizon,
                run: EvaluationRun(
                  steps: steps, marks: marks, seed: seed, measurement: spec.measurement,
                  keepsUpdates: place_ == 0 && !task.isDrawing && spec.details.contains(.updates),
                  keepsLandscape: isShown && steps == spec.steps.last && spec.details.contains(.landscape),
                  keepsPath: task.isDrawing)))
          }
        }
      }
    }
    return runs
  }

  /// The trainings of one setting: one for each budget where the optimizer plans ahead, else the longest, on which the
  /// others lie.
  static func lengths(
    _ spec: EvaluationSpec, _ optimizer: EvaluatedOptimizer, isBaseline: Bool
  ) -> [(steps: Int, marks: [Int])] {
    let longest = isBaseline ? spec.baselineSteps : spec.steps.last!
    guard optimizer.plansAhead else { return [(longest, spec.steps.filter { $0 < longest })] }
    return (spec.steps + (longest > spec.steps.last! ? [longest] : [])).map { ($0, []) }
  }

  // MARK: Cost

  /// What the trainings come to.
  ///
  /// - Parameter data: the data sets; tasks that cannot be built count no seconds.
  public func plan(_ costs: CostModel, data: TaskDataSets, level: CPULevel) -> EvaluationPlan {
    let builder = TaskBuilder(data: data, level: level)
    let seconds = tasks.map { task in (try? builder.build(task.config)).map(costs.seconds) ?? 0 }
    var steps = 0, total = 0.0
    for planned in runs {
      steps += planned.run.steps
      let measured = Double(planned.run.measurement.batches) / Double(planned.run.measurement.every(planned.run.steps))
      // A loss alone takes a third of a step.
      total += Double(planned.run.steps) * seconds[planned.task] * (1 + measured / 3)
    }
    return EvaluationPlan(
      tasks: tasks.filter { !$0.isDrawing }.count, runs: runs.count, innerSteps: steps, coreSeconds: total)
  }
}
