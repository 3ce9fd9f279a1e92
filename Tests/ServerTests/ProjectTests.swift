// Projects and their quotas, over the wire, also when many come for the last place at once.
import Contract
import Foundation
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct ProjectTests {
  let server: ServerUnderTest

  init() throws { server = try ServerUnderTest() }

  private func set(_ quotas: JSON, of project: String = "demo") throws -> RawAnswer {
    let body: JSON = ["quotas": quotas]
    return try server.call("PATCH", "/v1/projects/\(project)", type: "application/json", body: body.bytes)
  }

  @Test func `a project is made, listed, read and bounded, and shows what it uses`() throws {
    let made = try server.post("/v1/projects", ["id": "team-a", "quotas": ["unfinished_jobs": 5]])
    #expect(made.status == 201 && made.headers["location"] == "/v1/projects/team-a")
    #expect(made.json["quotas"] == ["unfinished_jobs": 5, "unfinished_campaigns": .null, "dataset_bytes": .null])
    #expect(made.json["limits"]?["unfinished_jobs"] == 5 && made.json["limits"]?["unfinished_campaigns"] == 100)
    #expect(try server.post("/v1/projects", ["id": "team-a"]).status == 409)
    #expect(
      try server.post("/v1/projects", ["id": "-a", "quotas": ["jobs": 1]]).faultPaths == ["/id", "/quotas/jobs"])

    let dataset = try server.readyDataset(project: "team-a")
    try server.store.makeJob(on: dataset)
    let read = try server.get("/v1/projects/team-a").json
    #expect(read["usage"] == ["unfinished_jobs": 1, "unfinished_campaigns": 0, "dataset_bytes": 6])
    #expect(
      try set(["unfinished_jobs": .null, "dataset_bytes": 7], of: "team-a").json["quotas"] == [
        "unfinished_jobs": .null, "unfinished_campaigns": .null, "dataset_bytes": 7,
      ])
    #expect(try set(["dataset_bytes": -1], of: "team-a").faultPaths == ["/quotas/dataset_bytes"])
    #expect(try set(["dataset_bytes": 1], of: "nobody").status == 404)
    let first = try server.get("/v1/projects?limit=1").json
    #expect(first["items"]?.array?.map { $0["id"] } == ["demo"] && first["next_cursor"] == "demo")
    #expect(try server.get("/v1/projects?cursor=demo").json["items"]?.array?.map { $0["id"] } == ["team-a"])
  }

  @Test func `a refusal says which quota, how much is used and what to do`() throws {
    let dataset = try server.readyDataset()
    #expect(try set(["unfinished_jobs": 1, "unfinished_campaigns": 0, "dataset_bytes": 10]).status == 200)
    #expect(try server.post("/v1/jobs", server.jobBody(dataset.id)).status == 201)
    let refused = try server.post("/v1/jobs", server.jobBody(dataset.id))
    #expect(refused.status == 429 && refused.json["type"] == "urn:trainyard:problem:quota")
    for word in ["demo", "1 unfinished jobs", "quota is 1", "unfinished_jobs", "cancel"] {
      #expect(refused.detail.contains(word), "\(refused.detail)")
    }
    #expect(try server.post("/v1/campaigns", CampaignSpec.sample.json).status == 429)
    let upload = try server.call(
      "POST", "/v1/datasets?name=d&format=csv", type: "text/csv", body: Array("a,b\n1,2\n".utf8))
    #expect(upload.status == 429 && upload.detail.contains("6 bytes"), "\(upload.text)")
    // Another project has its own.
    let other = try server.readyDataset(project: "other")
    let key = try server.key([.jobsWrite], project: "other")
    #expect(try server.post("/v1/jobs", server.jobBody(other.id), key: key).status == 201)
  }

  @Test func `of many that come for the last places at once just so many get them`() throws {
    let dataset = try server.readyDataset()
    #expect(try set(["unfinished_jobs": 3, "dataset_bytes": 14]).status == 200)
    let body = server.jobBody(dataset.id)
    let statuses = Guarded<[Int]>([]), uploads = Guarded<[Int]>([])
    DispatchQueue.concurrentPerform(iterations: 24) { index in
      if index % 2 == 0 {
        let status = (try? server.post("/v1/jobs", body).status) ?? 0
        statuses.withLock { $0.append(status) }
      } else {
        let status = try? server.call(
          "POST", "/v1/datasets?name=d\(index)&format=csv", type: "text/csv", body: Array("a\n1\n".utf8)
        ).status
        uploads.withLock { $0.append(status ?? 0) }
      }
    }
    #expect(statuses.current.sorted() == [201, 201, 201] + [Int](repeating: 429, count: 9))
    #expect(uploads.current.sorted() == [201, 201] + [Int](repeating: 429, count: 10))
  }
}
