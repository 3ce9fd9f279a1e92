// `trainyard campaign create`, `list`, `get`, `watch`, `pause`, `resume`, `cancel` and `set`: campaigns on a server.
// CampaignHistoryCommands.swift has what they leave behind.
import ArgumentParser
import Client
import Contract
import Foundation

struct CampaignCreate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Create a campaign on a server from a file.",
    discussion: """
      scripts/campaigns has files to begin with. Data sets that the tasks name are datasets of the server:
        trainyard campaign create -f scripts/campaigns/tiny-mlp.yaml --dataset fashion_mnist=ds_... --watch
      """)
  @OptionGroup var server: ServerOptions
  @OptionGroup var spec: CampaignFileOptions
  @Flag(help: "Watch it to its end; the exit code is its outcome.") var watch = false

  func run() throws {
    let client = try server.client()
    let campaign = try client.createCampaign(spec.load().json)
    let id = campaign["id"]?.string ?? ""
    Console().show(campaign, asJSON: server.json) { id }
    if watch { try CampaignWatch.watch(id, client: client, json: server.json, timeout: nil) }
  }
}

/// A campaign's file and what the command line sets in it.
struct CampaignFileOptions: ParsableArguments {
  @Option(name: .shortAndLong, help: "The campaign file, YAML or JSON.") var file: String
  @Option(
    help: ArgumentHelp(
      "The dataset that stands for a data set that tasks name; may be given several times.", valueName: "name=id"))
  var dataset: [String] = []
  @Option(help: "local (one worker) or distributed (all of them); default as in the file.") var mode: CampaignSpec.Mode?
  @Option(help: "Another name than the file's.") var name: String?
  @Option(
    help: ArgumentHelp(
      "A theta to start from: a version of the registry, or a campaign's as cmp_...:5000.", valueName: "theta"))
  var start: String?

  /// The campaign that is meant.
  func load() throws -> CampaignSpec {
    let json = try SpecFile.json(file)
    guard case .object(var members) = json else { throw CommandFailure(.usage, "\(file): expected an object") }
    if !dataset.isEmpty {
      var data: [String: JSON] = [:]
      if case .object(let own) = members["data"] { data = own }
      for text in dataset {
        let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { throw CommandFailure(.usage, "--dataset \(text): expected NAME=ds_...") }
        data[parts[0]] = .string(parts[1])
      }
      members["data"] = .object(data)
    }
    if let mode { members["mode"] = .string(mode.rawValue) }
    if let name { members["name"] = .string(name) }
    if let start { members["start"] = try Self.theta(start) }
    do { return try CampaignSpec.decode(.object(members)) } catch { throw CommandFailure(.usage, "\(file):\n\(error)") }
  }

  private static func theta(_ text: String) throws -> JSON {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard let version = Int(parts.last ?? "") else {
      throw CommandFailure(.usage, "--start \(text): expected a version such as 3, or cmp_...:5000")
    }
    return parts.count == 1
      ? ["version": .integer(version)] : ["campaign": .string(parts[0]), "version": .integer(version)]
  }
}

extension CampaignSpec.Mode: ExpressibleByArgument {}

struct CampaignList: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "List campaigns, newest first.")
  @OptionGroup var server: ServerOptions
  @Option(help: "Only campaigns in this state.") var state: String?
  @Option(help: "How many at most.") var limit = 50

  func run() throws {
    let campaigns = try server.client().campaigns(state: state, limit: limit)
    Console().show(["items": .array(campaigns)], asJSON: server.json) {
      var table = Table(
        ["CAMPAIGN", "NAME", "OPTIMIZER", "MODE", "STATE", "STEP", "OF", "LOSS", "CREATED"], rightAligned: [5, 6, 7])
      for campaign in campaigns {
        table.add([
          campaign.cell("id"), campaign.cell("name"), campaign.cell("optimizer"), campaign.cell("mode"),
          campaign.cell("state"), campaign.cell("version"), campaign.cell("outer_steps"), campaign.cell("loss"),
          campaign.cellTime("created_at"),
        ])
      }
      return table.text
    }
  }
}

struct CampaignGet: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "get", abstract: "Show one campaign.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String

  func run() throws {
    let campaign = try server.client().campaign(id)
    Console().show(campaign, asJSON: server.json) { Self.text(campaign) }
  }

  /// What people want to know of a campaign, in a few lines.
  static func text(_ campaign: JSON) -> String {
    var lines = [
      "\(campaign.cell("id") ?? "?")  \(Table.printable(campaign.cell("name") ?? ""))  \(campaign.cell("state") ?? "?") "
        + "(\(campaign.cell("reason") ?? "?"))",
      "  outer step \(campaign.cell("version") ?? "?") of \(campaign.cell("outer_steps") ?? "?"), phase "
        + "\(campaign.cell("phase") ?? "?"), meta-loss \(campaign.cell("loss") ?? "-"), "
        + "\(campaign.cell("inner_steps") ?? "?") inner steps",
      "  optimizer \(campaign.cell("optimizer") ?? "?"), \(campaign.cell("mode") ?? "?"), revision "
        + "\(campaign.cell("revision") ?? "?")",
    ]
    if let parent = campaign["parent"], parent != .null {
      lines.append("  branched from \(parent.cell("campaign") ?? "?") at \(parent.cell("version") ?? "?")")
    }
    if let message = campaign.cell("message") { lines.append("  \(Table.printable(message))") }
    return lines.joined(separator: "\n")
  }
}

struct CampaignWatch: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch", abstract: "Watch a campaign to its end; the exit code is its outcome.",
    discussion: "Exit codes: 0 succeeded, 5 failed, cancelled or paused, 6 the --timeout passed first.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @Option(help: ArgumentHelp("Give up waiting after this time.", valueName: "seconds")) var timeout: Double?
  @Flag(help: "Go on watching while it is paused.") var throughPauses = false

  func run() throws {
    try Self.watch(
      id, client: try server.client(), json: server.json, timeout: timeout, stopsAtPause: !throughPauses)
  }

  /// Watches a campaign and throws unless it succeeded.
  static func watch(
    _ id: String, client: APIClient, json: Bool, timeout: Double?, stopsAtPause: Bool = true
  ) throws {
    let console = Console()
    let follower = CampaignFollower(
      client: client, console: console, form: json ? .json : console.isTerminal ? .live : .lines,
      signals: TerminationSignals(), timeoutSeconds: timeout)
    let campaign = try follower.follow(id, stopsAtPause: stopsAtPause)
    switch campaign["state"]?.string.flatMap(CampaignState.init) {
    case .succeeded:
      if !json { console.line("`trainyard campaign promote \(id)` makes its theta an optimizer of the registry.") }
    case .cancelled:
      throw CommandFailure(.jobFailed, "campaign \(id) was cancelled (\(campaign.cell("reason") ?? "?"))")
    case .paused:
      throw CommandFailure(
        .jobFailed,
        "campaign \(id) is paused (\(campaign.cell("reason") ?? "?"))"
          + (campaign.cell("message").map { ": " + Table.printable($0) } ?? ""),
        cure: "`trainyard campaign resume \(id)` queues it again; `set` changes its settings before.")
    default:
      throw CommandFailure(
        .jobFailed,
        "campaign \(id) failed (\(campaign.cell("reason") ?? "unknown")): \(campaign.cell("message") ?? "no message")",
        cure: "`trainyard campaign events \(id)` tells what led there; `branch` goes on from one of its versions.")
    }
  }
}

struct CampaignPause: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pause", abstract: "Ask a campaign to pause; it keeps its state and can be resumed.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String

  func run() throws { try act(.pause, on: id, server) }
}

struct CampaignResume: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resume", abstract: "Queue a paused campaign again.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String

  func run() throws { try act(.resume, on: id, server) }
}

struct CampaignCancel: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cancel", abstract: "Ask a campaign to stop for good; its thetas stay.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String

  func run() throws { try act(.cancel, on: id, server) }
}

private func act(_ action: APIClient.CampaignAction, on id: String, _ server: ServerOptions) throws {
  let campaign = try server.client().campaign(id, action)
  Console().show(campaign, asJSON: server.json) { "\(id) is \(campaign.cell("state") ?? "?")" }
}

struct CampaignSet: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Change a phase of a campaign while it runs, from the next outer step on.",
    discussion: """
      Settings are paths into the phase, as in the campaign file; values are JSON or YAML:
        trainyard campaign set cmp_... outer.clip=1 estimator.sigma=0.02 policy.staleness=2 'lengths=[200, 4000]'
      The change is a new phase in the place of the old one; `campaign phases` shows the lineage.
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @Argument(help: ArgumentHelp("Settings and their new values.", valueName: "path=value")) var settings: [String] = []
  @Option(help: "The phase by its number; default the one that the campaign is in.") var phase: Int?
  @Option(help: "A file with a phase, or a list of them, to add at the end.") var append: String?
  @Option(help: "Only if the campaign is at this revision still.") var revision: Int?

  func validate() throws {
    guard !settings.isEmpty || append != nil else {
      throw ValidationError("give settings such as outer.clip=1, or --append FILE")
    }
  }

  func run() throws {
    var body: [String: JSON] = [:]
    if !settings.isEmpty { body["changes"] = try PhaseSettings.changes(settings) }
    if let phase { body["phase"] = .integer(phase) }
    if let append {
      let json = try SpecFile.json(append)
      body["append"] = json.array == nil ? [json] : json
    }
    let answer = try server.client().changeCampaign(id, .object(body), revision: revision)
    Console().show(answer, asJSON: server.json) {
      (answer["phases"]?.array ?? []).map { made in
        let number = made.cell("number") ?? "?"
        let name = Table.printable(made["phase"]?.cell("name") ?? "")
        return made.cell("parent").map { "phase \(number) (\(name)) takes the place of phase \($0)" }
          ?? "phase \(number) (\(name)) comes at the end"
      }.joined(separator: "\n")
    }
  }
}

/// `outer.clip=1` as JSON.
enum PhaseSettings {
  /// The changes that settings mean.
  ///
  /// - Throws: ``CommandFailure`` for what is no path and value, and for paths that contradict each other.
  static func changes(_ settings: [String]) throws -> JSON {
    var changes: JSON = [:]
    for setting in settings {
      guard let equals = setting.firstIndex(of: "=") else {
        throw CommandFailure(.usage, "\"\(setting)\": expected a path and a value, such as outer.clip=1")
      }
      let keys = setting[..<equals].split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      guard keys.allSatisfy({ !$0.isEmpty }) else {
        throw CommandFailure(.usage, "\"\(setting)\": expected names parted by dots before the =, such as outer.clip")
      }
      let value = try SpecFile.value(String(setting[setting.index(after: equals)...]))
      guard let merged = insert(value, at: keys[...], in: changes) else {
        throw CommandFailure(.usage, "\"\(setting)\" contradicts a setting before it")
      }
      changes = merged
    }
    return changes
  }

  private static func insert(_ value: JSON, at keys: ArraySlice<String>, in json: JSON) -> JSON? {
    guard let key = keys.first else { return value }
    guard case .object(var members) = json else { return nil }
    if keys.count == 1 {
      guard members[key] == nil else { return nil }
      members[key] = value
    } else {
      guard let inner = insert(value, at: keys.dropFirst(), in: members[key] ?? [:]) else { return nil }
      members[key] = inner
    }
    return .object(members)
  }
}
