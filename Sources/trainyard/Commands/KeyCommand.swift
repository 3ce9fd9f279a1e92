// `trainyard key`: API keys of a running server.
import ArgumentParser
import Client
import Contract
import Foundation

struct KeyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key", abstract: "Make, list and revoke API keys.", subcommands: [Create.self, List.self, Revoke.self])

  struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a key; its secret is shown once.",
      discussion: "With --admin the key is made in the database of the data folder itself: the way back in.")

    @OptionGroup var server: ServerOptions
    @Option(help: "What the key is for.") var name = "cli"
    @Option(help: ArgumentHelp("May be given several times; default all but keys:admin.", valueName: "scope"))
    var scope: [String] = []
    @Option(help: ArgumentHelp("End of the key's life.", valueName: "RFC 3339 time")) var expiresAt: String?

    func run() throws {
      let scopes = try Self.scopes(scope)
      var expiry: Timestamp?
      if let expiresAt {
        expiry = Timestamp(rfc3339: expiresAt)
        if expiry == nil {
          throw CommandFailure(
            .usage, "--expires-at: expected a time such as 2027-01-31T12:00:00Z, got \"\(expiresAt)\"")
        }
      }
      let key = try server.client().createKey(name: name, scopes: scopes, expiresAt: expiry)
      Console().show(key, asJSON: server.json) {
        """
        \(key.cell("secret") ?? "")

        This is the only time the secret of key \(key.cell("id") ?? "?") is shown. Use it as TRAINYARD_KEY.
        """
      }
    }

    /// The scopes that were named, or all but the one that makes keys.
    static func scopes(_ names: [String]) throws -> Set<Scope> {
      if names.isEmpty { return Set(Scope.allCases).subtracting([.keysAdmin]) }
      return try Set(
        names.map { name in
          guard let scope = Scope(rawValue: name) else {
            let known = Scope.allCases.map(\.rawValue).joined(separator: ", ")
            throw CommandFailure(.usage, "--scope: expected one of \(known), got \"\(name)\"")
          }
          return scope
        })
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List keys, without their secrets.")
    @OptionGroup var server: ServerOptions

    func run() throws {
      let keys = try server.client().keys()
      Console().show(["items": .array(keys)], asJSON: server.json) {
        var table = Table(["KEY", "NAME", "SCOPES", "CREATED", "LAST USED", "REVOKED"])
        for key in keys {
          let scopes = (key["scopes"]?.array ?? []).compactMap(\.string)
          table.add([
            key.cell("id"), key.cell("name"),
            scopes.count == Scope.allCases.count ? "all" : scopes.joined(separator: ","), key.cellTime("created_at"),
            key.cellTime("last_used_at"), key.cellTime("revoked_at"),
          ])
        }
        return table.text
      }
    }
  }

  struct Revoke: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "End a key's life at once.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The key's id.") var id: String

    func run() throws {
      let key = try server.client().revokeKey(id)
      Console().show(key, asJSON: server.json) { "revoked \(id)" }
    }
  }
}
