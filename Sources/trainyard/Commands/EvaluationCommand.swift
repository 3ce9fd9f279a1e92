// `trainyard evaluation`: comparisons of optimizers. EvaluationRunCommand does one in this process,
// EvaluationServerCommands.swift those of a server.
import ArgumentParser

struct EvaluationCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluation", abstract: "Compare optimizers on tasks with tuned baselines.",
    subcommands: [
      EvaluationCreate.self, EvaluationList.self, EvaluationGet.self, EvaluationFollow.self, EvaluationCancel.self,
      EvaluationReportCommand.self, EvaluationRunCommand.self,
    ])
}
