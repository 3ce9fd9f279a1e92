// A server's life as its operator sees it: first start, second start, trouble at the start, and every way to end.
import Client
import Contract
import Foundation
import Glibc
import Testing

@Suite(.serialized)
struct ServerLifeTests {
  @Test("the first start makes a private folder and one admin key, which is printed once and still works later")
  func firstAndSecondStart() throws {
    let server = try TestServer(workers: 0)
    #expect(try server.client().isReady())
    let key = server.data.appendingPathComponent("admin.key")
    let mode = try FileManager.default.attributesOfItem(atPath: key.path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    #expect(server.log.contains(try server.adminKey))
    let keys = try server.command("key", "list", "--json")
    #expect(keys.status == 0, "\(keys)")
    #expect(try keys.json()["items"]?.array?.count == 1)
    #expect(server.stop() == 0, "\(server.log)")
    #expect(server.descendants.isEmpty, "something of the server still runs")
    #expect(!FileManager.default.fileExists(atPath: server.data.appendingPathComponent("url").path))

    try FileManager.default.removeItem(at: server.folder.file("log"))
    let again = try TestServer(folder: server.folder, workers: 0)
    #expect(!again.log.contains(try again.adminKey))
    #expect(try again.command("job", "list").status == 0)
    #expect(again.stop() == 0)
  }

  @Test("a lost admin key is replaced by the database's owner")
  func lostKey() throws {
    let server = try TestServer(workers: 0)
    let key = server.data.appendingPathComponent("admin.key")
    try FileManager.default.removeItem(at: key)
    #expect(try server.command("job", "list").status == 4)
    let made = try server.command("key", "create", "--admin")
    #expect(made.status == 0, "\(made)")
    #expect(try server.command("key", "list").status == 0)
  }

  @Test("an ordinary key may not make keys, and a revoked one may do nothing")
  func keys() throws {
    let server = try TestServer(workers: 0)
    let made = try server.command("key", "create", "--name", "reader", "--scope", "jobs:read", "--json")
    let secret = try #require(made.json()["secret"]?.string), id = try #require(made.json()["id"]?.string)
    func with(_ secret: String, _ arguments: String...) throws -> Executable.Outcome {
      try Executable.run(arguments + ["--url", try server.url.absoluteString], environment: ["TRAINYARD_KEY": secret])
    }
    #expect(try with(secret, "job", "list").status == 0)
    let refused = try with(secret, "key", "create")
    #expect(refused.status == 4 && refused.errors.contains("key create"), "\(refused)")
    #expect(try server.command("key", "revoke", id).status == 0)
    #expect(try with(secret, "job", "list").status == 4)
    #expect(try with("ty_nonsense", "job", "list").status == 4)
  }

  @Test("what does not exist ends with exit code 3, a refused request names its fields")
  func refusals() throws {
    let server = try TestServer(workers: 0)
    let missing = Identifier.make(.job)
    for arguments in [["job", "get", missing], ["job", "follow", missing], ["job", "cancel", missing]] {
      let outcome = try Executable.run(arguments + ["--data", server.data.path])
      #expect(outcome.status == 3, "\(arguments): \(outcome)")
    }
    let spec = try server.folder.write("spec.json", Array(#"{"dataset": "x", "steps": 0, "learning_rate": 1}"#.utf8))
    let refused = try server.command("job", "submit", "--spec", spec)
    #expect(refused.status == 1)
    for path in ["/dataset", "/steps", "/learning_rate", "/model"] {
      #expect(refused.errors.contains(path), "\(refused)")
    }
    #expect(refused.errors.contains("there is no learning rate to choose"))
  }

  @Test("a second server on one folder is refused, and so is one on a port that is taken")
  func twoServers() throws {
    let server = try TestServer(workers: 0)
    let second = server.folder.file("second-log")
    let sameFolder = try TestServer.launch(data: server.data, log: second, workers: 0)
    sameFolder.waitUntilExit()
    #expect(sameFolder.terminationStatus == 1)
    let text = try String(contentsOf: second, encoding: .utf8)
    #expect(text.contains("another server uses") && text.contains("process \(server.process.processIdentifier)"))

    let other = try Folder()
    let port = try #require(server.url.port)
    let samePort = try TestServer.launch(
      data: other.file("data"), log: other.file("log"), workers: 0, listen: "127.0.0.1:\(port)")
    samePort.waitUntilExit()
    #expect(samePort.terminationStatus == 1)
    #expect(try String(contentsOf: other.file("log"), encoding: .utf8).contains("127.0.0.1:\(port)"))
    #expect(try server.client().isReady())
  }

  @Test("a folder that cannot be made, and a database that does not answer, end the start with one clear error")
  func troubleAtTheStart() throws {
    let folder = try Folder()
    let blocked = try TestServer.launch(data: URL(fileURLWithPath: "/proc/none"), log: folder.file("a"), workers: 0)
    blocked.waitUntilExit()
    #expect(blocked.terminationStatus == 1)
    #expect(try String(contentsOf: folder.file("a"), encoding: .utf8).contains("/proc/none"))

    let unreachable = try TestServer.launch(
      data: folder.file("data"), log: folder.file("b"), workers: 0,
      environment: ["TRAINYARD_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"])
    unreachable.waitUntilExit()
    #expect(unreachable.terminationStatus == 1)
    let text = try String(contentsOf: folder.file("b"), encoding: .utf8)
    #expect(text.contains("database"), "\(text)")
  }

  @Test("killing a server takes its workers and its database along, and the next start finds everything")
  func killed() throws {
    let server = try TestServer(workers: 2)
    #expect(eventually(seconds: 30) { server.workers.count == 2 })
    let csv = try server.folder.write("flowers.csv", SampleData.csv(rows: 90))
    let added = try server.command("dataset", "add", csv, "--json")
    let dataset = try #require(added.json()["id"]?.string, "\(added)")
    server.kill9()
    #expect(eventually(seconds: 60) { server.descendants.isEmpty }, "left: \(server.descendants)")

    let again = try TestServer(folder: server.folder, workers: 1)
    let found = try again.command("dataset", "get", dataset, "--json")
    #expect(try found.json()["state"] == "ready", "\(found)")
    #expect(again.stop() == 0)
    #expect(again.descendants.isEmpty)
  }

  @Test("a worker that dies is started again")
  func workerRestart() throws {
    let server = try TestServer(workers: 1)
    #expect(eventually(seconds: 30) { server.workers.count == 1 })
    let first = try #require(server.workers.first)
    kill(first, SIGKILL)
    #expect(eventually(seconds: 30) { server.workers.contains { $0 != first } }, "\(server.log)")
    #expect(server.stop() == 0)
  }
}
