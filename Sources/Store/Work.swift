// What workers lease and report: the values of the queue. Queue.swift leases, Store+Progress.swift reports.
import Contract
import Foundation

/// The kinds of leased work.
public enum WorkKind: String, Sendable, CaseIterable {
  /// Reading an uploaded dataset and finding out what is in it.
  case validation
  /// Reading an uploaded model file and finding out what is in it.
  case modelValidation = "model_validation"
  /// Reading an uploaded file of an optimizer's weights.
  case optimizerValidation = "optimizer_validation"
  /// Training a job.
  case job
  /// Planning an evaluation's trainings, and reporting what they came to.
  case evaluation
  /// One training of an evaluation.
  case evaluationRun = "evaluation_run"
  /// Leading a campaign and running all its windows.
  case campaign
  /// Leading a campaign whose windows any worker runs; takes no slot.
  case distributedCampaign = "distributed_campaign"

  /// What ``Store/claim(worker:kinds:cpuLevel:leaseSeconds:)`` leases; campaigns have a call of their own.
  public static let forSlots = Set(allCases).subtracting([.campaign, .distributedCampaign])
}

/// The right to work on something, for a while. Every write of a worker carries it.
public struct Lease: Sendable, Hashable {
  /// Row of the queue.
  public let workID: Int
  public let kind: WorkKind
  /// The dataset's, model's, optimizer's or job's id.
  public let subject: String
  /// Fencing token: a later lease of the same work has a higher one, and then this one changes nothing any more.
  public let fence: Int
  /// From 1, counting every lease of the work.
  public let attempt: Int
  /// How long the lease lives after each commit or renewal, by the database's clock.
  public let seconds: Double
}

/// Leased work with all that is needed to do it.
public struct Claim: Sendable {
  public let lease: Lease
  public let work: Work

  public enum Work: Sendable {
    case validation(Dataset)
    case modelValidation(ModelDefinition)
    case optimizerValidation(LearnedOptimizerRecord)
    /// `optimizer` is nil for hand-designed ones; `resume` is the newest state to go on from, nil to start over.
    case job(Job, dataset: Dataset, optimizer: LearnedOptimizerRecord?, resume: Checkpoint?)
    /// Its own calls say what there is to do.
    case evaluation
    case evaluationRun
  }

}

/// Points of one series: `values[i]` is at step `firstStep + i * stride`.
public struct CurveChunk: Sendable, Hashable {
  public var series: CurveSeries
  public var firstStep: Int
  /// At least 1.
  public var stride: Int
  /// 1 to 65,536 values.
  public var values: [Float]

  public static let valuesMax = 1 << 16

  public init(series: CurveSeries, firstStep: Int, stride: Int, values: [Float]) {
    self.series = series
    self.firstStep = firstStep
    self.stride = stride
    self.values = values
  }

  public var lastStep: Int { firstStep + stride * (values.count - 1) }
}

/// Something a worker tells of a job.
public struct ProgressEvent: Sendable, Hashable {
  public var kind: JobEvent.Kind
  public var message: String
  public var data: JSON

  public init(kind: JobEvent.Kind, message: String, data: JSON) {
    self.kind = kind
    self.message = message
    self.data = data
  }
}

/// What happened in a run since its last commit.
public struct JobProgress: Sendable {
  /// From 1, rising within an attempt; a number that was committed before changes nothing.
  public var sequence: Int
  /// Steps done.
  public var step: Int
  /// Training loss of the last step; nil if there was none or it is not finite.
  public var loss: Float?
  /// At most 256, no two of the same series with a step in common, none with a step of an earlier commit.
  public var chunks: [CurveChunk]
  /// A state to go on from, stored beforehand, after `step` steps.
  public var checkpoint: (blob: BlobReference, step: Int)?
  /// Weights to go back to should the optimizer diverge, stored beforehand; they take the place of earlier ones.
  public var anchor: (blob: BlobReference, step: Int)?
  /// At most 256.
  public var events: [ProgressEvent]

  public init(
    sequence: Int, step: Int, loss: Float?, chunks: [CurveChunk] = [],
    checkpoint: (blob: BlobReference, step: Int)? = nil, anchor: (blob: BlobReference, step: Int)? = nil,
    events: [ProgressEvent] = []
  ) {
    self.sequence = sequence
    self.step = step
    self.loss = loss
    self.chunks = chunks
    self.checkpoint = checkpoint
    self.anchor = anchor
    self.events = events
  }
}

/// What users want of a running job.
public struct JobWishes: Sendable, Hashable {
  /// Stop, and finish as cancelled.
  public let cancel: Bool
  /// Store a state to go on from and give the job up by ``Store/pause(lease:progress:)``.
  public let pause: Bool
  /// How far to train, as ``Job/budgets``.
  public let budgets: [Int]

  public init(cancel: Bool = false, pause: Bool = false, budgets: [Int]) {
    self.cancel = cancel
    self.pause = pause
    self.budgets = budgets
  }
}

/// How a job ended.
public enum JobOutcome: Sendable {
  /// With a trained model, stored beforehand, also as ONNX where it has that form.
  case succeeded(TrainingResult, model: BlobReference, onnx: BlobReference? = nil)
  case failed(StateReason, String)
  /// As the user wished; only after ``JobWishes/cancel``.
  case cancelled

  /// The steps that a model was trained for.
  var steps: Int? {
    if case .succeeded(let result, _, _) = self { result.steps } else { nil }
  }
}

/// What a worker found in a dataset.
public enum ValidationOutcome: Sendable {
  case ready(schema: DatasetSchema, preview: JSON)
  /// At least one problem; the first ``DatasetProblem/countMax`` are kept.
  case rejected([DatasetProblem])
}
