// An evaluation as the API shows it and the store keeps it: state, plan, progress, and where its report is.
import Foundation

/// Where an evaluation stands.
public enum EvaluationState: String, Sendable, CaseIterable {
  /// Its trainings are not planned yet.
  case queued
  case running
  /// The report is there; some trainings may have failed, which it says.
  case succeeded
  /// It could not be planned or reported.
  case failed
  case cancelled

  /// Terminal states never change.
  public var isTerminal: Bool { self == .succeeded || self == .failed || self == .cancelled }
}

/// What an evaluation comes to.
public struct EvaluationPlan: Sendable, Hashable {
  /// Tasks after sets and families were expanded.
  public var tasks: Int
  public var runs: Int
  /// Updates of all trainings.
  public var innerSteps: Int
  /// Core-seconds, predicted from what the tasks compute.
  public var coreSeconds: Double

  public init(tasks: Int, runs: Int, innerSteps: Int, coreSeconds: Double) {
    self.tasks = tasks
    self.runs = runs
    self.innerSteps = innerSteps
    self.coreSeconds = coreSeconds
  }

  public var json: JSON {
    [
      "tasks": .integer(tasks), "runs": .integer(runs), "inner_steps": .integer(innerSteps),
      "core_seconds": .finite(coreSeconds),
    ]
  }

  public static func decode(_ json: JSON) -> EvaluationPlan? {
    guard let tasks = json["tasks"]?.integer, let runs = json["runs"]?.integer,
      let steps = json["inner_steps"]?.integer
    else { return nil }
    return EvaluationPlan(
      tasks: tasks, runs: runs, innerSteps: steps, coreSeconds: json["core_seconds"]?.number ?? .nan)
  }
}

/// How far the trainings of an evaluation are.
public struct EvaluationProgress: Sendable, Hashable {
  public var queued: Int
  public var running: Int
  public var done: Int
  /// Trainings that count as failures: of memory, time, or workers lost.
  public var failed: Int

  public init(queued: Int = 0, running: Int = 0, done: Int = 0, failed: Int = 0) {
    self.queued = queued
    self.running = running
    self.done = done
    self.failed = failed
  }

  public var json: JSON {
    [
      "queued": .integer(queued), "running": .integer(running), "done": .integer(done), "failed": .integer(failed),
    ]
  }
}

/// The forms of a report.
public enum EvaluationReportFormat: String, Sendable, CaseIterable {
  /// Everything, for programs.
  case json
  /// One self-contained page with tables and plots.
  case html
}

/// An evaluation with what has come of it.
public struct EvaluationRecord: Sendable, Hashable {
  public var id: String
  public var project: String
  public var spec: EvaluationSpec
  /// The campaign and the version of its theta that this evaluates, where a campaign asked for it.
  public var campaign: String?
  public var campaignVersion: Int?
  public var state: EvaluationState
  /// What went wrong, for people; nil unless it failed.
  public var message: String?
  /// Nil until a worker has planned it.
  public var plan: EvaluationPlan?
  public var progress: EvaluationProgress
  /// The report's headline figures; nil unless it succeeded.
  public var summary: JSON?
  /// The report in each form; empty unless it succeeded.
  public var reports: [EvaluationReportFormat: StoredContent]
  public var createdAt: Timestamp
  public var startedAt: Timestamp?
  public var finishedAt: Timestamp?
  /// Rises with every change of state; the entity tag together with the progress.
  public var revision: Int

  public init(
    id: String, project: String, spec: EvaluationSpec, campaign: String? = nil, campaignVersion: Int? = nil,
    state: EvaluationState, message: String? = nil, plan: EvaluationPlan? = nil,
    progress: EvaluationProgress = EvaluationProgress(), summary: JSON? = nil,
    reports: [EvaluationReportFormat: StoredContent] = [:], createdAt: Timestamp, startedAt: Timestamp? = nil,
    finishedAt: Timestamp? = nil, revision: Int = 1
  ) {
    self.id = id
    self.project = project
    self.spec = spec
    self.campaign = campaign
    self.campaignVersion = campaignVersion
    self.state = state
    self.message = message
    self.plan = plan
    self.progress = progress
    self.summary = summary
    self.reports = reports
    self.createdAt = createdAt
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.revision = revision
  }

  public var json: JSON {
    [
      "id": .string(id), "object": "evaluation", "name": .string(spec.name), "state": .string(state.rawValue),
      "message": .optional(message), "spec": spec.json, "campaign": .optional(campaign),
      "campaign_version": campaignVersion.map(JSON.integer) ?? .null, "plan": plan?.json ?? .null,
      "progress": progress.json, "summary": summary ?? .null,
      "reports": .object(
        Dictionary(
          uniqueKeysWithValues: reports.map {
            ($0.key.rawValue, ["sha256": .string($0.value.sha256), "bytes": .integer($0.value.bytes)])
          })),
      "created_at": .time(createdAt), "started_at": .time(startedAt), "finished_at": .time(finishedAt),
      "revision": .integer(revision),
    ]
  }
}
