// `trainyard campaign plan`: what a campaign comes to, by running a few steps of each of its tasks on this machine.
import ArgumentParser
import Compute
import Contract
import Foundation
import MetaTraining

struct CampaignPlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan", abstract: "Say what a campaign would cost, before it runs.",
    discussion: """
      Every task is run for a moment on this machine with the optimizer that the campaign trains, on blank data of the right
      shape, so that no data set is needed; --data NAME=FILE gives those whose shape is not known.
      """)
  @Option(name: .shortAndLong, help: "The campaign file, YAML or JSON.") var file: String
  @OptionGroup var sets: DataSetOptions
  @Option(help: "Threads to plan for; default as in the file, or one for each core.") var threads: Int?
  @Flag(help: "Print one JSON document.") var json = false

  func validate() throws {
    guard (1...100_000).contains(threads ?? 1) else { throw ValidationError("--threads must be from 1 to 100000") }
  }

  func run() throws {
    let spec = try SpecFile.read(file, CampaignSpec.decode)
    let level = try CPULevel.selected(environment: ProcessInfo.processInfo.environment)
    let data = sets.data.isEmpty ? TaskDataSets.descriptions() : TaskDataSets(try sets.load())
    let cores = threads ?? spec.threads ?? ProcessInfo.processInfo.activeProcessorCount
    var costs: [[[CampaignPlan.TaskCost]]] = []
    var thetaParameters = 0
    for (number, phase) in spec.phases.enumerated() {
      do {
        let problem = try PhaseProblem(spec, phase, number: number, data: data, level: level)
        costs.append(try problem.taskCosts())
        thetaParameters = problem.thetaLayout.elements
      } catch let error as SpecError {
        let faults = error.faults.map { Fault(path: "/phases/\(number)\($0.path)", reason: $0.reason) }
        throw CommandFailure(.usage, "\(file):\n\(SpecError(faults))")
      }
    }
    let plan = CampaignPlan(of: spec, cores: cores, thetaParameters: thetaParameters) { phase, entry, _ in
      costs[phase][entry]
    }
    Console().show(plan.json, asJSON: json) { Self.text(plan) }
  }

  /// A table of the phases and the sums.
  static func text(_ plan: CampaignPlan) -> String {
    var table = Table(
      ["PHASE", "OUTER STEPS", "TASKS", "PAIRS", "GROUPS", "EPISODE", "LONGEST", "INNER STEPS", "CORE TIME", "TIME"],
      rightAligned: [1, 2, 3, 4, 5, 6, 7, 8, 9])
    for phase in plan.phases {
      table.add([
        phase.name, String(phase.outerSteps), String(phase.entries.reduce(0) { $0 + $1.tasks }),
        String(phase.entries.reduce(0) { $0 + $1.tasks * $1.pairs }),
        String(phase.entries.reduce(0) { $0 + $1.groups }), String(Int(phase.episodeMean.rounded())),
        String(phase.episodeLongest), CurveView.short(Double(phase.innerSteps)),
        phase.coreSeconds.map { Pace.short(seconds: $0) }, phase.wallSeconds.map { Pace.short(seconds: $0) },
      ])
    }
    var lines = [table.text]
    for phase in plan.phases {
      for entry in phase.entries {
        guard let seconds = entry.secondsPerStep else { continue }
        lines.append(
          "  \(phase.name): \(entry.name) ×\(entry.tasks), \(entry.parameters ?? 0) parameters, "
            + "\(CurveView.short(seconds * 1e6)) µs a step")
      }
    }
    let wall = plan.wallSeconds.map { Pace.short(seconds: $0) } ?? "unknown time"
    let core = plan.coreSeconds.map { Pace.short(seconds: $0) } ?? "unknown time"
    lines.append("\(wall) on \(plan.cores ?? 0) cores, \(core) of one core, by the speed of this machine")
    let memory = plan.phases.compactMap(\.memoryBytes).max() ?? 0
    lines.append(
      "theta has \(plan.thetaParameters ?? 0) parameters; trainings hold \(megabytes(memory)), the database takes about "
        + megabytes(plan.databaseBytes ?? 0))
    return lines.joined(separator: "\n")
  }

  private static func megabytes(_ bytes: Int) -> String { "\(CurveView.short(Double(bytes) / 1e6)) MB" }
}
