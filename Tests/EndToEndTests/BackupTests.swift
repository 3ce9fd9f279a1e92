// scripts/backup and scripts/restore as an operator runs them: while the server works, into an empty folder, and all the
// cases in which they must refuse.
import Client
import Contract
import Foundation
import Testing

@Suite(.serialized)
struct BackupTests {
  private static let scripts = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("scripts")

  /// Runs one of the two scripts with the program under test.
  private func script(_ name: String, _ arguments: String...) throws -> Executable.Outcome {
    try Executable.run(
      arguments, program: Self.scripts.appendingPathComponent(name).path,
      environment: ["TRAINYARD_PROGRAM": Executable.path])
  }

  /// A dataset and the id of a job that has succeeded.
  private func train(_ server: TestServer) throws -> (dataset: String, job: String) {
    let file = try server.folder.write("flowers.csv", SampleData.csv(rows: 200))
    let dataset = try #require(server.command("dataset", "add", file, "--json").json()["id"]?.string)
    let submitted = try server.command(
      "job", "submit", "--dataset", dataset, "--hidden", "16", "--steps", "40", "--batch-size", "32", "--follow",
      "--json")
    #expect(submitted.status == 0, "\(submitted)")
    let job = try #require(server.command("job", "list", "--json").json()["items"]?.array?.first?["id"]?.string)
    return (dataset, job)
  }

  @Test("what was backed up from a working server is all there elsewhere, to the last bit, and its keys work")
  func backUpAndRestore() throws {
    let server = try TestServer(workers: 1)
    let (dataset, job) = try train(server)
    let before = try server.client().job(job)
    let model = server.folder.file("before.safetensors").path
    #expect(try server.command("job", "download", job, "--output", model).status == 0)
    // Something is being written while the dump is taken.
    let long = try server.command(
      "job", "submit", "--dataset", dataset, "--hidden", "16", "--steps", "100000", "--json")
    #expect(long.status == 0, "\(long)")
    let backup = server.folder.file("backup").path
    let made = try script("backup", "--data", server.data.path, backup)
    #expect(made.status == 0, "\(made)")
    let again = try script("backup", "--data", server.data.path, backup)
    #expect(again.status == 1 && again.errors.contains("exists"), "\(again)")
    let onto = try script("restore", "--data", server.data.path, "--force", backup)
    #expect(onto.status == 1 && onto.errors.contains("a server runs on"), "\(onto)")
    let key = try server.adminKey
    #expect(server.stop() == 0)

    let elsewhere = try Folder()
    let data = elsewhere.file("data").path
    let restored = try script("restore", "--data", data, backup)
    #expect(restored.status == 0 && restored.output.contains("2 jobs"), "\(restored)")
    let other = try TestServer(folder: elsewhere, workers: 0)
    let client = APIClient(server: try other.url, key: key)
    #expect(try client.job(job) == before)
    let copy = elsewhere.file("after.safetensors").path
    let download = try Executable.run(
      ["job", "download", job, "--output", copy, "--url", other.url.absoluteString],
      environment: ["TRAINYARD_KEY": key])
    #expect(download.status == 0, "\(download)")
    #expect(FileManager.default.contentsEqual(atPath: model, andPath: copy))
    #expect(!other.log.contains("admin key"), "a key was made although the backup holds some")
    #expect(other.stop() == 0)

    // A second restore meets a folder in use; by force it replaces what is there, and that can be backed up in turn.
    let refused = try script("restore", "--data", data, backup)
    #expect(refused.status == 1 && refused.errors.contains("is not empty"), "\(refused)")
    let forced = try script("restore", "--force", "--data", data, backup)
    #expect(forced.status == 0 && forced.output.contains("2 jobs"), "\(forced)")
    let second = elsewhere.file("second").path
    #expect(try script("backup", "--data", data, second).status == 0)
    let third = try script("restore", "--data", elsewhere.file("third").path, second)
    #expect(third.status == 0 && third.output.contains("2 jobs"), "\(third)")
  }

  @Test("a damaged backup, one of a newer program, and what is none are refused before anything is made")
  func refusals() throws {
    let server = try TestServer(workers: 0)
    let backup = server.folder.file("backup"), target = server.folder.file("target").path
    #expect(try script("backup", "--data", server.data.path, backup.path).status == 0)
    func refusal(_ word: String) throws {
      let outcome = try script("restore", "--data", target, backup.path)
      #expect(outcome.status == 1 && outcome.errors.contains(word), "\(outcome)")
    }
    let about = backup.appendingPathComponent("backup.txt")
    let text = try String(contentsOf: about, encoding: .utf8)
    try text.replacing(/schema=\d+/, with: "schema=9000").write(to: about, atomically: true, encoding: .utf8)
    try refusal("is damaged")
    #expect(!FileManager.default.fileExists(atPath: target))
    let sums = try Executable.run(
      ["-c", "sha256sum database.dump backup.txt >SHA256SUMS"], program: "/bin/sh", in: backup)
    #expect(sums.status == 0)
    try refusal("has the schema 9000")
    try FileManager.default.removeItem(at: about)
    try refusal("is no backup")
    let nothing = try script("backup", "--database-url", "host=127.0.0.1 port=1", server.folder.file("none").path)
    #expect(nothing.status == 1 && nothing.errors.contains("cannot read the schema"), "\(nothing)")
    #expect(try script("restore").status == 2)
  }
}
