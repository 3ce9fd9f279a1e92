// Jobs over the wire: what is refused and why, repeating, cancelling, waiting, pages.
import Contract
import Foundation
import Glibc
import Store
import TestSupport
import Testing

@testable import Server

@Suite struct JobTests {
  let server: ServerUnderTest
  let dataset: Dataset

  init() throws {
    server = try ServerUnderTest()
    dataset = try server.readyDataset()
  }

  private func submit(_ more: [String: JSON] = [:], headers: [(String, String)] = []) throws -> RawAnswer {
    try server.post("/v1/jobs", server.jobBody(dataset.id, more), headers: headers)
  }

  private func id(_ answer: RawAnswer) throws -> String { try #require(answer.json["id"]?.string) }

  // MARK: Refusals

  @Test func `a learning rate is refused with the reason why there is none`() throws {
    let answer = try submit(["learning_rate": 0.1])
    #expect(answer.status == 422)
    #expect(answer.faultPaths == ["/learning_rate"])
    #expect(answer.detail.contains("there is no learning rate to choose"))
    #expect(answer.detail.contains("\"adam\""))
    let nested = try submit(["optimizer": ["name": "celo", "learning_rate": 0.1]])
    #expect(nested.faultPaths == ["/optimizer/learning_rate"])
  }

  @Test func `all faults of a body come at once with their paths`() throws {
    let answer = try server.post(
      "/v1/jobs",
      [
        "dataset": "ds_x", "model": ["layers": [["type": "dense", "units": 0], ["type": "blur"]]], "steps": 0,
        "batch_size": "many", "colour": "red", "epochs": 3,
      ])
    #expect(answer.status == 422)
    #expect(
      Set(answer.faultPaths) == [
        "/dataset", "/model/layers/0/units", "/model/layers/1/type", "/steps", "/batch_size", "/colour", "/epochs",
      ])
    #expect(answer.json["retryable"] == false)
    #expect(answer.json["type"]?.string == "urn:trainyard:problem:invalid-field")
  }

  @Test func `malformed JSON is a 400 that names the byte`() throws {
    let answer = try server.call(
      "POST", "/v1/jobs", type: "application/json", body: Array(#"{"steps": 1,, "dataset": 2}"#.utf8))
    #expect(answer.status == 400)
    #expect(answer.detail.contains("byte 12"))
    let twice = try server.call(
      "POST", "/v1/jobs", type: "application/json", body: Array(#"{"steps": 1, "steps": 2}"#.utf8))
    #expect(twice.status == 400)
    #expect(try server.call("POST", "/v1/jobs", type: "application/json", body: []).status == 400)
  }

  @Test func `a body that is not declared as JSON is a 415`() throws {
    let body = server.jobBody(dataset.id).bytes
    #expect(try server.call("POST", "/v1/jobs", type: "text/plain", body: body).status == 415)
    #expect(try server.call("POST", "/v1/jobs", body: body).status == 415)
    #expect(try server.call("POST", "/v1/jobs", type: "application/json; charset=utf-8", body: body).status == 201)
  }

  @Test func `a body longer than allowed is a 413`() throws {
    let small = try ServerUnderTest(limits: { $0.bodyBytesMax = 100 })
    let answer = try small.call(
      "POST", "/v1/jobs", type: "application/json", body: [UInt8](repeating: UInt8(ascii: " "), count: 101))
    #expect(answer.status == 413)
  }

  @Test func `a model that does not fit the data is refused with the layer`() throws {
    let outputs = try submit(["model": ["layers": [["type": "dense", "units": 3]]]])
    #expect(outputs.faultPaths == ["/model/layers"])
    #expect(outputs.detail.contains("2 classes"))
    let stored = try server.post(
      "/v1/models", ["name": "wrong", "model": ["layers": [["type": "dense", "units": 3]]]])
    let byID = try submit(["model": .null, "model_id": .string(id(stored))])
    #expect(byID.faultPaths == ["/model_id/layers"])
  }

  @Test func `a batch above the training part is refused, and none given means at most all of it`() throws {
    let answer = try submit(["batch_size": 91])
    #expect(answer.faultPaths == ["/batch_size"])
    #expect(answer.detail.contains("90 rows"))
    #expect(try submit(["batch_size": 90]).status == 201)
    #expect(try submit().json["batch_size"] == 90)
  }

  @Test func `a job that needs more memory than allowed is refused with the estimate`() throws {
    let small = try ServerUnderTest(limits: { $0.jobMemoryBytesMax = 65_536 })
    let dataset = try small.readyDataset()
    let wide = small.jobBody(dataset.id, ["model": ["preset": "mlp", "hidden": [4096]], "batch_size": 1])
    let answer = try small.post("/v1/jobs", wide)
    #expect(answer.faultPaths == ["/model"])
    #expect(answer.detail.contains("65536"))
    let narrow = small.jobBody(dataset.id, ["model": ["preset": "mlp", "hidden": [2]], "batch_size": 1])
    #expect(try small.post("/v1/jobs", narrow).status == 201)
  }

  @Test func `datasets that are not ready are told apart`() throws {
    let blob = try server.store.putBlob([1])
    let raw = try server.store.createDataset(
      name: "raw", options: DatasetOptions(format: .csv), blob: blob, project: "demo"
    ).dataset
    let validating = try server.post("/v1/jobs", server.jobBody(raw.id))
    #expect(validating.status == 409)
    #expect(validating.json["type"]?.string == "urn:trainyard:problem:not-ready")
    #expect(validating.json["retryable"] == true)
    #expect(validating.headers["retry-after"] != nil)

    let claim = try #require(try server.store.claim(worker: "w", kinds: [.validation], leaseSeconds: 60))
    try server.store.finishValidation(
      lease: claim.lease, outcome: .rejected([DatasetProblem(row: 2, column: "a", reason: "expected a number")]))
    let rejected = try server.post("/v1/jobs", server.jobBody(raw.id))
    #expect(rejected.status == 422)
    #expect(rejected.faultPaths == ["/dataset"])
    #expect(rejected.detail.contains("1 problem"))

    let missing = try server.post("/v1/jobs", server.jobBody("ds_01jd3kq5v8m2n4p6r8t0w2y4a6"))
    #expect(missing.faultPaths == ["/dataset"])
  }

  @Test func `the learned optimizer released last trains a job that names none`() throws {
    let none = try submit(["optimizer": .null])
    #expect(none.status == 409)
    #expect(none.detail.contains("no learned optimizer"))
    try server.releaseOptimizer(.smallFC)
    let newest = try server.releaseOptimizer(.celo, version: 2)
    let auto = try submit(["optimizer": .null])
    #expect(auto.status == 201)
    #expect(auto.json["optimizer_id"]?.string == newest.id)
    #expect(auto.json["optimizer"] == ["name": "auto"])
    #expect(try submit(["optimizer": ["name": "celo", "version": 3]]).faultPaths == ["/optimizer/version"])
    #expect(try submit(["optimizer": ["name": "adam"]]).json["optimizer_id"] == .null)
  }

  @Test func `unfinished jobs above the quota are a 429, and one that ends makes room`() throws {
    let server = try ServerUnderTest(limits: { $0.unfinishedJobsMax = 2 })
    let body = server.jobBody(try server.readyDataset().id)
    let first = try server.post("/v1/jobs", body)
    #expect(try server.post("/v1/jobs", body).status == 201)
    let refused = try server.post("/v1/jobs", body)
    #expect(refused.status == 429)
    #expect(refused.json["type"]?.string == "urn:trainyard:problem:quota")
    #expect(try server.call("POST", "/v1/jobs/\(id(first))/cancel").json["state"] == "cancelled")
    #expect(try server.post("/v1/jobs", body).status == 201)
  }

  // MARK: Repeating

  @Test func `the same idempotency key gives the same job, with another body a conflict`() throws {
    let header = [("Idempotency-Key", "k-1")]
    let first = try submit(headers: header)
    #expect(first.status == 201)
    #expect(first.headers["idempotency-replayed"] == nil)
    #expect(first.headers["location"] == "/v1/jobs/\(try id(first))")
    _ = try server.store.claimJob()
    let again = try submit(headers: header)
    #expect(again.status == 201)
    #expect(again.body == first.body)
    #expect(again.headers["idempotency-replayed"] == "true")
    let other = try submit(["steps": 101], headers: header)
    #expect(other.status == 409)
    #expect(other.json["type"]?.string == "urn:trainyard:problem:conflict")
    #expect(try server.get("/v1/jobs").json["items"]?.array?.count == 1)
    #expect(try submit(headers: [("Idempotency-Key", String(repeating: "k", count: 256))]).status == 422)
  }

  @Test func `a repeated post gets its first answer even when it could not be granted again`() throws {
    let server = try ServerUnderTest(limits: { $0.unfinishedJobsMax = 1 })
    let dataset = try server.readyDataset()
    let header = [("Idempotency-Key", "k")]
    let first = try server.post("/v1/jobs", server.jobBody(dataset.id), headers: header)
    #expect(try server.post("/v1/jobs", server.jobBody(dataset.id)).status == 429)
    #expect(try server.post("/v1/jobs", server.jobBody(dataset.id), headers: header).body == first.body)
    _ = try server.call("POST", "/v1/jobs/\(id(first))/cancel")
    #expect(try server.call("DELETE", "/v1/datasets/\(dataset.id)").status == 204)
    let again = try server.post("/v1/jobs", server.jobBody(dataset.id), headers: header)
    #expect(again.status == 201)
    #expect(again.body == first.body)
    #expect(again.headers["idempotency-replayed"] == "true")
  }

  @Test func `many posts with one key at once make one job`() throws {
    let body = server.jobBody(dataset.id)
    let answers = try concurrently(8) { _ in
      try server.post("/v1/jobs", body, headers: [("Idempotency-Key", "same")])
    }
    #expect(answers.allSatisfy { $0.status == 201 })
    #expect(Set(answers.map(\.body)).count == 1)
    #expect(answers.filter { $0.headers["idempotency-replayed"] == nil }.count == 1)
  }

  // MARK: Cancelling and waiting

  @Test func `cancelling follows the state a job is in`() throws {
    let queued = try id(submit())
    #expect(try server.call("POST", "/v1/jobs/\(queued)/cancel").json["state"] == "cancelled")
    #expect(try server.call("POST", "/v1/jobs/\(queued)/cancel").json["state"] == "cancelled")

    let running = try id(submit())
    let lease = try #require(try server.store.claimJob())
    #expect(lease.subject == running)
    let asked = try server.call("POST", "/v1/jobs/\(running)/cancel")
    #expect(asked.json["state"] == "cancelling")
    #expect(asked.json["reason"] == "cancel_requested")
    // A run that ends before its worker notices keeps its result.
    try server.succeed(lease, model: [1])
    #expect(try server.call("POST", "/v1/jobs/\(running)/cancel").json["state"] == "succeeded")
    #expect(try server.call("POST", "/v1/jobs/job_01jd3kq5v8m2n4p6r8t0w2y4a6/cancel").status == 404)
    // Clients that send an empty body with a content type are served too.
    #expect(try server.call("POST", "/v1/jobs/\(running)/cancel", type: "application/json", body: []).status == 200)
  }

  @Test(.timeLimit(.minutes(2)))
  func `a waiting request is answered by the job's end, and holds no handler thread`() throws {
    let job = try id(submit())
    let lease = try #require(try server.store.claimJob())
    // More than there are handler threads.
    let answers = Guarded<[RawAnswer]>([])
    let threads = (0..<12).map { _ in
      Thread { [server] in
        if let answer = try? server.get("/v1/jobs/\(job)?wait=60") { answers.withLock { $0.append(answer) } }
      }
    }
    threads.forEach { $0.start() }
    #expect(server.waits(12))
    #expect(try server.get("/v1/jobs/\(job)").json["state"] == "running")
    try server.succeed(lease, model: [1])
    #expect(answers.wait(seconds: 50) { $0.count == 12 })
    #expect(answers.current.allSatisfy { $0.status == 200 && $0.json["state"] == "succeeded" })
    #expect(server.app.waiters.count == 0)
    // There is nothing left to wait for.
    #expect(try server.get("/v1/jobs/\(job)?wait=60").json["state"] == "succeeded")
  }

  @Test(.timeLimit(.minutes(2)))
  func `with an entity tag a waiting request is answered by the next change`() throws {
    let created = try submit()
    let job = try id(created)
    let tag = try #require(created.headers["etag"])
    let answers = Guarded<[RawAnswer]>([])
    Thread { [server] in
      if let answer = try? server.get("/v1/jobs/\(job)?wait=60", headers: [("If-None-Match", tag)]) {
        answers.withLock { $0.append(answer) }
      }
    }.start()
    #expect(server.waits(1))
    _ = try server.store.claimJob()
    #expect(answers.wait(seconds: 50) { !$0.isEmpty })
    #expect(answers.current.first?.json["state"] == "running")
  }

  @Test(.timeLimit(.minutes(2)))
  func `waiting ends with its time, with the client, and with the server`() throws {
    let job = try id(submit())
    #expect(try server.get("/v1/jobs/\(job)?wait=1").json["state"] == "queued")

    let socket = try server.client.ask(
      "GET", "/v1/jobs/\(job)?wait=60", headers: [("Authorization", "Bearer \(server.key)")])
    #expect(server.waits(1))
    // With a reset: a plain close could be a client that has only said all it has to say.
    var linger = linger(l_onoff: 1, l_linger: 0)
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
    close(socket)
    #expect(server.waits(0))

    let answers = Guarded<[RawAnswer]>([])
    Thread { [server] in
      if let answer = try? server.get("/v1/jobs/\(job)?wait=60") { answers.withLock { $0.append(answer) } }
    }.start()
    #expect(server.waits(1))
    #expect(server.server.stop(drainSeconds: 30))
    #expect(answers.wait(seconds: 50) { !$0.isEmpty })
    #expect(answers.current.first?.json["state"] == "queued")
  }

  @Test(.timeLimit(.minutes(2)))
  func `waiting ends by a look at the state when a notification is lost`() throws {
    let polling = try ServerUnderTest(pollSeconds: 0.05)
    let other = try id(polling.post("/v1/jobs", polling.jobBody(polling.readyDataset().id)))
    let answers = Guarded<[RawAnswer]>([])
    Thread {
      if let answer = try? polling.get("/v1/jobs/\(other)?wait=60") { answers.withLock { $0.append(answer) } }
    }.start()
    #expect(polling.waits(1))
    // Behind the store's back: nobody is notified.
    try polling.database.run(
      "UPDATE jobs SET state = 'cancelled', finished_at = now(), revision = 2 WHERE id = '\(other)'")
    #expect(answers.wait(seconds: 50) { !$0.isEmpty })
    #expect(answers.current.first?.json["state"] == "cancelled")
  }

  @Test func `a wait outside of 0 to 60 is refused`() throws {
    let job = try id(submit())
    for wait in ["61", "-1", "1.5", "soon", ""] {
      #expect(try server.get("/v1/jobs/\(job)?wait=\(wait)").faultPaths == ["?wait"], "\(wait)")
    }
    #expect(try server.get("/v1/jobs/\(job)?wait=0&wait=1").faultPaths == ["?wait"])
  }

  @Test func `an unchanged job is a 304, and HEAD has the head of GET`() throws {
    let job = try id(submit())
    let first = try server.get("/v1/jobs/\(job)")
    let tag = try #require(first.headers["etag"])
    let second = try server.get("/v1/jobs/\(job)", headers: [("If-None-Match", "\"x\", \(tag)")])
    #expect(second.status == 304)
    #expect(second.body.isEmpty)
    _ = try server.store.claimJob()
    #expect(try server.get("/v1/jobs/\(job)", headers: [("If-None-Match", tag)]).status == 200)
    let head = try server.call("HEAD", "/v1/jobs/\(job)")
    let get = try server.get("/v1/jobs/\(job)")
    #expect(head.status == 200)
    #expect(head.body.isEmpty)
    #expect(head.headers["content-length"] == String(get.body.count))
    #expect(head.headers["etag"] == get.headers["etag"])
  }

  // MARK: Pages

  @Test func `pages go through all jobs once, newest first, by state if asked`() throws {
    let ids = try (0..<7).map { _ in try id(submit()) }
    _ = try server.call("POST", "/v1/jobs/\(ids[2])/cancel")
    var seen: [String] = []
    var target = "/v1/jobs?limit=3"
    while true {
      let page = try server.get(target).json
      seen += (page["items"]?.array ?? []).compactMap { $0["id"]?.string }
      guard let cursor = page["next_cursor"]?.string else { break }
      target = "/v1/jobs?limit=3&cursor=\(cursor)"
    }
    #expect(seen == ids.reversed())
    let cancelled = try server.get("/v1/jobs?state=cancelled").json["items"]?.array ?? []
    #expect(cancelled.compactMap { $0["id"]?.string } == [ids[2]])
    #expect(try server.get("/v1/jobs?limit=0&state=lost").faultPaths.sorted() == ["?limit", "?state"])
    #expect(try server.get("/v1/jobs?limit=201").faultPaths == ["?limit"])
    #expect(try server.get("/v1/jobs?cursor=nonsense").faultPaths == ["?cursor"])
  }
}
