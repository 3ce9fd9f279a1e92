// `trainyard evaluation create`, `list`, `get`, `follow`, `cancel`, `report`, and `campaign evaluate`: evaluations on a
// server. EvaluationRunCommand.swift runs one in this process.
import ArgumentParser
import Client
import Contract
import Foundation

/// The file of an evaluation and the datasets of the server that it needs.
struct EvaluationFileOptions: ParsableArguments {
  @Option(name: .shortAndLong, help: "The evaluation's file, YAML or JSON.") var file: String
  @Option(
    help: ArgumentHelp(
      "The dataset that stands for a data set that tasks name; may be given several times.", valueName: "name=id"))
  var dataset: [String] = []

  /// The document with the datasets in it.
  func json() throws -> JSON {
    guard case .object(var members) = try SpecFile.json(file) else {
      throw CommandFailure(.usage, "\(file): expected an object")
    }
    guard !dataset.isEmpty else { return .object(members) }
    var data: [String: JSON] = [:]
    if case .object(let own) = members["data"] { data = own }
    for text in dataset {
      let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw CommandFailure(.usage, "--dataset \(text): expected NAME=ds_...") }
      data[parts[0]] = .string(parts[1])
    }
    members["data"] = .object(data)
    return .object(members)
  }
}

struct EvaluationCreate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Create an evaluation on a server from a file; its workers do the trainings.")
  @OptionGroup var server: ServerOptions
  @OptionGroup var spec: EvaluationFileOptions
  @Flag(help: "Follow it to its end; the exit code is its outcome.") var follow = false

  func run() throws {
    let json = try spec.json()
    // All faults at once, before the server is asked.
    do { _ = try EvaluationSpec.decode(json) } catch { throw CommandFailure(.usage, "\(spec.file):\n\(error)") }
    let client = try server.client()
    try made(client.createEvaluation(json), client, server, follows: follow)
  }
}

struct CampaignEvaluate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate", abstract: "Evaluate a theta of a campaign, alone or against others.",
    discussion: "The file is one of `evaluation create`; the theta becomes the first of its optimizers.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @OptionGroup var spec: EvaluationFileOptions
  @Option(help: "The version of theta; default the newest that is stored.") var version: Int?
  @Flag(help: "Follow it to its end; the exit code is its outcome.") var follow = false

  func run() throws {
    let client = try server.client()
    try made(client.evaluateCampaign(id, version: version, spec: spec.json()), client, server, follows: follow)
  }
}

private func made(_ evaluation: JSON, _ client: APIClient, _ server: ServerOptions, follows: Bool) throws {
  let id = evaluation["id"]?.string ?? ""
  Console().show(evaluation, asJSON: server.json) { id }
  if follows { try EvaluationFollow.follow(id, client: client, json: server.json, timeout: nil) }
}

struct EvaluationList: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List evaluations, newest first.")
  @OptionGroup var server: ServerOptions
  @Option(help: "Only evaluations in this state.") var state: String?
  @Option(help: "Only those of this campaign.") var campaign: String?
  @Option(help: "How many at most.") var limit = 50

  func run() throws {
    let evaluations = try server.client().evaluations(state: state, campaign: campaign, limit: limit)
    Console().show(["items": .array(evaluations)], asJSON: server.json) {
      var table = Table(["EVALUATION", "NAME", "STATE", "DONE", "FAILED", "OF", "CREATED"], rightAligned: [3, 4, 5])
      for evaluation in evaluations {
        table.add([
          evaluation.cell("id"), evaluation.cell("name"), evaluation.cell("state"),
          evaluation["progress"]?.cell("done"), evaluation["progress"]?.cell("failed"),
          evaluation["plan"]?.cell("runs"), evaluation.cellTime("created_at"),
        ])
      }
      return table.text
    }
  }
}

struct EvaluationGet: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "get", abstract: "Show one evaluation with its headline figures.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The evaluation's id.") var id: String

  func run() throws {
    let evaluation = try server.client().evaluation(id)
    Console().show(evaluation, asJSON: server.json) { evaluation.pretty }
  }
}

struct EvaluationFollow: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "follow", abstract: "Follow an evaluation to its end; the exit code is its outcome.",
    discussion: "Exit codes: 0 succeeded, 5 failed or cancelled, 6 the --timeout passed first.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The evaluation's id.") var id: String
  @Option(help: ArgumentHelp("Give up waiting after this time.", valueName: "seconds")) var timeout: Double?

  func run() throws {
    try Self.follow(id, client: try server.client(), json: server.json, timeout: timeout)
  }

  /// Follows an evaluation and throws unless it succeeded.
  static func follow(_ id: String, client: APIClient, json: Bool, timeout: Double?) throws {
    let console = Console()
    let patient = FollowLoop.client(client)
    var evaluation: JSON = .null
    var tag: String?
    var pace = Pace(windowSeconds: 60)
    let loop = FollowLoop(
      console: console, form: json ? .json : console.isTerminal ? .live : .lines, signals: TerminationSignals(),
      timeoutSeconds: timeout, kind: "evaluation", id: id, verb: "follow")
    try loop.run {
      guard let change = try patient.evaluationChange(id, since: tag, waitSeconds: 1) else { return }
      (evaluation, tag) = (change.evaluation, change.entityTag)
    } shown: { seconds, isConnected in
      let ended = (evaluation["progress"]?["done"]?.integer ?? 0) + (evaluation["progress"]?["failed"]?.integer ?? 0)
      pace.note(step: ended, seconds: seconds)
      let (now, left) = (evaluation, pace.secondsLeft(total: evaluation["plan"]?["runs"]?.integer ?? 0))
      let state = now["state"]?.string ?? "unknown"
      let line = status(now, isConnected: isConnected, secondsLeft: left)
      return FollowLoop.Shown(
        state: state, isOver: EvaluationState(rawValue: state)?.isTerminal ?? false,
        frame: { frame(now, line, console) }, status: { line }, json: { now })
    }
    switch evaluation["state"]?.string.flatMap(EvaluationState.init) {
    case .succeeded:
      if !json { console.line("`trainyard evaluation report \(id) --format html --out report.html` has the results.") }
    case .cancelled: throw CommandFailure(.jobFailed, "evaluation \(id) was cancelled")
    default:
      throw CommandFailure(.jobFailed, "evaluation \(id) failed: \(evaluation.cell("message") ?? "no message")")
    }
  }

  private static func status(_ evaluation: JSON, isConnected: Bool, secondsLeft: Double?) -> String {
    guard isConnected else { return "server unreachable, trying again" }
    let state = evaluation["state"]?.string ?? "?"
    guard let progress = evaluation["progress"], let runs = evaluation["plan"]?["runs"]?.integer else { return state }
    var text = "\(state)  \(progress.cell("done") ?? "0") of \(runs) trainings"
    if let failed = progress["failed"]?.integer, failed > 0 { text += ", \(failed) failed" }
    if state == EvaluationState.running.rawValue, let secondsLeft {
      text += "  ETA \(Pace.short(seconds: secondsLeft))"
    }
    return text
  }

  private static func frame(_ evaluation: JSON, _ line: String, _ console: Console) -> [String] {
    let runs = evaluation["plan"]?["runs"]?.integer ?? 0
    let progress = evaluation["progress"]
    let ended = (progress?["done"]?.integer ?? 0) + (progress?["failed"]?.integer ?? 0)
    let name = Table.printable(evaluation["name"]?.string ?? "")
    let bar = ProgressBar(columns: max(10, min(60, console.size.columns - 10))).text(done: ended, total: runs)
    return ["\(evaluation.cell("id") ?? "?") \(name)", bar, line]
  }
}

struct EvaluationCancel: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "cancel", abstract: "End an evaluation.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The evaluation's id.") var id: String

  func run() throws {
    let evaluation = try server.client().cancelEvaluation(id)
    Console().show(evaluation, asJSON: server.json) { "\(id) is \(evaluation.cell("state") ?? "?")" }
  }
}

struct EvaluationReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report", abstract: "Download the report of an evaluation, and check its hash.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The evaluation's id.") var id: String
  @Option(help: "json for programs, html for a page with tables and plots.") var format = EvaluationReportFormat.html
  @Option(name: .shortAndLong, help: "Where to write it; default report.html or report.json.") var out: String?

  func run() throws {
    let path = out ?? "report.\(format.rawValue)"
    let written = try server.client().downloadReport(
      evaluation: id, format: format, to: URL(fileURLWithPath: path))
    Console().show(
      ["file": .string(path), "bytes": .integer(written.bytes), "sha256": .string(written.sha256)],
      asJSON: server.json
    ) { "\(path): \(written.bytes) bytes" }
  }
}

extension EvaluationReportFormat: ExpressibleByArgument {}
