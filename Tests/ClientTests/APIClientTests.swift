// Tests for Client/APIClient.swift and HTTPTransport.swift, over real sockets with servers that misbehave by script.
import Contract
import Foundation
import Testing

@testable import Client

struct APIClientTests {
  private let quick = RetryPolicy(firstDelaySeconds: 0.01, delaySecondsMax: 0.02, deadlineSeconds: 20)

  private func client(_ server: ScriptedServer, retry: RetryPolicy? = nil) -> APIClient {
    APIClient(server: server.url, key: "ty_secret", retry: retry ?? quick)
  }

  private func temporaryFile(_ bytes: [UInt8]) throws -> URL {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("client-\(UUID().uuidString)")
    try Data(bytes).write(to: url)
    return url
  }

  @Test("a call carries the key and the answer comes back as JSON")
  func plainCall() throws {
    let server = ScriptedServer([ScriptedServer.json(200, #"{"id":"job_1","state":"queued"}"#)])
    let job = try client(server).job("job_1")
    #expect(job["state"] == "queued")
    #expect(server.requests[0].line == "GET /v1/jobs/job_1 HTTP/1.1")
    #expect(server.requests[0].header("authorization") == "Bearer ty_secret")
  }

  @Test("a problem becomes an error with status, detail and the faults of each field")
  func problem() {
    let body =
      #"{"title":"Invalid","status":422,"detail":"2 fields","errors":[{"path":"/steps","reason":"is required"}],"retryable":false,"request_id":"req_7"}"#
    let server = ScriptedServer([ScriptedServer.json(422, body)])
    let error = #expect(throws: APIError.self) { try client(server).createJob(["dataset": "x"]) }
    #expect(error?.status == 422)
    #expect(error?.faults == [Fault(path: "/steps", reason: "is required")])
    #expect(error?.description == "Invalid: 2 fields\n  /steps: is required\n  (request req_7)")
  }

  @Test("a creating call is sent again under the same idempotency key after a lost answer and a 503")
  func retriesCreate() throws {
    let server = ScriptedServer([
      "", ScriptedServer.json(503, #"{"title":"Starting","retryable":true}"#),
      ScriptedServer.json(201, #"{"id":"job_1"}"#),
    ])
    let job = try client(server).createJob(["steps": 1])
    #expect(job["id"] == "job_1")
    let requests = server.requests
    #expect(requests.count == 3)
    #expect(requests.allSatisfy { $0.body == Array(#"{"steps":1}"#.utf8) })
    #expect(Set(requests.map { $0.header("idempotency-key") ?? "" }).count == 1)
    #expect(requests[0].header("idempotency-key")?.isEmpty == false)
  }

  @Test("a refusal is not sent again, even one that calls itself retryable")
  func refusalIsFinal() {
    let server = ScriptedServer([
      ScriptedServer.json(409, #"{"title":"Not ready","retryable":true}"#), ScriptedServer.json(200, "{}"),
    ])
    let error = #expect(throws: APIError.self) { try client(server).createJob(["steps": 1]) }
    #expect(error?.status == 409)
    #expect(server.requests.count == 1)
  }

  @Test("an unreachable server is an error that says so once the deadline has passed")
  func unreachable() {
    let nobody = APIClient(server: URL(string: "http://127.0.0.1:9")!, key: nil, retry: .never)
    let error = #expect(throws: APIError.self) { try nobody.capabilities() }
    #expect(error?.kind == .unreachable)
  }

  @Test("files are uploaded one after another, and the server's hash must be theirs")
  func upload() throws {
    let first = try temporaryFile(Array("hello ".utf8)), second = try temporaryFile(Array("world".utf8))
    // SHA-256 of "hello world".
    let hash = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    let server = ScriptedServer([
      ScriptedServer.json(201, "{\"id\":\"ds_1\",\"sha256\":\"\(hash)\"}"),
      ScriptedServer.json(201, #"{"id":"ds_2","sha256":"00"}"#),
    ])
    let files = [first.path, second.path]
    let options = DatasetOptions(format: .csv, target: "a+b &c")
    let dataset = try client(server).createDataset(name: "greeting", options: options, files: files)
    #expect(dataset["id"] == "ds_1")
    let request = server.requests[0]
    #expect(request.line == "POST /v1/datasets?name=greeting&format=csv&target=a%2Bb%20%26c HTTP/1.1")
    #expect(String(decoding: request.body, as: UTF8.self) == "hello world")
    let error = #expect(throws: APIError.self) {
      try client(server).createDataset(name: "greeting", options: options, files: files)
    }
    #expect(error?.kind == .corrupt)
  }

  @Test("a file that cannot be read is named, and nothing is sent again")
  func missingFile() {
    let server = ScriptedServer([ScriptedServer.json(201, "{}")])
    let error = #expect(throws: APIError.self) {
      try client(server).createDataset(
        name: "x", options: DatasetOptions(format: .csv), files: ["/nonexistent/data.csv"])
    }
    #expect(error?.kind == .file)
    #expect(error?.title.contains("/nonexistent/data.csv") == true)
    #expect(server.requests.count <= 1)
  }

  @Test("a download that does not have the promised hash leaves no file")
  func damagedDownload() throws {
    let hash = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    let listing = ScriptedServer.json(
      200, "{\"items\":[{\"kind\":\"model\",\"sha256\":\"\(hash)\"}],\"next_cursor\":null}")
    let server = ScriptedServer([
      listing, ScriptedServer.json(200, "hello WORLD"), listing, ScriptedServer.json(200, "hello world"),
    ])
    let target = FileManager.default.temporaryDirectory.appendingPathComponent("model-\(UUID().uuidString)")
    let error = #expect(throws: APIError.self) { try client(server).downloadModel(job: "job_1", to: target) }
    #expect(error?.kind == .corrupt)
    #expect(!FileManager.default.fileExists(atPath: target.path))
    #expect(!FileManager.default.fileExists(atPath: target.path + ".part"))
    let written = try client(server).downloadModel(job: "job_1", to: target)
    #expect(written.sha256 == hash)
    #expect(try String(contentsOf: target, encoding: .utf8) == "hello world")
  }

  @Test("lists are read page by page up to the limit")
  func pages() throws {
    let server = ScriptedServer([
      ScriptedServer.json(200, #"{"items":[{"id":"a"},{"id":"b"}],"next_cursor":"c1"}"#),
      ScriptedServer.json(200, #"{"items":[{"id":"c"},{"id":"d"}],"next_cursor":"c2"}"#),
    ])
    let jobs = try client(server).jobs(limit: 3)
    #expect(jobs.map { $0["id"] } == ["a", "b", "c"])
    #expect(server.requests[1].line.contains("cursor=c1"))
  }

  @Test("points of a curve that are null come as NaN")
  func curve() throws {
    let server = ScriptedServer([
      ScriptedServer.json(200, #"{"series":"train_loss","points_total":3,"steps":[0,1,2],"values":[2.5,null,1]}"#)
    ])
    let points = try client(server).curve(job: "job_1", series: .trainLoss, query: CurveQuery(from: 0, pointsMax: 10))
    #expect(points.steps == [0, 1, 2])
    #expect(points.values[0] == 2.5 && points.values[1].isNaN && points.values[2] == 1)
    #expect(server.requests[0].line.contains("max_points=10&sampling=minmax"))
  }

  @Test("an answer that is no JSON is an error, not an empty value")
  func notJSON() {
    let server = ScriptedServer([ScriptedServer.json(200, "<html>")])
    let error = #expect(throws: APIError.self) { try client(server).capabilities() }
    #expect(error?.kind == .malformedAnswer)
  }

  @Test("an id cannot reach outside its place in the path")
  func idsAreSegments() {
    let server = ScriptedServer([ScriptedServer.json(404, #"{"title":"Not found"}"#)])
    #expect(throws: APIError.self) { try client(server).job("../keys?x=1") }
    #expect(server.requests[0].line == "GET /v1/jobs/___keys_x_1 HTTP/1.1")
  }

  @Test("making a key is not repeated, since the lost answer may have held the secret of one")
  func createKeyOnce() {
    let server = ScriptedServer(["", ScriptedServer.json(201, "{}")])
    #expect(throws: APIError.self) { try client(server).createKey(name: "x", scopes: [.jobsRead]) }
    #expect(server.requests.count == 1)
    #expect(server.requests[0].header("idempotency-key") == nil)
  }

  @Test("what is gone after a lost answer counts as deleted, what was never there does not")
  func deleteTwice() throws {
    let gone = ScriptedServer.json(404, #"{"title":"Not found","retryable":false}"#)
    let server = ScriptedServer(["", gone, gone])
    try client(server).deleteDataset("ds_1")
    #expect(server.requests.map(\.line) == Array(repeating: "DELETE /v1/datasets/ds_1 HTTP/1.1", count: 2))
    let error = #expect(throws: APIError.self) { try client(server).deleteDataset("ds_1") }
    #expect(error?.status == 404)
  }

  @Test("a change is waited for by the entity tag of what was seen last")
  func changes() throws {
    let server = ScriptedServer([
      ScriptedServer.json(200, #"{"step":1}"#, headers: ["ETag: \"7\""]),
      "HTTP/1.1 304 Not Modified\r\nETag: \"7\"\r\nConnection: close\r\n\r\n",
      ScriptedServer.json(200, #"{"step":2}"#, headers: ["ETag: \"8\""]),
    ])
    let client = client(server)
    let first = try #require(try client.jobChange("job_1", since: nil, waitSeconds: 30))
    #expect(first.job["step"] == 1 && first.entityTag == "\"7\"")
    #expect(try client.jobChange("job_1", since: first.entityTag, waitSeconds: 30) == nil)
    let second = try #require(try client.jobChange("job_1", since: first.entityTag, waitSeconds: 30))
    #expect(second.job["step"] == 2 && second.entityTag == "\"8\"")
    #expect(server.requests.map { $0.header("if-none-match") } == [nil, "\"7\"", "\"7\""])
    #expect(server.requests[1].line == "GET /v1/jobs/job_1?wait=30 HTTP/1.1")
  }
}
