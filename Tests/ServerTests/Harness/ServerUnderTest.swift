// A real server on a real database for one test. Every answer it gives is held against the description of the API.
import Contract
import Foundation
import Logging
import Server
import Store
import TestSupport
import Testing

@testable import Server

/// A server on a free port with a database of its own.
final class ServerUnderTest: Sendable {
  let database: TestDatabase
  let store: Store
  let app: App
  let server: RunningServer
  let client: RawClient
  /// A key of project `demo` with every scope.
  let key: String
  /// Operations that were answered with success, by id.
  let succeeded = Guarded<Set<String>>([])

  /// - Parameters:
  ///   - limits: changes the default limits.
  ///   - pollSeconds: how often waiting requests look by themselves; by default so seldom that only notifications
  ///     wake them.
  ///   - streamSeconds: how long a stream of events may last.
  init(
    limits: (inout Limits) -> Void = { _ in }, pollSeconds: Double = 3600, streamSeconds: Double = 3600,
    logger: Logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
  ) throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 8)
    var settings = ServerSettings(address: "127.0.0.1:0", version: "1.0.0-test")
    settings.handlerThreads = 4
    settings.spoolFolder = FileManager.default.temporaryDirectory.path
    limits(&settings.limits)
    app = try App(
      store: store, settings: settings, logger: logger, waiters: Waiters(pollSeconds: pollSeconds),
      feed: EventFeed(
        streamsMax: settings.limits.eventStreamsMax, pollSeconds: pollSeconds, streamSeconds: streamSeconds))
    server = try app.start()
    client = RawClient(port: server.port)
    key = try store.createKey(name: "all", scopes: Set(Scope.allCases), expiresAt: nil, project: "demo").secret
  }

  deinit {
    server.stop(drainSeconds: 5)
    store.close()
  }

  /// A key with some scopes.
  func key(_ scopes: Set<Scope>, project: String = "demo") throws -> String {
    try store.createKey(name: "some", scopes: scopes, expiresAt: nil, project: project).secret
  }

  /// Sends a request with the key of all scopes, and checks the answer against the description.
  ///
  /// - Parameter key: another key; empty for none.
  func call(
    _ method: String, _ target: String, key: String? = nil, headers: [(String, String)] = [], type: String? = nil,
    body: [UInt8]? = nil, sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> RawAnswer {
    var all = headers
    let key = key ?? self.key
    if !key.isEmpty { all.append(("Authorization", "Bearer \(key)")) }
    if let type { all.append(("Content-Type", type)) }
    let answer = try client.send(method, target, headers: all, body: body)
    check(answer, method, target, sourceLocation)
    return answer
  }

  func get(
    _ target: String, key: String? = nil, headers: [(String, String)] = [],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> RawAnswer {
    try call("GET", target, key: key, headers: headers, sourceLocation: sourceLocation)
  }

  /// Posts JSON.
  func post(
    _ target: String, _ json: JSON, key: String? = nil, headers: [(String, String)] = [],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> RawAnswer {
    try call(
      "POST", target, key: key, headers: headers, type: "application/json", body: json.bytes,
      sourceLocation: sourceLocation)
  }

  /// Whether the status is one the description knows, and the body what it says.
  private func check(_ answer: RawAnswer, _ method: String, _ target: String, _ location: SourceLocation) {
    let description = APIDescription.shared
    let path = String(target.prefix { $0 != "?" })
    #expect(answer.headers["x-request-id"] != nil, sourceLocation: location)
    #expect(answer.headers["x-content-type-options"] == "nosniff", sourceLocation: location)
    #expect(answer.headers["content-security-policy"]?.contains("default-src 'none'") == true, sourceLocation: location)
    #expect(answer.headers["cache-control"] != nil, sourceLocation: location)
    guard let operation = description.operation(method, path) else { return }
    guard let response = description.response(operation, answer.status) else {
      // What any request may be answered with stands in the introduction.
      #expect(
        [405, 408, 414, 421, 429, 431].contains(answer.status), "\(operation): \(answer.status)",
        sourceLocation: location)
      return
    }
    if answer.status < 300 {
      succeeded.withLock { _ = $0.insert(operation.id) }
      checkAudit(answer, operation, location)
    }
    guard method != "HEAD", let content = response["content"] else { return }
    guard let media = content[answer.contentType] else {
      Issue.record("\(operation): \(answer.status) has the type \(answer.contentType)", sourceLocation: location)
      return
    }
    guard answer.contentType.hasSuffix("json"), let schema = media["schema"] else { return }
    let faults = description.faults(answer.json, schema)
    #expect(faults.isEmpty, "\(operation) answered \(answer.text.prefix(2000))", sourceLocation: location)
    if answer.status >= 400 {
      #expect(answer.json["status"]?.integer == answer.status, sourceLocation: location)
      #expect(answer.json["request_id"]?.string == answer.headers["x-request-id"], sourceLocation: location)
    }
  }

  /// Operations that are asked by POST and change nothing.
  private static let asking: Set<String> = ["checkModel", "planCampaign"]

  /// Whether a change was written down under the request that made it, and nothing else was.
  private func checkAudit(_ answer: RawAnswer, _ operation: APIDescription.Operation, _ location: SourceLocation) {
    let changes =
      operation.method != "GET" && !Self.asking.contains(operation.id) && answer.headers["idempotency-replayed"] == nil
    guard let request = answer.headers["x-request-id"],
      let entries = try? database.texts("SELECT action FROM audit WHERE detail->>'request_id' = '\(request)'")
    else {
      Issue.record("\(operation): the audit log cannot be read", sourceLocation: location)
      return
    }
    #expect(
      entries.count == (changes ? 1 : 0), "\(operation) is in the audit log as \(entries)", sourceLocation: location)
  }

  /// Looks until exactly so many requests wait; false if that does not come within 20 s.
  func waits(_ count: Int) -> Bool {
    let deadline = ContinuousClock.now.advanced(by: .seconds(20))
    while app.waiters.count != count {
      if .now > deadline { return false }
      usleep(1000)
    }
    return true
  }

  // MARK: What tests arrange

  /// A dataset that a worker found ready: 90 training rows of two numbers in two classes.
  func readyDataset(project: String = "demo") throws -> Dataset { try store.makeReadyDataset(project: project) }

  /// The body of a job on a dataset.
  func jobBody(_ dataset: String, _ more: [String: JSON] = [:]) -> JSON {
    let least: [String: JSON] = [
      "dataset": .string(dataset), "model": ["preset": "mlp", "hidden": [4]], "steps": 100,
      "optimizer": ["name": "adam"],
    ]
    return .object(least.merging(more) { $1 })
  }

  /// A released learned optimizer.
  @discardableResult
  func releaseOptimizer(_ name: OptimizerName = .celo, version: Int = 1) throws -> LearnedOptimizerRecord {
    try store.installOptimizer(
      name: name, version: version, state: .released, blob: store.putBlob(Array("theta \(version)".utf8)),
      parameterCount: 7, provenance: ["seed": 1])
  }

  /// Runs a job to success as a worker would, with a curve, events and a model.
  func succeed(_ lease: Lease, model: [UInt8], steps: Int = 100) throws {
    let resume = try store.putBlob(Array("state of \(lease.subject)".utf8))
    _ = try store.commit(
      progress: JobProgress(
        sequence: 1, step: steps / 2, loss: 0.5,
        chunks: [
          CurveChunk(series: .trainLoss, firstStep: 0, stride: 1, values: (0..<steps / 2).map { 2 / Float($0 + 1) }),
          CurveChunk(series: .heldOutLoss, firstStep: 9, stride: 10, values: [0.75, .nan]),
        ], checkpoint: (resume, steps / 2),
        events: [ProgressEvent(kind: .evaluation, message: "half way", data: ["loss": 0.75])]), lease: lease)
    try store.finishJob(
      lease: lease,
      outcome: .succeeded(
        TrainingResult(
          trainLoss: 0.25, heldOut: Metrics([.loss: 0.5, .accuracy: 0.75]), steps: steps, cpuLevel: "avx2"),
        model: store.putBlob(model)),
      last: JobProgress(
        sequence: 2, step: steps, loss: 0.25,
        chunks: [
          CurveChunk(
            series: .trainLoss, firstStep: steps / 2, stride: 1,
            values: (steps / 2..<steps).map { 2 / Float($0 + 1) })
        ]))
  }
}
