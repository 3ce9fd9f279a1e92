// Outer steps of campaigns as curves, thinned out by means over equal ranges of versions; and events.
import Contract
import Foundation

extension Store {
  /// The outer steps that made the versions from `from` to `to`. The caller has found the campaign in the project already.
  ///
  /// Where there are more than `rowsMax`, each row stands for as many as the smallest power of two that makes them fit:
  /// rows begin at multiples of it, so that they stay the same while a campaign goes on.
  ///
  /// - Throws: ``StoreError/limit(_:)`` for `rowsMax` outside of ``CampaignSteps/rowsMaxRange``.
  public func steps(campaign: String, from: Int = 1, to: Int = .max, rowsMax: Int = 1000) throws -> CampaignSteps {
    guard CampaignSteps.rowsMaxRange.contains(rowsMax) else {
      throw StoreError.limit("max_points: expected 1 to 10000, got \(rowsMax)")
    }
    return try pool.transaction(.snapshot) { connection in
      let parameters: [Parameter] = [.text(campaign), .integer(from), .integer(to)]
      let ends = try connection.run(
        Statement(
          "campaign_steps_range",
          """
          SELECT min(version), max(version), count(*) FROM campaign_steps
          WHERE campaign = $1 AND version BETWEEN $2 AND $3
          """), parameters
      ).map { (first: $0.optionalInteger(), last: $0.optionalInteger(), count: $0.integer()) }[0]
      guard let first = ends.first, let last = ends.last else {
        return CampaignSteps(rows: [], stride: 1, total: 0)
      }
      var stride = 1
      while (last - 1) / stride - (first - 1) / stride + 1 > rowsMax, stride <= last { stride *= 2 }
      let rows = try connection.run(Self.stepRows, parameters + [.integer(stride)]).map { row in
        CampaignSteps.Row(
          version: row.integer(), phase: row.integer(), meanLoss: row.optionalNumber(), surviving: row.number(),
          gradientNorm: row.optionalNumber(), updateNorm: row.optionalNumber(), clipShare: row.optionalNumber(),
          learningRate: row.optionalNumber(), staleness: row.optionalNumber(), discarded: row.integer(),
          innerSteps: row.integer(), wallMilliseconds: row.integer())
      }
      return CampaignSteps(rows: rows, stride: stride, total: ends.count)
    }
  }

  private static let stepRows = Statement(
    "campaign_steps_rows",
    """
    WITH s AS (
      SELECT version, phase, mean_loss, surviving, gradient_norm, update_norm, clip_share, learning_rate, discarded,
        inner_steps, wall_ms, (version - 1) / $4::bigint AS row,
        (SELECT sum(u.n) FROM unnest(staleness) u(n)) AS results,
        (SELECT sum((u.place - 1) * u.n) FROM unnest(staleness) WITH ORDINALITY u(n, place)) AS lags
      FROM campaign_steps WHERE campaign = $1 AND version BETWEEN $2 AND $3
    )
    SELECT max(version), (array_agg(phase ORDER BY version DESC))[1], avg(mean_loss), avg(surviving),
      avg(gradient_norm), avg(update_norm), avg(clip_share), (array_agg(learning_rate ORDER BY version DESC))[1],
      (sum(lags) / nullif(sum(results), 0))::double precision, sum(discarded), sum(inner_steps)::bigint, sum(wall_ms)
    FROM s GROUP BY row ORDER BY row
    """)

  /// A campaign's events after number `after` (0: from the first) in order, at most `limit` (1 to 1,000).
  public func events(campaign: String, after: Int = 0, limit: Int = 200) throws -> [CampaignEvent] {
    guard (1...1000).contains(limit) else { throw StoreError.limit("limit: expected 1 to 1000, got \(limit)") }
    return try pool.read { connection in
      try connection.run(
        Statement(
          "campaign_events",
          """
          SELECT sequence, at, kind, message, data FROM campaign_events WHERE campaign = $1 AND sequence > $2
          ORDER BY sequence LIMIT $3
          """), [.text(campaign), .integer(after), .integer(limit)]
      ).map { row in
        try CampaignEvent(
          sequence: row.integer(), at: row.time(), kind: Self.stored(CampaignEvent.Kind.self, row.text()),
          message: row.text(), data: row.json())
      }
    }
  }
}
