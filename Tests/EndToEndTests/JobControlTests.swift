// Jobs that are paused, extended, renamed and deleted through the command line of a real server.
import Client
import Contract
import Foundation
import Testing

@Suite(.serialized)
struct JobControlTests {
  private func state(_ client: APIClient, _ id: String) throws -> String? { try client.job(id)["state"]?.string }

  @Test("a learned job paused across a restart and extended has the bits of one extended after its end")
  func pauseAndExtend() throws {
    let folder = try Folder()
    let first = try TestServer(folder: folder)
    let dataset = try first.add([folder.write("flowers.csv", SampleData.csv(rows: 600))])
    // Beyond the shipped horizon: the extension changes how many steps make an update.
    let (steps, more) = (60_000, 5_000)
    let options = ["--hidden", "32", "--seed", "7", "--evaluate-every", "1000"]
    let disturbed = try first.submit(dataset, steps: steps, options + ["--tag", "kind=disturbed"])
    var client = try first.client()
    #expect(try eventually(seconds: 120) { try (client.job(disturbed)["step"]?.integer ?? 0) > 0 })
    // Not by the command, which may take longer to start than a job takes to end.
    _ = try client.job(disturbed, .pause)
    #expect(
      try eventually(seconds: 60) { try state(client, disturbed) == "paused" },
      "if the job was over before it could be paused, make it longer")
    let paused = try client.job(disturbed)
    #expect((paused["step"]?.integer ?? 0) < steps)
    let asked = try first.command("job", "pause", disturbed)
    #expect(asked.status == 0 && asked.output.contains("\(disturbed) is paused"), "\(asked)")
    #expect(first.stop() == 0, "\(first.log)")

    let server = try TestServer(folder: folder)
    client = try server.client()
    #expect(try client.job(disturbed) == paused)
    let resumed = try server.command("job", "resume", disturbed, "--json")
    #expect(try resumed.json()["state"] == "queued", "\(resumed)")
    let extended = try server.command("job", "extend", disturbed, "--steps", String(more))
    #expect(extended.output.trimmingCharacters(in: .whitespacesAndNewlines) == disturbed, "\(extended)")
    #expect(try server.command("job", "follow", disturbed, "--timeout", "240").status == 0, "\(server.log)")
    let end = try client.job(disturbed)
    #expect(end["steps"] == .integer(steps + more) && end["step"] == end["steps"])

    let undisturbed = try server.submit(dataset, steps: steps, options)
    #expect(try server.command("job", "follow", undisturbed, "--timeout", "240").status == 0, "\(server.log)")
    let added = try server.command("job", "extend", undisturbed, "--steps", String(more), "--json")
    let new = try #require(added.json()["id"]?.string)
    #expect(new != undisturbed)
    #expect(try server.command("job", "follow", new, "--timeout", "240").status == 0, "\(server.log)")
    #expect(try server.command("job", "get", new).output.contains("the end of \(undisturbed)"))
    #expect(try server.weights(new) == server.weights(disturbed))
    #expect(try server.weights(undisturbed) != server.weights(disturbed))
    let query = CurveQuery(from: steps, pointsMax: 100_000, sampling: .none)
    let curve = try client.curve(job: new, series: .trainLoss, query: query)
    #expect(try client.curve(job: disturbed, series: .trainLoss, query: query) == curve)
    #expect(curve.steps == Array(steps..<steps + more))

    let renamed = try server.command("job", "set", disturbed, "--name", "kept", "--tag", "team=vision", "--json")
    #expect(try renamed.json()["name"] == "kept", "\(renamed)")
    let listed = try server.command("job", "list", "--tag", "team=vision", "--json")
    #expect(try listed.json()["items"]?.array?.map { $0["id"]?.string } == [disturbed], "\(listed)")
    #expect(try server.command("job", "list", "--tag", "team=vision").output.contains("team=vision"))
    #expect(try server.command("job", "delete", undisturbed).status == 0)
    #expect(try server.command("job", "get", undisturbed).status == 3)
    #expect(try server.command("job", "pause", disturbed).status != 0, "what is over cannot be paused")
    #expect(try server.command("job", "download", new, "--output", folder.file("model").path).status == 0)
  }
}
