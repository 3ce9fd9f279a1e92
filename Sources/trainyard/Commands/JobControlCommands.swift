// `trainyard job pause`, `resume`, `cancel`, `extend`, `set` and `delete`: what is asked of jobs that exist.
import ArgumentParser
import Client
import Contract
import Foundation

struct JobPause: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pause", abstract: "Ask a job to pause; it keeps its state and goes on exactly when it is resumed.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String

  func run() throws { try act(.pause, on: id, server) }
}

struct JobResume: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "resume", abstract: "Let a paused job go on.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String

  func run() throws { try act(.resume, on: id, server) }
}

struct JobCancel: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "cancel", abstract: "Ask a job to stop for good.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String

  func run() throws { try act(.cancel, on: id, server) }
}

private func act(_ action: APIClient.JobAction, on id: String, _ server: ServerOptions) throws {
  let job = try server.client().job(id, action)
  Console().show(job, asJSON: server.json) { "\(id) is \(job.cell("state") ?? "?")" }
}

struct JobExtend: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "extend", abstract: "Add steps to a job; one that has succeeded is gone on with by a new job.",
    discussion: """
      Prints the id of the job that has the steps. They begin where the budget before them ends, whenever they are asked
      for. What plans over the total, such as a learned optimizer, plans anew from there on.
      """)
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String
  @Option(help: "How many steps to add.") var steps: Int
  @Option(help: ArgumentHelp("Key under which sending the same twice adds the steps once.", valueName: "text"))
  var idempotencyKey: String?

  func run() throws {
    let job = try server.client().extendJob(id, steps: steps, idempotencyKey: idempotencyKey)
    Console().show(job, asJSON: server.json) { job.cell("id") ?? id }
  }
}

struct JobSet: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "set", abstract: "Change a job's name, tags or priority.",
    discussion: "Nothing that the training depends on can be changed.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String
  @Option(help: "The new name; an empty one takes the name away.") var name: String?
  @Option(
    help: ArgumentHelp("A tag; all that are given together replace those there were.", valueName: "key=value"))
  var tag: [String] = []
  @Flag(help: "Take all tags away.") var noTags = false
  @Option(help: "0 (first) to 9 (last).") var priority: Int?
  @Option(help: "Only if the job is at this revision still.") var revision: Int?

  func validate() throws {
    guard name != nil || !tag.isEmpty || noTags || priority != nil else {
      throw ValidationError("give --name, --tag, --no-tags or --priority")
    }
    guard tag.isEmpty || !noTags else { throw ValidationError("give either --tag or --no-tags") }
  }

  func run() throws {
    var body: [String: JSON] = [:]
    if let name { body["name"] = name.isEmpty ? .null : .string(name) }
    if !tag.isEmpty || noTags { body["tags"] = try JobTags.json(tag) }
    if let priority { body["priority"] = .integer(priority) }
    let job = try server.client().changeJob(id, .object(body), revision: revision)
    Console().show(job, asJSON: server.json) { JobCommand.Get.text(job) }
  }
}

struct JobDelete: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Delete a job that is over, with its curves and files.")
  @OptionGroup var server: ServerOptions
  @Argument(help: "The job's id.") var id: String

  func run() throws {
    try server.client().deleteJob(id)
    Console().show(["id": .string(id), "deleted": true], asJSON: server.json) { "deleted \(id)" }
  }
}

/// Tags as the command line writes them, `key=value`.
enum JobTags {
  /// One tag.
  ///
  /// - Throws: ``CommandFailure`` for what is none.
  static func pair(_ text: String) throws -> (name: String, value: String) {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, !parts[0].isEmpty else {
      throw CommandFailure(.usage, "--tag: expected key=value, got \"\(text)\"")
    }
    return (parts[0], parts[1])
  }

  /// Tags as a request has them.
  static func json(_ texts: [String]) throws -> JSON {
    var tags: [String: JSON] = [:]
    for text in texts {
      let (name, value) = try pair(text)
      tags[name] = .string(value)
    }
    return .object(tags)
  }

  /// The tags of a job on one line; nil if it has none.
  static func text(_ tags: JSON?) -> String? {
    guard case .object(let members)? = tags, !members.isEmpty else { return nil }
    return members.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.string ?? "")" }.joined(separator: " ")
  }
}
