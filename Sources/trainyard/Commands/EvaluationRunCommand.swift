// `trainyard evaluation run --local`: an evaluation in this process. Results of single trainings are kept in a folder, so
// that it can be interrupted and run again, and other evaluations find them.
import ArgumentParser
import Compute
import Contract
import Foundation
import Learning
import MetaTraining
import Store

struct EvaluationRunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Run an evaluation in this process and write its report.",
    discussion: """
      What is compared is in a file (YAML or JSON), on the command line, or both:
        trainyard evaluation run --local -f evaluation.yaml --data fashion_mnist=images.gz,labels.gz --out report
        trainyard evaluation run --local --theta mine.safetensors --optimizer celo --task quick --steps 500 2000
      Interrupted, it goes on where it was when it is run again: finished trainings are in the archive.
      """)
  @Flag(help: "Run in this process; on a server see `evaluation create`.") var local = false
  @Option(name: .shortAndLong, help: "The evaluation's file.") var file: String?
  @Option(help: "An optimizer to evaluate, such as celo, adam_lr or optlist_10; may be repeated.")
  var optimizer: [String] = []
  @Option(help: "A theta file to evaluate; may be repeated.") var theta: [String] = []
  @Option(help: "What losses are measured in; default adam_lr, Adam at the best of 15 rates.") var baseline: String?
  @Option(help: "A task or a set (quick, synth-drome, cpu-drome); may be repeated.") var task: [String] = []
  @Option(parsing: .upToNextOption, help: "Budgets.") var steps: [Int] = []
  @Option(help: "How long the baseline is run; default the longest budget.") var baselineSteps: Int?
  @Option(help: "Trainings of each optimizer and task.") var seeds: Int?
  @OptionGroup var sets: DataSetOptions
  @Option(help: "Folder for report.json and report.html.") var out = "evaluation"
  @Option(help: "Folder of results that evaluations share; default `archive` in --out.") var archive: String?
  @Option(help: "Threads; default one for each core.") var threads: Int?
  @Flag(help: "Only print what it would come to.") var plan = false
  @Flag(help: "Print progress and headlines as JSON, one object a line.") var json = false

  func validate() throws {
    guard local else { throw ValidationError("add --local, or see `trainyard evaluation create` for a server") }
    guard (threads ?? 1) >= 1 else { throw ValidationError("--threads must be at least 1") }
  }

  func run() throws {
    let spec = try spec()
    let schedule: EvaluationSchedule
    do { schedule = try EvaluationSchedule(spec) } catch let error as SpecError {
      throw CommandFailure(.usage, "\(error)")
    }
    let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
    let data = TaskDataSets(try sets.load())
    if plan {
      let plan = try schedule.plan(CostModel.probe(level: level), data: data, level: level)
      let hours = (plan.coreSeconds / 360).rounded() / 10
      return Console().show(plan.json, asJSON: json) {
        "\(plan.tasks) tasks, \(plan.runs) trainings, \(plan.innerSteps) updates, about \(hours) core-hours"
      }
    }
    let folder = URL(fileURLWithPath: out)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let results = archive.map { URL(fileURLWithPath: $0) } ?? folder.appendingPathComponent("archive")
    let weights = try LocalWeights.load(for: spec)
    let evaluation = LocalEvaluation(
      schedule, weights: weights, data: data, dataHashes: try hashes(), archive: EvaluationArchive(folder: results),
      threads: threads ?? ProcessInfo.processInfo.activeProcessorCount, level: level)
    let interrupt = InterruptFlag()
    let display = EvaluationDisplay(schedule, asJSON: json)
    guard let outcomes = try evaluation.run(progress: { display.show($0) && !interrupt.isRaised }) else {
      throw CommandFailure(.failure, "interrupted; what is done is in \(results.path), run it again to go on")
    }
    let report = EvaluationReport(
      EvaluationScores(schedule, outcomes: outcomes), about: about(level, weights))
    try Data(report.json.bytes).write(to: folder.appendingPathComponent("report.json"), options: .atomic)
    try Data(ReportPage(report).html.utf8).write(to: folder.appendingPathComponent("report.html"), options: .atomic)
    Console().show(report.summary, asJSON: json) {
      display.table(report.summary) + "\nreport: \(folder.appendingPathComponent("report.html").path)"
    }
  }

  /// The file's evaluation with what flags add or replace.
  private func spec() throws -> EvaluationSpec {
    var members: [String: JSON] = [:]
    if let file {
      guard case .object(let own) = try SpecFile.json(file) else {
        throw CommandFailure(.usage, "\(file): expected an object")
      }
      members = own
    }
    let added = optimizer.map(JSON.string) + theta.map { ["theta": .string($0)] }
    if !added.isEmpty { members["optimizers"] = .array((members["optimizers"]?.array ?? []) + added) }
    if let baseline { members["baseline"] = .string(baseline) }
    if !task.isEmpty { members["tasks"] = .array(task.map(JSON.string)) }
    if !steps.isEmpty { members["steps"] = .array(steps.map(JSON.integer)) }
    if let baselineSteps { members["baseline_steps"] = .integer(baselineSteps) }
    if let seeds { members["seeds"] = .integer(seeds) }
    do { return try EvaluationSpec.decode(.object(members)) } catch {
      throw CommandFailure(.usage, "\(file ?? "the evaluation"):\n\(error)")
    }
  }

  /// A hash of the files of each data set.
  private func hashes() throws -> [String: String] {
    var hashes: [String: String] = [:]
    for text in sets.data {
      let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
      var all = ""
      for file in parts[1].split(separator: ",") {
        all += SHA256.hexadecimal(try Data(contentsOf: URL(fileURLWithPath: String(file)), options: .mappedIfSafe))
      }
      hashes[parts[0]] = SHA256Digest.hexadecimal(of: Array(all.utf8))
    }
    return hashes
  }

  private func about(_ level: CPULevel, _ weights: [Int: LocalEvaluation.Weights]) -> [String: JSON] {
    [
      "about": [
        "program": .string("trainyard \(Release.version)"), "cpu_level": .string(level.rawValue),
        "data": .array(sets.data.map { .string($0.split(separator: "=").first.map(String.init) ?? "") }),
        "weights": .object(
          Dictionary(uniqueKeysWithValues: weights.map { ("\($0.key)", .string($0.value.sha256)) })),
      ]
    ]
  }
}

/// The weights of an evaluation's learned optimizers, from files and from those that come with the program.
enum LocalWeights {
  static func load(for spec: EvaluationSpec) throws -> [Int: LocalEvaluation.Weights] {
    var weights: [Int: LocalEvaluation.Weights] = [:]
    for (place, optimizer) in spec.optimizers.enumerated() {
      let data: Data
      switch optimizer.source {
      case .file(let path): data = try readFile(path)
      case .campaign(let id, _):
        throw CommandFailure(.usage, "/optimizers/\(place): campaign \(id) is on a server; give its theta as a file")
      case .setting(let spec) where spec.name.isLearned:
        guard let shipped = ShippedTheta.find(spec.name, version: spec.version) else {
          throw CommandFailure(
            .usage,
            "/optimizers/\(place): no weights of \(spec.name.rawValue) come with the program; give {\"theta\": FILE}")
        }
        data = shipped
      case .setting, .tuned: continue
      }
      do {
        weights[place] = LocalEvaluation.Weights(theta: try Theta(file: data), sha256: SHA256.hexadecimal(data))
      } catch { throw CommandFailure(.usage, "\(optimizer.label): \(error)") }
    }
    return weights
  }
}
