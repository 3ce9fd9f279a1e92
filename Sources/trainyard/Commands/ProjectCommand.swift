// `trainyard project`: projects of a running server and their quotas.
import ArgumentParser
import Client
import Contract
import Foundation

/// Flags that name bounds of a project.
struct QuotaOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Jobs that are not over.", valueName: "count|default")) var unfinishedJobs: String?
  @Option(help: ArgumentHelp("Campaigns that are not over.", valueName: "count|default"))
  var unfinishedCampaigns: String?
  @Option(help: ArgumentHelp("Datasets and model files together.", valueName: "bytes|default"))
  var datasetBytes: String?

  /// What was given, as the API takes it.
  func json() throws -> [String: JSON] {
    var quotas: [String: JSON] = [:]
    for (flag, name, text) in [
      ("--unfinished-jobs", "unfinished_jobs", unfinishedJobs),
      ("--unfinished-campaigns", "unfinished_campaigns", unfinishedCampaigns),
      ("--dataset-bytes", "dataset_bytes", datasetBytes),
    ] {
      guard let text else { continue }
      guard text != "default" else {
        quotas[name] = .null
        continue
      }
      guard let value = Int(text), value >= 0 else {
        throw CommandFailure(.usage, "\(flag): expected a number or default, got \"\(text)\"")
      }
      quotas[name] = .integer(value)
    }
    return quotas
  }
}

struct ProjectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "project", abstract: "Make, list and bound projects; needs a key with projects:admin.",
    subcommands: [Create.self, List.self, Get.self, Set.self])

  struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a project; `key create --project ID` makes keys for it.")
    @OptionGroup var server: ServerOptions
    @OptionGroup(title: "Quotas") var quotas: QuotaOptions
    @Argument(help: "Lower-case letters, digits, - and _.") var id: String

    func run() throws {
      let project = try server.client().createProject(id, quotas: quotas.json())
      Console().show(project, asJSON: server.json) { ProjectCommand.table([project]) }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List projects with what they use of their quotas.")
    @OptionGroup var server: ServerOptions

    func run() throws {
      let projects = try server.client().projects()
      Console().show(["items": .array(projects)], asJSON: server.json) { ProjectCommand.table(projects) }
    }
  }

  struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show a project.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The project's id.") var id: String

    func run() throws {
      let project = try server.client().project(id)
      Console().show(project, asJSON: server.json) { ProjectCommand.table([project]) }
    }
  }

  struct Set: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Set a project's quotas.")
    @OptionGroup var server: ServerOptions
    @OptionGroup(title: "Quotas") var quotas: QuotaOptions
    @Argument(help: "The project's id.") var id: String

    func run() throws {
      let project = try server.client().setProject(id, quotas: quotas.json())
      Console().show(project, asJSON: server.json) { ProjectCommand.table([project]) }
    }
  }

  /// Used and allowed, side by side; a star marks the server's defaults.
  static func table(_ projects: [JSON]) -> String {
    var table = Table(["PROJECT", "UNFINISHED JOBS", "UNFINISHED CAMPAIGNS", "DATASET BYTES", "CREATED"])
    for project in projects {
      func cell(_ name: String) -> String {
        let used = project["usage"]?.cell(name) ?? "?", limit = project["limits"]?.cell(name) ?? "no limit"
        return "\(used) of \(limit)\(project["quotas"]?[name] == .null ? "*" : "")"
      }
      table.add([
        project.cell("id"), cell("unfinished_jobs"), cell("unfinished_campaigns"), cell("dataset_bytes"),
        project.cellTime("created_at"),
      ])
    }
    return table.text + "\n* the server's default"
  }
}
