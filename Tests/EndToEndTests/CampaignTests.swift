// Campaigns from the command line: planned, created on a real server, watched while its workers run them, changed, branched
// from, promoted; and what the commands say when something is wrong.
import Contract
import Foundation
import Testing

@Suite(.serialized)
struct CampaignTests {
  /// Quadratics, so short that a debug build is done in seconds.
  private static let file = """
    name: small
    optimizer: small_fc
    seed: 1
    phases:
      - name: quadratics
        estimator: {kind: nres, pairs: 2, window: 5}
        lengths: [10, 10]
        outer_steps: 6
        tasks: [{config: {obj: Quadratic, args: {dimensions: 4}}}]
    """

  private func answer(_ server: TestServer, _ arguments: String...) throws -> JSON {
    let outcome = try Executable.run(["campaign"] + arguments + ["--json", "--data", server.data.path])
    #expect(outcome.status == 0, "\(arguments): \(outcome)\n\(server.log.suffix(2000))")
    return try JSON.parse(String(try #require(outcome.output.split(separator: "\n").last)))
  }

  @Test("a campaign is created, watched to its end, exported and promoted")
  func whole() throws {
    let server = try TestServer()
    let path = try server.folder.write("small.yaml", Self.file.utf8)
    let watched = try server.command("campaign", "create", "-f", path, "--watch")
    #expect(watched.status == 0, "\(watched)\n\(server.log.suffix(2000))")
    let id = String(try #require(watched.output.split(separator: "\n").first))
    #expect(watched.output.contains("outer step 6/6") && watched.output.contains("meta-loss"))
    let campaign = try answer(server, "get", id)
    #expect(campaign["state"] == "succeeded" && campaign["version"] == 6 && campaign["inner_steps"] == 120)
    #expect(try answer(server, "list")["items"]?.array?.first?["id"]?.string == id)
    let steps = try answer(server, "steps", id)
    #expect(steps["version"] == [1, 2, 3, 4, 5, 6] && steps["total"] == 6)
    let csv = try server.command("campaign", "steps", id, "--csv", "--max-points", "3")
    #expect(csv.output.split(separator: "\n").count == 4, "\(csv)")

    let newest = try #require(answer(server, "thetas", id)["items"]?.array?.first)
    #expect(newest["version"] == 6)
    let out = server.folder.file("theta.safetensors")
    let exported = try answer(server, "export", id, "--out", out.path)
    #expect(exported["sha256"] == newest["sha256"] && FileManager.default.fileExists(atPath: out.path))
    let missing = try server.command("campaign", "export", id, "--version", "77")
    #expect(missing.status == 3 && missing.errors.contains("nearest"), "\(missing)")
    let optimizer = try answer(server, "promote", id, "--release")
    #expect(optimizer["state"] == "released" && optimizer["name"] == "small_fc")
    #expect(optimizer["provenance"]?["campaign"]?.string == id)

    let phases = try #require(Self.file.range(of: "phases:").map { Self.file[$0.lowerBound...] })
    let more = try server.folder.write("more.yaml", phases.utf8)
    let branch = try answer(server, "branch", id, "--version", "6", "--name", "more", "-f", more)
    #expect(branch["parent"]?["version"] == 6 && branch["name"] == "more" && branch["outer_steps"] == 6)
  }

  @Test("a campaign that waits is changed, paused, rolled back and cancelled; watching it tells how it ended")
  func changes() throws {
    let server = try TestServer(workers: 0)
    let path = try server.folder.write("small.yaml", Self.file.utf8)
    let id = try #require(answer(server, "create", "-f", path, "--mode", "distributed")["id"]?.string)
    let set = try answer(server, "set", id, "outer.clip=1", "outer_steps=9")
    #expect(set["phases"]?.array?.first?["parent"] == 0 && set["campaign"]?["outer_steps"] == 9)
    let lineage = try server.command("campaign", "lineage", id)
    #expect(lineage.output.contains("└ 1") && lineage.output.contains("outer_steps=9"), "\(lineage)")
    let wrong = try server.command("campaign", "set", id, "estimator.sigma=1000")
    #expect(wrong.status == 1 && wrong.errors.contains("/changes/estimator/sigma"), "\(wrong)")
    let stale = try server.command("campaign", "set", id, "outer.clip=2", "--revision", "1")
    #expect(stale.status == 1 && stale.errors.contains("revision"), "\(stale)")
    #expect(try answer(server, "pause", id)["state"] == "paused")
    let paused = try server.command("campaign", "watch", id)
    #expect(paused.status == 5 && paused.errors.contains("campaign resume \(id)"), "\(paused)")
    #expect(try answer(server, "resume", id)["state"] == "queued")
    let late = try server.command("campaign", "watch", id, "--timeout", "0")
    #expect(late.status == 6 && late.errors.contains("campaign watch \(id)"), "\(late)")
    let rollback = try server.command("campaign", "rollback", id, "--version", "0")
    #expect(rollback.status == 1 && rollback.errors.contains("/version"), "\(rollback)")
    #expect(try answer(server, "cancel", id)["state"] == "cancelled")
    let over = try server.command("campaign", "watch", id)
    #expect(over.status == 5 && over.errors.contains("was cancelled"), "\(over)")
    let events = try server.command("campaign", "events", id)
    #expect(events.output.contains("phase 1 replaces phase 0"), "\(events)")
    #expect(try server.command("campaign", "get", "cmp_nothing").status == 3)
  }

  @Test("a plan needs no server, and names what is wrong with a file")
  func plan() throws {
    let folder = try Folder()
    let path = try folder.write("small.yaml", Self.file.utf8)
    let outcome = try Executable.run(["campaign", "plan", "-f", path, "--threads", "2", "--json"])
    #expect(outcome.status == 0, "\(outcome)")
    let plan = try outcome.json()
    #expect(plan["inner_steps"] == 120 && plan["theta_parameters"]?.integer ?? 0 > 0)
    #expect(plan["core_seconds"]?.number ?? 0 > 0)
    let wrong = try folder.write(
      "wrong.yaml", Self.file.replacingOccurrences(of: "obj: Quadratic", with: "obj: Cubic").utf8)
    let refused = try Executable.run(["campaign", "plan", "-f", wrong])
    #expect(refused.status == 2 && refused.errors.contains("/phases/0/tasks/0"), "\(refused)")
  }
}
