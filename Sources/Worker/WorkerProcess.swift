// A worker process: registers itself, then every slot leases work and runs it on a thread of its own. Lost work is
// found by its lease; nothing here is needed to be alive for others to go on.
import Compute
import Contract
import Foundation
import Logging
import Store

/// What a worker is told at start.
public struct WorkerConfiguration: Sendable {
  /// Threads that run work; each trains one job at a time.
  public var slots: Int
  /// Where datasets are kept between jobs.
  public var cacheFolder: URL
  /// How long work stays this worker's without a sign of life.
  public var leaseSeconds = 30.0
  /// Time between progress commits.
  public var commitSeconds = 1.0
  /// Time between checkpoints.
  public var checkpointSeconds = 10.0
  /// How often an idle slot looks for work when no notification came.
  public var pollSeconds = 2.0
  /// Name and version of the program: a campaign is only gone on with by the one that began it.
  public var engine = "trainyard"
  /// How much the dataset cache may hold.
  public var cacheBytesMax = 20 << 30

  public init(slots: Int, cacheFolder: URL) {
    self.slots = slots
    self.cacheFolder = cacheFolder
  }
}

/// One worker process's slots, heartbeat and wake-ups.
public final class WorkerProcess: Sendable {
  private let store: Store
  private let configuration: WorkerConfiguration
  private let logger: Logger
  private let id = Identifier.make(.worker)

  /// How often a worker says that it lives.
  private static let heartbeatSeconds = 2.0
  /// How often it deletes what nothing refers to any more; several workers doing so do no harm.
  private static let housekeepingSeconds = 300.0
  /// How often it looks for campaigns whose evaluation is due.
  private static let evaluationSeconds = 10.0

  public init(store: Store, configuration: WorkerConfiguration, logger: Logger) {
    self.store = store
    self.configuration = configuration
    self.logger = logger
  }

  /// Runs until `stop` is raised; then every slot finishes its step, checkpoints and gives its lease back.
  ///
  /// - Throws: when the worker cannot start (no kernels, no database).
  public func run(until stop: StopSignal) throws {
    let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
    try FileManager.default.createDirectory(at: configuration.cacheFolder, withIntermediateDirectories: true)
    // Before the slots start, so that nothing of ours disturbs it.
    let probe = try SpeedProbe(level: level)
    let speed = MachineSpeed(
      productFlopsPerSecond: probe.productFlopsPerSecond, functionsPerSecond: probe.functionsPerSecond,
      bytesPerSecond: probe.bytesPerSecond)
    let now = Timestamp(Date())
    try store.registerWorker(
      WorkerRecord(
        id: id, host: ProcessInfo.processInfo.hostName, processID: Int(getpid()), slots: configuration.slots,
        cpuLevel: level.rawValue, speed: speed, startedAt: now, seenAt: now))
    let listener = try store.listen(to: [.work]) { _, payload in
      if payload == "group" { stop.nudge(.groups) } else { stop.nudge(.work, .groups) }
    }
    defer { listener.stop() }
    let cache = DatasetCache(store: store, folder: configuration.cacheFolder, bytesMax: configuration.cacheBytesMax)
    let evaluations = EvaluationRunner(
      store: store, cache: cache, level: level, speed: speed, configuration: configuration, logger: logger, stop: stop)
    let surroundings = CampaignSurroundings(
      store: store, cache: cache, configuration: configuration,
      engine: CampaignEngine(
        levels: [level.rawValue], level: level.rawValue, name: configuration.engine),
      logger: logger, stop: stop)
    let memory = GroupMemory(store: store, cache: cache)
    let coordinator = CampaignCoordinator(worker: id, surroundings: surroundings)
    let group = DispatchGroup()
    group.enter()
    let leader = Thread {
      coordinator.run()
      group.leave()
    }
    leader.name = "coordinator"
    leader.start()
    for index in 0..<configuration.slots {
      let slot = Slot(
        worker: id, store: store, configuration: configuration, cache: cache, evaluations: evaluations, memory: memory,
        level: level, surroundings: surroundings)
      group.enter()
      let thread = Thread {
        slot.run()
        group.leave()
      }
      thread.name = "slot-\(index)"
      thread.stackSize = 4 << 20
      thread.start()
    }
    logger.info(
      "worker ready", metadata: ["worker": "\(id)", "slots": "\(configuration.slots)", "cpu": "\(level.rawValue)"])
    var renewedAt = Date()
    var evaluationsAt = Date()
    var housekeepingAt = Date(timeIntervalSinceNow: Self.housekeepingSeconds)
    while !stop.isRaised {
      do {
        try store.heartbeatWorker(id: id)
        if renewedAt.timeIntervalSinceNow < -configuration.leaseSeconds / 3 {
          renewedAt = Date()
          try memory.renew(worker: id, leaseSeconds: configuration.leaseSeconds)
        }
        let swept = try store.sweepExpiredLeases() + store.sweepExpiredGroups()
        if swept > 0 { logger.notice("took back expired leases", metadata: ["count": "\(swept)"]) }
        if evaluationsAt.timeIntervalSinceNow < 0 {
          evaluationsAt = Date(timeIntervalSinceNow: Self.evaluationSeconds)
          do { try store.evaluateCampaigns() } catch {
            logger.warning("cannot queue a campaign's evaluation", metadata: ["error": "\(error)"])
          }
        }
        if housekeepingAt.timeIntervalSinceNow < 0 {
          housekeepingAt = Date(timeIntervalSinceNow: Self.housekeepingSeconds)
          _ = try store.keepHouse()
          try store.noteStrandedCampaigns(engine: surroundings.engine)
        }
      } catch {
        logger.warning("heartbeat failed; will try again", metadata: ["error": "\(error)"])
      }
      // Nudges for the slots wake this thread too; they must not turn heartbeats into a busy loop.
      stop.pause(seconds: min(Self.heartbeatSeconds, configuration.leaseSeconds / 4))
    }
    group.wait()
    try? store.forgetGroups(worker: id)
    try? store.removeWorker(id: id)
    logger.info("worker stopped", metadata: ["worker": "\(id)"])
  }
}
