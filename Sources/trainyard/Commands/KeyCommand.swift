// `trainyard key`: API keys of a running server.
import ArgumentParser
import Client
import Contract
import Foundation
import Store

struct KeyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "key", abstract: "Make, list, rotate and revoke API keys.",
    subcommands: [Create.self, List.self, Rotate.self, Revoke.self])

  struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a key; its secret is shown once.",
      discussion: """
        With --admin the key is made in the database itself, by whoever may reach that: the way back in when the first
        key is lost. It has all scopes and becomes the data folder's admin.key.
        """)

    @OptionGroup var server: ServerOptions
    @Flag(help: "Make an admin key in the database itself; works without a key, and without a running server.")
    var admin = false
    @Option(help: ArgumentHelp("With --admin: the database, unless it is the data folder's own.", valueName: "url"))
    var databaseURL: String?
    @Option(help: "What the key is for.") var name: String?
    @Option(
      help: ArgumentHelp("May be given several times; default all but those of administrators.", valueName: "scope"))
    var scope: [String] = []
    @Option(help: ArgumentHelp("The project it is for; default that of your own key.", valueName: "id"))
    var project: String?
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
      let key =
        admin
        ? try makeInDatabase(expiresAt: expiry)
        : try server.client().createKey(
          name: name ?? "cli", scopes: scopes, expiresAt: expiry, project: project)
      Console().show(key, asJSON: server.json) {
        """
        \(key.cell("secret") ?? "")

        This is the only time the secret of key \(key.cell("id") ?? "?") is shown. Use it as TRAINYARD_KEY.
        """
      }
    }

    private func makeInDatabase(expiresAt: Timestamp?) throws -> JSON {
      guard scope.isEmpty else {
        throw CommandFailure(.usage, "--admin makes a key with all scopes; leave --scope out")
      }
      let settings = try Settings(
        flags: SettingFlags(data: server.data, databaseURL: databaseURL),
        environment: ProcessInfo.processInfo.environment, cores: 1)
      return try withDatabase(settings) { connection in
        let store = try Store(connection: connection, connectionsMax: 1, applicationName: "trainyard key")
        defer { store.close() }
        try store.requireCurrentSchema()
        let (key, secret) = try store.createKey(
          name: name ?? "admin", scopes: Set(Scope.allCases), expiresAt: expiresAt,
          project: project ?? ServerProcess.project)
        if let folder = settings.dataFolder { try DataFolder.writeAdminKey(secret, in: folder) }
        guard case .object(var members) = key.json else { return key.json }
        members["secret"] = .string(secret)
        return .object(members)
      }
    }

    /// The scopes that were named, or all but those of administrators.
    static func scopes(_ names: [String]) throws -> Set<Scope> {
      if names.isEmpty { return Set(Scope.allCases).subtracting(Scope.administrators) }
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
    @Option(help: ArgumentHelp("Those of this project; default that of your own key.", valueName: "id"))
    var project: String?

    func run() throws {
      let keys = try server.client().keys(project: project)
      Console().show(["items": .array(keys)], asJSON: server.json) {
        var table = Table(["KEY", "NAME", "SCOPES", "CREATED", "LAST USED", "EXPIRES", "REVOKED"])
        for key in keys {
          let scopes = (key["scopes"]?.array ?? []).compactMap(\.string)
          table.add([
            key.cell("id"), key.cell("name"),
            scopes.count == Scope.allCases.count ? "all" : scopes.joined(separator: ","), key.cellTime("created_at"),
            key.cellTime("last_used_at"), key.cellTime("expires_at"), key.cellTime("revoked_at"),
          ])
        }
        return table.text
      }
    }
  }

  struct Rotate: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Give a key a new secret, which is shown once; the old one works on for a while.")
    @OptionGroup var server: ServerOptions
    @Argument(help: "The key's id.") var id: String
    @Option(help: ArgumentHelp("How long the old secret works on, at most 30 days.", valueName: "seconds"))
    var overlap = 3600

    func run() throws {
      let key = try server.client().rotateKey(id, overlapSeconds: overlap)
      Console().show(key, asJSON: server.json) {
        """
        \(key.cell("secret") ?? "")

        This is the only time the new secret of key \(id) is shown. \(
          key.cellTime("former_until").map { "The old one works until \($0) UTC." } ?? "The old one works no more.")
        """
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
