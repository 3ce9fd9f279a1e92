// Whether a job can run, before it is queued: dataset there and ready, model fits it, batch and memory within bounds,
// an optimizer released, and what it needs fits in memory. Routes/Jobs.swift asks here.
import Contract
import Foundation
import Store

/// Decides about new jobs.
struct JobAdmission: Sendable {
  let store: Store
  let limits: Limits

  /// What a job is created with.
  struct Admitted {
    let spec: TrainingSpec
    let model: ModelSpec
    let optimizerID: String?
  }

  /// Reads a request and checks it against what is stored.
  ///
  /// - Throws: ``SpecError`` with every fault; ``Problem`` 409 while something is missing that may come.
  func admit(_ body: JSON, project: String) throws -> Admitted {
    var spec = try TrainingSpec.decode(body)
    let faults = Faults()
    let dataset = try store.dataset(id: spec.dataset, project: project)
    if dataset == nil {
      faults.add("/dataset", "there is no dataset \(spec.dataset); GET /v1/datasets lists those there are")
    }
    let model = try spec.model ?? Self.definition(spec.modelID, store, project: project, faults)
    let optimizer = try optimizer(spec.optimizer, faults)
    guard let dataset, let model else { throw SpecError(faults.list) }
    let schema = try Self.schema(of: dataset, faults)

    // Who does not choose a batch size is not refused for it.
    if body["batch_size"] == nil { spec.batchSize = min(spec.batchSize, schema.trainRows) }
    if spec.batchSize > schema.trainRows {
      faults.add(
        "/batch_size", "expected at most the \(schema.trainRows) rows of the training part, got \(spec.batchSize)")
    }
    let path = spec.modelID == nil ? "/model" : "/model_id"
    if let resolved = model.resolve(for: schema.shape, path: path, faults: faults) {
      let bytes = resolved.memoryBytes(batchSize: spec.batchSize, optimizer: spec.optimizer.settings)
      let trains = optimizer?.name ?? spec.optimizer.name
      if let most = trains.traits.parametersMax, resolved.parameterCount > most {
        faults.add(
          "/optimizer/name",
          "\(trains.rawValue) trains models of at most \(most) parameters, this one has \(resolved.parameterCount): "
            + "take a smaller model or another optimizer")
      }
      if bytes > limits.jobMemoryBytesMax {
        faults.add(
          path,
          "training it needs about \(bytes) bytes of memory with batches of \(spec.batchSize); at most "
            + "\(limits.jobMemoryBytesMax) are allowed here: take a smaller model or batch_size")
      }
    }
    try faults.check()

    if spec.optimizer.name.isLearned, optimizer == nil {
      throw Problem(
        .conflict, status: 409, title: "Conflict",
        detail: "no learned optimizer \(spec.optimizer.name == .auto ? "" : "\(spec.optimizer.name.rawValue) ")is "
          + "released here; GET /v1/optimizers lists those there are, and a hand-designed one can be named instead")
    }
    return Admitted(spec: spec, model: model, optimizerID: optimizer?.id)
  }

  /// The stored model of that id, if jobs and checks can use it.
  ///
  /// - Throws: ``Problem`` 409 while its file is validating.
  static func definition(_ id: String?, _ store: Store, project: String, _ faults: Faults) throws -> ModelSpec? {
    guard let id else { return nil }
    guard let found = try store.model(id: id, project: project) else {
      faults.add("/model_id", "there is no model \(id); GET /v1/models lists those there are")
      return nil
    }
    switch found.source {
    case .definition(let spec): return spec
    case .file(let file):
      if let facts = file.imported { return .imported(ImportedSpec(sha256: file.sha256, facts: facts)) }
      if let problem = file.problem {
        faults.add("/model_id", "the file of model \(id) was rejected: \(problem)")
        return nil
      }
      throw Problem(
        .notReady, status: 409, title: "Conflict",
        detail: "the model \(id) is still validating; wait for it with "
          + "GET /v1/models/\(id)?wait=\(Limits.waitSecondsMax)", retryable: true)
    }
  }

  private func optimizer(_ spec: OptimizerSpec, _ faults: Faults) throws -> LearnedOptimizerRecord? {
    guard spec.name.isLearned else { return nil }
    if spec.name == .auto, spec.version != nil {
      faults.add("/optimizer/version", "is for a learned optimizer by name; auto takes the one released last")
      return nil
    }
    let found = try store.releasedOptimizer(named: spec.name, version: spec.version)
    if found == nil, let version = spec.version {
      faults.add(
        "/optimizer/version",
        "there is no version \(version) of \(spec.name.rawValue); GET /v1/optimizers lists those there are")
    }
    return found
  }

  /// What a dataset holds, if jobs and checks can use it.
  ///
  /// - Throws: ``Problem`` 409 while it is validating; ``SpecError`` when it was rejected.
  static func schema(of dataset: Dataset, _ faults: Faults) throws -> DatasetSchema {
    switch (dataset.state, dataset.schema) {
    case (.ready, let schema?): return schema
    case (.rejected, _):
      faults.add(
        "/dataset",
        "the dataset was rejected with \(dataset.problemCount) problems; GET /v1/datasets/\(dataset.id)/problems lists "
          + "them: mend the data and upload it again")
      throw SpecError(faults.list)
    case (.validating, _), (.ready, nil):
      try faults.check()
      throw Problem(
        .notReady, status: 409, title: "Conflict",
        detail: "the dataset \(dataset.id) is still validating; wait for it with "
          + "GET /v1/datasets/\(dataset.id)?wait=\(Limits.waitSecondsMax)", retryable: true)
    }
  }
}
