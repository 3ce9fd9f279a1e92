// `trainyard task sample`: draws of a family or sampler, with what they cost by arithmetic, by prediction and by the clock.
import ArgumentParser
import Compute
import Contract
import Foundation
import Learning
import MetaTraining

struct TaskSampleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sample", abstract: "Draw configurations from a family or sampler.",
    discussion: """
      One draw is printed as a configuration; several as a table, with how many were over the sampler's cap and taken all
      the same. --time trains each for a moment with Adam, after a probe of this machine, and compares prediction and clock.
      """)
  @Argument(help: "The entry's name.") var name: String
  @Option(help: "The first seed; equal seeds give equal configurations.") var seed = 0
  @Option(help: "How many draws, by consecutive seeds.") var count = 1
  @Flag(help: "Predict and measure the seconds of a step.") var time = false
  @OptionGroup var sets: DataSetOptions
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    guard (1...10_000).contains(count), (0...1 << 40).contains(seed) else {
      throw ValidationError("--count must be from 1 to 10000, --seed from 0 to \(1 << 40)")
    }
  }

  func run() throws {
    let record = try taskRecord(name)
    let draws = (0..<count).map { record.sample(RandomKey(seed: UInt64(seed + $0))) }
    let fallbacks = draws.count(where: \.isFallback)
    if count == 1, !time, !json {
      print(draws[0].config.json.pretty)
      // Apart from the configuration, which programs read.
      if fallbacks == 1 { FileHandle.standardError.write(Data("the draw is over the sampler's cap\n".utf8)) }
      return
    }
    let timer = time ? try Timer(TaskDataSets(sets.load())) : nil
    let rows = try draws.enumerated().map { index, draw -> JSON in
      var row: [String: JSON] = [
        "seed": .integer(seed + index), "configId": .string(draw.config.id), "config": draw.config.json,
        "object": .string(innermost(draw.config)), "fallback": .bool(draw.isFallback),
      ]
      // A fallback may be beyond what can be built.
      guard let outline = try? TaskOutline.of(draw.config) else { return .object(row) }
      row["flopsPerStep"] = .number(outline.flopsPerStep)
      if let timer {
        let (predicted, actual) = try timer.seconds(draw.config)
        (row["predictedSeconds"], row["actualSeconds"]) = (.number(predicted), .number(actual))
      }
      return .object(row)
    }
    let ratios = rows.compactMap { row in
      row["predictedSeconds"]?.number.flatMap { predicted in row["actualSeconds"]?.number.map { predicted / $0 } }
    }
    let near = ratios.count { (0.5...2).contains($0) }
    var facts: [String: JSON] = ["draws": .array(rows), "fallbacks": .integer(fallbacks)]
    if time { facts["withinFactor2"] = .integer(near) }
    Console().show(.object(facts), asJSON: json) {
      var table = Table(
        ["SEED", "TASK", "MFLOP", "OVER CAP"] + (time ? ["PREDICTED MS", "ACTUAL MS", "RATIO"] : []),
        rightAligned: [0, 2, 4, 5, 6])
      for row in rows {
        var cells = [
          row.cell("seed"), row.cell("object"), row["flopsPerStep"].flatMap(\.number).map { digits($0 / 1e6) },
        ]
        cells.append(row["fallback"] == true ? "yes" : "")
        if let predicted = row["predictedSeconds"]?.number, let actual = row["actualSeconds"]?.number {
          cells += [digits(predicted * 1e3), digits(actual * 1e3), digits(predicted / actual)]
        }
        table.add(cells)
      }
      let summary = "\n\(fallbacks) of \(count) over the cap"
      return table.text + summary
        + (time ? "; \(near) of \(ratios.count) predictions within a factor of 2" : "")
    }
  }

  /// Three significant digits.
  private func digits(_ value: Double) -> String { String(format: "%.3g", value) }

  /// The object inside all augmentations.
  private func innermost(_ config: TaskConfig) -> String {
    guard let inner = config.arguments["family"].flatMap({ try? TaskConfig.decode($0) }) else { return config.object }
    return innermost(inner)
  }
}

/// Predicts and measures steps.
private struct Timer {
  private let builder: TaskBuilder
  private let model: CostModel

  init(_ data: TaskDataSets) throws {
    let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
    builder = TaskBuilder(data: data, level: level)
    model = try CostModel.probe(level: level)
  }

  func seconds(_ config: TaskConfig) throws -> (predicted: Double, actual: Double) {
    let task: TrainingTask
    do { task = try builder.build(config) } catch let error as SpecError { throw CommandFailure(.usage, "\(error)") }
    return (model.seconds(task), try CostModel.stepSeconds(task, within: 0.1))
  }
}
