// Pausing, resuming and cancelling jobs, and the one way in which their state changes. Store+JobChanges.swift has other
// names and more steps, Queue.swift what becomes of a wish when the worker is gone.
import Contract
import Foundation

extension Store {
  /// Asks a job to pause: one that waits does so at once, one that runs is `pausing` until its worker has noticed. One
  /// that is pausing or paused stays as it is.
  ///
  /// - Parameter revision: of the job as the caller knows it; nil for whatever it is. So in all that follow.
  /// - Returns: the job after it, nil if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`, `state`).
  public func pauseJob(id: String, project: String, revision: Int? = nil) throws -> Job? {
    try changeJob(id, project, revision) { job, connection in
      switch job.state {
      case .queued:
        try Self.deleteWork(of: id, on: connection)
        try Self.change(id, to: .paused, .paused, message: nil, on: connection)
      case .running: try Self.change(id, to: .pausing, .pauseRequested, message: nil, on: connection)
      case .pausing, .paused: return false
      case .cancelling, .succeeded, .failed, .cancelled: throw Self.impossible("pause", job)
      }
      return true
    }
  }

  /// Lets a job go on: one that is paused is queued again, one that is still pausing runs on. One that waits or runs
  /// stays as it is.
  ///
  /// - Returns: the job after it, nil if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`, `state`).
  public func resumeJob(id: String, project: String, revision: Int? = nil) throws -> Job? {
    let job = try changeJob(id, project, revision) { job, connection in
      switch job.state {
      case .paused:
        try connection.run(
          Self.enqueueAgain,
          [.text(id), .integer(job.current.priority), .integer(job.attempt), .integer(job.steps)])
        try Self.change(id, to: .queued, .resumeRequested, message: nil, on: connection)
      case .pausing: try Self.change(id, to: .running, .resumeRequested, message: nil, on: connection)
      case .queued, .running: return false
      case .cancelling, .succeeded, .failed, .cancelled: throw Self.impossible("resume", job)
      }
      return true
    }
    if job?.state == .queued { notifier.notify(.work, WorkKind.job.rawValue) }
    return job
  }

  /// Attempts go on counting: each has a row of its own.
  private static let enqueueAgain = Statement(
    "job_enqueue_again",
    "INSERT INTO work (kind, subject, priority, attempt, extended_to) VALUES ('job', $1, $2, $3, $4)")

  /// Asks a job to stop: one that waits is cancelled at once, one that runs is `cancelling` until its worker has
  /// noticed. In any other state nothing changes.
  ///
  /// - Returns: the job after it, nil if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`).
  public func cancelJob(id: String, project: String, revision: Int? = nil) throws -> Job? {
    try changeJob(id, project, revision) { job, connection in
      switch job.state {
      case .queued, .paused:
        try Self.deleteWork(of: id, on: connection)
        try Self.change(id, to: .cancelled, .cancelled, message: nil, on: connection)
      case .running, .pausing: try Self.change(id, to: .cancelling, .cancelRequested, message: nil, on: connection)
      case .cancelling, .succeeded, .failed, .cancelled: return false
      }
      return true
    }
  }

  // MARK: What all changes have in common

  /// Changes a job under the locks of its rows and tells those who wait for it.
  ///
  /// - Parameter body: makes the change; false if there is none to make.
  /// - Returns: the job after it, nil if the project has none of that id.
  func changeJob(
    _ id: String, _ project: String, _ revision: Int?, _ body: (Job, Connection) throws -> Bool
  ) throws -> Job? {
    let (job, changed): (Job?, Bool) = try pool.transaction { connection in
      guard let before = try Self.lockJob(id, project, revision: revision, on: connection) else { return (nil, false) }
      guard try body(before, connection) else { return (before, false) }
      return (try Self.job(id, project, connection), true)
    }
    if changed { notifier.notify(.job, id) }
    return job
  }

  /// Locks a job's work and then its row, in the order of all that lock both, and reads it.
  ///
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`) if it is not of the revision that the caller knows.
  static func lockJob(
    _ id: String, _ project: String, revision: Int? = nil, on connection: Connection
  ) throws -> Job? {
    try connection.run(
      Statement("job_lock_work", "SELECT id FROM work WHERE subject = $1 AND kind = 'job' FOR UPDATE"), [.text(id)])
    let job = try connection.run(
      Statement(
        "job_lock", "SELECT \(jobColumns) FROM jobs j WHERE j.id = $1 AND j.project = $2 FOR NO KEY UPDATE"),
      [.text(id), .text(project)]
    ).map { try decodeJob(&$0) }.first
    if let job { try check(revision, of: job) }
    return job
  }

  /// Refuses a request that was made for another revision of a job; nil is for any.
  static func check(_ revision: Int?, of job: Job) throws {
    guard let revision, job.revision != revision else { return }
    throw StoreError.conflict(
      .revision, "job \(job.id) is at revision \(job.revision), the request was made for \(revision); read it again")
  }

  private static func deleteWork(of id: String, on connection: Connection) throws {
    try connection.run(
      Statement("job_delete_work", "DELETE FROM work WHERE subject = $1 AND kind = 'job'"), [.text(id)])
  }

  static func impossible(_ what: String, _ job: Job) -> StoreError {
    .conflict(
      .state,
      "job \(job.id) is \(job.state.rawValue), so that there is nothing to \(what)"
        + (job.state == .succeeded ? "; POST /v1/jobs/\(job.id)/extend makes a job that goes on from its end" : ""))
  }

  /// Changes a job's state with its event. Whoever calls this has locked the job's row in `work`, or deleted it.
  static func change(
    _ id: String, to state: JobState, _ reason: StateReason, message: String?, data: [String: JSON] = [:],
    on connection: Connection
  ) throws {
    try connection.run(
      changeState,
      [
        .text(id), .text(state.rawValue), .text(reason.rawValue), .optional(message), .bool(state.isTerminal),
        .text(message.map { "\(state.rawValue): \($0)" } ?? state.rawValue),
        .text(eventData(state, reason, data).text),
      ])
  }

  // The states to go on from are not needed any more once the job is over, but for the newest.
  private static let changeState = Statement(
    "job_change_state",
    """
    WITH older AS (
      SELECT id FROM checkpoints WHERE $5 AND job = $1 AND kind = 'resume' ORDER BY step DESC, id DESC OFFSET 1
    ), pruned AS (
      DELETE FROM checkpoints c WHERE $5 AND c.job = $1 AND (c.kind = 'anchor' OR c.id IN (SELECT id FROM older))
    ), j AS (
      UPDATE jobs SET state = $2, reason = $3, message = CASE WHEN $2 = 'failed' THEN $4 END,
        finished_at = CASE WHEN $5 THEN now() END, revision = revision + 1, event_count = event_count + 1
      WHERE id = $1 RETURNING id, event_count
    )
    INSERT INTO job_events (job, sequence, kind, message, data) SELECT id, event_count, 'state', $6, $7 FROM j
    """)
}
