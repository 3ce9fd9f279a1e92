// The windows that distributed campaigns hand out: leasing groups of pairs, delivering results, keeping leases, taking
// them back. A group's row goes from window to window in place; Store+CampaignCommits.swift has the outer steps that use
// the results.
//
//   ready --claim--> leased --result--> done --outer step--> ready, at the next window and theta
//     ^                 |  expired, given back                         (waiting, where its phase is over)
//     +-----------------+
//
// A result is taken once, and from whoever brings it first: it follows from the row alone, so that an expired lease takes
// nothing from its worth.
import Contract
import Foundation

extension Store {
  // MARK: Claims

  /// Leases groups for their next windows.
  ///
  /// - Parameters:
  ///   - own: how many at most of those whose state this worker has in memory.
  ///   - others: how many at most of the rest, where there are none of its own.
  ///   - steals: whether it may take one that another worker with more groups has in memory.
  /// - Returns: those that waited longest, none if there is nothing to do.
  public func claimGroups(
    worker: String, own: Int, others: Int, steals: Bool = false, engine: CampaignEngine, leaseSeconds: Double
  ) throws -> [GroupLease] {
    let parameters: [Parameter] = [
      .text(worker), .integer(own), .integer(others), .array(engine.levels), .text(engine.name), .number(leaseSeconds),
    ]
    let leases = try pool.run(Self.claimGroupsStatement, parameters).map { Self.decodeGroup(&$0) }
    guard leases.isEmpty, steals else { return leases.sorted { $0.fence < $1.fence } }
    return try pool.run(
      Self.stealGroup, [.text(worker), .array(engine.levels), .text(engine.name), .number(leaseSeconds)]
    ).map { Self.decodeGroup(&$0) }
  }

  private static let groupColumns = """
    g.campaign, g.number, g.phase, g.generation, g.window_index, g.version, g.outer_iteration, g.growth_level, g.fence,
    (SELECT c.cpu_level FROM campaigns c WHERE c.id = g.campaign), array_to_string(g.history, ','), g.snapshot_window
    """

  private static func decodeGroup(_ row: inout Row) -> GroupLease {
    let (campaign, number, phase, generation) = (row.text(), row.integer(), row.integer(), row.integer())
    let window = row.integer()
    let setting = WindowSetting(version: row.integer(), outerIteration: row.integer(), growthLevel: row.integer())
    let (fence, level) = (row.integer(), row.text())
    let numbers = row.text().split(separator: ",").map { Int($0)! }
    let history = stride(from: 0, to: numbers.count, by: 3).map {
      WindowSetting(version: numbers[$0], outerIteration: numbers[$0 + 1], growthLevel: numbers[$0 + 2])
    }
    return GroupLease(
      campaign: campaign, number: number, phase: phase, generation: generation, window: window, setting: setting,
      fence: fence, cpuLevel: level, history: history, snapshotWindow: row.integer())
  }

  private static let runnable = "c.state = 'running' AND c.cpu_level = ANY($4::text[]) AND c.engine = $5"

  private static let claimGroupsStatement = Statement(
    "groups_claim",
    """
    WITH own AS MATERIALIZED (
      SELECT g.campaign, g.number FROM campaign_groups g JOIN campaigns c ON c.id = g.campaign
      WHERE g.state = 'ready' AND g.worker = $1 AND \(runnable) LIMIT $2 FOR UPDATE OF g SKIP LOCKED
    ), others AS MATERIALIZED (
      SELECT g.campaign, g.number FROM campaign_groups g JOIN campaigns c ON c.id = g.campaign
      WHERE g.state = 'ready' AND g.free_at <= clock_timestamp() AND \(runnable)
      ORDER BY g.free_at LIMIT CASE WHEN EXISTS (SELECT FROM own) THEN 0 ELSE $3 END FOR UPDATE OF g SKIP LOCKED
    ), picked AS (SELECT * FROM own UNION ALL SELECT * FROM others)
    UPDATE campaign_groups g SET state = 'leased', worker = $1, fence = nextval('work_fences'), attempts = attempts + 1,
      lease_until = clock_timestamp() + make_interval(secs => $6)
    FROM picked p WHERE g.campaign = p.campaign AND g.number = p.number RETURNING \(groupColumns)
    """)

  // From the worker with the most groups a slot, if that is two more than this one has. Rare, so it may count.
  private static let stealGroup = Statement(
    "group_steal",
    """
    WITH loads AS (
      SELECT g.campaign, w.id, count(g.number)::double precision / w.slots AS load
      FROM workers w LEFT JOIN campaign_groups g ON g.worker = w.id GROUP BY g.campaign, w.id, w.slots
    ), richest AS (
      SELECT campaign, id FROM loads
      WHERE load >= 2 + coalesce((SELECT max(load) FROM loads WHERE id = $1), 0) ORDER BY load DESC LIMIT 1
    ), picked AS MATERIALIZED (
      SELECT g.campaign, g.number FROM richest r JOIN campaign_groups g ON g.campaign = r.campaign AND g.worker = r.id
      JOIN campaigns c ON c.id = g.campaign
      WHERE g.state = 'ready' AND c.state = 'running' AND c.cpu_level = ANY($2::text[]) AND c.engine = $3
      LIMIT 1 FOR UPDATE OF g SKIP LOCKED
    )
    UPDATE campaign_groups g SET state = 'leased', worker = $1, fence = nextval('work_fences'), attempts = attempts + 1,
      lease_until = clock_timestamp() + make_interval(secs => $4)
    FROM picked p WHERE g.campaign = p.campaign AND g.number = p.number RETURNING \(groupColumns)
    """)

  /// A campaign's settings and the phase whose pairs a group's are, for whoever runs it.
  public func groupProblem(
    campaign: String, phase: Int
  ) throws -> (spec: CampaignSpec, phase: CampaignPhase, datasets: [String: Dataset]) {
    try persist {
      try pool.read { connection in
        let found = try connection.run(
          Statement(
            "group_problem",
            """
            SELECT c.project, c.spec, p.settings FROM campaigns c JOIN campaign_phases p ON p.campaign = c.id
            WHERE c.id = $1 AND p.number = $2
            """), [.text(campaign), .integer(phase)]
        ).map { try ($0.text(), CampaignSpec.decode($0.json()), CampaignPhase.decode($0.json())) }.first
        guard let (project, spec, settings) = found else { throw StoreError.notFound("phase \(phase) of \(campaign)") }
        var datasets: [String: Dataset] = [:]
        for (name, id) in spec.data { datasets[name] = try Self.dataset(id, project, connection) }
        return (spec, settings, datasets)
      }
    }
  }

  /// The stored state of a leased group, and how many windows it has behind it; nil if there is none.
  public func groupState(_ lease: GroupLease) throws -> (window: Int, content: [UInt8])? {
    try persist {
      try bulk.read { connection in
        try connection.run(
          Statement(
            "group_state",
            """
            SELECT window_index, content FROM campaign_group_states
            WHERE campaign = $1 AND number = $2 AND phase = $3 AND generation = $4
            """), Self.group(lease)
        ).map { (window: $0.integer(), content: $0.bytes()) }.first
      }
    }
  }

  private static func group(_ lease: GroupLease) -> [Parameter] {
    [.text(lease.campaign), .integer(lease.number), .integer(lease.phase), .integer(lease.generation)]
  }

  // MARK: Results

  /// Delivers results, of several groups at once. Safe to repeat.
  ///
  /// Results of windows that have one already are compared with it: bytes that differ are an event of the campaign.
  ///
  /// - Returns: the leases whose results were taken.
  @discardableResult
  public func deliver(_ deliveries: [GroupDelivery], worker: String) throws -> [GroupLease] {
    guard !deliveries.isEmpty else { return [] }
    let taken = try persist { () -> [(lease: GroupLease, left: Int)] in
      let parameters = Self.encode(deliveries, worker)
      guard deliveries.contains(where: { $0.state != nil }) else {
        return try Self.match(pool.run(Self.deliverStatement, parameters), deliveries)
      }
      return try pool.transaction { connection in
        let taken = try Self.match(connection.run(Self.deliverStatement, parameters), deliveries)
        for delivery in deliveries {
          guard let state = delivery.state, taken.contains(where: { $0.lease == delivery.lease }) else { continue }
          try Self.keep(state, after: delivery.lease, on: connection)
        }
        return taken
      }
    }
    for (lease, left) in taken where left <= Self.notifiedFrom { notifier.notify(.results, lease.campaign) }
    if taken.count < deliveries.count {
      let refused = deliveries.filter { delivery in !taken.contains { $0.lease == delivery.lease } }
      for delivery in refused { try compare(delivery) }
    }
    return taken.map(\.lease)
  }

  /// A learner is woken when no more groups than this are left to run; while there are more, it only looks now and then.
  private static let notifiedFrom = 32

  private static func encode(_ deliveries: [GroupDelivery], _ worker: String) -> [Parameter] {
    var results: [UInt8] = []
    var offsets: [Int] = []
    for delivery in deliveries {
      offsets.append(results.count)
      results += frame(delivery)
    }
    let leases = deliveries.map(\.lease)
    func column(_ value: (GroupLease) -> Int) -> Parameter { .array(leases.map { String(value($0)) }) }
    return [
      .text(worker), .array(leases.map(\.campaign)), column(\.number), column(\.phase), column(\.generation),
      column(\.window), column(\.setting.version), .array(deliveries.map { String($0.milliseconds) }),
      .array(offsets.map(String.init)), .array(deliveries.map { String(8 + $0.result.count) }), .bytes(results),
    ]
  }

  /// Length, generation, result.
  private static func frame(_ delivery: GroupDelivery) -> [UInt8] {
    var bytes: [UInt8] = []
    for number in [UInt32(delivery.result.count), UInt32(delivery.lease.generation)] {
      withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }
    return bytes + delivery.result
  }

  private static func match(
    _ answer: QueryResult, _ deliveries: [GroupDelivery]
  ) -> [(lease: GroupLease, left: Int)] {
    let rows = answer.map { ($0.text(), $0.integer(), $0.integer()) }
    return rows.compactMap { campaign, number, left in
      deliveries.first { $0.lease.campaign == campaign && $0.lease.number == number }
        .map { ($0.lease, left - rows.count) }
    }
  }

  // A group that runs ahead goes on at once, around the newest theta; others are done until a step uses the result. The
  // rows are locked in their order, so that two deliveries of the same groups wait for each other.
  private static let deliverStatement = Statement(
    "groups_deliver",
    """
    WITH r AS MATERIALIZED (
      SELECT campaign, number, phase, generation, window_index, version, ms,
        substring($11::bytea FROM start + 1 FOR length) AS result
      FROM unnest($2::text[], $3::integer[], $4::integer[], $5::integer[], $6::bigint[], $7::bigint[], $8::integer[],
        $9::integer[], $10::integer[]) r(campaign, number, phase, generation, window_index, version, ms, start, length)
    ), held AS MATERIALIZED (
      SELECT g.campaign, g.number, r.ms, r.result, g.pending < g.ahead AS goes_on FROM r
      JOIN campaign_groups g ON g.campaign = r.campaign AND g.number = r.number
      WHERE g.state IN ('leased', 'ready') AND g.phase = r.phase AND g.generation = r.generation
        AND g.window_index = r.window_index AND g.version = r.version
      ORDER BY g.campaign, g.number FOR UPDATE OF g
    )
    UPDATE campaign_groups g SET state = CASE WHEN goes_on THEN 'ready' ELSE 'done' END, worker = $1, lease_until = NULL,
      results = CASE WHEN g.results IS NULL THEN h.result ELSE g.results || h.result END, pending = g.pending + 1,
      history = g.history || ARRAY[g.version, g.outer_iteration, g.growth_level::bigint], attempts = 0, window_ms = h.ms,
      window_index = CASE WHEN goes_on THEN g.window_index + 1 ELSE g.window_index END,
      version = CASE WHEN goes_on THEN c.version ELSE g.version END,
      outer_iteration = CASE WHEN goes_on THEN c.outer_iteration ELSE g.outer_iteration END,
      growth_level = CASE WHEN goes_on THEN c.growth_level ELSE g.growth_level END,
      free_at = CASE WHEN goes_on THEN \(freeAt("h.ms")) ELSE g.free_at END
    FROM held h JOIN campaigns c ON c.id = h.campaign WHERE g.campaign = h.campaign AND g.number = h.number
    RETURNING g.campaign, g.number,
      (SELECT count(*) FROM (SELECT FROM campaign_groups o WHERE o.campaign = g.campaign AND o.state IN ('ready', 'leased')
        LIMIT 100) few)
    """)

  /// Others may take a group when the worker that has its state in memory has let two windows' time pass.
  private static func freeAt(_ milliseconds: String) -> String {
    "clock_timestamp() + make_interval(secs => greatest(2.0, 0.002 * \(milliseconds)))"
  }

  private static func keep(_ state: [UInt8], after lease: GroupLease, on connection: Connection) throws {
    try connection.run(
      Statement(
        "group_keep_state",
        """
        WITH cut AS (
          UPDATE campaign_groups SET history = '{}', snapshot_window = $5
          WHERE campaign = $1 AND number = $2 AND phase = $3 AND generation = $4 RETURNING campaign
        )
        INSERT INTO campaign_group_states (campaign, number, phase, generation, window_index, content)
        SELECT campaign, $2, $3, $4, $5, $6 FROM cut
        ON CONFLICT (campaign, number) DO UPDATE SET phase = EXCLUDED.phase, generation = EXCLUDED.generation,
          window_index = EXCLUDED.window_index, content = EXCLUDED.content
        """), group(lease) + [.integer(lease.window + 1), .bytes(state)])
  }

  /// Holds a result that came second against the one that was taken, while that is still there.
  private func compare(_ delivery: GroupDelivery) throws {
    let lease = delivery.lease
    try pool.transaction { connection in
      let found = try connection.run(
        Statement(
          "group_compare",
          """
          SELECT results FROM campaign_groups WHERE campaign = $1 AND number = $2 AND phase = $3 AND generation = $4
            AND state = 'done' AND pending = 1 AND window_index = $5 AND version = $6
          """), Self.group(lease) + [.integer(lease.window), .integer(lease.setting.version)]
      ).map { $0.bytes() }.first
      guard let found, found != Self.frame(delivery) else { return }
      try Self.addEvent(
        lease.campaign, "warning",
        "window \(lease.window) of group \(lease.number) came out in two ways; the first result counts",
        ["group": .integer(lease.number), "window": .integer(lease.window)], on: connection)
    }
  }

  /// How many groups of a campaign have results that no step has used.
  public func groupsWithResults(campaign: String) throws -> Int {
    try persist {
      try pool.read { connection in
        try connection.run(
          Statement(
            "groups_with_results", "SELECT count(*) FROM campaign_groups WHERE campaign = $1 AND pending > 0"),
          [.text(campaign)]
        ).map { $0.integer() }[0]
      }
    }
  }

  /// The results of a campaign that no step has used, by group.
  ///
  /// - Throws: ``StoreError/corruptContent(_:)`` where a row holds something else.
  public func groupResults(campaign: String) throws -> [GroupResults] {
    try persist {
      try pool.read { connection in
        try connection.run(
          Statement(
            "groups_results",
            "SELECT number, results FROM campaign_groups WHERE campaign = $1 AND pending > 0 ORDER BY number"),
          [.text(campaign)]
        ).map { row in try Self.unframe(row.integer(), row.bytes()) }
      }
    }
  }

  private static func unframe(_ group: Int, _ bytes: [UInt8]) throws -> GroupResults {
    var results: [(generation: Int, bytes: [UInt8])] = []
    var place = 0
    func number() throws -> Int {
      guard place + 4 <= bytes.count else {
        throw StoreError.corruptContent("the results of group \(group) end in the middle")
      }
      defer { place += 4 }
      return (0..<4).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
    }
    while place < bytes.count {
      let (length, generation) = (try number(), try number())
      guard length <= bytes.count - place else {
        throw StoreError.corruptContent("the results of group \(group) end in the middle")
      }
      results.append((generation, Array(bytes[place..<place + length])))
      place += length
    }
    return GroupResults(group: group, results: results, length: bytes.count)
  }

  // MARK: Outer steps

  /// Takes results out of their rows and sends their groups on, within the learner's transaction.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)`` unless all are there.
  static func take(_ turn: GroupTurn, _ campaign: String, on connection: Connection) throws {
    let next = turn.next
    let taken = try connection.run(
      takeStatement,
      [
        .text(campaign), .integer(turn.phase), .array(turn.taken.map { String($0.group) }),
        .array(turn.taken.map { String($0.length) }), .array(turn.taken.map { String($0.results.count) }),
        .integer(next?.version ?? 0), .integer(next?.outerIteration ?? 0), .integer(next?.growthLevel ?? 0),
        .bool(next != nil),
      ])
    guard taken.changed == turn.taken.count else { throw StoreError.staleLease(subject: campaign) }
    guard turn.renewsWaiting, let next else { return }
    try connection.run(
      Statement(
        "groups_renew_waiting",
        """
        UPDATE campaign_groups SET version = $2, outer_iteration = $3, growth_level = $4
        WHERE campaign = $1 AND state = 'ready' AND version < $2
        """), [.text(campaign), .integer(next.version), .integer(next.outerIteration), .integer(next.growthLevel)])
  }

  private static let takeStatement = Statement(
    "groups_take",
    """
    UPDATE campaign_groups g SET
      results = CASE WHEN length(g.results) > u.length THEN substring(g.results FROM u.length + 1) END,
      pending = g.pending - u.count,
      state = CASE WHEN g.state <> 'done' THEN g.state WHEN $9 THEN 'ready' ELSE 'waiting' END,
      window_index = CASE WHEN g.state = 'done' THEN g.window_index + 1 ELSE g.window_index END,
      version = CASE WHEN g.state = 'done' AND $9 THEN $6 ELSE g.version END,
      outer_iteration = CASE WHEN g.state = 'done' AND $9 THEN $7 ELSE g.outer_iteration END,
      growth_level = CASE WHEN g.state = 'done' AND $9 THEN $8 ELSE g.growth_level END,
      free_at = CASE WHEN g.state = 'done' AND $9 THEN \(freeAt("g.window_ms")) ELSE g.free_at END
    FROM unnest($3::integer[], $4::integer[], $5::integer[]) u(number, length, count)
    WHERE g.campaign = $1 AND g.phase = $2 AND g.number = u.number AND g.pending >= u.count
      AND length(g.results) >= u.length
    """)

  /// Makes the groups of a phase in place of those there are.
  static func makeGroups(
    _ count: Int, _ turn: PhaseTurn, _ version: Int, _ campaign: String, on connection: Connection
  ) throws {
    try connection.run(
      Statement("groups_replace", "DELETE FROM campaign_groups WHERE campaign = $1"), [.text(campaign)])
    try connection.run(
      Statement(
        "groups_make",
        """
        INSERT INTO campaign_groups (campaign, number, phase, version, outer_iteration, growth_level, ahead)
        SELECT p.campaign, n, p.keys_from, $4, $5, $6, $7
        FROM campaign_phases p, generate_series(0, $2::integer - 1) n WHERE p.campaign = $1 AND p.number = $3
        """),
      [
        .text(campaign), .integer(count), .integer(turn.to), .integer(version), .integer(turn.outerIteration),
        .integer(turn.growthLevel), .integer(turn.ahead),
      ])
  }
}
