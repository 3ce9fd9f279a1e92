// One job from claim to end: goes on from the newest checkpoint, trains, and once a second commits what happened in one
// transaction. The trainer's bits depend on the spec and the budgets alone, so neither the timing of commits nor a crash
// nor a pause shows in weights or curve. JobTrainer makes the trainer, ProgressReport collects what happened.
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
    var course: Course
    do {
      let maker = try JobTrainer(job, dataset: dataset, optimizer: optimizer, store: store, cache: cache, level: level)
      let file = try checkpoint.map { Data(try store.readBlob(sha256: $0.sha256)) }
      course = try Course(job, maker, file)
    } catch let fault as DataFault {
      try store.finishJob(
        lease: lease, outcome: .failed(.datasetUnavailable, "the dataset cannot be used: \(fault)"), last: nil)
      return
    }
    logger.info("training", metadata: lease.metadata.merging(["step": .stringConvertible(course.trainer.step)]) { $1 })
    var report = ProgressReport()
    repeat { guard try train(&course, &report) else { return } } while try finish(&course, &report)
    logger.info("trained", metadata: lease.metadata.merging(["steps": .stringConvertible(course.trainer.step)]) { $1 })
  }

  /// What a run is made of and how far it goes.
  private struct Course {
    let maker: JobTrainer
    let trainer: Trainer
    var budgets: [Int]
    var fallback: JobFallback?
    var anchor: DivergenceAnchor

    init(_ job: Job, _ maker: JobTrainer, _ checkpoint: Data?) throws {
      self.maker = maker
      trainer = try maker.trainer(at: checkpoint)
      budgets = job.budgets
      fallback = job.fallback
      // What a job extends had anchors of its own, which lie before the first step of this one.
      let goesOn = trainer.step > job.firstStep
      anchor = DivergenceAnchor(notes: goesOn ? try checkpoint.map(Trainer.metadata) ?? [:] : [:])
    }

    /// A hand-designed optimizer that was named is what the user compares with: nothing takes its place.
    var mayFallBack: Bool { fallback == nil && maker.theta != nil }
  }

  /// Trains to the end of the last budget; false if the run ended otherwise.
  private func train(_ course: inout Course, _ report: inout ProgressReport) throws -> Bool {
    let trainer = course.trainer
    var lastCommit = ContinuousClock.now
    var lastCheckpoint = ContinuousClock.now
    // The first commit comes soon, so that people see the job move.
    var commitAfterSeconds = 0.1
    while true {
      course.maker.plan(trainer, budgets: course.budgets, fallback: course.fallback)
      guard trainer.step < trainer.configuration.steps else { return true }
      let step = trainer.step
      let loss = trainer.advance()
      report.add(loss: loss, step: step)
      if trainer.isDiverged {
        guard course.mayFallBack else { return try finishDiverged(trainer, &report) }
        try fallBack(&course, &report)
        continue
      }
      if course.mayFallBack {
        course.anchor.add(loss: loss, trainer, budgets: course.budgets, firstStep: job.firstStep)
      }
      if trainer.step % job.spec.evaluateEvery == 0 || trainer.step == trainer.configuration.steps {
        let metrics = trainer.judge(trainer.data.heldOut)
        report.add(metrics, step: trainer.step)
        if let loss = metrics[.loss] { trainer.observe(validationLoss: loss) }
      }
      let now = ContinuousClock.now
      let isStopping = stop.isRaised
      guard isStopping || now - lastCommit >= .seconds(commitAfterSeconds) || report.isFull else { continue }
      var saved = SavedState()
      if isStopping || now - lastCheckpoint >= .seconds(configuration.checkpointSeconds) {
        saved = try save(&course)
        lastCheckpoint = .now
      }
      let progress = report.take(trainer.step, saved: saved)
      var wishes = try store.commit(progress: progress, lease: lease)
      lastCommit = .now
      commitAfterSeconds = configuration.commitSeconds
      if wishes.pause, !isStopping {
        let last = report.take(trainer.step, saved: try save(&course))
        guard let instead = try store.pause(lease: lease, progress: last) else {
          logger.info("paused", metadata: ["job": "\(job.id)", "step": "\(trainer.step)"])
          return false
        }
        wishes = instead
      }
      course.budgets = wishes.budgets
      if wishes.cancel {
        try store.finishJob(lease: lease, outcome: .cancelled, last: nil)
        return false
      }
      if isStopping {
        try store.release(lease: lease)
        return false
      }
    }
  }

  /// Stores all that a run needs to go on from here.
  private func save(_ course: inout Course) throws -> SavedState {
    var saved = SavedState()
    guard course.mayFallBack else {
      saved.resume = try store.putBlob(Array(course.trainer.checkpoint()))
      return saved
    }
    saved.resume = try store.putBlob(Array(course.trainer.checkpoint(notes: course.anchor.notes)))
    if let weights = course.anchor.unsaved, let step = course.anchor.step {
      saved.anchor = (try store.putBlob(Array(weights)), step)
      course.anchor.markSaved()
    }
    return saved
  }

  // MARK: Ends

  /// Ends the run after the last step of its last budget.
  ///
  /// - Returns: true if there are more steps to do, because the job was extended meanwhile.
  private func finish(_ course: inout Course, _ report: inout ProgressReport) throws -> Bool {
    let trainer = course.trainer
    let metrics = report.lastMetrics ?? trainer.judge(trainer.data.heldOut)
    var metadata = ["job": job.id, "model": job.model.json.text, "optimizer_spec": job.spec.optimizer.json.text]
    metadata["optimizer_id"] = job.optimizerID
    metadata["fallback"] = course.fallback?.json.text
    metadata["classes"] = JSON.array(trainer.data.schema.classNames.map(JSON.string)).text
    let model = try store.putBlob(Array(trainer.modelFile(metadata: metadata)))
    var onnx: BlobReference?
    do { onnx = try store.putBlob(Array(trainer.onnxFile(metadata: metadata))) } catch let error as ComputeError {
      report.add(warning: "the model has no form in ONNX: \(error)")
    }
    // The state at the end is kept: a job that extends this one goes on from it.
    let last = report.take(trainer.step, saved: try save(&course))
    let result = TrainingResult(
      trainLoss: try recentTrainLoss(last), heldOut: metrics, steps: trainer.step, cpuLevel: level.rawValue)
    let more = try store.finishJob(lease: lease, outcome: .succeeded(result, model: model, onnx: onnx), last: last)
    guard let more else { return false }
    course.budgets = more
    return true
  }

  /// Mean loss of the last 100 steps, part of which may be durable already.
  private func recentTrainLoss(_ last: JobProgress) throws -> Double {
    let from = max(job.firstStep, last.step - 100)
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

  // MARK: Divergence

  /// What is wrong with a run that diverged.
  private func divergence(_ trainer: Trainer) -> String {
    "the training loss or its gradient was not finite for \(trainer.skippedInARow) steps in a row, last at step "
      + "\(trainer.step - 1)"
  }

  private func finishDiverged(_ trainer: Trainer, _ report: inout ProgressReport) throws -> Bool {
    let message = divergence(trainer) + "; check the data for extreme values, or try another model"
    try store.finishJob(lease: lease, outcome: .failed(.diverged, message), last: report.take(trainer.step))
    return false
  }

  /// Goes back to the last good state and on from there with an optimizer that is known to be safe.
  private func fallBack(_ course: inout Course, _ report: inout ProgressReport) throws {
    let trainer = course.trainer
    let step = course.anchor.step ?? job.firstStep
    let fallback = JobFallback(fromStep: step, reason: divergence(trainer))
    logger.notice("diverged; falling back", metadata: ["job": "\(job.id)", "step": "\(trainer.step)", "to": "\(step)"])
    // First what happened up to here: the steps before the anchor may not be durable yet.
    _ = try store.commit(progress: report.take(trainer.step), lease: lease)
    var anchor = course.anchor.unsaved
    if anchor == nil, step > 0 { anchor = try store.anchor(job: job.id, step: step) }
    try course.maker.fallBack(trainer, fallback, anchor: anchor)
    let state = try store.putBlob(Array(trainer.checkpoint()))
    course.budgets = try store.fallBack(lease: lease, fallback, state: state).budgets
    course.fallback = fallback
  }
}
