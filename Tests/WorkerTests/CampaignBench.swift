// Workers on a database of their own that run campaigns, in this process so that a test can interfere.
import Compute
import Contract
import Foundation
import Learning
import Logging
import MetaTraining
import Store
import TestSupport
import Testing

@testable import Worker

/// A worker's threads, to be stopped.
final class RunningWorker: Sendable {
  let stop = StopSignal()
  private let ended = DispatchSemaphore(value: 0)

  /// - Parameter configure: changes what is set for quick tests.
  init(_ store: Store, cache: URL, slots: Int, _ configure: (inout WorkerConfiguration) -> Void = { _ in }) {
    var configuration = WorkerConfiguration(slots: slots, cacheFolder: cache)
    configuration.pollSeconds = 0.05
    configuration.checkpointSeconds = 0.05
    configuration.commitSeconds = 0.02
    configuration.engine = "test"
    configure(&configuration)
    let worker = WorkerProcess(store: store, configuration: configuration, logger: Logger(label: "test"))
    let thread = Thread { [stop, ended] in
      try? worker.run(until: stop)
      ended.signal()
    }
    thread.start()
  }

  /// Ends it as an operator does.
  func end() {
    stop.raise()
    ended.wait()
    ended.signal()
  }

  deinit { end() }
}

/// A database and a folder for workers.
final class CampaignBench {
  let database: TestDatabase
  let store: Store
  let cache = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-\(UUID().uuidString)")

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 12)
    try store.makeProject()
  }

  deinit { try? FileManager.default.removeItem(at: cache) }

  func worker(slots: Int = 1, _ configure: (inout WorkerConfiguration) -> Void = { _ in }) -> RunningWorker {
    RunningWorker(store, cache: cache, slots: slots, configure)
  }

  func create(_ spec: CampaignSpec) throws -> String {
    try store.createCampaign(spec, project: "demo", author: "key_1").campaign.id
  }

  func campaign(_ id: String) throws -> Campaign { try #require(try store.campaign(id: id, project: "demo")) }

  /// Waits until a campaign fits.
  @discardableResult
  func wait(_ id: String, seconds: Double = 60, until fits: (Campaign) -> Bool) throws -> Campaign {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while Date() < deadline {
      let campaign = try campaign(id)
      if fits(campaign) { return campaign }
      usleep(3000)
    }
    throw StoreError.notFound("what was waited for; campaign \(try campaign(id).json.text)")
  }

  /// Runs a campaign to its end on one worker.
  func run(_ spec: CampaignSpec, slots: Int = 1) throws -> Campaign {
    let worker = worker(slots: slots)
    defer { worker.end() }
    return try wait(create(spec)) { $0.state.isTerminal || $0.state == .paused }
  }

  /// The values of the theta that a campaign ended with.
  func theta(_ id: String) throws -> [Float] {
    let version = try campaign(id).version
    let file = try #require(try store.thetaFile(campaign: id, version: version))
    return try Theta(safetensors: Data(file)).values
  }

  /// The results of all outer steps.
  func steps(_ id: String) throws -> [[UInt8]] {
    try store.campaignStepResults(campaign: id, from: 1, limit: 10_000).map(\.results)
  }

  func events(_ id: String) throws -> [String] {
    try database.texts("SELECT message FROM campaign_events WHERE campaign = '\(id)' ORDER BY sequence")
  }
}

extension CampaignSpec {
  /// Two short phases on quadratics with another estimator each.
  static func quadratics(_ mode: Mode, outerSteps: [Int] = [30, 20], pairs: Int = 6) -> CampaignSpec {
    let task = CampaignTask(.config(TaskConfig("Quadratic", ["dimensions": 10])))
    let outer = OuterSpec(optimizer: OptimizerSettings(.adam, ["learning_rate": 0.01]))
    let kinds: [EstimatorSpec.Kind] = [.nres, .pes]
    let phases = outerSteps.enumerated().map { index, steps in
      CampaignPhase(
        name: "phase \(index)", estimator: EstimatorSpec(kind: kinds[index % 2], pairs: pairs, window: 5),
        lengths: .logUniform(10...40), outerSteps: steps, outer: outer, policy: CampaignPolicy(groupPairs: 2),
        tasks: [task, CampaignTask(.config(TaskConfig("Quadratic", ["dimensions": 5])))])
    }
    return CampaignSpec(name: "quadratics", optimizer: .smallFC, seed: 3, mode: mode, threads: 1, phases: phases)
  }

  /// The theta that this campaign ends with in this process alone.
  func alone() throws -> (theta: [Float], steps: [[UInt8]]) {
    let campaign = try LocalCampaign(self, data: TaskDataSets([:]), threads: 1, level: .best)
    var steps: [[UInt8]] = []
    try campaign.run { record in
      steps.append(record.bytes)
      return true
    }
    return (try campaign.theta(provenance: [:]).values, steps)
  }
}
