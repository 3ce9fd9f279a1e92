// A real worker on a real database, in the tests' process, so that its cache and its timing can be interfered with.
import Contract
import Foundation
import Learning
import Logging
import Store
import TestSupport

@testable import Worker

/// A worker on a database of its own.
final class WorkerBench {
  let database: TestDatabase
  let cache = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-\(UUID().uuidString)")
  let store: Store
  private let stop = StopSignal()
  private let ended = DispatchSemaphore(value: 0)

  init(checkpointSeconds: Double = 0.05) throws {
    database = try TestDatabase()
    store = try database.store(connectionsMax: 6)
    try store.makeProject("default")
    var configuration = WorkerConfiguration(slots: 2, cacheFolder: cache)
    configuration.pollSeconds = 0.05
    configuration.checkpointSeconds = checkpointSeconds
    configuration.commitSeconds = 0.02
    let worker = WorkerProcess(store: store, configuration: configuration, logger: Logger(label: "test"))
    let thread = Thread { [stop, ended] in
      try? worker.run(until: stop)
      ended.signal()
    }
    thread.start()
  }

  deinit {
    stop.raise()
    ended.wait()
    try? FileManager.default.removeItem(at: cache)
  }

  func upload(_ text: String, _ options: DatasetOptions = DatasetOptions(format: .csv)) throws -> Dataset {
    let blob = try store.putBlob(Array(text.utf8))
    let made = try store.createDataset(name: "d", options: options, blob: blob, project: "default").dataset
    return try wait {
      try self.store.dataset(id: made.id, project: "default")
    } until: {
      $0.state.isTerminal
    }
  }

  /// A learned optimizer that is released, with these weights.
  func release(_ theta: Theta) throws -> LearnedOptimizerRecord {
    try store.installOptimizer(
      name: theta.schema.name, version: 1, state: .released, blob: store.putBlob(Array(theta.safetensors())),
      parameterCount: theta.layout.elements, provenance: [:])
  }

  func submit(_ spec: TrainingSpec, optimizer: LearnedOptimizerRecord? = nil) throws -> Job {
    try store.createJob(spec: spec, model: spec.model!, optimizerID: optimizer?.id, project: "default").job
  }

  func train(_ spec: TrainingSpec, optimizer: LearnedOptimizerRecord? = nil) throws -> Job {
    try end(of: submit(spec, optimizer: optimizer).id)
  }

  /// Waits for a job to be as wanted.
  func job(_ id: String, until isWanted: (Job) -> Bool) throws -> Job {
    try wait({ try self.store.job(id: id, project: "default") }, until: isWanted)
  }

  func end(of id: String) throws -> Job { try job(id) { $0.state.isTerminal } }

  /// The tensors of a trained model; what the file says of the job itself is left out.
  func weights(_ job: Job) throws -> [String: [UInt32]] {
    guard let model = try store.checkpoints(job: job.id).first(where: { $0.kind == .model }) else { return [:] }
    let file = try SafetensorsFile(Data(store.readBlob(sha256: model.sha256)))
    return try Dictionary(
      uniqueKeysWithValues: file.tensors.map { ($0.name, try file.floats($0.name).map(\.bitPattern)) })
  }

  /// All points of a series.
  func curve(_ job: Job, _ series: CurveSeries = .trainLoss) throws -> CurvePoints {
    try store.curve(job: job.id, series: series, query: CurveQuery(pointsMax: 100_000, sampling: .none)).points
  }

  private func wait<Value>(_ read: () throws -> Value?, until isOver: (Value) -> Bool) throws -> Value {
    let deadline = Date(timeIntervalSinceNow: 120)
    while Date() < deadline {
      if let value = try read(), isOver(value) { return value }
      usleep(2000)
    }
    throw StoreError.notFound("an end within two minutes")
  }

  /// Two hundred rows of two numbers in two classes.
  static let table =
    "x,y,kind\n"
    + (0..<200).map { "\($0 % 17),\($0 % 5),\($0 % 2 == 0 ? "even" : "odd")" }.joined(separator: "\n")

  /// Fifty points of a line.
  static let line = "x,y\n" + (0..<50).map { "\($0),\(Double($0) * 1.5)" }.joined(separator: "\n")
}

extension TrainingSpec {
  /// A small network on small batches.
  static func small(_ dataset: Dataset, steps: Int, evaluateEvery: Int? = nil) -> TrainingSpec {
    TrainingSpec(
      dataset: dataset.id, model: .mlp(hidden: [8], activation: .relu), steps: steps, batchSize: 16,
      optimizer: OptimizerSpec(name: .adam, learningRate: 0.01), evaluateEvery: evaluateEvery)
  }
}
