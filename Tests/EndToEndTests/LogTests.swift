// Logs in JSON as a collector reads them: every line an object, lines of workers too, and no secret at any level.
import Contract
import Foundation
import Testing

struct LogTests {
  @Test("with --log-format json every line is an object that says what, when, who and for which job")
  func json() throws {
    let server = try TestServer(
      workers: 1, environment: ["TRAINYARD_LOG_FORMAT": "json", "TRAINYARD_LOG": "trace"])
    let key = try server.command("key", "create", "--name", "second", "--scope", "jobs:read", "--json").json()
    let secret = try #require(key["secret"]?.string)
    let trained = try server.command(
      "dataset", "add", try server.folder.write("rows.csv", SampleData.csv(rows: 200)), "--format", "csv", "--target",
      "kind",
      "--json")
    #expect(trained.status == 0, "\(trained)")
    let dataset = try #require(try trained.json()["id"]?.string)
    let job = try server.command(
      "job", "submit", "--dataset", dataset, "--preset", "mlp", "--steps", "20", "--follow")
    #expect(job.status == 0, "\(job)")
    let refused = try Executable.run(
      ["job", "list", "--url", try server.url.absoluteString], environment: ["TRAINYARD_KEY": secret + "x"])
    #expect(refused.status == 4)
    let admin = try server.adminKey
    #expect(server.stop() == 0)

    let log = server.log
    let lines = log.split(separator: "\n").map { (try? JSON.parse(String($0))) ?? .null }
    for (line, text) in zip(lines, log.split(separator: "\n")) {
      let isWhole =
        line["level"]?.string != nil && line["message"]?.string != nil && line["logger"]?.string != nil
        && line["time"]?.string.flatMap { Timestamp(rfc3339: $0) } != nil
      #expect(isWhole, "\(text)")
    }
    #expect(lines.contains { $0["message"]?.string?.hasPrefix("ready at http://127.0.0.1:") == true })
    let request = try #require(
      lines.first { $0["route"]?.string == "/v1/jobs" && $0["method"]?.string == "POST" }, "\(log)")
    #expect(request["status"]?.integer == 201 && request["request_id"]?.string?.isEmpty == false)
    #expect(request["key"]?.string?.hasPrefix("key_") == true && request["project"]?.string == "default")
    #expect((request["seconds"]?.number ?? 0) > 0)
    #expect(lines.contains { $0["status"]?.integer == 401 && $0["route"]?.string == "/v1/jobs" })
    let training = try #require(lines.first { $0["message"]?.string == "training" }, "\(log)")
    #expect(training["logger"]?.string == "trainyard.worker" && training["attempt"]?.integer == 1)
    #expect(training["job"]?.string?.hasPrefix("job_") == true)
    for word in [secret, admin, "ty_"] { #expect(!log.contains(word), "a secret is in the log") }
  }
}
