// A job and what belongs to it (events, attempts, checkpoints) as the API shows them and the store keeps them.
import Foundation

/// A training job. The server answers with the same value that the database row holds.
public struct Job: Sendable, Hashable {
  public var id: String
  public var project: String
  /// What was asked for when the job was created.
  public var spec: TrainingSpec
  /// Name, tags and priority where they were changed since, as a ``JobChange`` writes them.
  public var changes: JSON = [:]
  /// The model that is trained, also when the spec named it by id.
  public var model: ModelSpec
  /// The learned optimizer's release that trains it; nil for hand-designed ones.
  public var optimizerID: String?
  public var state: JobState
  public var reason: StateReason
  /// What went wrong, for people; nil unless the job failed.
  public var message: String?
  /// Steps in all at the end of each budget: the first as created, one more for each extension. Ascending, never empty.
  public var budgets: [Int]
  /// The job whose end this one goes on from; nil for one that begins at the beginning.
  public var extends: String?
  /// The step it begins with: 0, or the steps of the job that it extends.
  public var firstStep: Int
  /// What took over when the learned optimizer diverged; nil if it did not.
  public var fallback: JobFallback?
  /// Steps done that are durable.
  public var step: Int
  /// Training loss of the last durable step; nil before the first or when not finite.
  public var loss: Double?
  /// Number of the current or last attempt; 0 before the first.
  public var attempt: Int
  public var result: TrainingResult?
  public var createdAt: Timestamp
  public var startedAt: Timestamp?
  public var finishedAt: Timestamp?
  /// Rises with every change; the entity tag.
  public var revision: Int

  public init(
    id: String, project: String, spec: TrainingSpec, model: ModelSpec, optimizerID: String?, state: JobState,
    reason: StateReason, message: String? = nil, budgets: [Int]? = nil, extends: String? = nil, firstStep: Int = 0,
    fallback: JobFallback? = nil, step: Int = 0, loss: Double? = nil, attempt: Int = 0,
    result: TrainingResult? = nil, createdAt: Timestamp, startedAt: Timestamp? = nil, finishedAt: Timestamp? = nil,
    revision: Int = 1
  ) {
    self.id = id
    self.project = project
    self.spec = spec
    self.model = model
    self.optimizerID = optimizerID
    self.state = state
    self.reason = reason
    self.message = message
    self.budgets = budgets ?? [spec.steps]
    self.extends = extends
    self.firstStep = firstStep
    self.fallback = fallback
    self.step = step
    self.loss = loss
    self.attempt = attempt
    self.result = result
    self.createdAt = createdAt
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.revision = revision
  }

  /// How many budgets a job may have: the one it was created with, and its extensions.
  public static let budgetsMax = 100

  /// Steps in all that the job is to have at its end, those of the job that it extends included.
  public var steps: Int { budgets.last ?? spec.steps }

  /// The specification with name, tags and priority as they are now.
  public var current: TrainingSpec { spec.changed(by: changes) }

  public var json: JSON {
    let current = current
    return [
      "id": .string(id), "object": "job", "name": .optional(current.name), "state": .string(state.rawValue),
      "reason": .string(reason.rawValue), "message": .optional(message), "dataset": .string(spec.dataset),
      "model": model.json, "model_id": .optional(spec.modelID), "optimizer": spec.optimizer.json,
      "optimizer_id": .optional(optimizerID), "steps": .integer(steps),
      "budgets": .array(budgets.map(JSON.integer)), "extends": .optional(extends), "first_step": .integer(firstStep),
      "fallback": fallback?.json ?? .null, "step": .integer(step),
      "loss": loss.map(JSON.finite) ?? .null, "batch_size": .integer(spec.batchSize), "seed": .integer(spec.seed),
      "evaluate_every": .integer(spec.evaluateEvery), "tags": .object(current.tags.mapValues(JSON.string)),
      "priority": .integer(current.priority), "attempt": .integer(attempt), "result": result?.json ?? .null,
      "created_at": .time(createdAt), "started_at": .time(startedAt), "finished_at": .time(finishedAt),
      "revision": .integer(revision),
    ]
  }
}

/// What a finished run measured.
public struct TrainingResult: Sendable, Hashable {
  /// Mean training loss of the last (at most 100) steps.
  public var trainLoss: Double
  /// What the final weights measure on the held-out part.
  public var heldOut: Metrics
  /// Steps trained.
  public var steps: Int
  /// Kernel level (`scalar`, `avx2`, `avx512`) whose bits these are.
  public var cpuLevel: String

  public init(trainLoss: Double, heldOut: Metrics, steps: Int, cpuLevel: String) {
    self.trainLoss = trainLoss
    self.heldOut = heldOut
    self.steps = steps
    self.cpuLevel = cpuLevel
  }

  public var json: JSON {
    var members = heldOut.heldOutMembers
    members["train_loss"] = .finite(trainLoss)
    members["steps"] = .integer(steps)
    members["cpu_level"] = .string(cpuLevel)
    return .object(members)
  }

  public static func decode(_ json: JSON) -> TrainingResult? {
    guard let steps = json["steps"]?.integer, let level = json["cpu_level"]?.string else { return nil }
    return TrainingResult(
      trainLoss: json["train_loss"]?.number ?? .nan, heldOut: Metrics.heldOut(json), steps: steps, cpuLevel: level)
  }
}

/// Something that happened to a job. Sequence numbers have no gaps.
public struct JobEvent: Sendable, Hashable {
  public enum Kind: String, Sendable, CaseIterable {
    case state, attempt, evaluation, checkpoint, warning
    /// Somebody changed what the job is called or how far it goes.
    case change
  }
  public var sequence: Int
  public var at: Timestamp
  public var kind: Kind
  public var message: String
  public var data: JSON

  public init(sequence: Int, at: Timestamp, kind: Kind, message: String, data: JSON) {
    self.sequence = sequence
    self.at = at
    self.kind = kind
    self.message = message
    self.data = data
  }

  public var json: JSON {
    [
      "seq": .integer(sequence), "at": .time(at), "type": .string(kind.rawValue), "message": .string(message),
      "data": data,
    ]
  }
}

/// One worker's try at a job.
public struct JobAttempt: Sendable, Hashable {
  public enum State: String, Sendable, CaseIterable { case running, finished, lost, released }
  public var number: Int
  public var worker: String
  public var state: State
  /// The step it resumed from.
  public var firstStep: Int
  public var cpuLevel: String
  public var startedAt: Timestamp
  public var endedAt: Timestamp?

  public init(
    number: Int, worker: String, state: State, firstStep: Int, cpuLevel: String, startedAt: Timestamp,
    endedAt: Timestamp?
  ) {
    self.number = number
    self.worker = worker
    self.state = state
    self.firstStep = firstStep
    self.cpuLevel = cpuLevel
    self.startedAt = startedAt
    self.endedAt = endedAt
  }

  public var json: JSON {
    [
      "number": .integer(number), "worker": .string(worker), "state": .string(state.rawValue),
      "first_step": .integer(firstStep), "cpu_level": .string(cpuLevel), "started_at": .time(startedAt),
      "ended_at": .time(endedAt),
    ]
  }
}

/// A durable state of a run: `resume` holds everything a run needs to go on, `model` the trained weights, `onnx` the
/// trained model as an ONNX file, `anchor` the state that a run goes back to should its learned optimizer diverge.
public struct Checkpoint: Sendable, Hashable {
  public enum Kind: String, Sendable, CaseIterable { case resume, model, onnx, anchor }
  public var id: String
  public var job: String
  public var kind: Kind
  public var step: Int
  /// SHA-256 of the content, lower-case hexadecimal; the blob's name.
  public var sha256: String
  public var bytes: Int
  public var createdAt: Timestamp
  /// What is stored.
  public var content: StoredContent { StoredContent(sha256: sha256, bytes: bytes) }

  public init(id: String, job: String, kind: Kind, step: Int, sha256: String, bytes: Int, createdAt: Timestamp) {
    self.id = id
    self.job = job
    self.kind = kind
    self.step = step
    self.sha256 = sha256
    self.bytes = bytes
    self.createdAt = createdAt
  }

  public var json: JSON {
    [
      "id": .string(id), "object": "checkpoint", "job": .string(job), "kind": .string(kind.rawValue),
      "step": .integer(step), "sha256": .string(sha256), "bytes": .integer(bytes), "created_at": .time(createdAt),
    ]
  }
}
