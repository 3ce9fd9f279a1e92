// Leases of groups: kept while their windows are run, given back, taken back from workers that are gone. What a group is
// leased for stands in Store+CampaignGroups.swift.
import Contract
import Foundation

extension Store {
  /// How often a group may be lost in a row before it begins anew with other keys.
  static let groupAttemptsMax = 5

  /// Lengthens the leases of all groups that a worker holds.
  ///
  /// - Returns: the tokens of those that it still holds and that are still wanted.
  public func renewGroups(worker: String, leaseSeconds: Double) throws -> Set<Int> {
    let tokens = try pool.run(
      Statement(
        "groups_renew",
        """
        UPDATE campaign_groups g SET lease_until = clock_timestamp() + make_interval(secs => $2) FROM campaigns c
        WHERE g.state = 'leased' AND g.worker = $1 AND c.id = g.campaign
        RETURNING g.fence, c.state = 'running'
        """), [.text(worker), .number(leaseSeconds)]
    ).map { ($0.integer(), $0.bool()) }
    return Set(tokens.filter(\.1).map(\.0))
  }

  /// Gives leased groups back at once; others may take them, and no attempt is counted.
  public func release(groups: [GroupLease]) throws {
    guard !groups.isEmpty else { return }
    let released = try persist {
      try pool.run(
        Statement(
          "groups_release",
          """
          UPDATE campaign_groups g SET state = 'ready', worker = NULL, lease_until = NULL,
            free_at = clock_timestamp(), attempts = greatest(0, g.attempts - 1)
          FROM unnest($1::text[], $2::integer[], $3::bigint[]) u(campaign, number, fence)
          WHERE g.campaign = u.campaign AND g.number = u.number AND g.fence = u.fence AND g.state = 'leased'
          """),
        [
          .array(groups.map(\.campaign)), .array(groups.map { String($0.number) }),
          .array(groups.map { String($0.fence) }),
        ]
      ).changed
    }
    if released > 0 { notifier.notify(.work, "group") }
  }

  /// Says that a worker has no group's state in memory any more, because it stops.
  public func forgetGroups(worker: String) throws {
    _ = try pool.run(
      Statement(
        "groups_forget",
        """
        UPDATE campaign_groups SET worker = NULL, free_at = clock_timestamp() WHERE state = 'ready' AND worker = $1
        """), [.text(worker)])
  }

  /// Takes back groups whose leases have expired. One that was lost too often begins anew with other keys.
  ///
  /// - Returns: how many were taken back, at most 100 at a time.
  @discardableResult
  public func sweepExpiredGroups() throws -> Int {
    let swept = try pool.transaction { connection -> [(campaign: String, number: Int, attempts: Int)] in
      let swept = try connection.run(Self.sweepGroups).map { ($0.text(), $0.integer(), $0.integer()) }
      for (campaign, number, attempts) in swept where attempts > Self.groupAttemptsMax {
        try connection.run(Self.renewGroup, [.text(campaign), .integer(number)])
        try Self.addEvent(
          campaign, "warning",
          "pairs lost: group \(number) begins anew, after \(attempts) workers in a row did not bring its window back",
          ["group": .integer(number)], on: connection)
      }
      return swept
    }
    if !swept.isEmpty { notifier.notify(.work, "group") }
    return swept.count
  }

  /// Begins a leased group anew with other keys, because what it was cannot be brought back.
  public func restart(group lease: GroupLease, reason: String) throws {
    try pool.transaction { connection in
      let held = try connection.run(
        Statement(
          "group_restart",
          """
          UPDATE campaign_groups SET state = 'ready', worker = NULL, lease_until = NULL, free_at = clock_timestamp()
          WHERE campaign = $1 AND number = $2 AND fence = $3 AND state = 'leased'
          """), [.text(lease.campaign), .integer(lease.number), .integer(lease.fence)])
      guard held.changed == 1 else { return }
      try connection.run(Self.renewGroup, [.text(lease.campaign), .integer(lease.number)])
      try Self.addEvent(
        lease.campaign, "warning", "pairs lost: group \(lease.number) begins anew: \(reason)",
        ["group": .integer(lease.number)], on: connection)
    }
    notifier.notify(.work, "group")
  }

  private static let sweepGroups = Statement(
    "groups_sweep",
    """
    WITH expired AS MATERIALIZED (
      SELECT campaign, number FROM campaign_groups WHERE state = 'leased' AND lease_until < clock_timestamp()
      ORDER BY lease_until LIMIT 100 FOR UPDATE SKIP LOCKED
    )
    UPDATE campaign_groups g SET state = 'ready', worker = NULL, lease_until = NULL, free_at = clock_timestamp()
    FROM expired e WHERE g.campaign = e.campaign AND g.number = e.number RETURNING g.campaign, g.number, g.attempts
    """)

  private static let renewGroup = Statement(
    "group_begin_anew",
    """
    UPDATE campaign_groups SET generation = generation + 1, window_index = 0, history = '{}', snapshot_window = 0,
      attempts = 0 WHERE campaign = $1 AND number = $2
    """)

  /// Bytes that the tables of groups, their states and thetas take, with all that is dead in them; for measurements.
  public func campaignTableBytes() throws -> Int {
    try pool.run(
      Statement(
        "campaign_table_bytes",
        """
        SELECT pg_total_relation_size('campaign_groups') + pg_total_relation_size('campaign_group_states')
          + pg_total_relation_size('campaign_thetas')
        """)
    ).map { $0.integer() }[0]
  }
}
