// A campaign whose windows any worker runs: this learner waits for results, takes outer steps from them and sends the
// groups on. A step is computed outside of any transaction and committed in one with all that belongs to it, so that a
// learner that dies leaves a campaign that another goes on with; one that lost its lease changes nothing any more.
import Compute
import Contract
import Foundation
import Learning
import Logging
import MetaTraining
import Store

/// A leased campaign of distributed mode.
final class DistributedCampaignRun {
  private let course: CampaignCourse
  /// Raised for new results, and for changes that people make.
  private let news: StopSignal
  private var saved = ContinuousClock.now
  private var lastReport: StepReport?
  /// Results that were too old for any step, since the last one.
  private var discarded = 0

  private static let checkpointFactor = 3.0
  /// How often results are looked for where no notification comes, and how often wishes are.
  private static let pollSeconds = 0.1
  private static let wishSeconds = 1.0

  /// - Throws: as ``CampaignCourse``.
  init(_ lease: Lease, _ surroundings: CampaignSurroundings, news: StopSignal) throws {
    course = try CampaignCourse(lease, surroundings)
    self.news = news
  }

  private var surroundings: CampaignSurroundings { course.surroundings }
  private var store: Store { surroundings.store }
  private var isStopping: Bool { surroundings.stop.isRaised }

  /// Leads until the campaign is over, somebody wishes otherwise, or the worker stops.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)`` where somebody else has the campaign by now.
  func run() throws {
    let keeper = LeaseKeeper(
      store: store, lease: course.lease, seconds: surroundings.configuration.leaseSeconds / 3)
    defer { keeper.stop() }
    var learner = try begin()
    while true {
      while !learner.isOver, course.change == nil {
        if let halt = try step(learner) { return try finish(halt) }
      }
      try course.reload()
      let change = course.change
      guard let record = change ?? course.following else { return try course.end(.succeeded) }
      learner = try enter(record, after: learner, isChange: change != nil) ?? learner
    }
  }

  /// The learner at the campaign's head: from the newest state kept, by the steps since.
  private func begin() throws -> OuterLearner {
    guard let record = course.active, let snapshot = course.work.snapshot else {
      guard let first = course.following else { throw StoreError.notFound("a phase of campaign \(course.work.id)") }
      guard let learner = try enter(first, after: nil, isChange: false) else { return try begin() }
      return learner
    }
    let learner = try course.learner(record, theta: course.startTheta().aligned())
    try learner.restore(store.readBlob(sha256: snapshot.content))
    var version = snapshot.version
    while version < course.version {
      let steps = try store.campaignStepResults(campaign: course.work.id, from: version + 1)
      guard let first = steps.first, first.version == version + 1 else {
        throw StoreError.corruptContent("outer step \(version + 1) of campaign \(course.work.id) is not there")
      }
      for step in steps where step.version <= course.version {
        let results = try StepRecord.read(step.results, of: learner.problem).results
        _ = learner.step(results.map { ($0, step.version - 1 - $0.version) })
        version = step.version
      }
    }
    if let file = try store.thetaFile(campaign: course.work.id, version: version) {
      let theta = try Theta(safetensors: Data(file))
      guard try learner.theta().values == theta.values else {
        throw StoreError.corruptContent(
          "version \(version) of campaign \(course.work.id) does not follow from its outer steps")
      }
    }
    return learner
  }

  private func enter(
    _ record: CampaignPhaseRecord, after before: OuterLearner?, isChange: Bool
  ) throws -> OuterLearner? {
    let (learner, event) = try course.next(record, after: before, isChange: isChange)
    let goesOn = isChange && before?.problem.number == record.keysFrom
    let isEntered = try course.enter(
      record, learner, isChange: isChange, groups: goesOn ? nil : learner.problem.groups.count,
      state: learner.snapshot(), event: event)
    saved = .now
    return isEntered ? learner : nil
  }

  /// What makes a run end before its time.
  private enum Halt {
    case ended(CampaignEnd)
    case released
  }

  private func finish(_ halt: Halt) throws {
    switch halt {
    case .ended(let end): try course.end(end)
    case .released: try store.release(lease: course.lease)
    }
  }

  // MARK: Steps

  /// Results that are ready for a step.
  private struct Harvest {
    var inputs: [OuterLearner.Input] = []
    /// The rows that they come from, whole.
    var rows: [GroupResults] = []
    /// Rows without anything that a step may use, and how many results are in them.
    var useless: [GroupResults] = []
    var discarded = 0
  }

  /// Waits for results and takes an outer step.
  private func step(_ learner: OuterLearner) throws -> Halt? {
    guard let record = course.active else { preconditionFailure("a campaign that runs is in a phase") }
    let policy = record.phase.policy
    let wanted = max(1, Int((policy.share * Double(learner.problem.groups.count)).rounded(.up)))
    let quorum = max(1, Int((policy.quorum * Double(wanted)).rounded(.up)))
    let began = ContinuousClock.now
    var asked = began
    while true {
      let seen = news.count()
      let isLate = policy.deadlineSeconds.map { ContinuousClock.now - began >= .seconds($0) } ?? false
      let enough = isLate ? quorum : wanted
      if try store.groupsWithResults(campaign: course.work.id) >= enough {
        let harvest = try harvest(learner, policy)
        if harvest.rows.count >= enough { return try take(harvest, record, learner, since: began) }
        if !harvest.useless.isEmpty { try sendOn(harvest, record, learner) }
      }
      if isStopping || ContinuousClock.now - asked >= .seconds(Self.wishSeconds) {
        let progress = CampaignProgress(steps: [], head: course.head(record, learner), loss: nil)
        if let halt = try obey(store.commit(progress: progress, lease: course.lease), learner) { return halt }
        if course.change != nil { return nil }
        asked = .now
      }
      news.sleep(seconds: Self.pollSeconds, since: seen)
    }
  }

  private func harvest(_ learner: OuterLearner, _ policy: CampaignPolicy) throws -> Harvest {
    var harvest = Harvest()
    for row in try store.groupResults(campaign: course.work.id) {
      var usable: [OuterLearner.Input] = []
      for (_, bytes) in row.results {
        guard let result = try? GroupResult(bytes: bytes, group: row.group, of: learner.problem),
          case let staleness = course.version - result.version, (0...policy.staleness).contains(staleness)
        else {
          harvest.discarded += 1
          continue
        }
        usable.append((result, staleness))
      }
      if usable.isEmpty { harvest.useless.append(row) } else { harvest.rows.append(row) }
      harvest.inputs += usable
    }
    return harvest
  }

  /// Lets groups go on whose results come too late.
  private func sendOn(_ harvest: Harvest, _ record: CampaignPhaseRecord, _ learner: OuterLearner) throws {
    discarded += harvest.useless.reduce(0) { $0 + $1.results.count }
    let turn = GroupTurn(
      taken: harvest.useless, phase: record.keysFrom,
      next: WindowSetting(learner.context(version: course.version)), renewsWaiting: false)
    _ = try store.commit(
      progress: CampaignProgress(steps: [], head: course.head(record, learner), loss: nil, turn: turn),
      lease: course.lease)
  }

  private func take(
    _ harvest: Harvest, _ record: CampaignPhaseRecord, _ learner: OuterLearner, since began: ContinuousClock.Instant
  ) throws -> Halt? {
    let report = learner.step(harvest.inputs)
    course.version += 1
    course.innerSteps += report.innerSteps
    var staleness = [Int](repeating: 0, count: 1 + (harvest.inputs.map(\.staleness).max() ?? 0))
    for input in harvest.inputs { staleness[input.staleness] += 1 }
    let step = course.step(
      record, report, harvest.inputs.map(\.result), staleness: staleness, discarded: discarded + harvest.discarded,
      seconds: (ContinuousClock.now - began) / .seconds(1))
    discarded = 0
    let isLast = learner.isOver
    var progress = CampaignProgress(steps: [step], head: course.head(record, learner), loss: report.meanLoss)
    progress.thetas = [
      NewTheta(
        version: course.version, content: try course.thetaFile(learner, record),
        kept: course.isSpaced(course.version) ? .spaced : nil)
    ]
    progress.turn = GroupTurn(
      taken: harvest.rows + harvest.useless, phase: record.keysFrom,
      next: isLast ? nil : WindowSetting(learner.context(version: course.version)),
      renewsWaiting: !record.phase.policy.isDeterministic)
    if let event = course.warning(report, before: lastReport) { progress.events.append(event) }
    lastReport = report
    let isDue =
      ContinuousClock.now - saved
      >= .seconds(Self.checkpointFactor * surroundings.configuration.checkpointSeconds)
    if isDue || report.mustPause != nil {
      progress.snapshot = try store.putBlob(learner.snapshot())
      saved = .now
    }
    let wishes = try store.commit(progress: progress, lease: course.lease)
    if let reason = report.mustPause { return .ended(.stuck(reason: "steps_refused", reason)) }
    return try obey(wishes, learner)
  }

  private func obey(_ wishes: CampaignWishes, _ learner: OuterLearner) throws -> Halt? {
    if wishes.cancel { return .ended(.cancelled) }
    if wishes.pause { return .ended(.paused) }
    if isStopping { return .released }
    if wishes.change { try course.reload() }
    return nil
  }
}

extension WindowSetting {
  init(_ context: WindowContext) {
    self.init(
      version: context.version, outerIteration: context.outerIteration, growthLevel: context.growthLevel)
  }
}
