// `trainyard optimizer`: what trains jobs; a server's learned optimizers here, the other subcommands beside this file.
import ArgumentParser
import Client
import Contract

struct OptimizerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "optimizer", abstract: "List, import, export, release and replay optimizers.",
    subcommands: [
      OptimizerKinds.self, List.self, Get.self, OptimizerImport.self, OptimizerExport.self, OptimizerRelease.self,
      OptimizerDeprecate.self, OptimizerReplayCommand.self,
    ])

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List a server's learned optimizers, newest first; `kinds` lists all names.")
    @OptionGroup var server: ServerOptions

    func run() throws {
      let optimizers = try server.client().optimizers(limit: 200)
      Console().show(["items": .array(optimizers)], asJSON: server.json) {
        var table = Table(["OPTIMIZER", "NAME", "VERSION", "STATE", "PARAMETERS", "CREATED"], rightAligned: [2, 4])
        for optimizer in optimizers {
          table.add([
            optimizer.cell("id"), optimizer.cell("name"), optimizer.cell("version"), optimizer.cell("state"),
            optimizer.cell("parameters"), optimizer.cellTime("created_at"),
          ])
        }
        return table.text
      }
    }
  }

  struct Get: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show one optimizer with its provenance.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The optimizer's id.") var id: String

    func run() throws {
      let optimizer = try server.client().optimizer(id)
      Console().show(optimizer, asJSON: server.json) { optimizer.pretty }
    }
  }
}
