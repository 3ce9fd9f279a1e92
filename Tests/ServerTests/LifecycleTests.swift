// From an empty server to a downloaded model, over the wire, with the worker's part played through the store; and what
// a finished job leaves behind.
import Contract
import Foundation
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct LifecycleTests {
  let server: ServerUnderTest

  init() throws { server = try ServerUnderTest() }

  private func id(_ answer: RawAnswer) throws -> String { try #require(answer.json["id"]?.string, "\(answer.text)") }

  /// A job that has succeeded, with its model's bytes.
  private func succeededJob(model: [UInt8]) throws -> String {
    let job = try server.store.makeJob(on: server.readyDataset(), steps: 100)
    try server.succeed(#require(try server.store.claimJob()), model: model)
    return job.id
  }

  /// A campaign from its plan to what was made of it, and evaluations, with the learner's part played in the database.
  private func liveThroughCampaigns(key: String) throws {
    let spec = CampaignSpec.sample.json
    #expect(try server.post("/v1/campaigns/plan", spec, key: key).json["outer_steps"] == 50)
    let campaign = try id(server.post("/v1/campaigns", spec, key: key))
    let path = "/v1/campaigns/\(campaign)"
    #expect(try server.get("/v1/campaigns", key: key).json["items"]?.array?.count == 1)
    #expect(try server.call("POST", "\(path)/pause", key: key).json["state"] == "paused")
    #expect(try server.call("POST", "\(path)/resume", key: key).json["state"] == "queued")
    try server.database.run(
      """
      UPDATE campaigns SET state = 'running', version = 5 WHERE id = '\(campaign)';
      UPDATE campaign_phases SET state = 'active', first_version = 0 WHERE campaign = '\(campaign)' AND number = 0;
      INSERT INTO campaign_thetas (campaign, version, content, sha256) VALUES ('\(campaign)', 5, 'theta', sha256('theta'));
      INSERT INTO campaign_steps (campaign, version, phase, outer_iteration, mean_loss, surviving, inner_steps, wall_ms,
        results) SELECT '\(campaign)', v, 0, v, 1, 1, 80, 10, '' FROM generate_series(1, 5) v
      """)
    #expect(try server.get(path, key: key).json["version"] == 5)
    let change: JSON = ["changes": ["outer": ["clip": 1]]]
    #expect(
      try server.call("PATCH", path, key: key, type: "application/json", body: change.bytes).status == 200)
    #expect(try server.get("\(path)/phases", key: key).json["items"]?.array?.count == 3)
    #expect(try server.get("\(path)/steps", key: key).json["version"] == [1, 2, 3, 4, 5])
    #expect(try server.get("\(path)/thetas", key: key).json["items"]?.array?.count == 1)
    #expect(try server.get("\(path)/thetas/5/content", key: key).text == "theta")
    #expect(try server.get("\(path)/events", key: key).json["items"]?.array?.isEmpty == false)
    #expect(try server.post("\(path)/branch", ["version": 5], key: key).status == 201)
    #expect(try server.post("\(path)/promote", ["version": 5], key: key).json["state"] == "validating")
    let rolled = try server.post("\(path)/rollback", ["version": 5], key: key).json
    let successor = try #require(rolled["campaign"]?["id"]?.string)
    #expect(try server.call("POST", "/v1/campaigns/\(successor)/cancel", key: key).json["state"] == "cancelled")

    let small: JSON = ["tasks": ["quick"], "steps": 500]
    let beside = try server.post("\(path)/evaluate", ["spec": small], key: key)
    #expect(beside.json["campaign_version"] == 5, "\(beside.text)")
    let evaluation = try id(
      server.post("/v1/evaluations", ["optimizers": ["sgd_lr"], "tasks": ["quick"], "steps": 500], key: key))
    #expect(try server.get("/v1/evaluations/\(evaluation)", key: key).json["state"] == "queued")
    #expect(try server.get("/v1/evaluations", key: key).json["items"]?.array?.count == 2)
    #expect(try server.call("POST", "/v1/evaluations/\(evaluation)/cancel", key: key).json["state"] == "cancelled")
    let report = try server.store.putBlob(Array("{}".utf8))
    try server.database.run(
      """
      UPDATE evaluations SET state = 'succeeded', finished_at = now(), summary = '{"headlines": []}',
        report_json = '\\x\(report.sha256)', report_html = '\\x\(report.sha256)' WHERE id = '\(try id(beside))'
      """)
    #expect(try server.get("/v1/evaluations/\(id(beside))/report", key: key).text == "{}")
  }

  @Test func `every operation works once, from the first key to the model`() throws {
    let admin = server.key
    let made = try server.post(
      "/v1/keys", ["name": "trainer", "scopes": .array(Scope.allCases.map { .string($0.rawValue) })])
    let secret = try #require(made.json["secret"]?.string)
    #expect(try server.get(#require(made.headers["location"])).json["name"] == "trainer")
    #expect(try server.get("/v1/keys").json["items"]?.array?.count == 2)
    for path in ["/", "/assets/app.js", "/livez", "/readyz", "/openapi.yaml", "/openapi.json"] {
      #expect(try server.get(path, key: "").status == 200)
    }
    #expect(try server.get("/v1/capabilities", key: secret).json["limits"]?["wait_seconds_max"] == 60)
    let optimizer = try server.releaseOptimizer()
    #expect(try server.get("/v1/optimizers/\(optimizer.id)", key: secret).json["provenance"] == ["seed": 1])
    #expect(try server.get("/v1/optimizers", key: secret).json["items"]?.array?.count == 1)
    #expect(try server.get("/v1/optimizers/\(optimizer.id)/theta", key: secret).body == Array("theta 1".utf8))
    for (change, state) in [("deprecate", "deprecated"), ("release", "released")] {
      let changed = try server.call("POST", "/v1/optimizers/\(optimizer.id)/\(change)", key: secret)
      #expect(changed.json["state"]?.string == state)
    }

    // Data.
    let csv = Array("a,b,species\n1,x,no\n2,y,yes\n".utf8)
    let uploaded = try server.call(
      "POST", "/v1/datasets?name=flowers&format=csv&target=species&held_out_fraction=0.2", key: secret,
      type: "text/csv", body: csv)
    #expect(uploaded.status == 201)
    #expect(uploaded.json["state"] == "validating")
    #expect(uploaded.json["sha256"]?.string == SHA256.hexadecimal(csv))
    #expect(
      uploaded.json["options"] == [
        "format": "csv", "target": "species", "held_out_fraction": 0.2,
      ])
    let dataset = try id(uploaded)
    let claim = try #require(try server.store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60))
    #expect(try server.store.readBlob(sha256: uploaded.json["sha256"]!.string!) == csv)
    try server.store.finishValidation(
      lease: claim.lease, outcome: .ready(schema: .sample, preview: ["columns": ["a"], "rows": [["1"]]]))
    #expect(try server.get("/v1/datasets/\(dataset)?wait=60", key: secret).json["state"] == "ready")
    #expect(try server.get("/v1/datasets/\(dataset)/preview", key: secret).json["columns"] == ["a"])
    #expect(try server.get("/v1/datasets/\(dataset)/problems", key: secret).json["items"] == [])
    #expect(try server.get("/v1/datasets", key: secret).json["items"]?.array?.count == 1)

    // Model.
    let model = try server.post("/v1/models", ["name": "m", "model": ["preset": "mlp", "hidden": [4]]], key: secret)
    #expect(try server.get("/v1/models/\(id(model))", key: secret).json == model.json)
    #expect(try server.get("/v1/models", key: secret).json["items"] == .array([model.json]))
    let spare = try server.post("/v1/models", ["name": "s", "model": ["preset": "mlp"]], key: secret)
    #expect(try server.call("DELETE", "/v1/models/\(id(spare))", key: secret).status == 204)
    let check = try server.post(
      "/v1/model-checks", ["model_id": model.json["id"]!, "dataset": .string(dataset)], key: secret)
    #expect(check.json["parameters"] == .integer(2 * 4 + 4 + 4 * 2 + 2))

    // Job.
    let job = try server.post(
      "/v1/jobs", ["dataset": .string(dataset), "model_id": model.json["id"]!, "steps": 100, "name": "first"],
      key: secret)
    #expect(job.status == 201)
    let jobID = try id(job)
    let lease = try #require(
      try server.store.claim(worker: "wrk_1", kinds: [.job], cpuLevel: "avx2", leaseSeconds: 60))
    #expect(try server.get("/v1/jobs/\(jobID)", key: secret).json["state"] == "running")
    #expect(try server.get("/v1/jobs/\(jobID)/model", key: secret).status == 409)
    let weights = [UInt8]((0..<3000).map { UInt8($0 % 251) })
    try server.succeed(lease.lease, model: weights)
    let done = try server.get("/v1/jobs/\(jobID)?wait=60", key: secret).json
    #expect(done["state"] == "succeeded")
    #expect(done["result"]?["held_out_accuracy"] == 0.75)
    #expect(done["step"] == 100)
    #expect(try server.get("/v1/jobs", key: secret).json["items"]?.array?.count == 1)

    // What is asked of jobs that exist.
    let other = try id(
      server.post("/v1/jobs", ["dataset": .string(dataset), "model_id": model.json["id"]!, "steps": 9], key: secret))
    #expect(try server.call("POST", "/v1/jobs/\(other)/pause", key: secret).json["state"] == "paused")
    #expect(try server.call("POST", "/v1/jobs/\(other)/resume", key: secret).json["state"] == "queued")
    let change = JSON.object(["tags": ["kept": "no"], "priority": 0])
    let changed = try server.call(
      "PATCH", "/v1/jobs/\(other)", key: secret, type: "application/json", body: change.bytes)
    #expect(changed.json["priority"] == 0)
    #expect(try server.post("/v1/jobs/\(other)/extend", ["steps": 1], key: secret).json["steps"] == 10)
    #expect(try server.call("POST", "/v1/jobs/\(other)/cancel", key: secret).json["state"] == "cancelled")
    #expect(try server.call("DELETE", "/v1/jobs/\(other)", key: secret).status == 204)

    // What it leaves.
    #expect(try server.get("/v1/jobs/\(jobID)/curves", key: secret).json["items"]?.array?.count == 2)
    #expect(try server.get("/v1/jobs/\(jobID)/curves/train_loss", key: secret).json["points_total"] == 100)
    let attempts = try server.get("/v1/jobs/\(jobID)/attempts", key: secret).json["items"]?.array ?? []
    #expect(attempts.map { $0["state"] } == ["finished"])
    #expect(try server.get("/v1/jobs/\(jobID)/model", key: secret).body == weights)
    let checkpoints = try server.get("/v1/jobs/\(jobID)/checkpoints", key: secret).json["items"]?.array ?? []
    let content = try #require(checkpoints.first { $0["kind"] == "model" }?["id"]?.string)
    #expect(try server.get("/v1/checkpoints/\(content)/content", key: secret).body == weights)
    let events = try server.get("/v1/jobs/\(jobID)/events", key: secret).json["items"]?.array ?? []
    #expect(events.compactMap { $0["seq"]?.integer } == Array(1...events.count))
    #expect(events.last?["data"]?["state"] == "succeeded")
    #expect(try server.call("POST", "/v1/jobs/\(jobID)/cancel", key: secret).json["state"] == "succeeded")

    try server.store.registerWorker(
      WorkerRecord(
        id: Identifier.make(.worker), host: "here", processID: 1, slots: 1, cpuLevel: "avx2", speed: .sample,
        startedAt: Timestamp(Date()), seenAt: Timestamp(Date())))
    #expect(try server.get("/v1/workers", key: secret).json["items"]?.array?.count == 1)
    #expect(try server.call("DELETE", "/v1/datasets/\(dataset)", key: secret).status == 204)
    #expect(try server.get("/v1/datasets/\(dataset)", key: secret).status == 404)
    #expect(try server.post("/v1/projects", ["id": "team-a"], key: admin).status == 201)
    #expect(try server.get("/v1/projects", key: admin).json["items"]?.array?.count == 2)
    let bound: JSON = ["quotas": ["unfinished_jobs": 3]]
    let bounded = try server.call(
      "PATCH", "/v1/projects/team-a", key: admin, type: "application/json", body: bound.bytes)
    #expect(try server.get("/v1/projects/team-a", key: admin).json == bounded.json)
    let rotated = try server.post("/v1/keys/\(id(made))/rotate", ["overlap_seconds": 60], key: admin)
    #expect(rotated.json["secret"]?.string?.hasPrefix("ty_") == true)
    #expect(try server.call("DELETE", "/v1/keys/\(id(made))", key: admin).status == 200)
    #expect(try server.get("/v1/audit?action=key.revoke", key: admin).json["items"]?.array?.count == 1)

    let imported = try server.call(
      "POST", "/v1/optimizers?name=small_fc", key: admin, type: "application/octet-stream", body: [0x80])
    #expect(imported.json["state"] == "validating")
    #expect(try server.get("/metrics", key: admin).text.contains("trainyard_jobs{state=\"succeeded\"} 1\n"))
    try liveThroughCampaigns(key: admin)
    let all = Set(APIDescription.shared.operations.map(\.id))
    #expect(all.subtracting(server.succeeded.current).isEmpty)
    let actions = try server.store.audit(project: "demo").items.map(\.action)
    #expect(
      actions == [
        "evaluation.cancel", "evaluation.create", "evaluation.create", "campaign.cancel", "campaign.rollback",
        "campaign.promote", "campaign.branch", "campaign.change", "campaign.resume", "campaign.pause",
        "campaign.create", "optimizer.create", "key.revoke", "key.rotate", "project.change", "project.create",
        "dataset.delete", "job.cancel", "job.delete", "job.cancel", "job.extend", "job.change", "job.resume",
        "job.pause", "job.create", "job.create", "model.delete", "model.create",
        "model.create", "dataset.create", "optimizer.release", "optimizer.deprecate", "key.create",
      ])
  }

  @Test func `curves come by range, thinned out or whole, as columns or as CSV`() throws {
    let job = try succeededJob(model: [1])
    let path = "/v1/jobs/\(job)/curves/train_loss"
    let few = try server.get("\(path)?max_points=10").json
    let steps = (few["steps"]?.array ?? []).compactMap(\.integer)
    #expect(steps.count <= 10 && steps.first == 0 && steps.last == 99)
    #expect(few["points_total"] == 100)
    let part = try server.get("\(path)?from=10&to=12&sampling=none").json
    #expect(part["steps"] == [10, 11, 12])
    #expect(part["points_total"] == 3)
    let csv = try server.get("\(path)?from=0&to=1", headers: [("Accept", "text/csv")])
    #expect(csv.contentType == "text/csv")
    #expect(csv.text == "step,train_loss\n0,2.0\n1,1.0\n")
    #expect(try server.get("\(path)?from=0&to=1&format=csv").body == csv.body)
    let json = [("Accept", "text/csv")]
    #expect(try server.get("\(path)?format=json", headers: json).contentType == "application/json")
    #expect(
      try server.get(path, headers: [("Accept", "text/csv;q=0.5, application/json")]).contentType == "application/json")
    #expect(try server.get(path, headers: [("Accept", "*/*")]).contentType == "application/json")

    let nan = "/v1/jobs/\(job)/curves/held_out_loss"
    #expect(try server.get(nan).json["values"] == [0.75, .null])
    #expect(try server.get("\(nan)?format=csv").text == "step,held_out_loss\n9,0.75\n19,NaN\n")
    let summaries = try server.get("/v1/jobs/\(job)/curves").json["items"]?.array ?? []
    #expect(summaries.map { $0["series"] } == ["train_loss", "held_out_loss"])
    #expect(summaries[1]["last"] == .null)

    #expect(try server.get("/v1/jobs/\(job)/curves/accuracy").status == 404)
    let faults = try server.get("\(path)?from=5&to=4&max_points=1&sampling=random&format=xml&smooth=1").faultPaths
    #expect(Set(faults) == ["?from", "?max_points", "?sampling", "?format", "?smooth"])
  }

  @Test func `events go on after the last one seen`() throws {
    let job = try succeededJob(model: [1])
    let all = try server.get("/v1/jobs/\(job)/events").json["items"]?.array ?? []
    let first = try server.get("/v1/jobs/\(job)/events?limit=2").json["items"]?.array ?? []
    let rest = try server.get("/v1/jobs/\(job)/events?after=2").json["items"]?.array ?? []
    #expect(first + rest == all)
    #expect(all.contains { $0["type"] == "evaluation" && $0["data"]?["loss"] == 0.75 })
    #expect(try server.get("/v1/jobs/\(job)/events?after=\(all.count)").json["items"] == [])
    #expect(try server.get("/v1/jobs/\(job)/events?after=-1").faultPaths == ["?after"])
  }

  @Test func `downloads have a digest, a tag, and can go on where they stopped`() throws {
    // More than two stored chunks.
    let model = (0..<(2 * Store.blobChunkBytes + 1000)).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
    let job = try succeededJob(model: model)
    let path = "/v1/jobs/\(job)/model?format=safetensors"
    let whole = try server.get(path)
    #expect(whole.status == 200)
    #expect(whole.body == model)
    let tag = "\"\(SHA256.hexadecimal(model))\""
    #expect(whole.headers["etag"] == tag)
    #expect(whole.headers["repr-digest"] == "sha-256=:\(Data(SHA256.digest(model)).base64EncodedString()):")
    #expect(whole.headers["content-disposition"] == "attachment; filename=\"\(job).safetensors\"")
    #expect(whole.headers["accept-ranges"] == "bytes")

    func part(_ range: String, _ more: [(String, String)] = []) throws -> RawAnswer {
      try server.get(path, headers: [("Range", range)] + more)
    }
    let middle = try part("bytes=1048570-1048585")
    #expect(middle.status == 206)
    #expect(middle.body == Array(model[1048570...1048585]))
    #expect(middle.headers["content-range"] == "bytes 1048570-1048585/\(model.count)")
    #expect(try part("bytes=-5").body == Array(model.suffix(5)))
    #expect(try part("bytes=\(model.count - 3)-").body == Array(model.suffix(3)))
    #expect(try part("bytes=0-\(model.count * 2)").body == model)
    let beyond = try part("bytes=\(model.count)-")
    #expect(beyond.status == 416)
    #expect(beyond.headers["content-range"] == "bytes */\(model.count)")
    #expect(try part("bytes=0-1,4-5").status == 200)
    #expect(try part("bytes=0-1", [("If-Range", tag)]).status == 206)
    #expect(try part("bytes=0-1", [("If-Range", "\"other\"")]).body == model)

    #expect(try server.get(path, headers: [("If-None-Match", tag)]).status == 304)
    let head = try server.call("HEAD", path)
    #expect(head.body.isEmpty)
    #expect(head.headers["content-length"] == String(model.count))
    #expect(try server.get("/v1/jobs/\(job)/model?format=pickle").faultPaths == ["?format"])
  }

  @Test(
    arguments: [
      ("bytes=0-0", Downloads.Wanted.part(0..<1)), ("bytes=2-", .part(2..<10)), ("bytes=-3", .part(7..<10)),
      ("bytes=-30", .part(0..<10)), ("bytes=3-100", .part(3..<10)), ("BYTES=1-2", .part(1..<3)), ("bytes=10-", .beyond),
      ("bytes=-0", .beyond), ("bytes=5-4", .whole), ("bytes=-", .whole), ("bytes=a-b", .whole), ("bits=0-1", .whole),
      ("bytes=0-1,3-4", .whole), ("bytes=0-99999999999999999999", .whole), ("", .whole),
    ])
  func `a range is a part, lies beyond, or means the whole`(field: String, wanted: Downloads.Wanted) {
    #expect(Downloads.range(field, bytes: 10) == wanted)
  }

  @Test func `checkpoints come in pages`() throws {
    let job = try succeededJob(model: [1, 2])
    let first = try server.get("/v1/jobs/\(job)/checkpoints?limit=1").json
    let cursor = try #require(first["next_cursor"]?.string)
    let second = try server.get("/v1/jobs/\(job)/checkpoints?limit=1&cursor=\(cursor)").json
    #expect(second["next_cursor"] == .null)
    let kinds = ((first["items"]?.array ?? []) + (second["items"]?.array ?? [])).compactMap { $0["kind"]?.string }
    #expect(kinds == ["model", "resume"])
    #expect(try server.get("/v1/jobs/\(job)/checkpoints?cursor=ck_x").faultPaths == ["?cursor"])
  }
}
