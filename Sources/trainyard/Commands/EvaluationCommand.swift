// `trainyard evaluation`: comparisons of optimizers. EvaluationRun does one in this process.
import ArgumentParser

struct EvaluationCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluation", abstract: "Compare optimizers on tasks with tuned baselines.",
    subcommands: [EvaluationRunCommand.self])
}
