// What learners of campaigns do: lease one, find out how far it is, commit outer steps, go from phase to phase, end.
// Everything is written under the lease's token, as with all work; Store+CampaignGroups.swift has the windows that a
// distributed campaign hands out.
import Contract
import Foundation

extension Store {
  // MARK: Leases

  /// Leases the next campaign, the oldest of the lowest priority number, that this machine and program can lead.
  ///
  /// - Parameter kind: ``WorkKind/campaign`` or ``WorkKind/distributedCampaign``.
  /// - Returns: nil if there is none.
  public func claimCampaign(
    worker: String, kind: WorkKind, engine: CampaignEngine, leaseSeconds: Double
  ) throws -> Lease? {
    try pool.run(
      Self.claimCampaignStatement,
      [
        .text(kind.rawValue), .text(worker), .number(leaseSeconds), .array(engine.levels), .text(engine.name),
        .integer(Self.campaignPriorityMin),
      ]
    ).map {
      Lease(
        workID: $0.integer(), kind: kind, subject: $0.text(), fence: $0.integer(), attempt: $0.integer(),
        seconds: leaseSeconds)
    }.first
  }

  /// The queue is searched from here on, past all that goes before campaigns.
  static let campaignPriorityMin = 10

  private static let claimCampaignStatement = Statement(
    "campaign_claim",
    """
    WITH picked AS MATERIALIZED (
      SELECT w.id FROM work w JOIN campaigns c ON c.id = w.subject
      WHERE w.state = 'queued' AND w.priority >= $6 AND w.kind = $1
        AND (w.not_before IS NULL OR w.not_before <= clock_timestamp())
        AND (c.cpu_level IS NULL OR c.cpu_level = ANY($4::text[])) AND (c.engine IS NULL OR c.engine = $5)
      ORDER BY w.priority, w.id LIMIT 1 FOR UPDATE OF w SKIP LOCKED
    )
    UPDATE work SET state = 'leased', worker = $2, fence = nextval('work_fences'), attempt = attempt + 1,
      last_sequence = 0, lease_until = clock_timestamp() + make_interval(secs => $3)
    FROM picked WHERE work.id = picked.id RETURNING work.id, work.subject, work.fence, work.attempt
    """)

  /// Tells of campaigns that have waited for a minute for a machine or a program unlike this one: their bits would be
  /// others here, so that somebody has to say whether they shall go on.
  ///
  /// - Returns: how many there are that had not been told of.
  @discardableResult
  public func noteStrandedCampaigns(engine: CampaignEngine) throws -> Int {
    let stranded = try pool.run(
      Statement(
        "campaigns_stranded",
        """
        WITH c AS (
          UPDATE campaigns SET reason = 'other_engine', event_count = event_count + 1, revision = revision + 1
          WHERE state = 'queued' AND reason <> 'other_engine'
            AND (engine <> $1 OR NOT cpu_level = ANY($2::text[]))
            AND (SELECT max(e.at) FROM campaign_events e WHERE e.campaign = campaigns.id) < now() - interval '1 minute'
          RETURNING id, event_count, engine, cpu_level
        )
        INSERT INTO campaign_events (campaign, sequence, kind, message, data)
        SELECT id, event_count, 'warning', 'no worker of ' || engine || ' at level ' || cpu_level
          || ' has taken it for a minute; start one, or pause and resume the campaign to go on with ' || $1 || ' at '
          || $3, jsonb_build_object('engine', engine, 'cpu_level', cpu_level) FROM c
        """), [.text(engine.name), .array(engine.levels), .text(engine.level)])
    return stranded.changed
  }

  /// Opens a leased campaign: it is running from here on, and how far it is will not change but by this lease.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  public func openCampaign(lease: Lease, engine: CampaignEngine) throws -> CampaignWork {
    let work = try persist {
      try pool.transaction { connection -> CampaignWork in
        guard try connection.run(Self.lockLease, Self.holder(lease)).count == 1 else {
          throw StoreError.staleLease(subject: lease.subject)
        }
        try connection.run(
          Self.openStatement,
          [
            .text(lease.subject), .integer(lease.attempt), .text(engine.level), .text(engine.name),
            .text(JSON.object(["state": "running", "reason": "claimed", "attempt": .integer(lease.attempt)]).text),
          ])
        return try Self.campaignWork(lease.subject, on: connection)
      }
    }
    notifier.notify(.campaign, lease.subject)
    return work
  }

  private static let lockLease = Statement(
    "campaign_lease_lock", "SELECT id FROM work WHERE id = $1 AND fence = $2 FOR UPDATE")

  private static let openStatement = Statement(
    "campaign_open",
    """
    WITH c AS (
      UPDATE campaigns SET state = 'running', reason = 'claimed', message = NULL, attempt = $2,
        cpu_level = coalesce(cpu_level, $3), engine = coalesce(engine, $4), started_at = coalesce(started_at, now()),
        revision = revision + 1, event_count = event_count + 1
      WHERE id = $1 AND state = 'queued' RETURNING id, event_count, version
    )
    INSERT INTO campaign_events (campaign, sequence, kind, message, data)
    SELECT id, event_count, 'state',
      'running: attempt ' || $2 || CASE WHEN version > 0 THEN ' goes on from version ' || version ELSE '' END,
      $5::jsonb || jsonb_build_object('version', version)
    FROM c
    """)

  private static func campaignWork(_ id: String, on connection: Connection) throws -> CampaignWork {
    guard var row = try connection.run(findWork, [.text(id)]).first else {
      throw StoreError.notFound("the campaign \(id)")
    }
    let (project, spec, level) = (row.text(), try CampaignSpec.decode(row.json()), row.text())
    let head = CampaignHead(
      version: row.integer(), phase: row.integer(), outerIteration: row.integer(), growthLevel: row.integer(),
      innerSteps: row.integer())
    let start: [UInt8]?
    if row.isNull {
      row.skip(1)
      start = nil
    } else {
      start = row.bytes()
    }
    let release = row.isNull ? nil : row.digest()
    var datasets: [String: Dataset] = [:]
    for (name, id) in spec.data { datasets[name] = try dataset(id, project, connection) }
    return CampaignWork(
      id: id, project: project, spec: spec, cpuLevel: level, head: head, phases: try phases(id, on: connection),
      snapshot: try snapshot(id, on: connection), start: start, release: release, datasets: datasets)
  }

  private static let findWork = Statement(
    "campaign_work",
    """
    SELECT c.project, c.spec, c.cpu_level, c.version, c.phase, c.outer_iteration, c.growth_level, c.inner_steps,
      (SELECT t.content FROM campaign_thetas t WHERE t.campaign = c.id AND t.version = 0),
      (SELECT o.sha256 FROM optimizers o WHERE o.id = c.start)
    FROM campaigns c WHERE c.id = $1
    """)

  private static func snapshot(_ id: String, on connection: Connection) throws -> (version: Int, content: String)? {
    try connection.run(
      Statement(
        "campaign_snapshot",
        "SELECT version, sha256 FROM campaign_snapshots WHERE campaign = $1 ORDER BY version DESC LIMIT 1"),
      [.text(id)]
    ).map { (version: $0.integer(), content: $0.digest()) }.first
  }

  /// A campaign's phases in the order of their numbers, for its learner.
  public func campaignPhases(_ campaign: String) throws -> [CampaignPhaseRecord] {
    try persist { try pool.read { try Self.phases(campaign, on: $0) } }
  }

  /// What outer steps were made of, from the one that made `version` on, in order.
  ///
  /// - Parameter limit: how many at most.
  public func campaignStepResults(
    campaign: String, from version: Int, limit: Int = 100
  ) throws -> [(version: Int, phase: Int, results: [UInt8])] {
    try persist {
      try bulk.read { connection in
        try connection.run(
          Statement(
            "campaign_step_results",
            """
            SELECT version, phase, results FROM campaign_steps WHERE campaign = $1 AND version >= $2
            ORDER BY version LIMIT $3
            """), [.text(campaign), .integer(version), .integer(limit)]
        ).map { (version: $0.integer(), phase: $0.integer(), results: $0.bytes()) }
      }
    }
  }

  /// A stored theta's file, nil if that version is not kept.
  public func thetaFile(campaign: String, version: Int) throws -> [UInt8]? {
    try persist {
      try bulk.read { connection in
        try connection.run(
          Statement(
            "campaign_theta_file", "SELECT content FROM campaign_thetas WHERE campaign = $1 AND version = $2"),
          [.text(campaign), .integer(version)]
        ).map { $0.bytes() }.first
      }
    }
  }
}

extension Store {
  static func phases(_ campaign: String, on connection: Connection) throws -> [CampaignPhaseRecord] {
    try connection.run(
      Statement(
        "campaign_phases",
        """
        SELECT number, position, parent, settings, keys_from, state, first_version, last_version, author, created_at
        FROM campaign_phases WHERE campaign = $1 ORDER BY number
        """), [.text(campaign)]
    ).map { row in
      try CampaignPhaseRecord(
        number: row.integer(), position: row.integer(), parent: row.optionalInteger(),
        phase: CampaignPhase.decode(row.json()), keysFrom: row.integer(),
        state: stored(CampaignPhaseRecord.State.self, row.text()), firstVersion: row.optionalInteger(),
        lastVersion: row.optionalInteger(), author: row.text(), createdAt: row.time())
    }
  }
}
