// Evaluations on a worker: plans one, does single trainings, and makes the report when the last has ended. All slots of a
// process share one runner, so that they share tasks and weights.
import Compute
import Contract
import Foundation
import Learning
import Logging
import MetaTraining
import Store
import Synchronization

/// What the slots of a process do about evaluations.
final class EvaluationRunner: Sendable {
  private let store: Store
  private let cache: DatasetCache
  private let level: CPULevel
  private let configuration: WorkerConfiguration
  private let logger: Logger
  private let stop: StopSignal
  private let costs: CostModel
  private let tasks = Recent<TaskCache>(countMax: 4)
  private let weights = Recent<Theta>(countMax: 8)

  /// How often a training's lease is renewed: so soon does it learn that the evaluation was cancelled.
  private static let renewalSecondsMax = 2.0

  init(
    store: Store, cache: DatasetCache, level: CPULevel, speed: MachineSpeed, configuration: WorkerConfiguration,
    logger: Logger, stop: StopSignal
  ) {
    self.store = store
    self.cache = cache
    self.level = level
    self.configuration = configuration
    self.logger = logger
    self.stop = stop
    // From the speeds that are known; probing tasks would take seconds, for an estimate that nothing hangs on.
    costs = CostModel(prices: [
      1e-6, 1 / speed.productFlopsPerSecond, 2 / speed.productFlopsPerSecond, 1 / speed.bytesPerSecond,
      1 / speed.bytesPerSecond, 4 / speed.bytesPerSecond,
    ])
  }

  private func keeper(_ lease: Lease) -> LeaseKeeper {
    LeaseKeeper(
      store: store, lease: lease, seconds: min(configuration.leaseSeconds / 3, Self.renewalSecondsMax))
  }

  // MARK: The evaluation

  /// Plans a new evaluation, or reports one whose trainings have all ended.
  func advance(_ lease: Lease) throws {
    let keeper = keeper(lease)
    defer { keeper.stop() }
    let work = try store.evaluationWork(lease: lease)
    let schedule: EvaluationSchedule
    do { schedule = try EvaluationSchedule(work.evaluation.spec) } catch let fault as SpecError {
      return try store.failEvaluation(lease: lease, message: "\(fault)")
    }
    if work.isReportDue { return try report(work, schedule, lease) }
    let plan = schedule.plan(costs, data: .descriptions(), level: level)
    try store.planEvaluation(lease: lease, plan: plan, runs: schedule.runs.map(\.json))
    logger.info(
      "planned an evaluation", metadata: ["evaluation": "\(lease.subject)", "trainings": "\(plan.runs)"])
  }

  private func report(_ work: EvaluationWork, _ schedule: EvaluationSchedule, _ lease: Lease) throws {
    var outcomes: [RunOutcome] = []
    while true {
      let ends = try store.evaluationRunEnds(evaluation: lease.subject, from: outcomes.count)
      if ends.isEmpty { break }
      outcomes += ends.map { end in
        guard let content = end.content else { return .failed(end.reason ?? "it gave no result") }
        let stored = (try? JSON.parse(Data(content))).flatMap(EvaluationResult.init(json:))
        return stored.map(RunOutcome.measured) ?? .failed("its result cannot be read")
      }
    }
    guard outcomes.count == schedule.runs.count else {
      return try store.failEvaluation(
        lease: lease,
        message: "it was planned as \(outcomes.count) trainings by another version of the program, which has "
          + "\(schedule.runs.count); create it again")
    }
    let report = EvaluationReport(
      EvaluationScores(schedule, outcomes: outcomes),
      about: [
        "about": [
          "evaluation": .string(work.evaluation.id), "cpu_level": .string(level.rawValue),
          "campaign": .optional(work.evaluation.campaign),
          "campaign_version": work.evaluation.campaignVersion.map(JSON.integer) ?? .null,
          "data": .object(work.inputs.datasets.mapValues { .string($0.sha256) }),
          "weights": .object(
            Dictionary(
              uniqueKeysWithValues: work.inputs.weights.map { ("\($0.key)", .string($0.value.sha256)) })),
        ]
      ])
    let json = try store.putBlob(report.json.bytes)
    let html = try store.putBlob(Array(ReportPage(report).html.utf8))
    try store.finishEvaluation(lease: lease, json: json, html: html, summary: report.summary)
    logger.info("reported an evaluation", metadata: ["evaluation": "\(lease.subject)"])
  }

  // MARK: One training

  /// Does one training, or finds that it has been done before.
  func train(_ lease: Lease) throws {
    let keeper = keeper(lease)
    defer { keeper.stop() }
    let work = try store.evaluationRunWork(lease: lease)
    let planned: PlannedRun
    do { planned = try PlannedRun.decode(work.run) } catch {
      return try store.failEvaluationRun(lease: lease, reason: "its plan cannot be read: \(error)")
    }
    let content = planned.weights.flatMap { work.inputs.weights[$0] }
    let used = planned.config.dataNames
    let datasets = work.inputs.datasets.filter { used.contains($0.key) }
    let key = planned.key(weights: content?.sha256, data: datasets.mapValues(Self.identity), level: level)
    if try store.evaluationResult(key: key) != nil {
      return try store.finishEvaluationRun(lease: lease, key: key, content: nil)
    }
    let tasks: TaskCache
    do { tasks = try open(datasets) } catch let fault as DataFault {
      return try store.failEvaluationRun(lease: lease, reason: "its data cannot be used: \(fault)")
    }
    let theta = try content.map(weights(of:))
    let outcome = tasks.measure(planned, theta: theta) { [stop] in keeper.isLost || stop.isRaised }
    switch outcome {
    case .measured(let result): try store.finishEvaluationRun(lease: lease, key: key, content: result.json.bytes)
    case .failed(let reason): try store.failEvaluationRun(lease: lease, reason: reason)
    case nil where keeper.isLost: throw StoreError.staleLease(subject: lease.subject)
    case nil: try store.release(lease: lease)
    }
  }

  /// What a dataset's decoded form hangs on.
  private static func identity(_ dataset: Dataset) -> String { "\(dataset.sha256) \(dataset.options.json.text)" }

  private func open(_ datasets: [String: Dataset]) throws -> TaskCache {
    let id = datasets.sorted { $0.key < $1.key }.map { "\($0.key)=\(Self.identity($0.value))" }.joined(separator: "\n")
    return try tasks.get(id) {
      TaskCache(data: TaskDataSets(try datasets.mapValues { try cache.open($0) }), level: level)
    }
  }

  private func weights(of content: StoredContent) throws -> Theta {
    try weights.get(content.sha256) { try Theta(file: Data(store.readBlob(sha256: content.sha256))) }
  }
}

/// Values that were used last, by name; one that is being made makes the others wait.
private final class Recent<Value: Sendable>: Sendable {
  private let countMax: Int
  private let entries = Mutex<[(name: String, value: Value)]>([])

  init(countMax: Int) { self.countMax = countMax }

  func get(_ name: String, make: () throws -> Value) rethrows -> Value {
    try entries.withLock { entries in
      if let place = entries.firstIndex(where: { $0.name == name }) {
        let entry = entries.remove(at: place)
        entries.append(entry)
        return entry.value
      }
      let value = try make()
      entries.append((name, value))
      if entries.count > countMax { entries.removeFirst() }
      return value
    }
  }
}
