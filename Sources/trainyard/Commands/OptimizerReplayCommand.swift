// `trainyard optimizer replay`: runs recorded gradients through an optimizer, to compare implementations step by step.
import ArgumentParser
import Compute
import Contract
import Foundation
import Learning

struct OptimizerReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay", abstract: "Run recorded gradients through an optimizer.",
    discussion: """
      A case is a safetensors file with init/NAME, grad/NAME [steps, ...] and, where the optimizer uses it, loss
      [steps]; theta/PATH holds a learned optimizer's weights where --theta does not. The answer holds traj/NAME
      [steps, ...]: the parameters after each step. Optimizers go by any of their names, also those of the classes of
      published implementations.
        trainyard optimizer replay --optimizer adam --config '{"learning_rate": 0.01}' case.safetensors --out out.safetensors
        trainyard optimizer replay --optimizer HyperV2 --theta params case.safetensors --deviation
      """)

  @Option(help: "The optimizer, or the name of one of the case's trajectories.") var optimizer: String
  @Option(
    help: ArgumentHelp(
      "Options of the optimizer and constants of its architecture; default: the case's own arguments.",
      valueName: "json"))
  var config: String?
  @Option(help: ArgumentHelp("A learned optimizer's weights: safetensors or flax.", valueName: "file"))
  var theta: String?
  @Argument(help: "The recorded case.") var file: String
  @Option(help: ArgumentHelp("The file to write.", valueName: "file")) var out: String?
  @Flag(help: "Compare with the case's own trajectory; exit code 1 beyond the tolerance.") var deviation = false
  @Option(help: "What --deviation tolerates, relative to how far a tensor moves.") var tolerance = 1e-4
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard out != nil || deviation else { throw ValidationError("give --out FILE, --deviation, or both") }
    guard tolerance > 0, tolerance < 1 else { throw ValidationError("--tolerance must be between 0 and 1") }
  }

  func run() throws {
    let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
    let recorded = try answering(file) {
      try RecordedCase(Data(contentsOf: URL(fileURLWithPath: file), options: .alwaysMapped))
    }
    guard let name = recorded.optimizer(optimizer) else {
      let known = OptimizerName.allCases.map(\.rawValue).joined(separator: ", ")
      throw CommandFailure(.usage, "--optimizer: \"\(optimizer)\" is not known; known are \(known)")
    }
    let trajectory = recorded.trajectory(optimizer, of: name)
    let weights = try theta.map { try ThetaFiles.read($0, as: name.isLearned ? name : nil) }
    let given = try config.map { text in try answering("--config") { try RecordedArguments.parse(text) } }
    let recipe = try answering(config == nil ? file : "--config") {
      try recorded.recipe(name, trajectory: trajectory, config: given, theta: weights)
    }
    let replay = try answering(file) { try OptimizerReplay(recorded, recipe, level: level) }
    if let out {
      do { try replay.safetensors().write(to: URL(fileURLWithPath: out), options: .atomic) } catch {
        throw CommandFailure(.failure, "\(out) cannot be written: \(error.localizedDescription)")
      }
    }
    let console = Console()
    if let fault = replay.firstNotFinite {
      console.error("warning: \(fault.tensor) is not finite after step \(fault.step), element \(fault.element)")
    }
    try report(replay, trajectory, console)
  }

  private func report(_ replay: OptimizerReplay, _ trajectory: String?, _ console: Console) throws {
    var facts: [String: JSON] = [
      "optimizer": .string(replay.recipe.settings.name.rawValue), "config": replay.recipe.config,
      "steps": .integer(replay.recorded.steps), "num_steps": .integer(replay.recorded.totalSteps),
      "cpu_level": .string(replay.level.rawValue),
    ]
    guard deviation else {
      console.show(.object(facts), asJSON: json) {
        "\(replay.recipe.settings.name.rawValue): \(replay.recorded.steps) steps at \(replay.level.rawValue)"
      }
      return
    }
    guard let trajectory else {
      throw CommandFailure(.usage, "\(file) holds no trajectory of \(optimizer) to compare with")
    }
    let deviations = try answering(file) { try replay.deviations(from: trajectory, relative: tolerance) }
    let worst = deviations.map(\.ratio).max() ?? 0
    facts["deviation"] = .finite(worst)
    facts["deviations"] = .object(Dictionary(uniqueKeysWithValues: deviations.map { ($0.tensor, .finite($0.ratio)) }))
    console.show(.object(facts), asJSON: json) {
      var table = Table(["TENSOR", "DEVIATION", "TOLERATED", "RATIO"], rightAligned: [1, 2, 3])
      for tensor in deviations {
        table.add([
          tensor.tensor, "\(Float(tensor.difference))", "\(Float(tensor.tolerated))", "\(Float(tensor.ratio))",
        ])
      }
      return table.text + "\nworst deviation over tolerance: \(Float(worst))"
    }
    guard worst <= 1 else {
      throw CommandFailure(.failure, "the trajectory is \(Float(worst)) times as far from the recording as tolerated")
    }
  }

  /// Turns what is wrong with an input into an answer that names it.
  private func answering<Value>(_ what: String, _ body: () throws -> Value) throws -> Value {
    do { return try body() } catch let fault as FormatError {
      throw CommandFailure(.usage, "\(what): \(fault)")
    } catch let faults as SpecError {
      throw CommandFailure(.usage, "\(what): \(faults)")
    } catch let error as CocoaError {
      throw CommandFailure(.usage, "\(what) cannot be read: \(error.localizedDescription)")
    }
  }
}
