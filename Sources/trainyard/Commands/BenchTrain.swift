// `trainyard bench train`: training steps a second of one model on one core, the share of the core's measured peak that
// they reach, and the memory they take beside what was predicted. BenchCommand has the other measures.
import ArgumentParser
import Compute
import Contract
import Foundation
import Learning

extension BenchCommand {
  struct Train: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Training steps a second of one model on one core.")

    enum Model: String, ExpressibleByArgument, CaseIterable {
      case mlp64, mlp784, conv, transformer, lstm

      /// The model, its data and its batch.
      var setting: (model: ModelSpec, data: DataShape, batch: Int) {
        let text = { DataShape(input: [$0], elements: .tokens(vocabulary: 256), target: .tokens(vocabulary: 256)) }
        switch self {
        case .mlp64:
          return (.mlp(hidden: [32], activation: .relu), DataShape(input: [64], target: .classes(10)), 64)
        case .mlp784:
          return (.mlp(hidden: [128, 128], activation: .relu), DataShape(input: [784], target: .classes(10)), 128)
        case .conv:
          return (
            .preset(.cnn(Preset.CNN(filters: [32, 64, 64]))), DataShape(input: [32, 32, 3], target: .classes(10)), 64
          )
        case .transformer:
          return (.preset(.transformer(Preset.Transformer(layers: 2, width: 128, heads: 4))), text(64), 16)
        case .lstm:
          return (.preset(.rnn(Preset.RNN(cell: .lstm, units: 128, embedding: 128))), text(32), 16)
        }
      }
    }

    @Option(
      help: """
        mlp64 (64-32-10, batch 64), mlp784 (784-128-128-10, batch 128), conv (32x32x3, 3x3 stride-2 convolutions 32, 64, \
        64, mean, 10 classes, batch 64), transformer (2 layers, width 128, 4 heads, 64 tokens of 256, batch 16) or lstm \
        (width 128, 32 tokens of 256, batch 16).
        """) var model: Model
    @Option(help: "What trains it.") var optimizer = OptimizerName.adam
    @OptionGroup var options: Options

    func run() throws {
      let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
      let (spec, data, batch) = model.setting
      let resolved = try spec.resolved(for: data)
      let probe = try SpeedProbe(level: level)
      let peak = probe.productFlopsPerSecond
      let foreseen = resolved.secondsPerStep(
        batchSize: batch, optimizer: optimizer,
        speed: MachineSpeed(
          productFlopsPerSecond: peak, functionsPerSecond: probe.functionsPerSecond,
          bytesPerSecond: probe.bytesPerSecond))
      let plans = try ModelPlans(resolved, batchSize: batch, judgedRows: 1, level: level)
      let residentBefore = Self.residentBytes()
      let training = BenchedTraining(plans: plans, rule: optimizer, level: level)
      let secondsPerStep = Timing.median(seconds: options.seconds, perCall: model == .mlp64 ? 500 : 20) {
        training.step()
      }
      let resident = Self.residentBytes() - residentBefore
      let flopsPerSecond = Double(plans.training.flops) / secondsPerStep
      let share = flopsPerSecond / peak
      let rate = 1 / secondsPerStep
      Console().show(
        [
          "command": "train", "model": .string(model.rawValue), "optimizer": .string(optimizer.rawValue), "threads": 1,
          "steps_per_s": .number(rate), "foreseen_steps_per_s": .number(1 / foreseen),
          "gflops": .number(flopsPerSecond / 1e9), "peak_gflops": .number(peak / 1e9),
          "share_of_peak": .number(share), "predicted_bytes": .integer(training.bytes),
          "resident_bytes": .integer(resident), "cpu_level": .string(level.rawValue),
          "blas": .string(plans.training.blas?.core ?? "none"),
        ], asJSON: options.json
      ) {
        let steps = rate < 100 ? String(format: "%.1f", rate) : "\(Int(rate))"
        return """
          \(model.rawValue) with \(optimizer.rawValue): \(steps) steps/s (\(Int(1 / foreseen)) foreseen), \(Int(100 * share)) % of the core's \
          \(Int(peak / 1e9)) GFLOP/s; \(training.bytes >> 10) KiB predicted, \(resident >> 10) KiB taken
          """
      }
    }

    /// The memory of this process that is in RAM and its own, without the pages of the program's file.
    private static func residentBytes() -> Int {
      let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
      let line = status.split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
      return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) << 10
    }
  }
}

/// A model on one random batch with an optimizer.
final class BenchedTraining {
  private let update: BenchedUpdate
  private let executor: Executor
  private let loss: UnsafeBufferPointer<Float>

  init(plans: ModelPlans, rule: OptimizerName, level: CPULevel) {
    let executor = Executor(plans.training)
    self.executor = executor
    update = BenchedUpdate(layout: plans.layout, rule: rule, problem: BatchProblem(executor), level: level)
    loss = executor.output("loss")
    Initializer.fill(update.parameters.pointer, plans: plans, key: RandomKey(seed: 3))
    let key = RandomKey(seed: 4)
    for (number, port) in plans.training.inputs.enumerated() {
      let key = key.derive(1, UInt32(number), 0)
      switch port.type {
      case .float32:
        let values = executor.floats(port.name)
        for index in values.indices { values[index] = Float(RandomKey.uniform(key.words(block: UInt32(index)).0)) }
      case .int32:
        let bound = UInt32(port.name == "inputs" ? 256 : plans.model.data.target.outputs)
        let values = executor.int32(port.name)
        for index in values.indices { values[index] = Int32(key.words(block: UInt32(index)).1 % bound) }
      }
    }
  }

  /// Bytes of the plan's memory and the optimizer's buffers.
  var bytes: Int { executor.plan.arenaBytes + update.bytes }

  func step() {
    executor.run(parameters: update.parameters.pointer, gradients: update.gradients.pointer)
    update.run(loss: loss[0])
  }
}
