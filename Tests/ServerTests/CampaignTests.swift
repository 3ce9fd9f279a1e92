// Campaigns over HTTP: created, changed, ended, branched and promoted, and what the API answers to what cannot be.
import Contract
import Foundation
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct CampaignTests {
  let server: ServerUnderTest

  init() throws { server = try ServerUnderTest() }

  private func create(_ more: [String: JSON] = [:], headers: [(String, String)] = []) throws -> RawAnswer {
    guard case .object(let members) = CampaignSpec.sample.json else { preconditionFailure("an object") }
    return try server.post("/v1/campaigns", .object(members.merging(more) { $1 }), headers: headers)
  }

  private func made() throws -> String { try #require(try create().json["id"]?.string) }

  /// Stores thetas and outer steps as a learner would.
  private func run(_ id: String, to version: Int) throws {
    try server.database.run(
      """
      UPDATE campaigns SET state = 'running', version = \(version) WHERE id = '\(id)';
      UPDATE campaign_phases SET state = 'active', first_version = 0 WHERE campaign = '\(id)' AND number = 0;
      INSERT INTO campaign_thetas (campaign, version, content, sha256)
      SELECT '\(id)', v, convert_to('theta ' || v, 'UTF8'), sha256(convert_to('theta ' || v, 'UTF8'))
      FROM generate_series(0, \(version), 5) v;
      INSERT INTO campaign_steps (campaign, version, phase, outer_iteration, mean_loss, surviving, inner_steps, wall_ms,
        results)
      SELECT '\(id)', v, 0, v, 1.0 / v, 'NaN', 80, 10, '' FROM generate_series(1, \(version)) v
      """)
  }

  @Test func `a campaign is created, read, listed, and found again under its idempotency key`() throws {
    let key = [("Idempotency-Key", "one")]
    let answer = try create(headers: key)
    #expect(answer.status == 201 && answer.headers["etag"] == "\"1\"")
    let id = try #require(answer.json["id"]?.string)
    #expect(answer.headers["location"] == "/v1/campaigns/\(id)")
    #expect(answer.json["spec"] == CampaignSpec.sample.json)
    let again = try create(headers: key)
    #expect(again.json == answer.json && again.headers["idempotency-replayed"] == "true")
    #expect(try create(["seed": 9], headers: key).status == 409)
    let read = try server.get("/v1/campaigns/\(id)")
    #expect(read.json == answer.json)
    #expect(try server.get("/v1/campaigns/\(id)", headers: [("If-None-Match", "\"1\"")]).status == 304)
    #expect(try server.get("/v1/campaigns?state=queued").json["items"]?.array == [answer.json])
    #expect(try server.get("/v1/campaigns?state=running").json["items"]?.array?.isEmpty == true)
    #expect(try server.get("/v1/campaigns?state=nowhere").faultPaths == ["?state"])
    #expect(try server.store.audit(project: "demo").items.map(\.action) == ["campaign.create"])
  }

  @Test func `what is wrong with a campaign is answered all at once, whatever it is`() throws {
    let strange = try server.readyDataset(project: "other")
    #expect(
      try create(["data": ["mnist": .string(strange.id)], "start": ["version": 4]]).faultPaths.sorted() == [
        "/data/mnist", "/start/version",
      ])
    #expect(
      try create(["seed": -1, "threads": 0, "nonsense": 1]).faultPaths.sorted() == [
        "/nonsense", "/seed", "/threads",
      ])
    let phase = CampaignSpec.sample.phases[0].json
    #expect(try create(["phases": .array(Array(repeating: phase, count: 33))]).faultPaths == ["/phases"])
    #expect(try create(["phases": []]).faultPaths == ["/phases"])
    for (body, status) in [
      (#"{"name": "a", "optimizer": "celo", "phases": [{"outer_steps": NaN}]}"#, 400),
      (#"{"name": "a", "optimizer": "celo", "phases": [{"outer_steps": 1e400}]}"#, 400),
      (#"{"name": "a", "optimizer": "celo", "phases": [{"estimator": {"kind": "pes", "sigma": 1e308}}]}"#, 422),
      (#"[]"#, 422), (#""#, 400), (String(repeating: "[", count: 100_000), 400),
      ("{\"name\": \"\\u0000\", \"optimizer\": \"celo\", \"phases\": []}", 400),
    ] {
      let answer = try server.call("POST", "/v1/campaigns", type: "application/json", body: Array(body.utf8))
      #expect(answer.status == status, "\(body.prefix(80)): \(answer.text.prefix(300))")
    }
    let large = Array("{\"name\": \"\(String(repeating: "a", count: 1 << 21))\"}".utf8)
    #expect(try server.call("POST", "/v1/campaigns", type: "application/json", body: large).status == 413)
    #expect(try server.store.campaigns(project: "demo").items.isEmpty)
  }

  @Test func `a project has a quota of unfinished campaigns`() throws {
    let server = try ServerUnderTest(limits: { $0.unfinishedCampaignsMax = 1 })
    let first = try server.post("/v1/campaigns", CampaignSpec.sample.json)
    let id = try #require(first.json["id"]?.string)
    #expect(try server.post("/v1/campaigns", CampaignSpec.sample.json).status == 429)
    #expect(try server.call("POST", "/v1/campaigns/\(id)/cancel").json["state"] == "cancelled")
    #expect(try server.post("/v1/campaigns", CampaignSpec.sample.json).status == 201)
  }

  @Test func `a campaign is paused, resumed and cancelled, for the revision that the client knows`() throws {
    let id = try made()
    let stale = try server.call("POST", "/v1/campaigns/\(id)/pause", headers: [("If-Match", "\"7\"")])
    #expect(stale.status == 412)
    #expect(try server.call("POST", "/v1/campaigns/\(id)/pause", headers: [("If-Match", "seven")]).status == 422)
    let paused = try server.call("POST", "/v1/campaigns/\(id)/pause", headers: [("If-Match", "\"1\"")])
    #expect(paused.json["state"] == "paused" && paused.headers["etag"] == "\"2\"")
    #expect(try server.call("POST", "/v1/campaigns/\(id)/resume").json["state"] == "queued")
    #expect(try server.call("POST", "/v1/campaigns/\(id)/cancel").json["state"] == "cancelled")
    #expect(try server.call("POST", "/v1/campaigns/\(id)/cancel").status == 200)
    let late = try server.call("POST", "/v1/campaigns/\(id)/resume")
    #expect(late.status == 409 && late.detail.contains("cancelled"))
    #expect(
      try server.get("/v1/campaigns/\(id)/events").json["items"]?.array?.compactMap { $0["message"]?.string } == [
        "queued", "paused", "queued", "cancelled",
      ])
    #expect(
      Set(try server.store.audit(project: "demo").items.map(\.action)) == [
        "campaign.create", "campaign.pause", "campaign.resume", "campaign.cancel",
      ])
  }

  @Test func `whoever waits for a campaign hears of its change at once`() throws {
    let id = try made()
    let waiting = try concurrently(2) { [server] index in
      if index == 0 { return try server.get("/v1/campaigns/\(id)?wait=60").json["state"]?.string ?? "" }
      guard server.waits(1) else { return "nobody waits" }
      _ = try server.call("POST", "/v1/campaigns/\(id)/cancel")
      return "asked"
    }
    #expect(waiting == ["cancelled", "asked"])
  }

  @Test func `settings change by a new phase, and the lineage tells how`() throws {
    let id = try made()
    try run(id, to: 10)
    let answer = try server.call(
      "PATCH", "/v1/campaigns/\(id)", type: "application/json",
      body: (["changes": ["outer": ["clip": 1], "policy": ["staleness": 2]]] as JSON).bytes)
    #expect(answer.status == 200, "\(answer.text)")
    #expect(answer.json["phases"]?.array?.first?["phase"]?["policy"]?["staleness"] == 2)
    let phases = try server.get("/v1/campaigns/\(id)/phases").json["items"]?.array ?? []
    #expect(phases.map { $0["parent"] } == [.null, .null, 0])
    let wrong = try server.call(
      "PATCH", "/v1/campaigns/\(id)", type: "application/json",
      body: (["phase": 77, "changes": ["outer": ["clip": -1]]] as JSON).bytes)
    #expect(wrong.faultPaths == ["/phase"])
    for body: JSON in [[:], ["changes": [:]], ["phase": 0], ["append": []], ["changes": 3]] {
      #expect(
        try server.call("PATCH", "/v1/campaigns/\(id)", type: "application/json", body: body.bytes).status == 422,
        "\(body.text)")
    }
  }

  @Test func `steps and thetas are read, thinned out and downloaded in parts`() throws {
    let id = try made()
    try run(id, to: 20)
    let steps = try server.get("/v1/campaigns/\(id)/steps?max_points=5").json
    #expect(steps["stride"] == 4 && steps["total"] == 20 && steps["version"] == [4, 8, 12, 16, 20])
    #expect(steps["surviving"] == [.null, .null, .null, .null, .null])
    #expect(try server.get("/v1/campaigns/\(id)/steps?from=9&to=3").faultPaths == ["?from"])
    let page = try server.get("/v1/campaigns/\(id)/thetas?limit=2").json
    #expect(page["items"]?.array?.compactMap { $0["version"]?.integer } == [20, 15])
    #expect(try server.get("/v1/campaigns/\(id)/thetas?cursor=15").json["items"]?.array?.count == 3)
    let whole = try server.get("/v1/campaigns/\(id)/thetas/15/content")
    #expect(whole.text == "theta 15" && whole.headers["repr-digest"]?.hasPrefix("sha-256=:") == true)
    let part = try server.get("/v1/campaigns/\(id)/thetas/15/content", headers: [("Range", "bytes=6-")])
    #expect(part.status == 206 && part.text == "15")
    let beyond = try server.get("/v1/campaigns/\(id)/thetas/15/content", headers: [("Range", "bytes=60-")])
    #expect(beyond.status == 416)
    let tag = try #require(whole.headers["etag"])
    #expect(
      try server.get("/v1/campaigns/\(id)/thetas/15/content", headers: [("If-None-Match", tag)]).status == 304)
    let missing = try server.get("/v1/campaigns/\(id)/thetas/13/content")
    #expect(missing.status == 404 && missing.detail.contains("10, 15"))
    for version in ["-1", "x", "99999999999999999999"] {
      #expect(try server.get("/v1/campaigns/\(id)/thetas/\(version)/content").status == 404)
    }
  }

  @Test func `a branch, a rollback and a promotion name what they made`() throws {
    let id = try made()
    try run(id, to: 10)
    let branch = try server.post("/v1/campaigns/\(id)/branch", ["version": 5, "name": "again"])
    #expect(branch.status == 201, "\(branch.text)")
    #expect(branch.json["parent"] == ["campaign": .string(id), "version": 5] && branch.json["name"] == "again")
    #expect(try server.post("/v1/campaigns/\(id)/branch", ["version": 7]).faultPaths == ["/version"])
    #expect(
      try server.post("/v1/campaigns/\(id)/branch", ["version": 5, "optimizer": "celo"]).faultPaths == ["/optimizer"])
    let rollback = try server.post("/v1/campaigns/\(id)/rollback", ["version": 5])
    #expect(rollback.json["rolled_back"]?["id"] == .string(id))
    #expect(rollback.json["rolled_back"]?["state"] == "cancelling")
    #expect(rollback.headers["location"] == "/v1/campaigns/\(rollback.json["campaign"]?["id"]?.string ?? "")")
    let promoted = try server.post("/v1/campaigns/\(id)/promote", ["version": 10])
    #expect(promoted.status == 201 && promoted.json["state"] == "validating")
    #expect(promoted.json["provenance"]?["campaign"] == .string(id))
    // A release is more than the campaigns' administrators may give.
    let key = try server.key([.campaignsAdmin])
    let refused = try server.post("/v1/campaigns/\(id)/promote", ["state": "released"], key: key)
    #expect(refused.status == 403 && refused.detail.contains("optimizers:admin"))
    #expect(try server.post("/v1/campaigns/\(id)/promote", [:], key: key).status == 201)
    #expect(try server.post("/v1/campaigns/\(id)/promote", ["version": 3]).status == 404)
  }

  @Test func `a plan counts what a campaign comes to and stores nothing`() throws {
    let plan = try server.post("/v1/campaigns/plan", CampaignSpec.sample.json)
    #expect(plan.status == 200, "\(plan.text)")
    // 4 pairs of 2 members for 10 steps each, 30 + 20 times.
    #expect(plan.json["inner_steps"] == 4000 && plan.json["outer_steps"] == 50)
    #expect(plan.json["phases"]?.array?.first?["groups"] == 1 && plan.json["core_seconds"] == .null)
    let dataset = try server.readyDataset()
    guard case .object(var members) = CampaignSpec.sample.json else { preconditionFailure("an object") }
    members["data"] = ["mnist": .string(dataset.id)]
    guard case .object(var phase) = CampaignSpec.sample.phases[0].json else { preconditionFailure("an object") }
    phase["tasks"] = [["data": "mnist", "image_size": 8, "hidden": [32], "pairs": 10]]
    members["phases"] = [.object(phase)]
    let now = Timestamp(Date())
    try server.store.registerWorker(
      WorkerRecord(
        id: Identifier.make(.worker), host: "here", processID: 1, slots: 2, cpuLevel: "avx2", speed: .sample,
        startedAt: now, seenAt: now))
    let told = try server.post("/v1/campaigns/plan", .object(members)).json
    #expect(told["phases"]?.array?.first?["tasks"]?.array?.first?["parameters"] == 2410)
    #expect(told["phases"]?.array?.first?["groups"] == 2 && told["cores"] == 2)
    let core = try #require(told["core_seconds"]?.number), wall = try #require(told["wall_seconds"]?.number)
    // Of the two groups one has four fifths of the pairs.
    #expect(core > 0 && abs(wall / core - 0.8) < 1e-9)
    #expect(try server.store.campaigns(project: "demo").items.isEmpty)
  }
}
