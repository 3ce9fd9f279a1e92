// One slot's part in distributed campaigns: claims windows of groups, runs them, delivers what they measured. A group whose
// state is not in memory is restored from the stored one and taken through the windows since, each around the theta that
// it was run around then: the bits are the same wherever it is done.
import Compute
import Contract
import Foundation
import Logging
import MetaTraining
import Store

/// Runs groups on a slot's thread.
final class GroupRunner {
  private let worker: String
  private let store: Store
  private let memory: GroupMemory
  private let configuration: WorkerConfiguration
  private let engine: CampaignEngine
  private let logger: Logger
  private let stop: StopSignal
  private var lanes: [(key: PhaseKey, lane: CampaignLane)] = []
  /// Smoothed seconds of a window; nil before the first.
  private var windowSeconds: Double?
  /// Grows while there is nothing to do: after so many seconds a group is taken over from a worker with many.
  private var idleSeconds = 0.0

  /// What one lease should hold, and after how long results are delivered at the latest.
  private static let leaseWorkSeconds = 0.5
  private static let deliverSeconds = 0.25
  private static let stealSeconds = 2.0
  private static let claimedMax = 32
  private static let lanesMax = 4
  /// Windows between two stored states at least; more where states are large and windows short.
  private static let snapshotWindows = 10...100
  private static let snapshotBytesPerSecond = 1e6

  init(
    worker: String, store: Store, memory: GroupMemory, configuration: WorkerConfiguration, engine: CampaignEngine,
    logger: Logger, stop: StopSignal
  ) {
    self.worker = worker
    self.store = store
    self.memory = memory
    self.configuration = configuration
    self.engine = engine
    self.logger = logger
    self.stop = stop
  }

  /// Notes that the slot had nothing to do.
  func idled(seconds: Double) { idleSeconds = min(idleSeconds + seconds, 2 * Self.stealSeconds) }

  /// Claims some groups and runs a window of each.
  ///
  /// - Returns: false if there were none.
  func runSome() throws -> Bool {
    let own = windowSeconds.map { min(max(Int(Self.leaseWorkSeconds / max($0, 1e-4)), 1), Self.claimedMax) } ?? 1
    let steals = idleSeconds >= Self.stealSeconds
    let leases = try store.claimGroups(
      worker: worker, own: own, others: windowSeconds == nil ? 1 : max(1, own / 4), steals: steals, engine: engine,
      leaseSeconds: configuration.leaseSeconds)
    if steals { idleSeconds = 0 }
    guard !leases.isEmpty else { return false }
    memory.hold(leases)
    defer { memory.drop(leases) }
    let began = ContinuousClock.now
    var waiting = leases[...]
    var done: [GroupDelivery] = []
    do {
      var delivered = began
      while let lease = waiting.first, !stop.isRaised {
        waiting.removeFirst()
        if memory.isLost(lease) { continue }
        if let delivery = try run(lease) { done.append(delivery) }
        if ContinuousClock.now - delivered >= .seconds(Self.deliverSeconds) || done.contains(where: { $0.state != nil })
        {
          try store.deliver(done, worker: worker)
          done = []
          delivered = .now
        }
      }
      try store.deliver(done, worker: worker)
    } catch {
      try? store.release(groups: leases)
      throw error
    }
    try store.release(groups: Array(waiting))
    idleSeconds = max(0, idleSeconds - (ContinuousClock.now - began) / .seconds(4))
    return true
  }

  /// Runs the window of one lease; nil if the group had to begin anew.
  private func run(_ lease: GroupLease) throws -> GroupDelivery? {
    let key = GroupKey(lease)
    guard let level = CPULevel(rawValue: lease.cpuLevel) else {
      throw StoreError.schema("the level \(lease.cpuLevel) of campaign \(lease.campaign) is not known here")
    }
    let problem = try memory.problem(key.phase, level: level)
    let lane = self.lane(key.phase, problem)
    let group: ParticleGroup
    do { group = try state(lease, problem, lane) } catch let error as LostState {
      logger.warning(
        "a group begins anew",
        metadata: ["campaign": "\(lease.campaign)", "group": "\(lease.number)", "why": "\(error)"])
      try store.restart(group: lease, reason: error.description)
      return nil
    }
    guard let theta = try memory.theta(lease.campaign, version: lease.setting.version) else {
      throw StoreError.notFound("version \(lease.setting.version) of campaign \(lease.campaign)")
    }
    let began = ContinuousClock.now
    let result = group.run(lease.setting.context, theta: theta, lane)
    let seconds = (ContinuousClock.now - began) / .seconds(1)
    windowSeconds = windowSeconds.map { 0.8 * $0 + 0.2 * seconds } ?? seconds
    let since = lease.window + 1 - lease.snapshotWindow
    let state = since >= snapshotInterval(group.snapshotBytes, seconds) ? group.snapshot() : nil
    memory.put(key, group)
    return GroupDelivery(
      lease: lease, result: result.bytes, milliseconds: Int((seconds * 1000).rounded(.up)), state: state)
  }

  private func snapshotInterval(_ bytes: Int, _ seconds: Double) -> Int {
    let windows = Double(bytes) / (Self.snapshotBytesPerSecond * max(seconds, 1e-4))
    return min(max(Int(windows.rounded(.up)), Self.snapshotWindows.lowerBound), Self.snapshotWindows.upperBound)
  }

  private func lane(_ key: PhaseKey, _ problem: PhaseProblem) -> CampaignLane {
    if let index = lanes.firstIndex(where: { $0.key == key }) {
      let entry = lanes.remove(at: index)
      lanes.append(entry)
      return entry.lane
    }
    let lane = CampaignLane(problem)
    lanes.append((key, lane))
    if lanes.count > Self.lanesMax { lanes.removeFirst() }
    return lane
  }

  /// Why a group cannot be brought to where it was.
  private struct LostState: Error, CustomStringConvertible {
    let description: String
  }

  /// The group right before the lease's window.
  private func state(_ lease: GroupLease, _ problem: PhaseProblem, _ lane: CampaignLane) throws -> ParticleGroup {
    guard problem.groups.indices.contains(lease.number) else {
      throw StoreError.notFound("group \(lease.number) of campaign \(lease.campaign)")
    }
    // What is in memory may be behind, where another worker ran the windows since, or ahead, where its result came to
    // nothing.
    let kept = memory.take(GroupKey(lease))
    let group: ParticleGroup
    if let kept, kept.windows <= lease.window, kept.windows >= lease.snapshotWindow {
      group = kept
    } else {
      group = ParticleGroup(problem, problem.groups[lease.number], lane)
      if lease.generation > 0 { group.beginAnew(generation: min(lease.generation, ParticleGroup.generationsMax)) }
      if let stored = try store.groupState(lease), stored.window <= lease.window {
        do { try group.restore(stored.content) } catch { throw LostState(description: "\(error)") }
      }
    }
    let first = lease.snapshotWindow
    guard group.windows >= first, lease.history.count == lease.window - first else {
      throw LostState(description: "its stored state and the windows since do not fit together")
    }
    for window in group.windows..<lease.window {
      let setting = lease.history[window - first]
      guard let theta = try memory.theta(lease.campaign, version: setting.version) else {
        throw LostState(description: "version \(setting.version) of theta is not kept any more")
      }
      _ = group.run(setting.context, theta: theta, lane)
    }
    return group
  }
}

extension WindowSetting {
  /// As windows are told.
  var context: WindowContext {
    WindowContext(version: version, outerIteration: outerIteration, growthLevel: growthLevel)
  }
}
