// `trainyard campaign`: meta-training of learned optimizers. `run --local` does it in this process, without a server;
// CampaignServerCommands.swift and CampaignHistoryCommands.swift have those of servers.
import ArgumentParser
import Compute
import Contract
import Foundation
import Learning
import MetaTraining

struct CampaignCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "campaign", abstract: "Meta-train learned optimizers.",
    subcommands: [
      CampaignPlanCommand.self, CampaignCreate.self, CampaignList.self, CampaignGet.self, CampaignWatch.self,
      CampaignPause.self, CampaignResume.self, CampaignCancel.self, CampaignSet.self, CampaignPhases.self,
      CampaignStepsCommand.self, CampaignEvents.self, CampaignThetas.self, CampaignExport.self, CampaignPromote.self,
      CampaignBranchCommand.self, CampaignRollback.self, CampaignEvaluate.self, Run.self, Compare.self,
    ])

  struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Run a campaign in this process and write the theta it finds.",
      discussion: """
        The campaign file (YAML or JSON) names data sets; --data NAME=FILE[,FILE...] says where each is, in any format that
        `trainyard dataset add` reads:
          trainyard campaign run --local -f campaign.yaml --out theta.safetensors \\
            --data fashion_mnist=train-images-idx3-ubyte.gz,train-labels-idx1-ubyte.gz
        Interrupting it writes the theta of the last outer step. With --state FILE everything is kept in that file, and the
        same command goes on from it, bit for bit, on any number of threads.
        """)
    @Flag(help: "Run in this process, without a server.") var local = false
    @Option(name: .shortAndLong, help: "The campaign file.") var file: String
    @OptionGroup var sets: DataSetOptions
    @Option(help: "Where to write theta.") var out = "theta.safetensors"
    @Option(help: "A theta to start from, in place of a random one.") var start: String?
    @Option(help: "Keep the campaign's state in this file; where it exists, go on from it.") var state: String?
    @Option(help: "Seconds between two writes of the state.") var checkpointSeconds = 60.0
    @Option(help: "Threads; default as in the file, or one for each core.") var threads: Int?
    @Option(help: "Outer steps between two lines of progress and two writes of theta.") var every = 100
    @Flag(help: "Print one JSON object a line.") var json = false

    func validate() throws {
      guard local else { throw ValidationError("add --local; `campaign create` runs one on a server") }
      guard every >= 1, (1...CampaignSpec.threadsMax).contains(threads ?? 1), checkpointSeconds >= 0 else {
        throw ValidationError(
          "--every must be at least 1, --threads from 1 to \(CampaignSpec.threadsMax), --checkpoint-seconds at least 0")
      }
    }

    func run() throws {
      let spec = try SpecFile.read(file, CampaignSpec.decode)
      let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
      let data = TaskDataSets(try sets.load())
      let initial = try start.map { try Theta(safetensors: readFile($0)) }
      let threads = threads ?? spec.threads ?? ProcessInfo.processInfo.activeProcessorCount
      let campaign = try LocalCampaign(spec, data: data, initial: initial, threads: threads, level: level)
      if let state, FileManager.default.fileExists(atPath: state) {
        do { try campaign.restore([UInt8](readFile(state))) } catch let error as SnapshotError {
          throw CommandFailure(.usage, "--state \(state): \(error); name another file, or remove it to start anew")
        }
      }
      let began = ContinuousClock.now
      let stepsBefore = campaign.innerSteps
      var saved = began
      var lossSum = 0.0
      var lossCount = 0
      let interrupt = InterruptFlag()
      try campaign.run { record in
        let report = record.report
        if report.meanLoss.isFinite {
          lossSum += report.meanLoss
          lossCount += 1
        }
        if let state, saved.duration(to: .now) >= .seconds(checkpointSeconds) {
          try save(campaign, to: state)
          saved = .now
        }
        if let reason = report.mustPause {
          if let state { try save(campaign, to: state) }
          throw CommandFailure(.failure, "the campaign was stopped: \(reason)")
        }
        let phase = spec.phases[record.phase]
        let isLast = report.outerIteration == phase.outerSteps
        guard report.outerIteration % every == 0 || isLast || interrupt.isRaised else { return true }
        let seconds = (ContinuousClock.now - began) / .seconds(1)
        let rate = Double(campaign.innerSteps - stepsBefore) / seconds
        let loss = lossCount == 0 ? Double.nan : lossSum / Double(lossCount)
        let line: JSON = [
          "phase": .string(phase.name), "outer_step": .integer(report.outerIteration), "loss": .finite(loss),
          "surviving": .number(report.surviving), "gradient_norm": .finite(report.gradientNorm),
          "update_norm": .finite(report.updateNorm), "clipped": .number(report.clippedShare),
          "inner_steps": .integer(campaign.innerSteps), "inner_steps_per_s": .number(rate.rounded()),
          "seconds": .number(seconds.rounded()),
        ]
        let text =
          "\(phase.name) \(report.outerIteration)/\(phase.outerSteps)  loss \(Float(loss))  "
          + "\(Int(rate)) inner steps/s  \(Int(seconds)) s"
        // Written past the C library's buffer, so that a watcher or a log sees each line at once.
        FileHandle.standardOutput.write(Data(((json ? line.text : text) + "\n").utf8))
        (lossSum, lossCount) = (0, 0)
        try write(campaign, phase: phase.name, outerStep: report.outerIteration, level)
        return !interrupt.isRaised
      }
      if let state { try save(campaign, to: state) }
    }

    private func save(_ campaign: LocalCampaign, to path: String) throws {
      try Data(campaign.snapshot()).write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    private func write(_ campaign: LocalCampaign, phase: String, outerStep: Int, _ level: CPULevel) throws {
      let provenance = [
        "campaign": campaign.spec.json.text, "campaign_name": campaign.spec.name, "phase": phase,
        "outer_step": String(outerStep), "inner_steps": String(campaign.innerSteps),
        "seed": String(campaign.spec.seed), "horizon_steps": String(campaign.horizonSteps),
        "engine": "trainyard \(Release.version)", "cpu_level": level.rawValue,
        "data": sets.data.map { $0.split(separator: "=").first.map(String.init) ?? "" }.joined(separator: ", "),
      ]
      let theta = try campaign.theta(provenance: provenance)
      try theta.safetensors().write(to: URL(fileURLWithPath: out), options: .atomic)
    }
  }

  struct Compare: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Train a campaign's tasks, or one given task, with a theta and with Adam, and print both losses.")
    @Option(help: "The theta file.") var theta: String
    @OptionGroup var sets: DataSetOptions
    @Option(help: "Name of the data set to train on.") var on: String
    @Option(help: "Side of the images.") var imageSize = 28
    @Option(parsing: .upToNextOption, help: "Widths of the hidden layers.") var hidden: [Int] = [128, 128]
    @Option(help: "Examples a step.") var batchSize = 128
    @Option(help: "Steps.") var steps = 1000
    @Option(help: "Seeds to average over.") var seeds = 3
    @Option(parsing: .upToNextOption, help: "Learning rates of Adam.") var adam: [Double] = [1e-3]
    @Flag(help: "Print one JSON object.") var json = false

    func run() throws {
      let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
      let theta = try Theta(safetensors: readFile(theta))
      guard let set = try sets.load()[on] else {
        throw CommandFailure(.usage, "--on \(on) is not among the --data sets")
      }
      let spec = ImageTaskSpec(
        data: on, imageSize: imageSize, hidden: hidden, activation: .relu, batchSize: batchSize,
        reparametrisation: .none, scales: 1...1)
      let training = try TaskBuilder(data: TaskDataSets([on: set]), level: level).build(spec.config)
      var rows: [(String, [Float])] = []
      let learned = try InnerTask(training) {
        do { try OptimizerCatalog.checkSize(of: $0, for: theta.schema.name) } catch {
          throw CommandFailure(.usage, "\(error)")
        }
        return theta.schema.optimizer(parameters: $0, level: level)
      }
      rows.append((theta.schema.name.rawValue, InnerRun.meanCurve(learned, theta: theta, steps: steps, seeds: seeds)))
      for rate in adam {
        let task = try InnerTask(training) {
          Adam(
            parameters: $0, settings: OptimizerSettings(.adam, ["learning_rate": .number(rate)]), level: level)
        }
        rows.append(("adam \(rate)", InnerRun.meanCurve(task, theta: nil, steps: steps, seeds: seeds)))
      }
      let lines = rows.map { name, curve -> JSON in
        let last = curve.suffix(max(1, min(100, steps / 10)))
        return [
          "optimizer": .string(name), "final_loss": .finite(Double(last.reduce(0, +)) / Double(last.count)),
          "mean_loss": .finite(Double(curve.reduce(0, +)) / Double(curve.count)),
        ]
      }
      Console().show(["steps": .integer(steps), "rows": .array(lines)], asJSON: json) {
        var table = Table(["OPTIMIZER", "FINAL LOSS", "MEAN LOSS"], rightAligned: [1, 2])
        for line in lines { table.add([line.cell("optimizer"), line.cell("final_loss"), line.cell("mean_loss")]) }
        return table.text
      }
    }
  }
}
