// Routes/JobControl.swift over the wire: pausing, resuming, changing and deleting jobs, with entity tags.
import Contract
import Foundation
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct JobControlTests {
  let server: ServerUnderTest
  let dataset: Dataset

  init() throws {
    server = try ServerUnderTest()
    dataset = try server.readyDataset()
  }

  private func submit(_ more: [String: JSON] = [:]) throws -> String {
    try #require(server.post("/v1/jobs", server.jobBody(dataset.id, more)).json["id"]?.string)
  }

  private func patch(_ id: String, _ body: JSON, headers: [(String, String)] = []) throws -> RawAnswer {
    try server.call("PATCH", "/v1/jobs/\(id)", headers: headers, type: "application/json", body: body.bytes)
  }

  @Test func `pausing and resuming follow the state a job is in`() throws {
    let job = try submit()
    let paused = try server.call("POST", "/v1/jobs/\(job)/pause")
    #expect(paused.json["state"] == "paused" && paused.json["reason"] == "paused")
    #expect(try server.call("POST", "/v1/jobs/\(job)/pause").body == paused.body)
    #expect(try server.call("DELETE", "/v1/datasets/\(dataset.id)").status == 409)
    let listed = try server.get("/v1/jobs?state=paused").json["items"]?.array ?? []
    #expect(listed.map { $0["id"]?.string } == [job])
    let stale = try server.call("POST", "/v1/jobs/\(job)/resume", headers: [("If-Match", "\"1\"")])
    #expect(stale.status == 412)
    let tag = try #require(paused.headers["etag"])
    #expect(try server.call("POST", "/v1/jobs/\(job)/resume", headers: [("If-Match", tag)]).json["state"] == "queued")
    let lease = try #require(try server.store.claimJob())
    #expect(try server.call("POST", "/v1/jobs/\(job)/pause").json["state"] == "pausing")
    #expect(try server.call("POST", "/v1/jobs/\(job)/resume").json["state"] == "running")
    try server.succeed(lease, model: [1])
    for action in ["pause", "resume"] {
      let refused = try server.call("POST", "/v1/jobs/\(job)/\(action)")
      #expect(refused.status == 409)
      #expect(refused.detail.contains("is succeeded"))
      #expect(try server.call("POST", "/v1/jobs/job_01jd3kq5v8m2n4p6r8t0w2y4a6/\(action)").status == 404)
    }
  }

  @Test func `a paused job counts as unfinished`() throws {
    let server = try ServerUnderTest(limits: { $0.unfinishedJobsMax = 1 })
    let body = server.jobBody(try server.readyDataset().id)
    let id = try #require(server.post("/v1/jobs", body).json["id"]?.string)
    #expect(try server.call("POST", "/v1/jobs/\(id)/pause").json["state"] == "paused")
    #expect(try server.post("/v1/jobs", body).status == 429)
  }

  @Test func `name, tags and priority change in place, for the revision that was meant`() throws {
    let job = try submit(["name": "first", "tags": ["a": "1", "b": "2"]])
    let changed = try patch(job, ["tags": ["a": "3"], "priority": 0], headers: [("If-Match", "\"1\"")])
    #expect(changed.status == 200)
    #expect(changed.json["name"] == "first" && changed.json["tags"] == ["a": "3"] && changed.json["priority"] == 0)
    #expect(changed.headers["etag"] == "\"2\"")
    #expect(try patch(job, ["priority": 1], headers: [("If-Match", "\"1\"")]).status == 412)
    #expect(try patch(job, ["name": .null]).json["name"] == .null)
    #expect(try server.get("/v1/jobs/\(job)").json["tags"] == ["a": "3"])
    #expect(try patch("job_01jd3kq5v8m2n4p6r8t0w2y4a6", ["priority": 1]).status == 404)
    for (body, path) in [
      (["colour": "red"], "/colour"), (["steps": 5], "/steps"), (["priority": 10], "/priority"),
      (["priority": .null], "/priority"), (["tags": .null], "/tags"), (["tags": ["a": 1]], "/tags"),
      (["name": ""], "/name"), ([:], ""),
    ] as [(JSON, String)] {
      let refused = try patch(job, body)
      #expect(refused.status == 422, "\(body.text)")
      #expect(refused.faultPaths == [path], "\(body.text)")
    }
  }

  @Test func `jobs are listed by tag, alone and with a state`() throws {
    let red = try submit(["tags": ["colour": "red", "note": "a:b"]])
    let blue = try submit(["tags": ["colour": "blue"]])
    func ids(_ query: String) throws -> [String?] {
      (try server.get("/v1/jobs?\(query)").json["items"]?.array ?? []).map { $0["id"]?.string }
    }
    #expect(try ids("tag=colour:red") == [red])
    #expect(try ids("tag=note:a:b") == [red])
    #expect(try ids("tag=colour:blue&state=queued") == [blue])
    #expect(try ids("tag=colour:blue&state=running") == [])
    #expect(try ids("tag=colour:") == [])
    for bad in ["colour", ":red"] { #expect(try server.get("/v1/jobs?tag=\(bad)").faultPaths == ["?tag"], "\(bad)") }
  }

  @Test func `a job that is over is deleted with its curves and files, any other is not`() throws {
    let job = try submit()
    let refused = try server.call("DELETE", "/v1/jobs/\(job)")
    #expect(refused.status == 409)
    #expect(refused.detail.contains("cancel it"))
    try server.succeed(#require(try server.store.claimJob()), model: [1, 2])
    #expect(try server.get("/v1/jobs/\(job)/model").status == 200)
    #expect(try server.call("DELETE", "/v1/jobs/\(job)").status == 204)
    for path in ["", "/model", "/curves", "/events"] {
      #expect(try server.get("/v1/jobs/\(job)\(path)").status == 404, "\(path)")
    }
    #expect(try server.call("DELETE", "/v1/jobs/\(job)").status == 404)
    #expect(try server.store.audit(project: "demo").items.first?.action == "job.delete")
  }

  @Test func `steps are added to a job that is not over, and to the end of one that has succeeded by a new job`() throws
  {
    let job = try submit()
    let extended = try server.post("/v1/jobs/\(job)/extend", ["steps": 50])
    #expect(extended.status == 200)
    #expect(extended.json["steps"] == 150 && extended.json["budgets"] == [100, 150])
    #expect(extended.headers["etag"] == "\"2\"")
    let stale = try server.post("/v1/jobs/\(job)/extend", ["steps": 1], headers: [("If-Match", "\"1\"")])
    #expect(stale.status == 412)
    let lease = try #require(try server.store.claimJob())
    let state = try server.store.putBlob(Array("end".utf8))
    try server.store.finishJob(
      lease: lease,
      outcome: .succeeded(
        TrainingResult(trainLoss: 1, heldOut: Metrics([.loss: 1]), steps: 150, cpuLevel: "avx2"),
        model: server.store.putBlob([1])),
      last: JobProgress(sequence: 1, step: 150, loss: 1, checkpoint: (state, 150)))
    let header = [("Idempotency-Key", "more")]
    let made = try server.post("/v1/jobs/\(job)/extend", ["steps": 10], headers: header)
    #expect(made.status == 201)
    let new = try #require(made.json["id"]?.string)
    #expect(new != job && made.headers["location"] == "/v1/jobs/\(new)")
    #expect(made.json["extends"]?.string == job && made.json["first_step"] == 150 && made.json["steps"] == 160)
    let again = try server.post("/v1/jobs/\(job)/extend", ["steps": 10], headers: header)
    #expect(again.status == 201 && again.body == made.body && again.headers["idempotency-replayed"] == "true")
    #expect(try server.post("/v1/jobs/\(job)/extend", ["steps": 11], headers: header).status == 409)
    #expect(try server.get("/v1/jobs/\(job)").json["state"] == "succeeded")
    #expect(try server.store.audit(project: "demo").items.map(\.action) == ["job.create", "job.extend", "job.create"])
  }

  @Test func `extensions are refused with the reason`() throws {
    let server = try ServerUnderTest(limits: { $0.unfinishedJobsMax = 1 })
    let body = server.jobBody(try server.readyDataset().id)
    let first = try #require(server.post("/v1/jobs", body).json["id"]?.string)
    for (body, path) in [
      ([:], "/steps"), (["steps": 0], "/steps"), (["steps": 99_999_999], "/steps"), (["steps": 1, "to": 2], "/to"),
    ] as [(JSON, String)] {
      let refused = try server.post("/v1/jobs/\(first)/extend", body)
      #expect(refused.status == 422 && refused.faultPaths == [path], "\(body.text)")
    }
    // Its state at the end was not kept.
    try server.succeed(#require(try server.store.claimJob()), model: [1])
    let old = try server.post("/v1/jobs/\(first)/extend", ["steps": 5])
    #expect(old.status == 409)
    #expect(old.detail.contains("no state at its end"))
    let second = try #require(server.post("/v1/jobs", body).json["id"]?.string)
    #expect(try server.post("/v1/jobs/\(first)/extend", ["steps": 5]).status == 429)
    #expect(try server.call("POST", "/v1/jobs/\(second)/cancel").json["state"] == "cancelled")
    #expect(try server.post("/v1/jobs/\(second)/extend", ["steps": 5]).status == 409)
    #expect(try server.post("/v1/jobs/job_01jd3kq5v8m2n4p6r8t0w2y4a6/extend", ["steps": 5]).status == 404)
  }
}
