// From a job to its trainer: the model on its data with its optimizer, at the state of a checkpoint, planned for the budget
// that the run is in. TrainingRun runs it.
import Compute
import Contract
import Foundation
import Learning
import Store

/// Makes the trainer of a job and takes it from budget to budget.
struct JobTrainer {
  let job: Job
  let plans: ModelPlans
  let data: TrainingData
  let theta: Theta?
  let level: CPULevel

  init(
    _ job: Job, dataset: Dataset, optimizer: LearnedOptimizerRecord?, store: Store, cache: DatasetCache, level: CPULevel
  ) throws {
    self.job = job
    self.level = level
    data = try cache.open(dataset)
    let model = try job.model.resolved(for: data.schema.shape)
    var imported: ONNXImport?
    if case .imported(let file) = job.model {
      imported = try cache.withFile(sha256: file.sha256) { try ONNXImport($0, level: level) }
    }
    plans = try ModelPlans(model, imported: imported, batchSize: job.spec.batchSize, level: level)
    theta = try optimizer.map { try Theta(safetensors: Data(store.readBlob(sha256: $0.sha256))) }
  }

  /// The trainer at its start, or at the state of a checkpoint.
  ///
  /// - Throws: ``DataFault`` for a checkpoint that does not belong to the job.
  func trainer(at checkpoint: Data?) throws -> Trainer {
    var steps = job.budgets[0]
    if let checkpoint {
      // A state after the last step of a budget may have been stored before or after the next one was known.
      guard let planned = try Trainer.metadata(of: checkpoint)["steps"].flatMap({ Int($0) }),
        job.budgets.contains(planned)
      else { throw DataFault("the checkpoint belongs to another run") }
      steps = planned
    }
    let fallback = job.fallback
    let trainer = Trainer(
      plans: plans, data: data, optimizer: rule(fallback, steps: steps),
      theta: fallback == nil ? theta?.aligned() : nil,
      configuration: TrainerConfiguration(
        steps: steps, batchSize: job.spec.batchSize, seed: job.spec.seed, optimizerStart: fallback?.fromStep ?? 0))
    if let checkpoint { try trainer.restore(checkpoint) }
    return trainer
  }

  /// Plans for the next budget if the one that the trainer is in is used up.
  func plan(_ trainer: Trainer, budgets: [Int], fallback: JobFallback?) {
    guard trainer.step >= trainer.configuration.steps, let next = budgets.first(where: { $0 > trainer.step }) else {
      return
    }
    trainer.extend(to: next, with: rule(fallback, steps: next))
  }

  /// Replaces the learned optimizer by what the fallback says, at the weights of `anchor`; nil for those of the start.
  func fallBack(_ trainer: Trainer, _ fallback: JobFallback, anchor: Data?) throws {
    try trainer.fallBack(
      to: rule(fallback, steps: trainer.configuration.steps), weights: anchor, step: fallback.fromStep)
  }

  /// The job's optimizer, or what took over from it, for a run of `steps`.
  private func rule(_ fallback: JobFallback?, steps: Int) -> any Optimizer {
    if let fallback {
      return OptimizerCatalog.make(
        fallback.optimizer.settings, parameters: plans.layout, totalSteps: steps - fallback.fromStep, level: level)
    }
    return OptimizerCatalog.make(
      job.spec.optimizer.settings, parameters: plans.layout, theta: theta?.schema,
      horizonSteps: theta?.provenance["horizon_steps"].flatMap(LearnedOptimizerRecord.horizonSteps),
      totalSteps: steps, level: level)
  }
}
