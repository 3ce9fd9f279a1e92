// `trainyard model`: definitions, and what one would cost to train.
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
    commandName: "model", abstract: "Store and check model definitions.",
    subcommands: [Add.self, List.self, Get.self, Check.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Store a model definition.")
    @OptionGroup var server: ServerOptions
    @OptionGroup var options: ModelOptions
    @Option(help: "The definition's name.") var name: String

    func run() throws {
      guard let model = try options.members()["model"] else {
        throw CommandFailure(.usage, "--model-id names a definition that is stored already")
      }
      let stored = try server.client().createModel(name: name, model: model)
      Console().show(stored, asJSON: server.json) { stored.cell("id") ?? "" }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List definitions, newest first.")
    @OptionGroup var server: ServerOptions
    @Option(help: "How many at most.") var limit = 50

    func run() throws {
      let models = try server.client().models(limit: max(1, limit))
      Console().show(["items": .array(models)], asJSON: server.json) {
        var table = Table(["MODEL", "NAME", "CREATED", "DEFINITION"])
        for model in models {
          let text = model["model"]?.text ?? ""
          table.add([
            model.cell("id"), model.cell("name"), model.cellTime("created_at"),
            text.count <= 60 ? text : text.prefix(57) + "...",
          ])
        }
        return table.text
      }
    }
  }

  struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show one definition.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The definition's id.") var id: String

    func run() throws {
      let model = try server.client().model(id)
      Console().show(model, asJSON: server.json) { model.pretty }
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
