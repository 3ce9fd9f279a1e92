// Leads distributed campaigns beside the slots: waiting for results takes no slot, so that a worker with a single one can
// be learner and run groups too. A thread for each campaign; a further one leases them.
import Foundation
import Logging
import Store

/// The learners of a worker process.
// @unchecked: `running` and the listener are guarded by the condition.
final class CampaignCoordinator: @unchecked Sendable {
  private let worker: String
  private let surroundings: CampaignSurroundings
  /// Of results and changes; wakes all learners of the process.
  private let news = StopSignal()
  private let condition = NSCondition()
  private var running = 0
  private var listener: NotificationListener?

  /// Campaigns that one process leads at a time; others find another process, or wait.
  static let campaignsMax = 4

  init(worker: String, surroundings: CampaignSurroundings) {
    self.worker = worker
    self.surroundings = surroundings
  }

  private var stop: StopSignal { surroundings.stop }

  /// Leases campaigns and leads them until the process is to stop and all are given back.
  func run() {
    while !stop.isRaised {
      let seen = stop.count([.work])
      if condition.withLock({ running }) < Self.campaignsMax {
        do {
          let lease = try surroundings.store.claimCampaign(
            worker: worker, kind: .distributedCampaign, engine: surroundings.engine,
            leaseSeconds: surroundings.configuration.leaseSeconds)
          if let lease {
            start(lease)
            continue
          }
        } catch {
          surroundings.logger.warning("cannot ask for campaigns; will try again", metadata: ["error": "\(error)"])
        }
      }
      stop.sleep(seconds: surroundings.configuration.pollSeconds, since: seen, for: [.work])
    }
    news.raise()
    condition.lock()
    while running > 0 { condition.wait() }
    let listener = self.listener
    condition.unlock()
    listener?.stop()
  }

  private func start(_ lease: Lease) {
    condition.withLock {
      running += 1
      // Polling is the net where there is no listener.
      if listener == nil {
        listener = try? surroundings.store.listen(to: [.results, .campaign]) { [news] _, _ in news.nudge(.groups) }
      }
    }
    let thread = Thread { [self] in
      lead(lease)
      condition.withLock {
        running -= 1
        condition.broadcast()
      }
      // Its place is free.
      stop.nudge(.work)
    }
    thread.name = "learner"
    thread.stackSize = 4 << 20
    thread.start()
  }

  private func lead(_ lease: Lease) {
    CampaignFaults.handle(lease, surroundings) {
      try DistributedCampaignRun(lease, surroundings, news: news).run()
    }
  }
}
