// `trainyard optimizer import`, `release` and `deprecate`: learned optimizers brought to a server by its administrators.
import ArgumentParser
import Client
import Contract
import Foundation

struct OptimizerImport: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import", abstract: "Bring a file of weights to a server, and wait until a worker has read it.",
    discussion: """
      Files of the reference implementations (theta.state, params) and our own safetensors are understood. What such a
      file does not tell goes into --config and --provenance:
        trainyard optimizer import theta.state --name celo --provenance source=https://... --provenance licence=MIT \\
          --provenance horizon_steps=5000 --state released
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: "The file.") var file: String
  @Option(help: "Which optimizer it is, in any spelling.") var name: OptimizerName
  @Option(help: "Its version; default: the next one.") var version: Int?
  @Option(help: ArgumentHelp("Constants of the architecture that the file does not hold.", valueName: "json"))
  var config: String?
  @Option(help: ArgumentHelp("Where it comes from; may be repeated.", valueName: "key=value")) var provenance:
    [String] = []
  @Option(help: "candidate, or released at once.") var state = LearnedOptimizerRecord.State.candidate
  @Flag(help: "Do not wait for the worker.") var noWait = false

  func validate() throws {
    guard state == .candidate || state == .released else {
      throw ValidationError("--state: expected candidate or released")
    }
    guard version.map({ (1...1_000_000).contains($0) }) ?? true else {
      throw ValidationError("--version: expected 1 to 1000000")
    }
    guard name.isLearned, name != .auto else {
      throw ValidationError("--name: \(name.rawValue) has no weights; `trainyard optimizer kinds` lists what has")
    }
  }

  func run() throws {
    let constants = try config.map(ThetaFiles.constants) ?? [:]
    // Its size is looked at before anything is sent.
    _ = try ThetaFiles.bytes(file)
    let client = try server.client()
    var optimizer = try client.importOptimizer(
      LearnedOptimizerRecord.Upload(
        name: name, version: version, state: state, constants: constants,
        provenance: ThetaFiles.provenance(provenance)),
      file: file)
    let id = optimizer["id"]?.string ?? ""
    while !noWait, optimizer["state"]?.string == LearnedOptimizerRecord.State.validating.rawValue {
      optimizer = try client.optimizer(id, waitSeconds: 30)
    }
    Console().show(optimizer, asJSON: server.json) {
      "\(id)  \(optimizer.cell("name") ?? "") \(optimizer.cell("version") ?? "")  \(optimizer.cell("state") ?? "")"
    }
    if let problem = optimizer["problem"]?.string {
      throw CommandFailure(.jobFailed, "the file was rejected: \(problem)")
    }
  }
}

extension LearnedOptimizerRecord.State: ExpressibleByArgument {}

/// Makes an optimizer the one that jobs of its name get.
struct OptimizerRelease: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "release", abstract: "Release a learned optimizer: jobs that name no version get the newest released.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The optimizer's id.") var id: String

  func run() throws {
    let optimizer = try server.client().setOptimizer(id, released: true)
    Console().show(optimizer, asJSON: server.json) { "\(id)  \(optimizer.cell("state") ?? "")" }
  }
}

struct OptimizerDeprecate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "deprecate", abstract: "Deprecate a learned optimizer: new jobs get it only by its version.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The optimizer's id.") var id: String

  func run() throws {
    let optimizer = try server.client().setOptimizer(id, released: false)
    Console().show(optimizer, asJSON: server.json) { "\(id)  \(optimizer.cell("state") ?? "")" }
  }
}
