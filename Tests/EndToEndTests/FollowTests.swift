// Jobs followed from the command line, over everything that can happen to the server meanwhile.
import Client
import Contract
import Foundation
import Glibc
import Testing

@Suite(.serialized)
struct FollowTests {
  /// A server on a port that stays the same over restarts.
  private static let environment = ["TRAINYARD_LEASE_SECONDS": "2", "TRAINYARD_CHECKPOINT_SECONDS": "0.5"]

  private func submit(_ server: TestServer, steps: Int) throws -> String {
    let csv = try server.folder.write("flowers.csv", SampleData.csv(rows: 600))
    let added = try server.command("dataset", "add", csv, "--json")
    let dataset = try #require(added.json()["id"]?.string, "\(added)")
    let made = try server.command(
      "job", "submit", "--dataset", dataset, "--steps", String(steps), "--hidden", "32", "--optimizer", "adam", "--json"
    )
    return try #require(made.json()["id"]?.string, "\(made)")
  }

  @Test("followers of a job and of its JSON see it to its end over a server that is killed and started again")
  func killedServer() throws {
    let server = try TestServer(environment: Self.environment)
    let id = try submit(server, steps: 60_000)
    let address = try server.url.absoluteString
    func follow(_ more: String...) throws -> Executable.Running {
      try Executable.Running(
        ["job", "follow", id, "--url", address] + more, environment: ["TRAINYARD_KEY": try server.adminKey])
    }
    let lines = try follow()
    let json = try follow("--json")
    #expect(eventually(seconds: 120) { json.output.contains("\"state\":\"running\"") && lines.output.contains("step") })
    server.kill9()
    #expect(eventually(seconds: 60) { server.descendants.isEmpty })
    #expect(lines.process.isRunning && json.process.isRunning, "a server that is away is no end")
    let again = try TestServer(
      folder: server.folder, listen: "127.0.0.1:\(try #require(URL(string: address)?.port))",
      environment: Self.environment)
    let followed = try lines.outcome()
    #expect(followed.status == 0, "\(followed)\n\(again.log)")
    #expect(followed.output.contains("succeeded") && followed.output.contains("held-out accuracy"), "\(followed)")
    let documents = try json.outcome()
    #expect(documents.status == 0, "\(documents)")
    let states = try documents.output.split(separator: "\n").map { try JSON.parse(String($0)) }
    #expect(states.last?["state"] == "succeeded" && states.last?["step"] == 60_000)
    #expect(states.dropLast().allSatisfy { $0["state"] != "succeeded" })
    // A change a line.
    let revisions = states.compactMap { $0["revision"]?.integer }
    #expect(zip(revisions, revisions.dropFirst()).allSatisfy { $0 < $1 })
    #expect(try (again.client().job(id)["attempt"]?.integer ?? 0) > 1)
  }

  @Test("a follower ends with 5 for a job that was cancelled, 130 when interrupted, 4 when its key is revoked")
  func endings() throws {
    let server = try TestServer(environment: Self.environment)
    let id = try submit(server, steps: 100_000_000)
    let data = ["--data", server.data.path]
    let made = try server.command("key", "create", "--name", "reader", "--scope", "jobs:read", "--json").json()
    let reader = try Executable.Running(
      ["job", "follow", id, "--url", try server.url.absoluteString],
      environment: ["TRAINYARD_KEY": try #require(made["secret"]?.string)])
    let left = try Executable.Running(["job", "follow", id] + data)
    let stays = try Executable.Running(["job", "follow", id] + data)
    #expect(
      eventually(seconds: 60) { [reader, left, stays].allSatisfy { $0.output.contains("running") } },
      "\(reader.output)\(left.output)\(stays.output)")
    kill(left.process.processIdentifier, SIGINT)
    let interrupted = try left.outcome()
    #expect(interrupted.status == 130 && interrupted.errors.contains("job follow \(id)"), "\(interrupted)")
    #expect(try server.client().job(id)["state"] == "running", "the job goes on without its follower")
    #expect(try server.command("key", "revoke", try #require(made["id"]?.string)).status == 0)
    #expect(try reader.outcome().status == 4)
    #expect(stays.process.isRunning)
    #expect(try server.command("job", "cancel", id).status == 0)
    let cancelled = try stays.outcome()
    #expect(cancelled.status == 5 && cancelled.errors.contains("cancelled"), "\(cancelled)")
  }
}
