// `trainyard bench groups`: how many windows a second the database hands out, takes back and makes outer steps of, for
// workers that compute nothing. It counts every window: none may be lost, none may count twice.
import ArgumentParser
import Contract
import Foundation
import Store
import Worker

extension BenchCommand {
  struct Groups: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Windows a second of a distributed campaign whose workers compute nothing.",
      discussion: "Needs a database that it may fill; without one it makes a cluster of its own and deletes it.")

    @OptionGroup var database: DatabaseOptions
    @Option(help: "Workers, each a thread.") var workers = 100
    @Option(help: "Groups of pairs.") var groups = 800
    @Option(help: "Groups that a worker leases at a time.") var lease = 8
    @Option(help: "Connections to the database.") var connections = 40
    @OptionGroup var options: Options

    func validate() throws {
      guard (1...10_000).contains(workers), (1...1_000_000).contains(groups), (1...256).contains(lease),
        (2...10_000).contains(connections)
      else {
        throw ValidationError(
          "--workers must be from 1 to 10000, --groups to 1000000, --lease to 256, --connections from 2 to 10000")
      }
    }

    func run() throws {
      try BenchCommand.withStore(database, connections: connections) { try measure($0) }
    }

    private func measure(_ store: Store) throws {
      let bench = try GroupBenchmark(store, groups: groups, lease: lease)
      let bytes = try store.campaignTableBytes()
      let figures = try bench.run(workers: workers, seconds: options.seconds)
      let after = try store.campaignTableBytes()
      let report: JSON = [
        "command": "groups", "workers": .integer(workers), "groups": .integer(groups),
        "windows_per_s": .number((figures.windowsPerSecond * 10).rounded() / 10),
        "steps_per_s": .number((figures.stepsPerSecond * 100).rounded() / 100),
        "claim_p50_ms": .number(figures.claimMilliseconds(0.5)),
        "claim_p99_ms": .number(figures.claimMilliseconds(0.99)),
        "deliver_p99_ms": .number(figures.deliverMilliseconds(0.99)), "windows": .integer(figures.windows),
        "lost": .integer(figures.lost), "doubled": .integer(figures.doubled),
        "table_bytes_before": .integer(bytes), "table_bytes_after": .integer(after),
      ]
      Console().show(report, asJSON: options.json) {
        "\(Int(figures.windowsPerSecond)) windows/s, \(figures.windows) in all, lost \(figures.lost), "
          + "doubled \(figures.doubled); claims p99 \(Float(figures.claimMilliseconds(0.99))) ms; "
          + "tables \(bytes >> 10) KiB before, \(after >> 10) KiB after"
      }
      guard figures.lost == 0, figures.doubled == 0 else {
        throw CommandFailure(.failure, "windows were lost or counted twice: that is a fault of the program")
      }
    }
  }
}

/// A campaign whose windows are empty.
// @unchecked: what changes is guarded by the lock, but for the learner's own fields, which its thread alone touches.
private final class GroupBenchmark: @unchecked Sendable {
  struct Figures {
    var windowsPerSecond: Double
    var stepsPerSecond: Double
    var windows: Int
    var lost: Int
    var doubled: Int
    var claimSeconds: [Double]
    var deliverSeconds: [Double]

    func claimMilliseconds(_ share: Double) -> Double { BenchCommand.milliseconds(claimSeconds, share) }
    func deliverMilliseconds(_ share: Double) -> Double { BenchCommand.milliseconds(deliverSeconds, share) }
  }

  private let store: Store
  private let groups: Int
  private let leaseMax: Int
  private let engine = CampaignEngine(levels: ["bench"], level: "bench", name: "bench")
  private let campaign: String
  private let lease: Lease
  private let stop = StopSignal()
  private let lock = NSLock()
  private var claimSeconds: [Double] = []
  private var deliverSeconds: [Double] = []
  private var delivered = 0
  private var failure: (any Error)?
  // The learner's.
  private var version = 0
  private var windows: [Int]
  private var doubled = 0
  private var used = 0

  private static let thetaBytes = 16 << 10
  private static let resultBytes = 300

  init(_ store: Store, groups: Int, lease leaseMax: Int) throws {
    self.store = store
    self.groups = groups
    self.leaseMax = leaseMax
    windows = [Int](repeating: 0, count: groups)
    _ = try store.createKey(name: "bench", scopes: [.campaignsAdmin], expiresAt: nil, project: "bench")
    let phase = CampaignPhase(
      name: "bench", estimator: EstimatorSpec(kind: .nres), lengths: .logUniform(100...1000), outerSteps: 10_000_000,
      tasks: [CampaignTask(.config(TaskConfig("Quadratic", ["dimensions": 10])))])
    let spec = CampaignSpec(name: "bench", optimizer: .smallFC, mode: .distributed, phases: [phase])
    campaign = try store.createCampaign(spec, project: "bench", author: "bench").campaign.id
    guard
      let lease = try store.claimCampaign(
        worker: "bench", kind: .distributedCampaign, engine: engine, leaseSeconds: 3600),
      lease.subject == campaign
    else { throw CommandFailure(.failure, "the database has campaigns already: take another one") }
    self.lease = lease
    _ = try store.openCampaign(lease: lease, engine: engine)
    let turn = PhaseTurn(
      from: nil, isChange: false, to: 0, outerIteration: 0, growthLevel: 0, groups: groups, ahead: 0)
    _ = try store.enterPhase(
      turn, version: 0, thetas: [], snapshot: store.putBlob([0]), event: NewCampaignEvent(.phase, "bench"),
      lease: lease)
  }

  func run(workers: Int, seconds: Double) throws -> Figures {
    let group = DispatchGroup()
    for index in 0..<workers {
      group.enter()
      let thread = Thread { [self] in
        guarded { try work("worker-\(index)") }
        group.leave()
      }
      thread.stackSize = 512 << 10
      thread.start()
    }
    let began = ContinuousClock.now
    guarded {
      while ContinuousClock.now - began < .seconds(seconds), lock.withLock({ failure == nil }) { try lead() }
    }
    stop.raise()
    group.wait()
    let elapsed = (ContinuousClock.now - began) / .seconds(1)
    try lock.withLock { if let failure { throw failure } }
    // What workers delivered since the last step.
    let rest = try store.groupResults(campaign: campaign)
    count(rest)
    try store.endCampaign(lease: lease, .succeeded)
    return Figures(
      windowsPerSecond: Double(delivered) / elapsed, stepsPerSecond: Double(version) / elapsed, windows: delivered,
      lost: delivered - used, doubled: doubled, claimSeconds: claimSeconds, deliverSeconds: deliverSeconds)
  }

  private func guarded(_ body: () throws -> Void) {
    do { try body() } catch {
      lock.withLock { failure = failure ?? error }
      stop.raise()
    }
  }

  private func work(_ name: String) throws {
    let clock = ContinuousClock()
    while !stop.isRaised {
      let seen = stop.count()
      let asked = clock.now
      let leases = try store.claimGroups(
        worker: name, own: leaseMax, others: leaseMax, engine: engine, leaseSeconds: 60)
      let claimed = clock.now
      guard !leases.isEmpty else {
        stop.sleep(seconds: 2, since: seen)
        continue
      }
      let deliveries = leases.map { lease -> GroupDelivery in
        var result = [UInt8](repeating: 0, count: Self.resultBytes)
        for (place, number) in [lease.number, lease.window].enumerated() {
          for byte in 0..<8 { result[8 * place + byte] = UInt8(truncatingIfNeeded: number >> (8 * byte)) }
        }
        let keeps = lease.window % 10 == 9
        return GroupDelivery(lease: lease, result: result, milliseconds: 1, state: keeps ? result : nil)
      }
      let taken = try store.deliver(deliveries, worker: name)
      let ended = clock.now
      lock.withLock {
        delivered += taken.count
        claimSeconds.append((claimed - asked) / .seconds(1))
        deliverSeconds.append((ended - claimed) / .seconds(1))
      }
    }
  }

  /// Takes an outer step when all groups have results.
  private func lead() throws {
    guard try store.groupsWithResults(campaign: campaign) == groups else {
      usleep(5000)
      return
    }
    let rows = try store.groupResults(campaign: campaign)
    count(rows)
    version += 1
    let head = CampaignHead(version: version, phase: 0, outerIteration: version, growthLevel: 0, innerSteps: version)
    let step = CampaignStep(
      version: version, phase: 0, outerIteration: version, meanLoss: 1, surviving: 1, gradientNorm: 1, updateNorm: 1,
      clippedShare: 0, learningRate: 1, innerSteps: 1, staleness: [rows.count], discarded: 0, wallMilliseconds: 1,
      results: rows.flatMap { $0.results.flatMap(\.bytes) })
    let theta = [UInt8](repeating: UInt8(truncatingIfNeeded: version), count: Self.thetaBytes)
    let progress = CampaignProgress(
      steps: [step], head: head, loss: 1, thetas: [NewTheta(version: version, content: theta, kept: nil)],
      turn: GroupTurn(
        taken: rows, phase: 0, next: WindowSetting(version: version, outerIteration: version, growthLevel: 0),
        renewsWaiting: false))
    _ = try store.commit(progress: progress, lease: lease)
    stop.nudge(.groups)
  }

  /// Holds results against the windows that are due.
  private func count(_ rows: [GroupResults]) {
    for row in rows {
      for result in row.results {
        let numbers = [0, 8].map { start in
          (0..<8).reduce(0) { $0 | Int(result.bytes[start + $1]) << (8 * $1) }
        }
        used += 1
        if numbers[0] != row.group || numbers[1] != windows[row.group] { doubled += 1 }
        windows[row.group] += 1
      }
    }
  }
}
