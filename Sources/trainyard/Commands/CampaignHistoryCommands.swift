// `trainyard campaign phases`, `events`, `steps`, `thetas`, `export`, `promote`, `branch` and `rollback`: what a campaign on
// a server leaves behind, and what goes on from there.
import ArgumentParser
import Client
import Contract
import Foundation

struct CampaignPhases: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "phases", abstract: "Show a campaign's phases with their lineage: who changed what, and when.",
    aliases: ["lineage"])
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String

  func run() throws {
    let phases = try server.client().campaignPhases(id)
    Console().show(["items": .array(phases)], asJSON: server.json) { Self.text(phases) }
  }

  /// A line for each phase in the order in which they run, changes under what they replaced.
  static func text(_ phases: [JSON]) -> String {
    var table = Table(["PHASE", "NAME", "STATE", "FROM", "TO", "STEPS", "AUTHOR", "CHANGES"], rightAligned: [3, 4, 5])
    let ordered = phases.sorted {
      let (a, b) = ($0["position"]?.integer ?? 0, $1["position"]?.integer ?? 0)
      return a == b ? ($0["number"]?.integer ?? 0) < ($1["number"]?.integer ?? 0) : a < b
    }
    for phase in ordered {
      let parent = phases.first { $0["number"] == phase["parent"] && $0["number"] != nil }
      table.add([
        (parent == nil ? "" : "└ ") + (phase.cell("number") ?? "?"), phase["phase"]?.cell("name"), phase.cell("state"),
        phase.cell("first_version"), phase.cell("last_version"), phase["phase"]?.cell("outer_steps"),
        phase.cell("author"), parent.map { differences($0, phase) } ?? "",
      ])
    }
    return table.text
  }

  private static func differences(_ old: JSON, _ new: JSON) -> String {
    guard let before = old["phase"].flatMap({ try? CampaignPhase.decode($0) }),
      let after = new["phase"].flatMap({ try? CampaignPhase.decode($0) })
    else { return "?" }
    return before.differences(to: after)
      .map { "\($0.path.dropFirst().replacingOccurrences(of: "/", with: "."))=\($0.to.text.prefix(60))" }
      .joined(separator: " ")
  }
}

struct CampaignEvents: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "events", abstract: "Show what happened to a campaign, oldest first.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @Option(help: "Only events with a higher number.") var after = 0

  func run() throws {
    let events = try server.client().events(campaign: id, after: after)
    Console().show(["items": .array(events)], asJSON: server.json) {
      events.map {
        "\($0.cell("seq") ?? "?")  \($0.cellTime("at") ?? "?")  \(Table.printable($0.cell("message") ?? ""))"
      }.joined(separator: "\n")
    }
  }
}

struct CampaignStepsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "steps", abstract: "Show a campaign's outer steps, several in a row where there are many.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @Option(help: "First version.") var from = 0
  @Option(help: "Last version.") var to: Int?
  @Option(help: "How many rows at most.") var maxPoints = 20
  @Flag(help: "Print comma-separated values.") var csv = false

  func run() throws {
    let steps = try server.client().campaignSteps(id, from: from, to: to, rowsMax: maxPoints)
    if csv { return Console().line(Self.csv(steps)) }
    Console().show(steps.json, asJSON: server.json) {
      var table = Table(
        ["STEP", "PHASE", "META-LOSS", "SURVIVING", "GRADIENT", "UPDATE", "STALENESS", "DISCARDED", "INNER STEPS/S"],
        rightAligned: [0, 1, 2, 3, 4, 5, 6, 7, 8])
      for row in steps.rows {
        table.add([
          String(row.version), String(row.phase), row.meanLoss.map(CurveView.short), CurveView.short(row.surviving),
          row.gradientNorm.map(CurveView.short), row.updateNorm.map(CurveView.short),
          row.staleness.map(CurveView.short), String(row.discarded),
          row.wallMilliseconds > 0 ? String(row.innerSteps * 1000 / row.wallMilliseconds) : nil,
        ])
      }
      return table.text + "\n\(steps.total) outer steps, \(steps.stride) in a row"
    }
  }

  private static func csv(_ steps: CampaignSteps) -> String {
    let head =
      "version,phase,mean_loss,surviving,gradient_norm,update_norm,clip_share,learning_rate,staleness,discarded,"
      + "inner_steps,wall_ms"
    func text(_ value: Double?) -> String { value.map { "\($0)" } ?? "" }
    let lines = steps.rows.map { row in
      [
        String(row.version), String(row.phase), text(row.meanLoss), text(row.surviving), text(row.gradientNorm),
        text(row.updateNorm), text(row.clipShare), text(row.learningRate), text(row.staleness), String(row.discarded),
        String(row.innerSteps), String(row.wallMilliseconds),
      ].joined(separator: ",")
    }
    return ([head] + lines).joined(separator: "\n")
  }
}

struct CampaignThetas: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "thetas", abstract: "List the versions of theta that are stored, newest first.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @Option(help: "How many at most.") var limit = 50

  func run() throws {
    let thetas = try server.client().campaignThetas(id, limit: limit)
    Console().show(["items": .array(thetas)], asJSON: server.json) {
      var table = Table(["VERSION", "BYTES", "KEPT", "CREATED", "SHA-256"], rightAligned: [0, 1])
      for theta in thetas {
        table.add([
          theta.cell("version"), theta.cell("bytes"), theta.cell("kept"), theta.cellTime("created_at"),
          theta.cell("sha256").map { String($0.prefix(16)) },
        ])
      }
      return table.text
    }
  }
}

struct CampaignExport: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Download a version of theta as safetensors, and check its hash.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @Option(help: "The version; default the newest that is stored.") var version: Int?
  @Option(name: .shortAndLong, help: "Where to write it.") var out = "theta.safetensors"

  func run() throws {
    let client = try server.client()
    let stored = try client.campaignThetas(id, limit: version == nil ? 1 : 10_000)
    let versions = stored.compactMap { $0["version"]?.integer }
    guard let theta = stored.first(where: { version == nil || $0["version"]?.integer == version }),
      let number = theta["version"]?.integer, let sha256 = theta["sha256"]?.string
    else {
      guard let version else {
        throw CommandFailure(.notFound, "campaign \(id) has no stored theta yet", cure: "Its first learner stores one.")
      }
      let nearest = versions.sorted { abs($0 - version) < abs($1 - version) }.prefix(5).sorted()
      throw CommandFailure(
        .notFound, "version \(version) is not stored",
        cure: "The nearest that are: \(nearest.map(String.init).joined(separator: ", ")).")
    }
    let written = try client.downloadTheta(
      campaign: id, version: number, to: URL(fileURLWithPath: out), sha256: sha256)
    Console().show(
      [
        "file": .string(out), "version": .integer(number), "bytes": .integer(written.bytes),
        "sha256": .string(written.sha256),
      ], asJSON: server.json
    ) { "\(out): version \(number), \(written.bytes) bytes" }
  }
}

struct CampaignPromote: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "promote",
    abstract: "Make a campaign's theta an optimizer of the registry, once a worker found it good.",
    discussion: "It becomes a candidate, which jobs get by its version; --release makes it the one they get.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @Option(help: "The version of theta; default the newest that is stored.") var version: Int?
  @Flag(help: "Release it: jobs that name no version get it.") var release = false
  @Flag(help: "Do not wait for the worker.") var noWait = false

  func run() throws {
    let client = try server.client()
    var optimizer = try client.promoteTheta(campaign: id, version: version, isReleased: release)
    let optimizerID = optimizer["id"]?.string ?? ""
    while !noWait, optimizer["state"]?.string == LearnedOptimizerRecord.State.validating.rawValue {
      optimizer = try client.optimizer(optimizerID, waitSeconds: 30)
    }
    Console().show(optimizer, asJSON: server.json) {
      "\(optimizerID)  \(optimizer.cell("name") ?? "") \(optimizer.cell("version") ?? "")  "
        + (optimizer.cell("state") ?? "")
    }
    if let problem = optimizer["problem"]?.string {
      throw CommandFailure(.jobFailed, "the theta was rejected: \(problem)")
    }
  }
}

struct CampaignBranchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "branch", abstract: "Go on from a version of a campaign in a campaign of its own.",
    discussion: """
      It runs what the campaign had left at that version, or the phases of --file, which may hold any of name, seed, data,
      mode, threads, evaluation and phases. `campaign thetas` lists the versions.
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @OptionGroup var branch: BranchOptions

  func run() throws {
    let campaign = try server.client().branchCampaign(id, branch.body())
    Console().show(campaign, asJSON: server.json) { campaign.cell("id") ?? "?" }
  }
}

struct CampaignRollback: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rollback", abstract: "Go back to a version: branch from it, and cancel the campaign, in one step.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The campaign's id.") var id: String
  @OptionGroup var branch: BranchOptions

  func run() throws {
    let answer = try server.client().branchCampaign(id, branch.body(), endsParent: true)
    Console().show(answer, asJSON: server.json) {
      let new = answer["campaign"]?.cell("id") ?? "?"
      return "\(new) goes on from version \(branch.version); \(id) is \(answer["rolled_back"]?.cell("state") ?? "?")"
    }
  }
}

/// Where a branch begins and what differs in it.
struct BranchOptions: ParsableArguments {
  @Option(help: "The version of theta to start from.") var version: Int
  @Option(help: "The new campaign's name.") var name: String?
  @Option(help: "Another seed.") var seed: Int?
  @Option(help: "local or distributed.") var mode: CampaignSpec.Mode?
  @Option(name: .shortAndLong, help: "A file, YAML or JSON, of what differs.") var file: String?

  /// The body of the request.
  func body() throws -> JSON {
    var members: [String: JSON] = [:]
    if let file {
      guard case .object(let own) = try SpecFile.json(file) else {
        throw CommandFailure(.usage, "\(file): expected an object")
      }
      members = own
    }
    members["version"] = .integer(version)
    if let name { members["name"] = .string(name) }
    if let seed { members["seed"] = .integer(seed) }
    if let mode { members["mode"] = .string(mode.rawValue) }
    return .object(members)
  }
}
