// Pausing, resuming and cancelling campaigns, and the one way in which their state changes.
import Contract
import Foundation

extension Store {
  /// Asks a campaign to pause: one that waits does so at once, one that runs is `pausing` until its learner has noticed.
  ///
  /// - Parameter revision: of the campaign as the caller knows it; nil for whatever it is.
  /// - Returns: the campaign after it, nil if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`, `state`).
  public func pauseCampaign(id: String, project: String, author: String, revision: Int? = nil) throws -> Campaign? {
    try changeState(of: id, project, revision) { campaign, connection in
      switch campaign.state {
      case .queued:
        try Self.deleteWork(of: id, on: connection)
        return (.paused, "pause_requested")
      case .running: return (.pausing, "pause_requested")
      case .pausing, .paused: return nil
      case .cancelling, .succeeded, .failed, .cancelled: throw Self.impossible("pause", campaign)
      }
    } author: {
      author
    }
  }

  /// Queues a paused campaign again.
  ///
  /// - Returns: the campaign after it, nil if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`, `state`).
  public func resumeCampaign(id: String, project: String, author: String, revision: Int? = nil) throws -> Campaign? {
    let campaign = try changeState(of: id, project, revision) { campaign, connection in
      switch campaign.state {
      case .paused:
        try connection.run(
          Self.enqueue,
          [.text(Self.workKind(campaign.spec.mode).rawValue), .text(id), .integer(Self.campaignPriority)])
        // Its next learner may be another machine or program: whoever resumes a campaign says that this is all right.
        try connection.run(
          Statement("campaign_free_engine", "UPDATE campaigns SET cpu_level = NULL, engine = NULL WHERE id = $1"),
          [.text(id)])
        return (.queued, "resumed")
      case .queued, .running: return nil
      case .pausing:
        throw StoreError.conflict(.state, "campaign \(id) is pausing still; wait until it is paused")
      case .cancelling, .succeeded, .failed, .cancelled: throw Self.impossible("resume", campaign)
      }
    } author: {
      author
    }
    if let campaign { notifier.notify(.work, Self.workKind(campaign.spec.mode).rawValue) }
    return campaign
  }

  /// Asks a campaign to stop for good: one that no learner holds is cancelled at once. In a terminal state nothing
  /// changes.
  ///
  /// - Returns: the campaign after it, nil if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`).
  public func cancelCampaign(id: String, project: String, author: String, revision: Int? = nil) throws -> Campaign? {
    try changeState(of: id, project, revision) { campaign, connection in
      try Self.cancellation(of: campaign, on: connection)
    } author: {
      author
    }
  }

  /// What cancelling makes of a campaign whose rows are locked; nil for nothing.
  static func cancellation(
    of campaign: Campaign, on connection: Connection
  ) throws -> (state: CampaignState, reason: String)? {
    switch campaign.state {
    case .queued, .paused:
      try deleteWork(of: campaign.id, on: connection)
      return (.cancelled, "cancelled")
    case .running, .pausing: return (.cancelling, "cancel_requested")
    case .cancelling, .succeeded, .failed, .cancelled: return nil
    }
  }

  private func changeState(
    of id: String, _ project: String, _ revision: Int?,
    decide: (Campaign, Connection) throws -> (state: CampaignState, reason: String)?, author: () -> String
  ) throws -> Campaign? {
    let (campaign, changed): (Campaign?, Bool) = try pool.transaction { connection in
      guard let before = try Self.lockCampaign(id, project, revision: revision, on: connection) else {
        return (nil, false)
      }
      guard let (state, reason) = try decide(before, connection) else { return (before, false) }
      try Self.changeCampaign(
        id, to: state, reason, message: nil, data: ["author": .string(author())], on: connection)
      return (try Self.campaign(id, project, connection), true)
    }
    if changed { notifier.notify(.campaign, id) }
    return campaign
  }

  /// Locks a campaign's work and then its row, in the order of all that lock both, and reads it.
  ///
  /// - Throws: ``StoreError/conflict(_:_:)`` (`revision`) if it is not of the revision that the caller knows.
  static func lockCampaign(
    _ id: String, _ project: String, revision: Int? = nil, on connection: Connection
  ) throws -> Campaign? {
    try connection.run(
      Statement("campaign_lock_work", "SELECT id FROM work WHERE subject = $1 FOR UPDATE"), [.text(id)])
    let campaign = try connection.run(
      Statement(
        "campaign_lock",
        "SELECT \(campaignColumns) FROM campaigns c WHERE c.id = $1 AND c.project = $2 FOR NO KEY UPDATE"),
      [.text(id), .text(project)]
    ).map { try decodeCampaign(&$0) }.first
    if let campaign, let revision, campaign.revision != revision {
      throw StoreError.conflict(
        .revision,
        "campaign \(id) is at revision \(campaign.revision), the request was made for \(revision); read it again")
    }
    return campaign
  }

  /// Changes a campaign's state with its event. Whoever calls this has locked its row in `work`, or deleted it.
  static func changeCampaign(
    _ id: String, to state: CampaignState, _ reason: String, message: String?, data: [String: JSON] = [:],
    on connection: Connection
  ) throws {
    try connection.run(
      changeCampaignState,
      [
        .text(id), .text(state.rawValue), .text(reason), .optional(message), .bool(state.isTerminal),
        .text(message.map { "\(state.rawValue): \($0)" } ?? state.rawValue),
        .text(campaignEventData(state, reason, data).text),
      ])
  }

  private static let changeCampaignState = Statement(
    "campaign_change_state",
    """
    WITH c AS (
      UPDATE campaigns SET state = $2, reason = $3, message = $4, finished_at = CASE WHEN $5 THEN now() END,
        revision = revision + 1, event_count = event_count + 1
      WHERE id = $1 RETURNING id, event_count
    )
    INSERT INTO campaign_events (campaign, sequence, kind, message, data) SELECT id, event_count, 'state', $6, $7 FROM c
    """)

  private static func deleteWork(of id: String, on connection: Connection) throws {
    try connection.run(Statement("campaign_delete_work", "DELETE FROM work WHERE subject = $1"), [.text(id)])
  }

  static func impossible(_ what: String, _ campaign: Campaign) -> StoreError {
    .conflict(
      .state,
      "campaign \(campaign.id) is \(campaign.state.rawValue), so that there is nothing to \(what)"
        + (campaign.state.isTerminal ? "; a branch goes on from one of its versions" : ""))
  }
}
