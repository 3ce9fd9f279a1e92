// The life of a job: its states and the one table of allowed transitions. A test holds this table against the
// database's own check.
import Foundation

/// Where a job stands.
public enum JobState: String, Sendable, CaseIterable {
  /// Waits for a worker; also between an attempt that was lost and the next one.
  case queued
  /// A worker trains it.
  case running
  /// Was asked to pause; the worker has yet to notice.
  case pausing
  /// Waits for nobody: it keeps its state and goes on when it is resumed.
  case paused
  /// Was asked to stop; the worker has yet to notice.
  case cancelling
  case succeeded
  case failed
  case cancelled

  /// Terminal states never change.
  public var isTerminal: Bool { self == .succeeded || self == .failed || self == .cancelled }

  /// The states that may follow this one.
  public var successors: Set<JobState> {
    switch self {
    case .queued: return [.running, .paused, .cancelled, .failed]
    case .running: return [.queued, .pausing, .cancelling, .succeeded, .failed]
    // A job that finishes before the worker sees the request keeps its result. One that is resumed before that runs on.
    case .pausing: return [.running, .paused, .cancelling, .succeeded, .failed]
    case .paused: return [.queued, .cancelled]
    case .cancelling: return [.cancelled, .succeeded, .failed]
    case .succeeded, .failed, .cancelled: return []
    }
  }

  public func canBecome(_ next: JobState) -> Bool { successors.contains(next) }
}

/// Why a job is in its state; open-ended for clients, closed here.
public enum StateReason: String, Sendable, CaseIterable {
  case submitted
  case claimed
  case workerLost = "worker_lost"
  case workerStopped = "worker_stopped"
  case pauseRequested = "pause_requested"
  case paused
  case resumeRequested = "resume_requested"
  case cancelRequested = "cancel_requested"
  case cancelled
  case budgetReached = "budget_reached"
  case diverged
  case attemptsExhausted = "attempts_exhausted"
  case datasetUnavailable = "dataset_unavailable"
  case internalError = "internal_error"
}
