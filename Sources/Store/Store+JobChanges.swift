// Other names, tags and priorities for jobs, and their deletion. Store+JobControl.swift has the locks that this takes.
import Contract
import Foundation

extension Store {
  /// Changes what a job is called and when its turn comes, in any state.
  ///
  /// - Parameter revision: of the job as the caller knows it; nil for whatever it is.
  /// - Returns: the job after it, nil if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`).
  public func changeJob(id: String, project: String, _ change: JobChange, revision: Int? = nil) throws -> Job? {
    try changeJob(id, project, revision) { job, connection in
      guard job.spec.changed(by: job.changes).changed(by: change.json) != job.current else { return false }
      try connection.run(
        Statement("job_change", "UPDATE jobs SET changes = changes || $2::jsonb WHERE id = $1"),
        [.text(id), .text(change.json.text)])
      if let priority = change.priority {
        try connection.run(
          Statement("job_change_priority", "UPDATE work SET priority = $2 WHERE subject = $1 AND kind = 'job'"),
          [.text(id), .integer(priority)])
      }
      let names = ["name", "tags", "priority"].filter { change.json[$0] != nil }
      try Self.note(id, .change, "changed: \(names.joined(separator: ", "))", change.json, on: connection)
      return true
    }
  }

  /// Adds an event to a job that is locked, which is a change of the job.
  static func note(
    _ id: String, _ kind: JobEvent.Kind, _ message: String, _ data: JSON, on connection: Connection
  ) throws {
    try connection.run(noteEvent, [.text(id), .text(kind.rawValue), .text(message), .text(data.text)])
  }

  private static let noteEvent = Statement(
    "job_note",
    """
    WITH j AS (
      UPDATE jobs SET revision = revision + 1, event_count = event_count + 1 WHERE id = $1 RETURNING id, event_count
    )
    INSERT INTO job_events (job, sequence, kind, message, data) SELECT id, event_count, $2, $3, $4 FROM j
    """)

  /// Deletes a job that is over with all that belongs to it. Jobs that extend it have what they need of it.
  ///
  /// - Returns: false if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`state`) while it is not over.
  public func deleteJob(id: String, project: String) throws -> Bool {
    // A long job has millions of events and megabytes of points, which take longer than most statements may.
    let deleted = try bulk.transaction { connection in
      guard let job = try Self.lockJob(id, project, on: connection) else { return false }
      guard job.state.isTerminal else {
        throw StoreError.conflict(
          .state, "job \(id) is \(job.state.rawValue); cancel it, or let it end, before it is deleted")
      }
      try connection.run(Statement("job_delete", "DELETE FROM jobs WHERE id = $1"), [.text(id)])
      return true
    }
    if deleted { notifier.notify(.job, id) }
    return deleted
  }
}
