// Worker processes on a database, to be killed, stopped and cut off while they run a campaign.
import Contract
import Foundation
import Glibc
import MetaTraining
import Learning
import Store
import TestSupport
import Testing

/// Worker processes of one database.
final class CampaignFleet {
  let connection: String
  let store: Store
  let folder: Folder
  private let environment: [String: String]
  private(set) var processes: [Process] = []
  private var wrapper: [String]

  /// - Parameters:
  ///   - connection: of a database with the current schema.
  ///   - wrapper: what the workers are started by, such as a command that enters a network namespace.
  init(_ connection: String, environment: [String: String] = [:], wrapper: [String] = []) throws {
    self.connection = connection
    self.wrapper = wrapper
    folder = try Folder()
    self.environment = ["TRAINYARD_LEASE_SECONDS": "1", "TRAINYARD_CHECKPOINT_SECONDS": "0.3"]
      .merging(environment) { $1 }
    store = try Store(connection: connection, connectionsMax: 4, applicationName: "fleet", patienceSeconds: 60)
    try store.makeProject()
    try Data().write(to: folder.file("log"))
  }

  deinit {
    for process in processes where process.isRunning { kill(process.processIdentifier, SIGKILL) }
    for process in processes { process.waitUntilExit() }
  }

  /// What the workers printed.
  var log: String { (try? String(contentsOf: folder.file("log"), encoding: .utf8)) ?? "" }

  /// Starts a worker.
  @discardableResult
  func start(_ more: [String: String] = [:], connection other: String? = nil, wrapper own: [String]? = nil) throws
    -> Process
  {
    let process = Process()
    let command =
      (own ?? wrapper) + [
        Executable.path, "worker", "--database-url", other ?? connection, "--data", folder.file("data").path,
      ]
    process.executableURL = URL(fileURLWithPath: command[0])
    process.arguments = Array(command.dropFirst())
    process.environment = Executable.environment.merging(environment) { $1 }.merging(more) { $1 }
    process.standardInput = FileHandle.nullDevice
    let handle = try FileHandle(forWritingTo: folder.file("log"))
    try handle.seekToEnd()
    process.standardOutput = handle
    process.standardError = handle
    try process.run()
    processes.append(process)
    return process
  }

  /// Ends a worker without warning.
  func kill9(_ process: Process) {
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    processes.removeAll { $0 === process }
  }

  /// The worker that leads the campaign; nil while nobody does.
  func learner(_ id: String) throws -> Process? {
    guard let worker = try store.workHolder(of: id),
      let record = try store.workers().first(where: { $0.id == worker })
    else { return nil }
    return processes.first { $0.processIdentifier == Int32(record.processID) }
  }

  func create(_ spec: CampaignSpec) throws -> String {
    try store.createCampaign(spec, project: "demo", author: "key_1").campaign.id
  }

  func campaign(_ id: String) throws -> Campaign { try #require(try store.campaign(id: id, project: "demo")) }

  /// Waits until a campaign fits.
  @discardableResult
  func wait(_ id: String, seconds: Double = 240, until fits: (Campaign) -> Bool) throws -> Campaign {
    var last: Campaign?
    let came = try eventually(seconds: seconds) {
      // The database may be away.
      guard let campaign = try? self.campaign(id) else { return false }
      last = campaign
      return fits(campaign)
    }
    guard came, let last else { throw TestFailure("not within \(seconds) s: \(last?.json.text ?? "")\n\(log)") }
    return last
  }

  /// The theta that a campaign ended with, and the records of its steps.
  func outcome(_ id: String) throws -> CampaignOutcome {
    let file = try #require(try store.thetaFile(campaign: id, version: campaign(id).version))
    let steps = try store.campaignStepResults(campaign: id, from: 1, limit: 100_000)
    return CampaignOutcome(theta: try Theta(safetensors: Data(file)).values, steps: steps.map(\.results))
  }
}

/// What must not depend on what happened to workers.
struct CampaignOutcome: Equatable {
  let theta: [Float]
  let steps: [[UInt8]]
}

extension CampaignSpec {
  /// A campaign of short windows with many outer steps.
  static func short(_ mode: Mode, outerSteps: Int) -> CampaignSpec {
    let task = CampaignTask(.config(TaskConfig("Quadratic", ["dimensions": 10])))
    let phase = CampaignPhase(
      name: "short", estimator: EstimatorSpec(kind: .pes, pairs: 8, window: 20), lengths: .logUniform(20...200),
      outerSteps: outerSteps, outer: OuterSpec(optimizer: OptimizerSettings(.adam, ["learning_rate": 0.003])),
      policy: CampaignPolicy(groupPairs: 2), tasks: [task])
    return CampaignSpec(name: "short", optimizer: .smallFC, seed: 11, mode: mode, threads: 1, phases: [phase])
  }

  /// What it comes to in one process that nothing happens to.
  func undisturbed() throws -> CampaignOutcome {
    let campaign = try LocalCampaign(self, data: TaskDataSets([:]), threads: 1, level: .best)
    var steps: [[UInt8]] = []
    try campaign.run { record in
      steps.append(record.bytes)
      return true
    }
    return CampaignOutcome(theta: try campaign.theta(provenance: [:]).values, steps: steps)
  }
}
