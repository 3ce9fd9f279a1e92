// `trainyard task`: the registry of inner tasks on the command line: listing, showing, sampling, and running one.
import ArgumentParser
import Compute
import Contract
import Foundation
import Learning
import MetaTraining

struct TaskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "task", abstract: "Look at, sample and run inner tasks.",
    subcommands: [List.self, Show.self, TaskSampleCommand.self, Run.self])

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the tasks, families and samplers by name.")
    @Option(name: .customLong("tag"), help: "Only entries with this tag; may be repeated.") var tags: [String] = []
    @Flag(help: "Print one JSON array.") var json = false

    func run() throws {
      let records = TaskRegistry.standard.records.filter { record in tags.allSatisfy(record.tags.contains) }
      Console().show(.array(records.map(\.json)), asJSON: json) {
        var table = Table(["NAME", "KIND", "LOSS", "TAGS"])
        for record in records {
          table.add([record.name, record.kind.rawValue, record.loss, record.tags.sorted().joined(separator: " ")])
        }
        return table.text
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the record of one entry.")
    @Argument(help: "The entry's name.") var name: String

    func run() throws {
      let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
      print(try taskRecord(name).described(level: level).pretty)
    }
  }

  struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Train one task and print how its loss went.",
      discussion: """
        Families and samplers are drawn from with --seed. Tasks on public data need it named:
          trainyard task run ImageMLP_FashionMnist8_Relu32 --optimizer adam --steps 1000 \\
            --data fashion_mnist=train-images-idx3-ubyte.gz,train-labels-idx1-ubyte.gz
          trainyard task run RNNLM_lm1bbytes_Patch32_LSTM128_Embed64 --data lm1b_bytes=text.txt
        """)
    @Argument(help: "The entry's name.") var name: String
    @Option(help: "What trains it.") var optimizer = OptimizerName.adam
    @Option(help: ArgumentHelp("An option of the optimizer, such as beta1=0.8.", valueName: "key=value"))
    var option: [String] = []
    @Option(help: "The learning rate of a hand-designed optimizer.") var learningRate: Double?
    @Option(help: "The theta file of a learned optimizer; celo has a shipped one.") var theta: String?
    @Option(help: "Steps.") var steps = 1000
    @Option(help: "Updates that the optimizer is told to plan for; default: all steps.") var horizonSteps: Int?
    @Option(
      help: "What it is told beyond them: naive (t runs on), increase (n becomes --steps), reset (t starts anew).")
    var continuation = Horizon.Continuation.increase
    @Option(help: "The seed of initial parameters, batches and draws.") var seed = 0
    @OptionGroup var sets: DataSetOptions
    @Flag(help: "Print one JSON object.") var json = false

    func validate() throws {
      guard (1...10_000_000).contains(steps), seed >= 0 else {
        throw ValidationError("--steps must be from 1 to 10000000, --seed at least 0")
      }
      guard horizonSteps.map({ (1...10_000_000).contains($0) }) ?? true else {
        throw ValidationError("--horizon-steps must be from 1 to 10000000")
      }
    }

    func run() throws {
      let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
      let optimizer = optimizer == .auto ? .celo : optimizer
      let options = option + (learningRate.map { ["learning_rate=\($0)"] } ?? [])
      let settings = try OptimizerArguments.settings(optimizer, options: options)
      let config = try taskRecord(name).config(RandomKey(seed: UInt64(seed)))
      let task: TrainingTask
      do { task = try TaskBuilder(data: TaskDataSets(sets.load()), level: level).build(config) } catch let error
        as SpecError
      { throw CommandFailure(.usage, "\(name):\n\(error)") } catch let error as DataFault {
        throw CommandFailure(.usage, "\(name): \(error)")
      }
      let weights = try weights(optimizer)
      let inner = try InnerTask(task) {
        do { try OptimizerCatalog.checkSize(of: $0, for: optimizer) } catch {
          throw CommandFailure(.usage, "\(name): \(error)")
        }
        return OptimizerCatalog.make(settings, parameters: $0, theta: weights?.schema, totalSteps: steps, level: level)
      }
      let clock = ContinuousClock()
      let began = clock.now
      let horizon = Horizon(steps: steps, planned: horizonSteps, continuation: continuation)
      let curve = InnerRun.curve(inner, theta: weights, steps: steps, seed: seed, horizon: horizon)
      let seconds = (clock.now - began) / .seconds(1)
      let last = curve.suffix(max(1, min(100, steps / 10)))
      let final = last.reduce(0) { $0 + Double($1) } / Double(last.count)
      let normalised = last.reduce(0) { $0 + Double(task.normaliser($1)) } / Double(last.count)
      let rate = Double(steps) / seconds
      let points = (0...10).map { min(steps - 1, $0 * steps / 10) }
      let facts: [String: JSON] = [
        "task": .string(name), "config": config.json, "optimizer": .string(optimizer.rawValue),
        "steps": .integer(steps), "horizonSteps": .integer(horizon.planned),
        "continuation": .string(continuation.rawValue),
        "seed": .integer(seed), "finalLoss": .finite(final), "finalNormalizedLoss": .finite(normalised),
        "stepsPerSecond": .number(rate.rounded()),
        "curve": .array(points.map { ["step": .integer($0), "loss": .finite(Double(curve[$0]))] }),
      ]
      Console().show(.object(facts.merging(task.facts) { first, _ in first }), asJSON: json) {
        var table = Table(["STEP", "LOSS"], rightAligned: [0, 1])
        for point in points { table.add([String(point), "\(curve[point])"]) }
        return table.text + "\nfinal loss \(Float(final)), normalised \(Float(normalised)), \(Int(rate)) steps/s"
      }
    }

    private func weights(_ optimizer: OptimizerName) throws -> Theta? {
      guard optimizer.isLearned else { return nil }
      if let theta { return try ThetaFiles.read(theta, as: optimizer) }
      if let shipped = try ThetaFiles.shipped(optimizer) { return shipped }
      throw CommandFailure(.usage, "--theta is required: this build ships no \(optimizer.rawValue)")
    }
  }
}

extension Horizon.Continuation: ExpressibleByArgument {}

/// The entry of that name, or an answer with near names.
func taskRecord(_ name: String) throws -> TaskRecord {
  do { return try TaskRegistry.standard.record(name) } catch let error as SpecError {
    throw CommandFailure(.usage, "\(error)")
  }
}
