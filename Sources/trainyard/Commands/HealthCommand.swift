// `trainyard health`: whether a server can serve requests now, as an exit code for those who watch containers and units.
import ArgumentParser
import Client
import Contract
import Foundation

struct HealthCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "health", abstract: "Ask a server whether it is ready; exit code 1 when it is not.",
    discussion: "It needs no key. With --data it asks the server of that folder.")
  @OptionGroup var server: ServerOptions

  func run() throws {
    let client = try server.client()
    guard client.isReady() else {
      throw CommandFailure(
        .failure, "the server at \(client.server.absoluteString) is not ready",
        cure: "Its log says why: the database is away, its schema is not current, or the server does not run.")
    }
    Console().show(["ready": true], asJSON: server.json) { "ready" }
  }
}
