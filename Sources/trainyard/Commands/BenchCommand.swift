// `trainyard bench`: how fast the numeric core and the store are on this machine. Each figure is the median over repeated
// timings; models and work of the core are those of the JAX peer, so that the two compare.
import ArgumentParser
import Compute
import Contract
import Foundation
import Learning
import MetaTraining

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure the numeric core and the store on this machine.",
    subcommands: [Train.self, Update.self, Optimizers.self, Meta.self, Groups.self, Queue.self, Curve.self])

  struct Options: ParsableArguments {
    @Option(help: "Seconds to measure for.") var seconds = 5.0
    @Flag(help: "Print one JSON object.") var json = false

    func validate() throws {
      guard seconds > 0, seconds <= 3600 else { throw ValidationError("--seconds must be between 0 and 3600") }
    }
  }

  struct Update: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Nanoseconds per parameter of one optimizer update.")
    @Option(help: "What updates.") var optimizer = OptimizerName.smallFC
    @Option(help: "How many parameters, in four square matrices with their biases.") var params = 1_000_000
    @OptionGroup var options: Options

    func validate() throws {
      guard (16...400_000_000).contains(params) else { throw ValidationError("--params must be from 16 to 400000000") }
    }

    func run() throws {
      let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
      let layout = BenchedUpdate.layout(parameters: params)
      guard layout.elements <= optimizer.traits.parametersMax ?? Int.max else {
        throw CommandFailure(
          .usage, "--params: \(optimizer.rawValue) trains at most \(optimizer.traits.parametersMax!)")
      }
      let update = BenchedUpdate(layout: layout, rule: optimizer, level: level)
      guard !update.needsProblem else {
        throw CommandFailure(.usage, "\(optimizer.rawValue) evaluates the model itself; bench train measures it")
      }
      update.fillRandomly()
      let calls = max(1, 2_000_000 / layout.elements)
      let seconds = Timing.median(seconds: options.seconds, perCall: calls) { update.run(loss: 1) }
      let nanoseconds = seconds * 1e9 / Double(layout.elements)
      Console().show(
        [
          "command": "update", "optimizer": .string(optimizer.rawValue), "params": .integer(layout.elements),
          "ns_per_param": .number(nanoseconds), "cpu_level": .string(level.rawValue),
        ], asJSON: options.json
      ) { "\(optimizer.rawValue): \(nanoseconds) ns a parameter at \(layout.elements)" }
    }
  }

  struct Meta: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Inner steps a second of meta-training small_fc on mlp64 with PES, both signs counted.")
    @Option(help: "Antithetic pairs.") var pairs = 8
    @Option(help: "Inner steps of a window.") var trunc = 50
    @Option(help: "Threads.") var threads = 1
    @OptionGroup var options: Options

    func validate() throws {
      guard (1...4096).contains(pairs), (1...100_000).contains(trunc), (1...256).contains(threads) else {
        throw ValidationError("--pairs must be from 1 to 4096, --trunc to 100000, --threads to 256")
      }
    }

    func run() throws {
      let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
      let campaign = try CampaignBenchmark(pairs: pairs, window: trunc, threads: threads, level: level)
      let innerSteps = Double(2 * pairs * trunc)
      let seconds = Timing.median(seconds: options.seconds, perCall: 1) { campaign.advance() }
      Console().show(
        [
          "command": "meta", "model": "mlp64", "pairs": .integer(pairs), "trunc": .integer(trunc),
          "threads": .integer(threads), "inner_steps_per_s": .number(innerSteps / seconds),
          "cpu_level": .string(level.rawValue), "blas": .string((try? BLAS.load(level: level))?.core ?? "none"),
        ], asJSON: options.json
      ) { "\(Int(innerSteps / seconds)) inner steps/s on \(threads) threads" }
    }
  }
}

/// Repeated timing of a piece of work.
enum Timing {
  /// Median seconds of one `body`, timed `perCall` at a time after a warm-up.
  static func median(seconds: Double, perCall: Int, _ body: () -> Void) -> Double {
    for _ in 0..<2 * perCall { body() }
    var times: [Double] = []
    let clock = ContinuousClock()
    let end = clock.now + .seconds(seconds)
    while clock.now < end || times.count < 5 {
      let elapsed = clock.measure { for _ in 0..<perCall { body() } }
      times.append(Double(elapsed.components.attoseconds) * 1e-18 + Double(elapsed.components.seconds))
    }
    times.sort()
    return times[times.count / 2] / Double(perCall)
  }
}

/// An optimizer with its memory.
final class BenchedUpdate {
  let parameters: AlignedBuffer
  let gradients: AlignedBuffer
  private let optimizer: any Optimizer
  private let problem: BatchProblem?
  private let theta: AlignedBuffer?
  private let state: AlignedBuffer
  private let scratch: AlignedBuffer

  /// Bytes of all its buffers.
  var bytes: Int {
    4 * (parameters.floats + gradients.floats + state.floats + scratch.floats + (theta?.floats ?? 0))
  }
  private var iteration = 0

  /// Four square matrices with their biases, of about so many parameters in all.
  static func layout(parameters: Int) -> ParameterLayout {
    let width = Int((Double(parameters) / 4).squareRoot())
    return ParameterLayout(
      (0..<4).flatMap { [(name: "\($0)/b", shape: Shape([width])), (name: "\($0)/w", shape: Shape([width, width]))] })
  }

  /// - Parameter problem: the batch, for optimizers that evaluate it themselves.
  init(layout: ParameterLayout, rule: OptimizerName, problem: BatchProblem? = nil, level: CPULevel) {
    self.problem = problem
    let name = rule == .auto ? .celo : rule
    optimizer = OptimizerCatalog.make(OptimizerSettings(name), parameters: layout, totalSteps: 1_000_000, level: level)
    theta = OptimizerCatalog.schema(of: name).map { Theta.initial($0, key: RandomKey(seed: 2)).aligned() }
    parameters = AlignedBuffer(floats: layout.floats)
    gradients = AlignedBuffer(floats: layout.floats)
    state = AlignedBuffer(floats: max(16, optimizer.state.floats))
    scratch = AlignedBuffer(floats: max(16, optimizer.scratchFloats))
    optimizer.initialize(state: state.pointer, parameters: parameters.pointer, theta: theta?.pointer)
  }

  func run(loss: Float) {
    optimizer.update(
      parameters: parameters.pointer, gradients: gradients.pointer, state: state.pointer, scratch: scratch.pointer,
      step: OptimizerStep(
        iteration: iteration, totalSteps: 1_000_000, loss: loss, theta: theta.map { UnsafePointer($0.pointer) },
        problem: problem))
    iteration += 1
  }

  /// Whether an update evaluates the model.
  var needsProblem: Bool { optimizer.needs.contains(.problem) }

  var stateFloats: Int { optimizer.state.elements }

  /// Gradients of unit size on small parameters.
  func fillRandomly() {
    var normals = [Float](repeating: 0, count: gradients.floats)
    RandomKey(seed: 1).fillNormals(&normals)
    gradients.pointer.update(from: normals, count: gradients.floats)
    parameters.pointer.update(repeating: 0.01, count: parameters.floats)
  }
}
