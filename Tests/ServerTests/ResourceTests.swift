// Datasets, models, keys and the service itself over the wire: what is refused, repeated and logged.
import Contract
import Foundation
import Logging
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct ResourceTests {
  let server: ServerUnderTest

  init() throws { server = try ServerUnderTest() }

  private func upload(
    _ query: String, _ body: [UInt8] = Array("a,b\n1,2\n".utf8), type: String = "text/csv",
    headers: [(String, String)] = []
  ) throws -> RawAnswer {
    try server.call("POST", "/v1/datasets?\(query)", headers: headers, type: type, body: body)
  }

  // MARK: Datasets

  @Test func `what an upload says wrong about itself is told at once, before its body is read`() throws {
    let answer = try upload("format=parquet&task=guessing&held_out_fraction=0.9&colour=red")
    #expect(answer.status == 422)
    #expect(
      Set(answer.faultPaths) == ["?name", "?format", "?task", "?held_out_fraction", "?colour"])
    #expect(try upload("name=a&format=idx&target=b").faultPaths == ["?target"])
    #expect(try upload("name=a&name=b&format=csv").faultPaths == ["?name"])
    // The body that is declared here never comes, and the answer does not wait for it.
    let early = try server.client.send(
      "POST", "/v1/datasets?format=csv",
      headers: [
        ("Authorization", "Bearer \(server.key)"), ("Content-Type", "text/csv"), ("Content-Length", "1000000"),
      ])
    #expect(early.status == 422)
    #expect(early.faultPaths == ["?name"])
  }

  @Test func `uploads have limits for one body and for a project`() throws {
    let small = try ServerUnderTest(limits: {
      $0.uploadBytesMax = 1000
      $0.datasetBytesMax = 1500
    })
    func upload(_ count: Int) throws -> RawAnswer {
      try small.call(
        "POST", "/v1/datasets?name=a&format=csv", type: "application/octet-stream",
        body: [UInt8](repeating: 65, count: count))
    }
    #expect(try upload(1001).status == 413)
    #expect(try upload(1000).status == 201)
    let over = try upload(900)
    #expect(over.status == 429)
    #expect(over.detail.contains("1000 bytes"))
    #expect(try upload(500).status == 201)
    #expect(try upload(0).status == 400)
  }

  @Test func `a large upload goes through the disk to the same bytes`() throws {
    let body = (0..<(3 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 11) }
    let answer = try upload("name=large&format=idx", body, type: "application/gzip")
    #expect(answer.status == 201)
    #expect(answer.json["bytes"]?.integer == body.count)
    #expect(answer.json["sha256"]?.string == SHA256.hexadecimal(body))
    #expect(try server.store.readBlob(sha256: SHA256.hexadecimal(body)) == body)
  }

  @Test func `a repeated upload gives the same dataset, another one under its key a conflict`() throws {
    let key = [("Idempotency-Key", "u-1")]
    let first = try upload("name=a&format=csv", headers: key)
    let again = try upload("name=a&format=csv", headers: key)
    #expect(again.body == first.body)
    #expect(again.headers["idempotency-replayed"] == "true")
    #expect(try upload("name=b&format=csv", headers: key).status == 409)
    #expect(try upload("name=a&format=csv", Array("a,b\n1,3\n".utf8), headers: key).status == 409)
    #expect(try server.get("/v1/datasets").json["items"]?.array?.count == 1)
  }

  @Test func `the media type of an upload is one of three`() throws {
    #expect(try upload("name=a&format=csv", type: "application/json").status == 415)
    #expect(try upload("name=a&format=csv", type: "application/x-www-form-urlencoded").status == 415)
    #expect(try upload("name=a&format=csv", type: "text/csv; charset=utf-8").status == 201)
  }

  @Test(.timeLimit(.minutes(2)))
  func `waiting for a dataset ends when a worker rejects it, with its problems`() throws {
    let created = try upload("name=a&format=csv")
    let id = try #require(created.json["id"]?.string)
    #expect(try server.get("/v1/datasets/\(id)/preview").json["retryable"] == true)
    let answers = Guarded<[RawAnswer]>([])
    Thread { [server] in
      if let answer = try? server.get("/v1/datasets/\(id)?wait=60") { answers.withLock { $0.append(answer) } }
    }.start()
    #expect(server.waits(1))
    let claim = try #require(try server.store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60))
    try server.store.finishValidation(
      lease: claim.lease,
      outcome: .rejected([
        DatasetProblem(row: 2, column: "a", reason: "expected a number"),
        DatasetProblem(row: nil, column: nil, reason: "too few rows"),
      ]))
    #expect(answers.wait(seconds: 50) { !$0.isEmpty })
    #expect(answers.current.first?.json["state"] == "rejected")
    #expect(answers.current.first?.json["problem_count"] == 2)
    let problems = try server.get("/v1/datasets/\(id)/problems").json["items"]
    #expect(
      problems == [
        ["row": 2, "column": "a", "reason": "expected a number"],
        ["row": .null, "column": .null, "reason": "too few rows"],
      ])
    let preview = try server.get("/v1/datasets/\(id)/preview")
    #expect(preview.status == 409)
    #expect(preview.json["retryable"] == false)
  }

  @Test func `a dataset that unfinished jobs need is kept, and deleting it ends waiting`() throws {
    let dataset = try server.readyDataset()
    let job = try server.store.makeJob(on: dataset)
    let refused = try server.call("DELETE", "/v1/datasets/\(dataset.id)")
    #expect(refused.status == 409)
    #expect(refused.detail.contains(job.id))
    _ = try server.call("POST", "/v1/jobs/\(job.id)/cancel")
    #expect(try server.call("DELETE", "/v1/datasets/\(dataset.id)").status == 204)
    #expect(try server.call("DELETE", "/v1/datasets/\(dataset.id)").status == 404)
    #expect(try server.get("/v1/datasets/\(dataset.id)?wait=60").status == 404)
  }

  // MARK: Models and keys

  @Test func `a model check says what each layer comes to`() throws {
    let answer = try server.post(
      "/v1/model-checks",
      ["model": ["preset": "mlp", "hidden": [128, 128]], "input_shape": [28, 28], "classes": 10, "batch_size": 64])
    #expect(answer.status == 200)
    let layers = answer.json["layers"]?.array ?? []
    #expect(layers.compactMap { $0["name"]?.string } == ["flatten_0", "dense_1", "dense_2", "dense_3"])
    #expect(layers.compactMap { $0["parameters"]?.integer } == [0, 784 * 128 + 128, 128 * 128 + 128, 1290])
    #expect(layers.last?["output_shape"] == [10])
    let parameters = 784 * 128 + 128 + 128 * 128 + 128 + 1290
    #expect(answer.json["parameters"] == .integer(parameters))
    // Parameters, gradients, their sum and four accumulators; two copies of a checkpoint of parameters, sum and
    // accumulators; at least the 64 rows of the batch and the 256 being judged, and not many times as much.
    let held = parameters * 7 + 2 * parameters * 6
    let bytes = try #require(answer.json["memory_bytes"]?.integer)
    #expect(bytes > 4 * (held + 320 * 784) && bytes < 8 * (held + 320 * 784))
    // What a preset expands to can be read in the answer.
    #expect(layers[1]["layer"] == ["type": "dense", "units": 128, "activation": "relu"])
    #expect(layers.compactMap { $0["inputs"]?.array } == [["input"], ["flatten_0"], ["dense_1"], ["dense_2"]])
    let text = try server.post(
      "/v1/model-checks", ["model": ["preset": "transformer"], "input_shape": [64], "vocabulary": 256])
    #expect(text.json["layers"]?.array?.last?["output_shape"] == [64, 256])
    let misfit = try server.post("/v1/model-checks", ["model": ["preset": "cnn"], "input_shape": [4], "classes": 2])
    #expect(misfit.status == 422 && misfit.faultPaths == ["/model/preset"])
    #expect(misfit.detail.contains("presets that fit it: mlp, softmax_regression, autoencoder, vae"))
    let plain = try server.post(
      "/v1/model-checks",
      ["model": ["preset": "mlp"], "input_shape": [3], "outputs": 1, "optimizer": ["name": "sgd"]])
    #expect(plain.json["batch_size"] == 128)
    #expect(plain.json["seconds_per_step"] == .null)
  }

  @Test func `a model check foresees the step on the slowest worker at hand`() throws {
    let request: JSON = ["model": ["preset": "mlp"], "input_shape": [784], "classes": 10]
    func foreseen() throws -> Double {
      try #require(try server.post("/v1/model-checks", request).json["seconds_per_step"]?.number)
    }
    func register(slowness: Double) throws {
      let speed = MachineSpeed(
        productFlopsPerSecond: 2e11 / slowness, functionsPerSecond: 4e9 / slowness, bytesPerSecond: 2e10 / slowness)
      try server.store.registerWorker(
        WorkerRecord(
          id: Identifier.make(.worker), host: "here", processID: 1, slots: 1, cpuLevel: "avx2", speed: speed,
          startedAt: Timestamp(Date()), seenAt: Timestamp(Date())))
    }
    try register(slowness: 1)
    let fast = try foreseen()
    #expect(1e-4...1e-2 ~= fast)
    try register(slowness: 4)
    #expect(3...4.01 ~= (try foreseen()) / fast)
  }

  @Test func `models that nobody stored are not listed`() throws {
    #expect(try server.get("/v1/models").json["items"] == [])
  }

  @Test(
    arguments: [
      (#"{"input_shape": [4], "classes": 2}"#, [""]),
      (
        #"{"model": {"preset": "mlp"}, "model_id": "mdl_01jd3kq5v8m2n4p6r8t0w2y4a6", "input_shape": [4], "classes": 2}"#,
        [""]
      ),
      (#"{"model": {"preset": "mlp"}}"#, [""]),
      (#"{"model": {"preset": "mlp"}, "input_shape": [4]}"#, [""]),
      (#"{"model": {"preset": "mlp"}, "input_shape": [4], "classes": 2, "outputs": 2}"#, [""]),
      (
        #"{"model": {"preset": "mlp"}, "input_shape": [0, 70000], "classes": 1}"#,
        ["/input_shape/0", "/input_shape/1", "/classes"]
      ),
      (#"{"model": {"preset": "mlp"}, "input_shape": [65536, 65536], "classes": 2}"#, ["/input_shape"]),
      (#"{"model": {"preset": "mlp"}, "dataset": "ds_01jd3kq5v8m2n4p6r8t0w2y4a6", "classes": 2}"#, ["/classes"]),
      (#"{"model": {"preset": "mlp"}, "dataset": "ds_01jd3kq5v8m2n4p6r8t0w2y4a6"}"#, ["/dataset"]),
      (#"{"model_id": "mdl_01jd3kq5v8m2n4p6r8t0w2y4a6", "input_shape": [4], "classes": 2}"#, ["/model_id"]),
      (
        #"{"model": {"layers": [{"type": "dense", "units": 2}]}, "input_shape": [2, 2], "classes": 2}"#,
        ["/model/layers"]
      ),
      (#"{"model": {"preset": "mlp"}, "input_shape": [2], "classes": 2, "learning_rate": 1}"#, ["/learning_rate"]),
    ])
  func `a model check that cannot be made is refused with the paths`(body: String, paths: [String]) throws {
    let answer = try server.call("POST", "/v1/model-checks", type: "application/json", body: Array(body.utf8))
    #expect(answer.status == 422)
    #expect(answer.faultPaths.sorted() == paths.sorted(), "\(answer.text)")
  }

  @Test func `a repeated model definition is the same one`() throws {
    let body: JSON = ["name": "m", "model": ["preset": "mlp"]]
    let first = try server.post("/v1/models", body, headers: [("Idempotency-Key", "m")])
    let again = try server.post("/v1/models", body, headers: [("Idempotency-Key", "m")])
    #expect(first.status == 201)
    #expect(again.body == first.body)
    #expect(again.headers["idempotency-replayed"] == "true")
  }

  @Test func `a key in the past, without scopes or with unknown ones is refused`() throws {
    let past = try server.post(
      "/v1/keys", ["name": "a", "scopes": ["jobs:read"], "expires_at": "2001-01-01T00:00:00Z"])
    #expect(past.faultPaths == ["/expires_at"])
    #expect(try server.post("/v1/keys", ["name": "a", "scopes": []]).faultPaths == ["/scopes"])
    let unknown = try server.post("/v1/keys", ["name": "", "scopes": ["jobs:read", "root"]])
    #expect(unknown.faultPaths == ["/name", "/scopes/1"])
  }

  // MARK: The service

  @Test func `what no route answers is a problem like any other`() throws {
    for (method, target, status) in [
      ("GET", "/v1/nothing", 404), ("PUT", "/v1/jobs", 405), ("GET", "/nothing", 404), ("BREW", "/v1/jobs", 501),
      ("GET", "/v1/jobs/%2e%2e", 400), ("GET", "/v1/jobs/a%2Fb", 400), ("GET", "/v1/jobs/job_1;x=1", 404),
    ] {
      let answer = try server.client.send(method, target, headers: [("Authorization", "Bearer \(server.key)")])
      #expect(answer.status == status, "\(method) \(target)")
      #expect(answer.contentType == "application/problem+json", "\(method) \(target)")
      #expect(
        members(answer.json).map(\.0) == ["detail", "errors", "request_id", "retryable", "status", "title", "type"])
    }
    #expect(try server.client.send("PUT", "/v1/jobs").headers["allow"] == "GET, HEAD, POST")
  }

  @Test func `readiness tells of a schema that does not fit`() throws {
    let other = try ServerUnderTest()
    try other.database.run("DELETE FROM schema_migrations")
    let answer = try other.get("/readyz", key: "")
    #expect(answer.status == 503)
    #expect(answer.headers["retry-after"] != nil)
    #expect(try other.get("/livez", key: "").status == 200)
  }

  @Test func `a database that is gone is a 503 that may be tried again, without its details`() throws {
    let lost = try ServerUnderTest()
    lost.store.close()
    let answer = try lost.get("/v1/jobs")
    #expect(answer.status == 503)
    #expect(answer.json["retryable"] == true)
    #expect(!answer.text.contains("dbname") && !answer.text.contains("pool"))
  }

  @Test func `logs name requests and routes, and never a secret`() throws {
    let lines = Guarded<[String]>([])
    let logger = Logger(label: "test") { _ in LinesHandler(lines: lines) }
    let logged = try ServerUnderTest(logger: logger)
    let id = "req-from-the-client"
    let made = try logged.post(
      "/v1/keys", ["name": "shown once", "scopes": ["jobs:read"]], headers: [("X-Request-Id", id)])
    let secret = try #require(made.json["secret"]?.string)
    _ = try logged.get("/v1/jobs/job_x?limit=secret-in-query", key: secret)
    _ = try logged.get("/v1/jobs", key: "ty_guessedguessedguessedguessedguess")
    logged.server.stop()
    let all = lines.current
    #expect(all.contains { $0.contains(id) && $0.contains("/v1/keys") && $0.contains("201") })
    #expect(all.contains { $0.contains("401") && $0.contains("/v1/jobs") })
    for word in [secret, logged.key, "ty_guessed", "secret-in-query", "job_x", "shown once"] {
      #expect(!all.contains { $0.contains(word) }, "\(word)")
    }
  }

  @Test func `changes are in the audit log with key and request`() throws {
    let made = try server.post("/v1/models", ["name": "m", "model": ["preset": "mlp"]])
    let entry = try #require(try server.store.audit(project: "demo").items.first)
    #expect(entry.action == "model.create")
    #expect(entry.subject == made.json["id"]?.string)
    #expect(entry.key?.hasPrefix("key_") == true)
    #expect(entry.detail["request_id"]?.string == made.headers["x-request-id"])
  }
}

/// Keeps what is logged.
private struct LinesHandler: LogHandler {
  let lines: Guarded<[String]>
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.trace

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    lines.withLock { $0.append("\(event.level) \(event.message) \(event.metadata ?? [:])") }
  }
}
