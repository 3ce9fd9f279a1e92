// Where jobs and campaigns stand, in one row without their specs: read for every stream of events whenever something
// changes, so it has to be cheap.
import Contract
import Foundation

extension Store {
  /// Where a project's job stands; nil if it has none of that id.
  public func standing(job id: String, project: String) throws -> JobStanding? {
    try pool.read { connection in
      try connection.run(
        Statement(
          "job_standing",
          """
          SELECT state, reason, step, (budgets ->> -1)::bigint, loss, attempt, revision, event_count FROM jobs
          WHERE id = $1 AND project = $2
          """), [.text(id), .text(project)]
      ).map { row in
        try JobStanding(
          state: Self.stored(JobState.self, row.text()), reason: Self.stored(StateReason.self, row.text()),
          step: row.integer(), steps: row.integer(), loss: row.optionalNumber(), attempt: row.integer(),
          revision: row.integer(), eventCount: row.integer())
      }.first
    }
  }

  /// Where a project's campaign stands; nil if it has none of that id.
  public func standing(campaign id: String, project: String) throws -> CampaignStanding? {
    try pool.read { connection in
      try connection.run(
        Statement(
          "campaign_standing",
          """
          SELECT state, reason, phase, version, outer_steps, inner_steps, loss, revision, event_count FROM campaigns
          WHERE id = $1 AND project = $2
          """), [.text(id), .text(project)]
      ).map { row in
        try CampaignStanding(
          state: Self.stored(CampaignState.self, row.text()), reason: row.text(), phase: row.integer(),
          version: row.integer(), outerSteps: row.integer(), innerSteps: row.integer(), loss: row.optionalNumber(),
          revision: row.integer(), eventCount: row.integer())
      }.first
    }
  }
}
