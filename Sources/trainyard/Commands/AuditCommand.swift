// `trainyard audit`: who changed what, as the server wrote it down.
import ArgumentParser
import Client
import Contract
import Foundation

struct AuditCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit", abstract: "Read the log of changes.", subcommands: [List.self])

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List changes, newest first.")
    @OptionGroup var server: ServerOptions
    @Option(help: "Those of one action, such as job.create.") var action: String?
    @Option(help: ArgumentHelp("Those about one thing.", valueName: "id")) var subject: String?
    @Option(help: ArgumentHelp("Those of that time and later.", valueName: "RFC 3339 time")) var since: String?
    @Option(help: "How many at most.") var limit = 50

    func run() throws {
      let filters = ["action": action, "subject": subject, "since": since].compactMapValues { $0 }
      let entries = try server.client().audit(filters, limit: limit)
      Console().show(["items": .array(entries)], asJSON: server.json) {
        var table = Table(["TIME", "ACTION", "SUBJECT", "KEY", "DETAIL"])
        for entry in entries {
          table.add([
            entry.cellTime("at"), entry.cell("action"), entry.cell("subject"), entry.cell("key"),
            entry["detail"]?.text,
          ])
        }
        return table.text
      }
    }
  }
}
