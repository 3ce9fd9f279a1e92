// EvaluationRunner.swift: whole evaluations by a real worker on a real database, from the spec to the report.
import Contract
import Foundation
import Learning
import Logging
import MetaTraining
import Store
import TestSupport
import Testing

@testable import Worker

/// Workers on a database of its own.
private final class Bench {
  let database: TestDatabase
  let store: Store
  private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-\(UUID().uuidString)")
  private var workers: [(stop: StopSignal, ended: DispatchSemaphore)] = []

  init() throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 10)
    try store.makeProject("default")
  }

  deinit { stop() }

  func start(slots: Int) {
    var configuration = WorkerConfiguration(slots: slots, cacheFolder: folder)
    configuration.pollSeconds = 0.02
    let worker = WorkerProcess(store: store, configuration: configuration, logger: Logger(label: "test"))
    let stop = StopSignal(), ended = DispatchSemaphore(value: 0)
    let thread = Thread {
      try? worker.run(until: stop)
      ended.signal()
    }
    thread.start()
    workers.append((stop, ended))
  }

  /// Stops all workers and waits for them.
  func stop() {
    for worker in workers { worker.stop.raise() }
    for worker in workers { worker.ended.wait() }
    workers = []
    try? FileManager.default.removeItem(at: folder)
  }

  func create(_ text: String) throws -> EvaluationRecord {
    try store.createEvaluation(EvaluationSpec.decode(JSON.parse(text)), project: "default").evaluation
  }

  func wait(_ evaluation: EvaluationRecord, until fits: (EvaluationRecord) -> Bool) throws -> EvaluationRecord {
    let deadline = Date(timeIntervalSinceNow: 90)
    while Date() < deadline {
      if let record = try store.evaluation(id: evaluation.id, project: "default"), fits(record) { return record }
      usleep(5000)
    }
    throw StoreError.notFound("what is waited for")
  }

  func report(_ record: EvaluationRecord) throws -> JSON {
    let content = try #require(record.reports[.json])
    return try JSON.parse(Data(store.readBlob(sha256: content.sha256)))
  }
}

@Suite struct EvaluationRunnerTests {
  private static let small = #"""
    {"optimizers": ["celo", "momentum"], "baseline": "sgd_lr", "steps": [20], "seeds": 2, "details": ["updates"],
     "measurement": {"batches": 1, "last_batches": 2},
     "tasks": [{"config": {"obj": "ImageMLP", "args": {"hidden": [8],
       "data": {"obj": "synth_blobs", "args": {"imageSize": 4, "batch": 16, "rows": 64}}}}}, "Valley"]}
    """#

  private func install(_ store: Store) throws {
    let theta = Theta.initial(ThetaSchema(Celo.self, Celo.Configuration()), key: .init(seed: 4))
    _ = try store.installOptimizer(
      name: .celo, version: 7, state: .released, blob: store.putBlob(Array(theta.safetensors())),
      parameterCount: theta.schema.layout.elements, provenance: [:])
  }

  /// The parts of a report that are measured but for the times.
  private func measured(_ report: JSON) -> [JSON?] { ["headlines", "tasks", "curves", "updates"].map { report[$0] } }

  @Test func `workers bring an evaluation to its report, which does not hang on how many they are`() throws {
    let bench = try Bench()
    try install(bench.store)
    let made = try bench.create(Self.small)
    bench.start(slots: 1)
    let alone = try bench.wait(made) { $0.state.isTerminal }
    #expect(alone.state == .succeeded, "\(alone.message ?? "")")
    // 15 rates, a theta and momentum; two tasks, two seeds.
    #expect(alone.progress == EvaluationProgress(done: 68) && alone.plan?.runs == 68 && alone.plan?.tasks == 2)
    let report = try bench.report(alone)
    #expect(report["headlines"]?.array?.count == 3 && report["failures"]?.array?.isEmpty == true)
    #expect(report["headlines"]?.array?[1]["label"] == "celo")
    let page = try bench.store.readBlob(sha256: #require(alone.reports[.html]).sha256)
    #expect(String(decoding: page, as: UTF8.self).contains("</html>"))
    bench.stop()

    let other = try Bench()
    try install(other.store)
    other.start(slots: 2)
    other.start(slots: 2)
    let together = try other.wait(other.create(Self.small)) { $0.state.isTerminal }
    #expect(try measured(other.report(together)) == measured(report))
    // The same again is served from the archive: nothing is trained, the times are those of the first.
    let again = try other.wait(other.create(Self.small)) { $0.state.isTerminal }
    #expect(try other.report(again)["compute"] == other.report(together)["compute"])
  }

  @Test func `a task that is not there fails the evaluation, data that is not there fails its trainings alone`() throws
  {
    let bench = try Bench()
    bench.start(slots: 2)
    let unknown = try bench.create(#"{"optimizers": ["sgd"], "tasks": ["Valey"], "steps": 10}"#)
    let failed = try bench.wait(unknown) { $0.state.isTerminal }
    #expect(failed.state == .failed && failed.message?.contains("did you mean Valley") == true)
    let missing = try bench.create(
      #"{"optimizers": ["sgd"], "baseline": "momentum", "tasks": ["ImageMLP_FashionMnist8_Relu32", "Valley"], "steps": 10, "seeds": 1, "details": []}"#
    )
    let done = try bench.wait(missing) { $0.state.isTerminal }
    #expect(done.state == .succeeded && done.progress == EvaluationProgress(done: 2, failed: 2))
    let reasons = try bench.report(done)["failures"]?.array?.compactMap { $0["reason"]?.string } ?? []
    #expect(reasons.count == 2 && reasons.allSatisfy { $0.contains("no data set named \"fashion_mnist\"") })
  }

  @Test func `cancelling stops a long training within seconds and frees its slot`() throws {
    let bench = try Bench()
    bench.start(slots: 1)
    let long = try bench.create(
      #"{"optimizers": ["sgd"], "baseline": "momentum", "tasks": ["Quadratic"], "steps": 1000000, "seeds": 1, "details": []}"#
    )
    _ = try bench.wait(long) { $0.progress.running == 1 }
    let cancelled = try #require(try bench.store.cancelEvaluation(id: long.id, project: "default"))
    #expect(cancelled.state == .cancelled)
    // The one slot is free again when the next evaluation ends.
    let short = try bench.create(
      #"{"optimizers": ["sgd"], "baseline": "momentum", "tasks": ["Valley"], "steps": 10, "seeds": 1, "details": []}"#)
    #expect(try bench.wait(short) { $0.state.isTerminal }.state == .succeeded)
    #expect(try bench.store.evaluation(id: long.id, project: "default") == cancelled)
  }

  @Test func `a worker that stops gives its training back, uncounted`() throws {
    let bench = try Bench()
    bench.start(slots: 1)
    let long = try bench.create(
      #"{"optimizers": ["sgd"], "baseline": "momentum", "tasks": ["Quadratic"], "steps": 1000000, "seeds": 1, "details": []}"#
    )
    _ = try bench.wait(long) { $0.progress.running == 1 }
    bench.stop()
    let record = try #require(try bench.store.evaluation(id: long.id, project: "default"))
    #expect(record.state == .running && record.progress == EvaluationProgress(queued: 2))
  }
}
