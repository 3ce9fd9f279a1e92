// `trainyard model`: definitions and files, and what one would cost to train.
import ArgumentParser
import Client
import Contract
import Foundation

/// The ways to describe a model on the command line.
struct ModelOptions: ParsableArguments {
  @Option(help: ArgumentHelp("File with the model as JSON; - for standard input.", valueName: "file"))
  var model: String?
  @Option(help: ArgumentHelp("Id of a stored definition.", valueName: "id")) var modelID: String?
  @Option(
    help: ArgumentHelp(
      "A family of models with its usual sizes: \(Preset.Name.allCases.map(\.rawValue).joined(separator: ", ")).",
      valueName: "name"))
  var preset: String?
  @Option(help: ArgumentHelp("Widths of the preset's hidden layers, such as 128,128.", valueName: "widths"))
  var hidden: String?
  @Option(help: "Non-linearity of the preset's hidden layers.") var activation: String?

  /// Whether anything was said about a model.
  var isGiven: Bool { model != nil || modelID != nil || preset != nil || hidden != nil || activation != nil }

  /// The members of a request that name the model; an mlp of the server's default size when nothing is said.
  func members() throws -> [String: JSON] {
    let isPreset = preset != nil || hidden != nil || activation != nil
    switch (model, modelID, isPreset) {
    case (let file?, nil, false): return ["model": try readJSON(file)]
    case (nil, let id?, false): return ["model_id": .string(id)]
    case (nil, nil, _):
      var preset: [String: JSON] = ["preset": .string(self.preset ?? Preset.Name.mlp.rawValue)]
      if let hidden {
        preset["hidden"] = .array(
          try hidden.split(separator: ",", omittingEmptySubsequences: true).map { word in
            guard let width = Int(word.trimmingCharacters(in: .whitespaces)) else {
              throw CommandFailure(.usage, "--hidden: expected widths such as 128,128, got \"\(hidden)\"")
            }
            return .integer(width)
          })
      }
      if let activation { preset["activation"] = .string(activation) }
      return ["model": .object(preset)]
    default:
      throw CommandFailure(
        .usage, "give the model once: --model FILE, --model-id ID, or --preset with --hidden and --activation")
    }
  }
}

struct ModelCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "model", abstract: "Store, upload and check models.",
    subcommands: [Add.self, List.self, Get.self, Delete.self, Check.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Store a model definition, or upload an ONNX file.",
      discussion: "A file is read by a worker; the command waits for that and shows what is in it, or what is wrong.")
    @OptionGroup var server: ServerOptions
    @OptionGroup var options: ModelOptions
    @Option(help: "The model's name.") var name: String
    @Option(help: ArgumentHelp("An ONNX file in place of a definition.", valueName: "file")) var onnx: String?
    @Flag(help: "Do not wait for the validation of a file.") var noWait = false
    @Option(help: ArgumentHelp("Seconds to wait for it.", valueName: "seconds")) var timeout = 600.0

    func run() throws {
      if let onnx { return try upload(onnx) }
      guard let model = try options.members()["model"] else {
        throw CommandFailure(.usage, "--model-id names a definition that is stored already")
      }
      let stored = try server.client().createModel(name: name, model: model)
      Console().show(stored, asJSON: server.json) { stored.cell("id") ?? "" }
    }

    private func upload(_ file: String) throws {
      guard !options.isGiven else { throw CommandFailure(.usage, "give the model once: --onnx FILE, or a definition") }
      let client = try server.client()
      var model = try client.createModel(name: name, onnx: file)
      let id = model["id"]?.string ?? ""
      let deadline = ContinuousClock.now + .seconds(timeout)
      while !noWait, model["state"]?.string == DatasetState.validating.rawValue {
        guard ContinuousClock.now < deadline else {
          throw CommandFailure(
            .timedOut, "the model \(id) is still being validated",
            cure: "Is a worker running? `trainyard doctor` looks; `trainyard model get \(id)` tells when it is done.")
        }
        let asked = ContinuousClock.now
        model = try client.model(id, waitSeconds: 5)
        // A server that does not hold the answer is not to be asked in a tight loop.
        if ContinuousClock.now - asked < .seconds(0.1) { Thread.sleep(forTimeInterval: 0.1) }
      }
      if model["state"]?.string == DatasetState.rejected.rawValue {
        throw CommandFailure(
          .jobFailed, "the model \(id) was rejected: \(model["file"]?["problem"]?.string ?? "")",
          cure: "Mend what it says and upload the file again.")
      }
      Console().show(model, asJSON: server.json) { id }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List models, newest first.")
    @OptionGroup var server: ServerOptions
    @Option(help: "How many at most.") var limit = 50

    func run() throws {
      let models = try server.client().models(limit: max(1, limit))
      Console().show(["items": .array(models)], asJSON: server.json) {
        var table = Table(["MODEL", "NAME", "STATE", "CREATED", "DEFINITION"])
        for model in models {
          let text = model["format"]?.string == "onnx" ? "ONNX file" : model["model"]?.text ?? ""
          table.add([
            model.cell("id"), model.cell("name"), model.cell("state"), model.cellTime("created_at"),
            text.count <= 60 ? text : text.prefix(57) + "...",
          ])
        }
        return table.text
      }
    }
  }

  struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show one model.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The model's id.") var id: String

    func run() throws {
      let model = try server.client().model(id)
      Console().show(model, asJSON: server.json) { model.pretty }
    }
  }

  struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete a model that no unfinished job needs.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The model's id.") var id: String

    func run() throws {
      try server.client().deleteModel(id)
      Console().show(["deleted": .string(id)], asJSON: server.json) { "deleted \(id)" }
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show shapes, parameters, memory and cost of a model without storing it.")
    @OptionGroup var server: ServerOptions
    @OptionGroup var options: ModelOptions
    @Option(help: ArgumentHelp("Dataset it is to be trained on.", valueName: "id")) var dataset: String
    @Option(help: "Examples a step.") var batchSize: Int?

    func run() throws {
      var body = try options.members()
      body["dataset"] = .string(dataset)
      if let batchSize { body["batch_size"] = .integer(batchSize) }
      let check = try server.client().checkModel(.object(body))
      Console().show(check, asJSON: server.json) { check.pretty }
    }
  }
}
