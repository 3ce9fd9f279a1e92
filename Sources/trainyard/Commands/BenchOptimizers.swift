// `trainyard bench optimizers`: what an update costs with each optimizer, beside the floor that memory and arithmetic
// set, and what it adds to whole training steps. docs/optimizer-speed.md is its output. BenchCommand has single figures.
import ArgumentParser
import Compute
import Contract
import Foundation
import Learning

extension BenchCommand {
  struct Optimizers: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Nanoseconds and bytes a parameter of every optimizer, and its share of whole steps.",
      discussion: "The table of the manual: trainyard bench optimizers --markdown > docs/optimizer-speed.md")

    @Option(parsing: .upToNextOption, help: "Only these.") var only: [OptimizerName] = []
    @Flag(help: "Print Markdown.") var markdown = false
    @Flag(help: "Print one JSON object.") var json = false
    @Option(help: "Seconds to measure each figure for.") var seconds = 0.5

    /// Parameters in four square matrices with biases.
    static let sizes = [100_000, 1_000_000, 4_000_000]
    /// What an optimizer's memory may come to here.
    static let stateBytesMax = 2 << 30

    func validate() throws {
      guard seconds > 0, seconds <= 60 else { throw ValidationError("--seconds must be between 0 and 60") }
    }

    /// One optimizer's figures; nil where it does not run at that size.
    struct Row {
      let name: OptimizerName
      var stateBytes: Double?
      var nanoseconds: [Double?] = []
      var floors: [Double?] = []
      /// Step time over that with plain gradient descent, less 1, for each model.
      var overheads: [Double?] = []
    }

    func run() throws {
      let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
      let probe = try SpeedProbe(level: level)
      let models = try Train.Model.allCases.map { model in
        let (spec, data, batch) = model.setting
        return (model, try ModelPlans(spec.resolved(for: data), batchSize: batch, judgedRows: 1, level: level))
      }
      let plain = try models.map { try stepSeconds(.sgd, $0.1, level: level) ?? .nan }
      var rows: [Row] = []
      let names = only.isEmpty ? OptimizerName.allCases.filter { $0 != .auto } : only
      for name in names {
        FileHandle.standardError.write(Data("\(name.rawValue)\n".utf8))
        var row = Row(name: name)
        for size in Self.sizes {
          let figures = try update(name, size: size, probe: probe, level: level)
          row.nanoseconds.append(figures?.nanoseconds)
          row.floors.append(figures?.floor)
          row.stateBytes = row.stateBytes ?? figures?.stateBytes
        }
        for (index, model) in models.enumerated() {
          let tooMany = model.1.layout.elements > name.traits.parametersMax ?? Int.max
          let seconds = tooMany || name == .sgd ? nil : try stepSeconds(name, model.1, level: level)
          row.overheads.append(name == .sgd ? 0 : seconds.map { $0 / plain[index] - 1 })
        }
        rows.append(row)
      }
      Console().show(object(rows, level: level, probe: probe), asJSON: json) {
        markdown ? document(rows, level: level, probe: probe) : table(rows)
      }
    }

    /// Times one update alone.
    private func update(
      _ name: OptimizerName, size: Int, probe: SpeedProbe, level: CPULevel
    ) throws -> (nanoseconds: Double, floor: Double, stateBytes: Double)? {
      guard size <= name.traits.parametersMax ?? Int.max else { return nil }
      let layout = BenchedUpdate.layout(parameters: size)
      guard name.settings.stateFloatsPerParameter * 4 * size <= Self.stateBytesMax else { return nil }
      let update = BenchedUpdate(layout: layout, rule: name, level: level)
      guard !update.needsProblem else { return nil }
      let count = Double(layout.elements)
      update.fillRandomly()
      let seconds = Timing.median(seconds: seconds, perCall: max(1, 500_000 / layout.elements)) { update.run(loss: 1) }
      let stateBytes = Double(update.stateFloats) * 4
      let bandwidth = streamBytesPerSecond(workingSet: 8 * count + stateBytes, level: level)
      let traffic = Self.traffic(count: count, stateBytes: stateBytes)
      let arithmetic = name.arithmetic(width: (count / 4).squareRoot())
      let floor = max(traffic / bandwidth, arithmetic * count / probe.productFlopsPerSecond)
      return (seconds * 1e9 / count, floor * 1e9 / count, stateBytes / count)
    }

    /// Bytes that an update moves at least: parameters, gradients and state are read, parameters and state written.
    private static func traffic(count: Double, stateBytes: Double) -> Double { 4 * 3 * count + 2 * stateBytes }

    /// The speed of the fastest plain pass over memory of that size, one of those of three simple optimizers.
    private func streamBytesPerSecond(workingSet: Double, level: CPULevel) -> Double {
      [OptimizerName.sgd, .momentum, .adam].map { name in
        let bytes = 4 * Double(name.settings.stateFloatsPerParameter)
        let update = BenchedUpdate(
          layout: ParameterLayout([("x", [Int(workingSet / (8 + bytes))])]), rule: name, level: level)
        update.fillRandomly()
        let seconds = Timing.median(seconds: seconds / 4, perCall: max(1, Int(8e6 / workingSet))) {
          update.run(loss: 1)
        }
        let count = workingSet / (8 + bytes)
        return Self.traffic(count: count, stateBytes: bytes * count) / seconds
      }.max()!
    }

    /// Times whole training steps.
    private func stepSeconds(_ name: OptimizerName, _ plans: ModelPlans, level: CPULevel) throws -> Double? {
      guard name.settings.stateFloatsPerParameter * 4 * plans.layout.elements <= Self.stateBytesMax else { return nil }
      let training = BenchedTraining(plans: plans, rule: name, level: level)
      let isSmall = plans.layout.elements < 10_000
      return Timing.median(seconds: seconds, perCall: isSmall ? 50 : 1) { training.step() }
    }

    // MARK: Output

    private func object(_ rows: [Row], level: CPULevel, probe: SpeedProbe) -> JSON {
      func numbers(_ values: [Double?]) -> JSON { .array(values.map { $0.map(JSON.finite) ?? .null }) }
      return [
        "command": "optimizers", "cpu_level": .string(level.rawValue),
        "peak_gflops": .number(probe.productFlopsPerSecond / 1e9), "sizes": .array(Self.sizes.map(JSON.integer)),
        "models": .array(Train.Model.allCases.map { .string($0.rawValue) }),
        "optimizers": .array(
          rows.map { row in
            [
              "name": .string(row.name.rawValue), "state_bytes_per_param": row.stateBytes.map(JSON.finite) ?? .null,
              "ns_per_param": numbers(row.nanoseconds), "floor_ns_per_param": numbers(row.floors),
              "overhead_over_sgd": numbers(row.overheads),
            ]
          }),
      ]
    }

    private func cells(_ row: Row) -> [String] {
      func number(_ value: Double?) -> String {
        value.map { String(format: $0 < 10 ? "%.2f" : $0 < 100 ? "%.1f" : "%.0f", $0) } ?? "-"
      }
      return [row.name.rawValue, row.stateBytes.map { String(format: "%.1f", $0) } ?? "-"]
        + zip(row.nanoseconds, row.floors).map { $0 == nil ? "-" : "\(number($0)) (\(number($1)))" }
        + row.overheads.map { $0.map { String(format: "%+.0f %%", 100 * $0) } ?? "-" }
    }

    private static let columns =
      ["OPTIMIZER", "STATE B", "0.1 M", "1 M", "4 M"] + Train.Model.allCases.map { $0.rawValue.uppercased() }

    private func table(_ rows: [Row]) -> String {
      var table = Table(Self.columns, rightAligned: Set(1..<Self.columns.count))
      for row in rows { table.add(cells(row)) }
      return table.text
    }

    private func document(_ rows: [Row], level: CPULevel, probe: SpeedProbe) -> String {
      func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
      let head = [
        line(["optimizer", "state, bytes"] + ["0.1 M", "1 M", "4 M"] + Train.Model.allCases.map(\.rawValue)),
        line(["---"] + Array(repeating: "---:", count: Self.columns.count - 1)),
      ]
      return """
        # What an update costs

        Made by `trainyard bench optimizers --markdown` on one core at level \(level.rawValue) whose products reach \
        \(Int(probe.productFlopsPerSecond / 1e9)) GFLOP/s. Every figure is a median; a loaded machine shows in it.

        - *state*: bytes that the optimizer keeps for each parameter.
        - *0.1 M, 1 M, 4 M*: nanoseconds a parameter of one update of four square matrices with biases of that many
          parameters, and in brackets the floor: the greater of the time to read parameters, gradients and state and to
          write parameters and state once, at the speed of the fastest plain pass over memory of that size, and of the
          arithmetic of per-parameter networks and of orthogonalization at the speed of a product. Such a network can be a
          little faster than a product; M-FAC's floor counts its whole store of gradients as written, of which it writes one.
        - *mlp64 … lstm*: how much longer a whole training step takes than with plain gradient descent; the models are
          those of `trainyard bench train`.
        - A dash: not run there, because the optimizer is for fewer parameters, needs more than \
        \(Self.stateBytesMax >> 30) GiB of state, or evaluates the model by itself.

        \((head + rows.map { line(cells($0)) }).joined(separator: "\n"))
        """
    }
  }
}

extension OptimizerName {
  fileprivate var settings: OptimizerSettings { OptimizerSettings(self) }

  /// Operations for one parameter of a square matrix of that width: the per-parameter network without the inputs that
  /// are the same for a whole tensor, and five Newton-Schulz iterations, whose two symmetric products need one half.
  fileprivate func arithmetic(width: Double) -> Double {
    let orthogonalization = 5 * 4 * width
    switch self {
    case .smallFC: return 272
    case .celo, .velo, .star: return 288
    case .celo2Base: return 624
    case .celo2: return 624 + orthogonalization
    case .muon: return orthogonalization
    case .mlpLOpt: return 2688
    case .rnnMLP: return 4672
    default: return 0
    }
  }
}
