// `trainyard job`: submit and watch jobs. JobControlCommands.swift has what is asked of jobs that exist,
// JobResultCommands.swift their curves and files.
import ArgumentParser
import Client
import Contract
import Foundation

struct JobCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "job", abstract: "Submit, follow and inspect training jobs.",
    subcommands: [
      Submit.self, List.self, Get.self, Follow.self, JobPause.self, JobResume.self, JobCancel.self, JobExtend.self,
      JobSet.self, JobDelete.self, CurveCommand.self, EventsCommand.self, CheckpointsCommand.self, DownloadCommand.self,
    ])

  struct Submit: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Submit a job: a dataset, a model and a step budget. There is no learning rate to choose.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var model: ModelOptions
    @Option(help: ArgumentHelp("The dataset.", valueName: "id")) var dataset: String?
    @Option(help: "The step budget.") var steps: Int?
    @Option(help: "Examples a step.") var batchSize: Int?
    @Option(
      help:
        "auto (the released learned optimizer), or any other by name; `optimizer list` and GET /v1/capabilities tell them."
    )
    var optimizer: OptimizerName?
    @Option(help: "Version of a learned optimizer; default the newest released one.") var optimizerVersion: Int?
    @Option(help: "Only for optimizers that have one.") var learningRate: Double?
    @Option(
      help: ArgumentHelp(
        "An option of the optimizer, such as weight_decay=1e-6; may be given several times.", valueName: "key=value"))
    var optimizerOption: [String] = []
    @Option(help: "Seed of everything random.") var seed: Int?
    @Option(help: "Steps between evaluations on the held-out part.") var evaluateEvery: Int?
    @Option(help: "A name to find it by.") var name: String?
    @Option(help: ArgumentHelp("A tag; may be given several times.", valueName: "key=value")) var tag: [String] = []
    @Option(help: "0 (first) to 9 (last).") var priority: Int?
    @Option(help: ArgumentHelp("File with the whole request as JSON; - for standard input.", valueName: "file"))
    var spec: String?
    @Option(help: ArgumentHelp("Key under which sending the same twice makes one job.", valueName: "text"))
    var idempotencyKey: String?
    @Flag(help: "Follow the job to its end; the exit code is its outcome.") var follow = false
    @Option(help: ArgumentHelp("With --follow: give up waiting after this time.", valueName: "seconds"))
    var timeout: Double?

    func run() throws {
      let client = try server.client()
      let job = try client.createJob(try body(), idempotencyKey: idempotencyKey)
      guard let id = job["id"]?.string else {
        throw CommandFailure(.failure, "the server's answer has no job id: \(job.text.prefix(200))")
      }
      if follow {
        try Follow.follow(id, client: client, json: server.json, timeout: timeout)
      } else {
        Console().show(job, asJSON: server.json) { id }
      }
    }

    /// The request: the file's, if there is one, with what the flags say on top.
    private func body() throws -> JSON {
      var members: [String: JSON] = [:]
      if let spec {
        guard case .object(let read) = try readJSON(spec) else {
          throw CommandFailure(.usage, "--spec: expected a JSON object with the members of a job")
        }
        members = read
      }
      if spec == nil || model.model != nil || model.modelID != nil || model.preset != nil || model.hidden != nil
        || model.activation != nil
      {
        members["model"] = nil
        members["model_id"] = nil
        members.merge(try model.members()) { $1 }
      }
      if let dataset { members["dataset"] = .string(dataset) }
      if let steps { members["steps"] = .integer(steps) }
      if let batchSize { members["batch_size"] = .integer(batchSize) }
      if let seed { members["seed"] = .integer(seed) }
      if let evaluateEvery { members["evaluate_every"] = .integer(evaluateEvery) }
      if let name { members["name"] = .string(name) }
      if let priority { members["priority"] = .integer(priority) }
      if optimizer != nil || optimizerVersion != nil || learningRate != nil || !optimizerOption.isEmpty {
        var choice = try OptimizerArguments.members(options: optimizerOption)
        choice["name"] = .string((optimizer ?? .auto).rawValue)
        if let optimizerVersion { choice["version"] = .integer(optimizerVersion) }
        if let learningRate { choice["learning_rate"] = .number(learningRate) }
        members["optimizer"] = .object(choice)
      }
      if !tag.isEmpty { members["tags"] = try JobTags.json(tag) }
      return .object(members)
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List jobs, newest first.")
    @OptionGroup var server: ServerOptions
    @Option(help: "Only jobs in this state.") var state: String?
    @Option(help: ArgumentHelp("Only jobs with this tag.", valueName: "key=value")) var tag: String?
    @Option(help: "How many at most.") var limit = 50

    func run() throws {
      let pair = try tag.map { try JobTags.pair($0) }
      let jobs = try server.client().jobs(
        state: state, tag: pair.map { "\($0.name):\($0.value)" }, limit: max(1, limit))
      Console().show(["items": .array(jobs)], asJSON: server.json) {
        var table = Table(
          ["JOB", "NAME", "STATE", "STEP", "STEPS", "LOSS", "OPTIMIZER", "TAGS", "CREATED"], rightAligned: [3, 4, 5])
        for job in jobs {
          table.add([
            job.cell("id"), job.cell("name"), job.cell("state"), job.cell("step"), job.cell("steps"), job.cell("loss"),
            job["optimizer"]?.cell("name"), JobTags.text(job["tags"]), job.cellTime("created_at"),
          ])
        }
        return table.text
      }
    }
  }

  struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show one job.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The job's id.") var id: String

    func run() throws {
      let job = try server.client().job(id)
      Console().show(job, asJSON: server.json) { Self.text(job) }
    }

    /// What people want to know of a job, in a few lines.
    static func text(_ job: JSON) -> String {
      var lines = [
        "\(job.cell("id") ?? "?")\(job.cell("name").map { "  " + Table.printable($0) } ?? "")  \(job.cell("state") ?? "?")"
          + " (\(job.cell("reason") ?? "?"))",
        "  step \(job.cell("step") ?? "?") of \(job.cell("steps") ?? "?"), loss \(job.cell("loss") ?? "-"), "
          + "attempt \(job.cell("attempt") ?? "?")",
        "  optimizer \(job["optimizer"]?.text ?? "?")\(job.cell("optimizer_id").map { " (\($0))" } ?? "")",
        "  model \(job["model"]?.text ?? "?"), dataset \(job.cell("dataset") ?? "?"), seed \(job.cell("seed") ?? "?")",
      ]
      if let tags = JobTags.text(job["tags"]) { lines.append("  tags \(Table.printable(tags))") }
      if let extended = job.cell("extends") {
        lines.append("  goes on from step \(job.cell("first_step") ?? "?"), the end of \(extended)")
      }
      if let fallback = job["fallback"], fallback != .null {
        lines.append(
          "  \(fallback["optimizer"]?.cell("name") ?? "?") took over at step \(fallback.cell("from_step") ?? "?"): "
            + Table.printable(fallback.cell("reason") ?? ""))
      }
      if let message = job.cell("message") { lines.append("  \(Table.printable(message))") }
      if let result = job["result"], result != .null { lines.append("  " + Self.result(result)) }
      return lines.joined(separator: "\n")
    }

    /// The measures of a finished run on one line.
    static func result(_ result: JSON) -> String {
      let heldOut = Metrics.heldOut(result).ordered.map { ", held-out \($0.metric.words) \($0.metric.text($0.value))" }
      return "training loss \(result.cell("train_loss") ?? "-")" + heldOut.joined()
    }
  }

  struct Follow: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Follow a job to its end; the exit code is its outcome.",
      discussion: "Exit codes: 0 succeeded, 5 failed or cancelled, 6 the --timeout passed first.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The job's id.") var id: String
    @Option(help: ArgumentHelp("Give up waiting after this time.", valueName: "seconds")) var timeout: Double?

    func run() throws {
      try Self.follow(id, client: try server.client(), json: server.json, timeout: timeout)
    }

    /// Follows a job, prints its outcome, and throws unless it succeeded.
    static func follow(_ id: String, client: APIClient, json: Bool, timeout: Double?) throws {
      let console = Console()
      let follower = JobFollower(
        client: client, console: console, form: json ? .json : console.isTerminal ? .live : .lines,
        signals: TerminationSignals(), timeoutSeconds: timeout)
      let job = try follower.follow(id)
      if !json, let result = job["result"], result != .null { console.line("\(id): \(Get.result(result))") }
      switch job["state"]?.string.flatMap(JobState.init) {
      case .succeeded: return
      case .cancelled: throw CommandFailure(.jobFailed, "job \(id) was cancelled")
      default:
        throw CommandFailure(
          .jobFailed, "job \(id) failed (\(job.cell("reason") ?? "unknown")): \(job.cell("message") ?? "no message")",
          cure: "`trainyard job events \(id)` tells what led there.")
      }
    }
  }
}
