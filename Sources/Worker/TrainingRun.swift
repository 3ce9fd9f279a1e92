// One job from claim to end: builds the trainer, goes on from the newest checkpoint, trains, and once a second
// commits what happened in one transaction. The trainer's bits depend on the spec alone, so neither the timing of
// commits nor a crash shows in weights or curve.
import Compute
import Contract
import Foundation
import Learning
import Logging
import Store

/// A leased job being trained.
struct TrainingRun {
  let job: Job
  let dataset: Dataset
  let optimizer: LearnedOptimizerRecord?
  let lease: Lease
  let store: Store
  let cache: DatasetCache
  let configuration: WorkerConfiguration
  let level: CPULevel
  let logger: Logger
  let stop: StopSignal

  func run(from checkpoint: Checkpoint?) throws {
    // Commits renew the lease too; the keeper covers what takes longer than the time between them: loading, a very
    // large step, judging, uploads.
    let keeper = LeaseKeeper(store: store, lease: lease, seconds: configuration.leaseSeconds / 3)
    defer { keeper.stop() }
    let trainer: Trainer
    do {
      trainer = try makeTrainer()
      if let checkpoint { try trainer.restore(Data(store.readBlob(sha256: checkpoint.sha256))) }
    } catch let fault as DataFault {
      return try store.finishJob(
        lease: lease, outcome: .failed(.datasetUnavailable, "the dataset cannot be used: \(fault)"), last: nil)
    }
    logger.info("training", metadata: ["job": "\(job.id)", "attempt": "\(lease.attempt)", "step": "\(trainer.step)"])
    var report = ProgressReport()
    var lastCommit = ContinuousClock.now
    var lastCheckpoint = ContinuousClock.now
    // The first commit comes soon, so that people see the job move.
    var commitAfterSeconds = 0.1
    while trainer.step < job.spec.steps {
      let step = trainer.step
      report.add(loss: trainer.advance(), step: step)
      if trainer.isDiverged { return try finishDiverged(trainer, &report) }
      if trainer.step % job.spec.evaluateEvery == 0 || trainer.step == job.spec.steps {
        let metrics = trainer.judge(trainer.data.heldOut)
        report.add(metrics, step: trainer.step)
        if let loss = metrics[.loss] { trainer.observe(validationLoss: loss) }
      }
      let now = ContinuousClock.now
      let isStopping = stop.isRaised
      guard isStopping || now - lastCommit >= .seconds(commitAfterSeconds) || report.isFull else { continue }
      var saved: (BlobReference, Int)?
      if isStopping || now - lastCheckpoint >= .seconds(configuration.checkpointSeconds) {
        saved = (try store.putBlob(Array(trainer.checkpoint())), trainer.step)
        lastCheckpoint = .now
      }
      let wishes = try store.commit(progress: report.take(trainer.step, checkpoint: saved), lease: lease)
      lastCommit = .now
      commitAfterSeconds = configuration.commitSeconds
      if wishes.cancel { return try store.finishJob(lease: lease, outcome: .cancelled, last: nil) }
      if isStopping { return try store.release(lease: lease) }
      if wishes.pause {
        let state = (try store.putBlob(Array(trainer.checkpoint())), trainer.step)
        let instead = try store.pause(lease: lease, progress: report.take(trainer.step, checkpoint: state))
        guard let instead else { return }
        if instead.cancel { return try store.finishJob(lease: lease, outcome: .cancelled, last: nil) }
      }
    }
    try finish(trainer, &report)
  }

  private func makeTrainer() throws -> Trainer {
    let data = try cache.open(dataset)
    let model = try job.model.resolved(for: data.schema.shape)
    var imported: ONNXImport?
    if case .imported(let file) = job.model {
      imported = try cache.withFile(sha256: file.sha256) { try ONNXImport($0, level: level) }
    }
    let plans = try ModelPlans(model, imported: imported, batchSize: job.spec.batchSize, level: level)
    let file = try optimizer.map { try Theta(safetensors: Data(store.readBlob(sha256: $0.sha256))) }
    let rule = OptimizerCatalog.make(
      job.spec.optimizer.settings, parameters: plans.layout, theta: file?.schema,
      horizonSteps: file?.provenance["horizon_steps"].flatMap(LearnedOptimizerRecord.horizonSteps),
      totalSteps: job.spec.steps, level: level)
    let theta = file?.aligned()
    return Trainer(
      plans: plans, data: data, optimizer: rule, theta: theta,
      configuration: TrainerConfiguration(steps: job.spec.steps, batchSize: job.spec.batchSize, seed: job.spec.seed))
  }

  private func finish(_ trainer: Trainer, _ report: inout ProgressReport) throws {
    let metrics = report.lastMetrics ?? trainer.judge(trainer.data.heldOut)
    var metadata = ["job": job.id, "model": job.model.json.text, "optimizer_spec": job.spec.optimizer.json.text]
    metadata["optimizer_id"] = job.optimizerID
    metadata["classes"] = JSON.array(trainer.data.schema.classNames.map(JSON.string)).text
    let model = try store.putBlob(Array(trainer.modelFile(metadata: metadata)))
    var onnx: BlobReference?
    do { onnx = try store.putBlob(Array(trainer.onnxFile(metadata: metadata))) } catch let error as ComputeError {
      report.add(warning: "the model has no form in ONNX: \(error)")
    }
    let last = report.take(trainer.step, checkpoint: nil)
    let result = TrainingResult(
      trainLoss: try recentTrainLoss(last), heldOut: metrics, steps: trainer.step, cpuLevel: level.rawValue)
    try store.finishJob(lease: lease, outcome: .succeeded(result, model: model, onnx: onnx), last: last)
    logger.info("trained", metadata: ["job": "\(job.id)", "steps": "\(trainer.step)"])
  }

  /// Mean loss of the last 100 steps, part of which may be durable already.
  private func recentTrainLoss(_ last: JobProgress) throws -> Double {
    let from = max(0, job.spec.steps - 100)
    let (stored, _) = try store.curve(
      job: job.id, series: .trainLoss, query: CurveQuery(from: from, pointsMax: 100, sampling: .none))
    var losses = Dictionary(zip(stored.steps, stored.values), uniquingKeysWith: { $1 })
    for chunk in last.chunks where chunk.series == .trainLoss {
      for (index, value) in chunk.values.enumerated() where chunk.firstStep + index * chunk.stride >= from {
        losses[chunk.firstStep + index * chunk.stride] = value
      }
    }
    return losses.sorted { $0.key < $1.key }.reduce(0) { $0 + Double($1.value) } / Double(max(1, losses.count))
  }

  private func finishDiverged(_ trainer: Trainer, _ report: inout ProgressReport) throws {
    let message =
      "the training loss or its gradient was not finite for \(trainer.skippedInARow) steps in a row, last at step "
      + "\(trainer.step - 1); check the data for extreme values, or try another model"
    try store.finishJob(
      lease: lease, outcome: .failed(.diverged, message), last: report.take(trainer.step, checkpoint: nil))
  }
}

/// What happened since the last commit.
private struct ProgressReport {
  private var sequence = 0
  private var firstStep = 0
  private var losses: [Float] = []
  private var chunks: [CurveChunk] = []
  private var events: [ProgressEvent] = []
  private(set) var lastMetrics: Metrics?

  init() { losses.reserveCapacity(Self.lossesMax) }

  /// Points in one commit at most; a full report is committed before its second is over.
  private static let lossesMax = 1 << 16
  /// Chunks and events in one commit at most; an evaluation adds a chunk for each measure.
  private static let chunksMax = 200
  var isFull: Bool { losses.count >= Self.lossesMax || chunks.count >= Self.chunksMax }

  mutating func add(loss: Float, step: Int) {
    if losses.isEmpty { firstStep = step }
    losses.append(loss)
    lastMetrics = nil
  }

  mutating func add(_ metrics: Metrics, step: Int) {
    for (metric, value) in metrics.ordered {
      chunks.append(CurveChunk(series: .heldOut(metric), firstStep: step, stride: 1, values: [Float(value)]))
    }
    var data = metrics.heldOutMembers
    data["step"] = .integer(step)
    events.append(
      ProgressEvent(kind: .evaluation, message: "step \(step): held-out \(metrics.text)", data: .object(data)))
    lastMetrics = metrics
  }

  mutating func add(warning: String) {
    events.append(ProgressEvent(kind: .warning, message: warning, data: [:]))
  }

  /// Everything since the last call, numbered.
  mutating func take(_ step: Int, checkpoint: (BlobReference, Int)?) -> JobProgress {
    sequence += 1
    var all = chunks
    if !losses.isEmpty {
      all.append(CurveChunk(series: .trainLoss, firstStep: firstStep, stride: 1, values: losses))
    }
    let progress = JobProgress(
      sequence: sequence, step: step, loss: losses.last, chunks: all,
      checkpoint: checkpoint.map { (blob: $0.0, step: $0.1) }, events: events)
    losses.removeAll(keepingCapacity: true)
    chunks.removeAll(keepingCapacity: true)
    events.removeAll(keepingCapacity: true)
    return progress
  }
}
