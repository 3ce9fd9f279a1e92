// A campaign that one slot runs by itself, with threads of its own. About once a second the outer steps since then are
// committed; now and then the whole state is, and whoever takes over goes on from there: the steps since are made again,
// with the same bits, and the store checks that.
import Compute
import Contract
import Foundation
import Learning
import Logging
import MetaTraining
import Store

/// A leased campaign of local mode.
final class LocalCampaignRun {
  private let course: CampaignCourse
  private let lanes: LaneGroup
  private let threads: Int
  private var steps: [CampaignStep] = []
  private var stepBytes = 0
  private var thetas: [NewTheta] = []
  private var events: [NewCampaignEvent] = []
  private var loss: Double?
  private var lastReport: StepReport?
  private var committed = ContinuousClock.now
  private var saved = ContinuousClock.now
  /// Since when work that goes first has been waiting without a pause.
  private var crowdedSince: ContinuousClock.Instant?

  /// States are larger than those of jobs and made more seldom.
  private static let checkpointFactor = 3.0
  /// How long other work has to wait before the slot is given up for it: an idle slot would have taken it by then.
  private static let crowdedSeconds = 3.0
  private static let stepBytesMax = 16 << 20

  /// - Throws: as ``CampaignCourse``.
  init(_ lease: Lease, _ surroundings: CampaignSurroundings) throws {
    course = try CampaignCourse(lease, surroundings)
    threads = course.work.spec.threads ?? ProcessInfo.processInfo.activeProcessorCount
    lanes = LaneGroup(count: threads)
  }

  deinit { lanes.stop() }

  private var surroundings: CampaignSurroundings { course.surroundings }

  /// Runs until the campaign is over, somebody wishes otherwise, or the worker stops.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)`` where somebody else has the campaign by now.
  func run() throws {
    let keeper = LeaseKeeper(
      store: surroundings.store, lease: course.lease, seconds: surroundings.configuration.leaseSeconds / 3)
    defer { keeper.stop() }
    var run = try begin()
    while true {
      // Steps that are made again from an older state are those of the settings that they had.
      while !run.learner.isOver, course.change == nil || course.version < course.work.head.version {
        try advance(run)
        if let halt = try commitIfDue(run) { return try finish(halt) }
      }
      try commit(run, saves: run.learner.isOver)
      try course.reload()
      let change = course.change
      guard let record = change ?? course.following else { return try course.end(.succeeded) }
      run = try enter(record, after: run, isChange: change != nil) ?? run
    }
  }

  /// The phase that the campaign is in, where its newest state was kept.
  private func begin() throws -> PhaseRun {
    guard let record = course.active, let snapshot = course.work.snapshot else {
      guard let first = course.following else { throw StoreError.notFound("a phase of campaign \(course.work.id)") }
      guard let run = try enter(first, after: nil, isChange: false) else { return try begin() }
      return run
    }
    let bytes = try surroundings.store.readBlob(sha256: snapshot.content)
    guard bytes.count > 8 else {
      throw StoreError.corruptContent("the state of campaign \(course.work.id) is cut short")
    }
    let run = PhaseRun(try course.learner(record, theta: course.startTheta().aligned()), threads: threads)
    try run.restore(Array(bytes.dropFirst(8)))
    course.version = snapshot.version
    course.innerSteps = (0..<8).reduce(0) { $0 | Int(bytes[$1]) << (8 * $1) }
    return run
  }

  private func enter(_ record: CampaignPhaseRecord, after before: PhaseRun?, isChange: Bool) throws -> PhaseRun? {
    let (learner, event) = try course.next(record, after: before?.learner, isChange: isChange)
    let run = PhaseRun(learner, threads: threads)
    if isChange, let before, before.learner.problem.number == record.keysFrom { try run.takeOver(before) }
    let isEntered = try course.enter(
      record, learner, isChange: isChange, groups: nil, state: state(run), event: event)
    saved = .now
    return isEntered ? run : nil
  }

  /// Inner steps so far, and the phase's state.
  private func state(_ run: PhaseRun) -> [UInt8] {
    withUnsafeBytes(of: UInt64(course.innerSteps).littleEndian) { Array($0) } + run.snapshot()
  }

  private func advance(_ run: PhaseRun) throws {
    guard let record = course.active else { preconditionFailure("a campaign that runs is in a phase") }
    let began = ContinuousClock.now
    let (results, report) = run.advance(version: course.version, lanes)
    course.version += 1
    course.innerSteps += report.innerSteps
    let step = course.step(
      record, report, results, staleness: [results.count], discarded: 0,
      seconds: (ContinuousClock.now - began) / .seconds(1))
    steps.append(step)
    stepBytes += step.results.count
    loss = report.meanLoss
    if let event = course.warning(report, before: lastReport), events.count < 200 { events.append(event) }
    lastReport = report
    if course.isSpaced(course.version) {
      thetas.append(
        NewTheta(version: course.version, content: try course.thetaFile(run.learner, record), kept: .spaced))
    }
  }

  /// What makes a run end before its time.
  private enum Halt {
    case ended(CampaignEnd)
    case released
  }

  /// Commits when a second has passed, or there is much to commit.
  private func commitIfDue(_ run: PhaseRun) throws -> Halt? {
    let now = ContinuousClock.now
    let mustPause = lastReport?.mustPause
    let isStopping = surroundings.stop.isRaised
    let isFull = steps.count >= CampaignProgress.stepsMax || stepBytes >= Self.stepBytesMax
    guard
      isStopping || isFull || mustPause != nil
        || now - committed >= .seconds(surroundings.configuration.commitSeconds)
    else { return nil }
    let isDue =
      now - saved >= .seconds(Self.checkpointFactor * surroundings.configuration.checkpointSeconds)
    let wishes = try commit(run, saves: isStopping || isDue || mustPause != nil)
    if let mustPause { return .ended(.stuck(reason: "steps_refused", mustPause)) }
    if wishes.cancel { return .ended(.cancelled) }
    if wishes.pause {
      try commit(run, saves: true)
      return .ended(.paused)
    }
    if isStopping { return .released }
    if wishes.change { try course.reload() }
    if !wishes.makeWay { crowdedSince = nil } else if crowdedSince == nil { crowdedSince = now }
    if let crowdedSince, now - crowdedSince >= .seconds(Self.crowdedSeconds) {
      surroundings.logger.info("making way for other work", metadata: ["campaign": "\(course.work.id)"])
      try commit(run, saves: true)
      return .released
    }
    return nil
  }

  private func finish(_ halt: Halt) throws {
    switch halt {
    case .ended(let end): try course.end(end)
    case .released: try surroundings.store.release(lease: course.lease)
    }
  }

  @discardableResult
  private func commit(_ run: PhaseRun, saves: Bool) throws -> CampaignWishes {
    guard let record = course.active else { preconditionFailure("a campaign that runs is in a phase") }
    var progress = CampaignProgress(
      steps: steps, head: course.head(record, run.learner), loss: loss, thetas: thetas, events: events)
    if saves {
      progress.snapshot = try surroundings.store.putBlob(state(run))
      progress.thetas.append(
        NewTheta(version: course.version, content: try course.thetaFile(run.learner, record), kept: nil))
      saved = .now
    }
    let wishes = try surroundings.store.commit(progress: progress, lease: course.lease)
    (steps, stepBytes, thetas, events) = ([], 0, [], [])
    committed = .now
    return wishes
  }
}
