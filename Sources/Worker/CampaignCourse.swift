// A leased campaign on its way through its phases: what LocalCampaignRun and DistributedCampaignRun share. Phases are rows:
// they end, are changed while they run, and begin, each in one transaction with the state that the new one starts from, so
// that whoever takes over finds the phase and its state together.
import Compute
import Contract
import Foundation
import Learning
import Logging
import MetaTraining
import Store

/// What a learner needs of its surroundings.
struct CampaignSurroundings: Sendable {
  let store: Store
  let cache: DatasetCache
  let configuration: WorkerConfiguration
  let engine: CampaignEngine
  let logger: Logger
  let stop: StopSignal
}

/// A campaign that this worker leads. Used by one thread at a time.
final class CampaignCourse {
  let lease: Lease
  let surroundings: CampaignSurroundings
  let work: CampaignWork
  let level: CPULevel
  private let data: TaskDataSets
  private(set) var phases: [CampaignPhaseRecord]
  /// Theta's version.
  var version = 0
  /// Of all phases.
  var innerSteps = 0
  private var store: Store { surroundings.store }

  /// Opens the campaign.
  ///
  /// - Throws: ``StoreError``; what datasets that cannot be read throw.
  init(_ lease: Lease, _ surroundings: CampaignSurroundings) throws {
    self.lease = lease
    self.surroundings = surroundings
    work = try surroundings.store.openCampaign(lease: lease, engine: surroundings.engine)
    guard let level = CPULevel(rawValue: work.cpuLevel) else {
      throw StoreError.schema("the level \(work.cpuLevel) of campaign \(work.id) is not known here")
    }
    self.level = level
    data = TaskDataSets(try work.datasets.mapValues { try surroundings.cache.open($0) })
    phases = work.phases
    version = work.head.version
    innerSteps = work.head.innerSteps
  }

  // MARK: Phases

  /// The phase that the campaign is in; nil before its first.
  var active: CampaignPhaseRecord? { phases.first { $0.state == .active } }

  /// A change of the active phase that is to be taken up; of several the newest.
  var change: CampaignPhaseRecord? {
    active.flatMap { active in
      phases.last { $0.state == .planned && $0.position == active.position && $0.number > active.number }
    }
  }

  /// The phase after the active one, or the first.
  var following: CampaignPhaseRecord? {
    let planned = phases.filter { $0.state == .planned && $0.position > (active?.position ?? -1) }
    return planned.min { ($0.position, -$0.number) < ($1.position, -$1.number) }
  }

  /// Reads the phases again, after wishes told of a change.
  func reload() throws { phases = try store.campaignPhases(work.id) }

  /// A learner at the start of a phase.
  func learner(
    _ record: CampaignPhaseRecord, theta: AlignedBuffer, after previous: OuterLearner? = nil
  ) throws -> OuterLearner {
    let problem = try PhaseProblem(work.spec, record.phase, number: record.keysFrom, data: data, level: level)
    return try OuterLearner(problem, theta: theta, outer: outerTheta(record.phase), after: previous)
  }

  /// The weights of a learned outer optimizer that the phase names by version.
  private func outerTheta(_ phase: CampaignPhase) throws -> Theta? {
    guard case .version(let version) = phase.outer.source else { return nil }
    let name = phase.outer.optimizer.name
    guard let found = try store.releasedOptimizer(named: name, version: version) else {
      throw StoreError.notFound("an optimizer \(name.rawValue) of version \(version)")
    }
    return try Theta(safetensors: Data(store.readBlob(sha256: found.sha256)))
  }

  /// The theta that the campaign begins with.
  func startTheta() throws -> Theta {
    if let file = work.start { return try Theta(safetensors: Data(file)) }
    if let release = work.release { return try Theta(safetensors: Data(store.readBlob(sha256: release))) }
    return try PhaseProblem.initialTheta(of: work.spec)
  }

  /// The learner that goes on with a phase, from the one that it follows or whose place it takes.
  ///
  /// - Parameter previous: nil at the campaign's start.
  func next(
    _ record: CampaignPhaseRecord, after previous: OuterLearner?, isChange: Bool
  ) throws -> (learner: OuterLearner, event: NewCampaignEvent) {
    let theta = try previous?.theta ?? startTheta().aligned()
    var text = "phase \(record.number), \(record.phase.name), begins at version \(version)"
    let learner: OuterLearner
    do { learner = try self.learner(record, theta: theta, after: previous) } catch let error as SpecError
      where isChange && previous != nil
    {
      // A change must not end a campaign that runs: an optimizer that cannot go on begins anew.
      text += "; its outer optimizer begins anew, because \(error.faults[0].reason)"
      learner = try self.learner(record, theta: theta)
    }
    if isChange, let previous { learner.goOn(from: previous) }
    let event = NewCampaignEvent(
      .phase, text,
      ["phase": .integer(record.number), "version": .integer(version), "position": .integer(record.position)])
    return (learner, event)
  }

  /// Makes a phase the active one, durably, with the state that it starts from.
  ///
  /// - Parameters:
  ///   - groups: how many to hand out anew; nil for none.
  /// - Returns: whether it is; it is not where it was replaced meanwhile.
  func enter(
    _ record: CampaignPhaseRecord, _ learner: OuterLearner, isChange: Bool, groups: Int?, state: [UInt8],
    event: NewCampaignEvent
  ) throws -> Bool {
    let policy = record.phase.policy
    let turn = PhaseTurn(
      from: active?.number, isChange: isChange, to: record.number, outerIteration: learner.outerIteration,
      growthLevel: learner.growthLevel, groups: groups, ahead: policy.runsAhead ? policy.staleness : 0)
    let blob = try store.putBlob(state)
    let theta = NewTheta(
      version: version, content: try thetaFile(learner, record), kept: version == 0 ? .start : isChange ? nil : .phase)
    phases = try store.enterPhase(
      turn, version: version, thetas: [theta], snapshot: blob, event: event, lease: lease)
    guard active?.number == record.number else { return false }
    surroundings.logger.info(
      "phase begun", metadata: ["campaign": "\(work.id)", "phase": "\(record.number)", "version": "\(version)"])
    return true
  }

  // MARK: Steps

  /// How far the campaign is.
  func head(_ record: CampaignPhaseRecord, _ learner: OuterLearner) -> CampaignHead {
    CampaignHead(
      version: version, phase: record.number, outerIteration: learner.outerIteration, growthLevel: learner.growthLevel,
      innerSteps: innerSteps)
  }

  /// A step for the record. Call it when ``version`` is the one that it made.
  func step(
    _ record: CampaignPhaseRecord, _ report: StepReport, _ results: [GroupResult], staleness: [Int], discarded: Int,
    seconds: Double
  ) -> CampaignStep {
    let outer = record.phase.outer.optimizer
    return CampaignStep(
      version: version, phase: record.number, outerIteration: report.outerIteration, meanLoss: report.meanLoss,
      surviving: report.surviving, gradientNorm: report.gradientNorm, updateNorm: report.updateNorm,
      clippedShare: report.clippedShare,
      learningRate: outer.has("learning_rate")
        ? outer.learningRate.at(report.outerIteration - 1, of: record.phase.outerSteps) : nil,
      innerSteps: report.innerSteps, staleness: staleness, discarded: discarded,
      wallMilliseconds: Int(min(seconds, 2e6) * 1000),
      results: StepRecord(version: version, phase: record.keysFrom, results: results, report: report).bytes)
  }

  /// Thetas that stay for good while the campaign runs: one in so many, a tenth of the power of ten below its length.
  func isSpaced(_ version: Int) -> Bool {
    let steps = max(version, phases.filter { $0.state != .superseded }.reduce(0) { $0 + $1.phase.outerSteps })
    var spacing = 10
    while spacing * 100 <= steps { spacing *= 10 }
    // What is evaluated stays as well.
    let isEvaluated = work.spec.evaluation.map { version % $0.everyOuterSteps == 0 } ?? false
    return version % spacing == 0 || isEvaluated
  }

  /// The file of the newest theta.
  func thetaFile(_ learner: OuterLearner, _ record: CampaignPhaseRecord) throws -> [UInt8] {
    let horizon = phases.filter { $0.state != .superseded }.map(\.phase.lengths.longest).max() ?? 0
    return Array(
      try learner.theta(provenance: [
        "campaign": work.id, "campaign_name": work.spec.name, "phase": record.phase.name,
        "outer_step": String(version), "inner_steps": String(innerSteps), "seed": String(work.spec.seed),
        "horizon_steps": String(horizon), "engine": surroundings.engine.name, "cpu_level": level.rawValue,
        "data": work.spec.data.keys.sorted().joined(separator: ", "),
      ]).safetensors())
  }

  /// What people should know of a step, where it is not like the one before.
  func warning(_ report: StepReport, before: StepReport?) -> NewCampaignEvent? {
    guard report.surviving < 0.5, before.map({ $0.surviving >= 0.5 }) ?? true else { return nil }
    return NewCampaignEvent(
      .warning,
      "pairs dropped: only \(Int(100 * report.surviving)) % had losses that were finite in outer step \(version)",
      ["version": .integer(version), "surviving": .number(report.surviving)])
  }

  // MARK: The end

  /// Ends the work on the campaign.
  func end(_ end: CampaignEnd) throws {
    try store.endCampaign(lease: lease, end)
    surroundings.logger.info("campaign ended", metadata: ["campaign": "\(work.id)", "how": "\(end)"])
  }
}
