// Evaluations over HTTP: created, of a campaign's theta too, read, listed, cancelled, and their reports.
import Contract
import Foundation
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct EvaluationTests {
  let server: ServerUnderTest

  init() throws {
    server = try ServerUnderTest()
    try server.releaseOptimizer()
  }

  private let body: JSON = [
    "optimizers": ["celo", "adam_lr"], "baseline": "nadamw_lr", "tasks": ["quick"], "steps": 500,
  ]

  @Test func `an evaluation is created once under its key, read, listed and cancelled`() throws {
    let key = [("Idempotency-Key", "one")]
    let made = try server.post("/v1/evaluations", body, headers: key)
    #expect(made.status == 201, "\(made.text)")
    let id = try #require(made.json["id"]?.string)
    // The version was left open and is filled in for good.
    #expect(made.json["spec"]?["optimizers"]?.array?.first?["version"] == 1)
    #expect(try server.post("/v1/evaluations", body, headers: key).json["id"]?.string == id)
    let read = try server.get("/v1/evaluations/\(id)")
    #expect(read.json == made.json && read.headers["etag"] == made.headers["etag"])
    let tag = try #require(read.headers["etag"])
    #expect(try server.get("/v1/evaluations/\(id)", headers: [("If-None-Match", tag)]).status == 304)
    #expect(try server.get("/v1/evaluations?state=queued").json["items"]?.array?.count == 1)
    #expect(try server.get("/v1/evaluations?state=nowhere").faultPaths == ["?state"])
    let early = try server.get("/v1/evaluations/\(id)/report")
    #expect(early.status == 409 && early.json["retryable"] == true)
    #expect(try server.call("POST", "/v1/evaluations/\(id)/cancel").json["state"] == "cancelled")
    #expect(try server.get("/v1/evaluations/\(id)/report?format=html").json["retryable"] == false)
    #expect(
      Set(try server.store.audit(project: "demo").items.map(\.action)) == ["evaluation.create", "evaluation.cancel"])
  }

  @Test func `what is wrong with an evaluation is answered with its path`() throws {
    let wrong = try server.post("/v1/evaluations", ["optimizers": ["nothing"], "tasks": [], "steps": 1, "more": 1])
    #expect(wrong.status == 422)
    #expect(Set(wrong.faultPaths) == ["/optimizers/0/name", "/tasks", "/steps", "/more"])
    let missing = try server.post(
      "/v1/evaluations",
      ["optimizers": [["name": "celo", "version": 9]], "tasks": ["quick"], "steps": 500])
    #expect(missing.status == 404, "\(missing.text)")
    let file = try server.post(
      "/v1/evaluations", ["optimizers": [["theta": "/etc/passwd"]], "tasks": ["quick"], "steps": 500])
    #expect(file.status == 422, "\(file.text)")
    #expect(try server.store.evaluations(project: "demo").items.isEmpty)
  }

  @Test func `a campaign's theta is evaluated beside others, by its version or the newest`() throws {
    let id = try server.store.createCampaign(.sample, project: "demo", author: "key_1").campaign.id
    let early = try server.post("/v1/campaigns/\(id)/evaluate", ["spec": ["tasks": ["quick"], "steps": 500]])
    #expect(early.status == 404)
    try server.database.run(
      """
      INSERT INTO campaign_thetas (campaign, version, content, sha256)
      SELECT '\(id)', v, convert_to('theta ' || v, 'UTF8'), sha256(convert_to('theta ' || v, 'UTF8'))
      FROM unnest(ARRAY[0, 5, 10]) v
      """)
    let newest = try server.post(
      "/v1/campaigns/\(id)/evaluate",
      ["spec": ["tasks": ["quick"], "steps": 500, "optimizers": ["celo"], "baseline": "adam_lr"]])
    #expect(newest.status == 201, "\(newest.text)")
    let optimizers = newest.json["spec"]?["optimizers"]?.array ?? []
    #expect(optimizers.count == 2 && optimizers[0]["campaign"]?.string == id && optimizers[0]["version"] == 10)
    #expect(newest.json["campaign"]?.string == id && newest.json["campaign_version"] == 10)
    let older = try server.post(
      "/v1/campaigns/\(id)/evaluate", ["version": 5, "spec": ["tasks": ["quick"], "steps": 500]])
    #expect(older.json["campaign_version"] == 5)
    #expect(try server.get("/v1/evaluations?campaign=\(id)").json["items"]?.array?.count == 2)
    #expect(try server.post("/v1/campaigns/\(id)/evaluate", ["version": 7, "spec": [:]]).status == 404)
    #expect(try server.post("/v1/campaigns/\(id)/evaluate", ["spec": ["steps": 500]]).faultPaths == ["/spec/tasks"])
    #expect(try server.post("/v1/campaigns/\(id)/evaluate", ["spec": 3]).faultPaths == ["/spec"])
  }

  @Test func `the report is downloaded in both forms, whole and in parts`() throws {
    let made = try server.post("/v1/evaluations", body)
    let id = try #require(made.json["id"]?.string)
    let json = try server.store.putBlob(Array("{}".utf8)), html = try server.store.putBlob(Array("<html>".utf8))
    try server.database.run(
      """
      UPDATE evaluations SET state = 'succeeded', finished_at = now(), summary = '{"headlines": []}',
        report_json = '\\x\(json.sha256)', report_html = '\\x\(html.sha256)' WHERE id = '\(id)'
      """)
    #expect(try server.get("/v1/evaluations/\(id)").json["reports"]?["html"]?["bytes"] == 6)
    #expect(try server.get("/v1/evaluations/\(id)/report").text == "{}")
    let page = try server.get("/v1/evaluations/\(id)/report?format=html")
    #expect(page.text == "<html>" && page.headers["content-disposition"]?.contains("\(id).html") == true)
    let part = try server.get("/v1/evaluations/\(id)/report?format=html", headers: [("Range", "bytes=1-4")])
    #expect(part.status == 206 && part.text == "html")
  }
}
