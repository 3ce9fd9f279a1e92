// Ready-made values for tests that need a dataset or a job to exist but do not care which.
import Contract
import Store

extension Store {
  /// Makes the project `name` exist.
  public func makeProject(_ name: String = "demo") throws {
    _ = try createKey(name: "sample", scopes: [.jobsRead], expiresAt: nil, project: name)
  }

  /// A dataset of two classes that a worker has found ready.
  public func makeReadyDataset(project: String = "demo") throws -> Dataset {
    try makeProject(project)
    let blob = try putBlob(Array("sample".utf8))
    let id = try createDataset(name: "sample", options: DatasetOptions(format: .csv), blob: blob, project: project)
      .dataset.id
    while let claim = try claim(worker: "sample", kinds: [.validation], leaseSeconds: 60) {
      try finishValidation(lease: claim.lease, outcome: .ready(schema: .sample, preview: ["rows": []]))
    }
    return try dataset(id: id, project: project)!
  }

  /// A queued job on `dataset`.
  @discardableResult
  public func makeJob(
    on dataset: Dataset, steps: Int = 1000, priority: Int = 5, optimizerID: String? = nil,
    idempotency: Idempotency? = nil
  ) throws -> Job {
    let spec = TrainingSpec(
      dataset: dataset.id, model: .sample, steps: steps, tags: ["made": "for \"tests\""], priority: priority)
    return try createJob(
      spec: spec, model: .sample, optimizerID: optimizerID, project: dataset.project, idempotency: idempotency
    ).job
  }

  /// Leases the next job; nil if there is none.
  public func claimJob(worker: String = "worker", leaseSeconds: Double = 60) throws -> Lease? {
    try claim(worker: worker, kinds: [.job], cpuLevel: "avx2", leaseSeconds: leaseSeconds)?.lease
  }
}

extension DatasetSchema {
  /// Two numbers in, two classes out.
  public static var sample: DatasetSchema {
    DatasetSchema(
      shape: DataShape(input: [2], target: .classes(2)), trainRows: 90, heldOutRows: 10, classNames: ["no", "yes"],
      columns: [Column(name: "a", categories: nil), Column(name: "b", categories: ["x", "y"])])
  }
}

extension ModelSpec {
  /// One small hidden layer.
  public static var sample: ModelSpec { .mlp(hidden: [4], activation: .relu) }
}

extension TrainingResult {
  /// A plausible result.
  public static var sample: TrainingResult {
    TrainingResult(trainLoss: 0.25, heldOut: Metrics([.loss: 0.5, .accuracy: 0.75]), steps: 1000, cpuLevel: "avx2")
  }
}

extension MachineSpeed {
  public static let sample = MachineSpeed(
    productFlopsPerSecond: 1e11, functionsPerSecond: 1e9, bytesPerSecond: 1e10)
}

extension CampaignSpec {
  /// Two short phases on quadratics, which need no data.
  public static var sample: CampaignSpec {
    let task = CampaignTask(.config(TaskConfig("Quadratic", ["dimensions": 10])))
    let phase = CampaignPhase(
      name: "first", estimator: EstimatorSpec(kind: .nres, pairs: 4, window: 10), lengths: .logUniform(20...100),
      outerSteps: 30, tasks: [task])
    var second = phase
    second.name = "second"
    second.outerSteps = 20
    return CampaignSpec(name: "sample", optimizer: .smallFC, seed: 3, phases: [phase, second])
  }
}
