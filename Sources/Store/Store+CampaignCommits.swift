// What a campaign's learner writes: outer steps with all that belongs to them, the way into another phase, the end. Each is
// one transaction under the lease's token: done as a whole, or, for a learner that is not the one any more, not at all.
import Contract
import Foundation

extension Store {
  /// Commits outer steps and renews the lease: all or nothing. Steps that are there already must be the same, bytes of
  /// results included: they were made again from an older state.
  ///
  /// - Returns: what people want of the campaign.
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed; ``StoreError/limit(_:)``;
  ///   ``StoreError/corruptContent(_:)`` where a step was made again and came out otherwise.
  public func commit(progress: CampaignProgress, lease: Lease) throws -> CampaignWishes {
    guard progress.steps.count <= CampaignProgress.stepsMax, progress.events.count <= 256 else {
      throw StoreError.limit(
        "a campaign's progress: expected at most \(CampaignProgress.stepsMax) steps and 256 events, got "
          + "\(progress.steps.count) and \(progress.events.count)")
    }
    let wishes = try persist {
      try pool.transaction { connection in try Self.commit(progress, lease, on: connection) }
    }
    notifier.notify(.campaign, lease.subject)
    if progress.turn?.next != nil { notifier.notify(.work, "group") }
    return wishes
  }

  private static func commit(
    _ progress: CampaignProgress, _ lease: Lease, on connection: Connection
  ) throws -> CampaignWishes {
    let isProgress = progress.snapshot != nil || (progress.turn != nil && !progress.steps.isEmpty)
    let isHeld = try connection.run(
      renewStatement, holder(lease) + [.number(lease.seconds), .bool(isProgress)])
    guard isHeld.changed == 1 else { throw StoreError.staleLease(subject: lease.subject) }
    // A commit whose answer got lost is sent again: it finds its own steps, and the head where it put it.
    let isRepeated =
      try progress.turn != nil
      && !progress.steps.isEmpty && currentVersion(lease.subject, on: connection) == progress.head.version
    if !isRepeated {
      let head = progress.head
      // A distributed step counts from the head that it was made from; local ones may go over old ground.
      let before = progress.turn == nil || progress.steps.isEmpty ? nil : progress.steps[0].version - 1
      let moved = try connection.run(
        moveHead,
        [
          .text(lease.subject), .integer(head.version), .integer(head.phase), .integer(head.outerIteration),
          .integer(head.growthLevel), .integer(head.innerSteps),
          progress.loss.flatMap { $0.isFinite ? .number($0) : nil } ?? .null,
          before.map(Parameter.integer) ?? .null,
        ])
      guard moved.changed == 1 else { throw StoreError.staleLease(subject: lease.subject) }
      if let turn = progress.turn { try take(turn, lease.subject, on: connection) }
    }
    for start in stride(from: 0, to: progress.steps.count, by: stepsInsertedMax) {
      let part = progress.steps[start..<min(start + stepsInsertedMax, progress.steps.count)]
      try insert(part, lease.subject, on: connection)
    }
    for theta in progress.thetas { try keep(theta, lease.subject, on: connection) }
    try collectThetas(progress, lease.subject, on: connection)
    if let blob = progress.snapshot {
      try keepSnapshot(blob, version: progress.head.version, lease.subject, on: connection)
    }
    if !isRepeated {
      for event in progress.events {
        try addEvent(lease.subject, event.kind.rawValue, event.message, event.data, on: connection)
      }
    }
    return try connection.run(wishesStatement, [.text(lease.subject), .integer(campaignPriorityMin)]).map {
      CampaignWishes(pause: $0.bool(), cancel: $0.bool(), change: $0.bool(), makeWay: $0.bool())
    }[0]
  }

  private static let stepsInsertedMax = 500

  // What a snapshot or a durable step saved is no longer lost with the attempt.
  private static let renewStatement = Statement(
    "campaign_renew",
    """
    UPDATE work SET lease_until = clock_timestamp() + make_interval(secs => $3),
      losses = CASE WHEN $4 THEN 0 ELSE losses END
    WHERE id = $1 AND fence = $2
    """)

  private static func currentVersion(_ campaign: String, on connection: Connection) throws -> Int {
    try connection.run(
      Statement("campaign_version", "SELECT version FROM campaigns WHERE id = $1 FOR NO KEY UPDATE"), [.text(campaign)]
    ).map { $0.integer() }.first ?? -1
  }

  private static let moveHead = Statement(
    "campaign_move_head",
    """
    UPDATE campaigns SET version = greatest(version, $2), revision = revision + 1,
      phase = CASE WHEN $2 >= version THEN $3 ELSE phase END,
      outer_iteration = CASE WHEN $2 >= version THEN $4 ELSE outer_iteration END,
      growth_level = CASE WHEN $2 >= version THEN $5 ELSE growth_level END,
      inner_steps = CASE WHEN $2 >= version THEN $6 ELSE inner_steps END,
      loss = CASE WHEN $2 >= version THEN coalesce($7, loss) ELSE loss END
    WHERE id = $1 AND state IN ('running', 'pausing', 'cancelling') AND version = coalesce($8, version)
    """)

  private static let wishesStatement = Statement(
    "campaign_wishes",
    """
    SELECT c.state = 'pausing', c.state = 'cancelling',
      EXISTS (
        SELECT FROM campaign_phases a JOIN campaign_phases p ON p.campaign = a.campaign AND p.position = a.position
        WHERE a.campaign = c.id AND a.number = c.phase AND p.state = 'planned' AND p.number > a.number),
      EXISTS (
        SELECT FROM work w WHERE w.state = 'queued' AND w.priority < $2
          AND (w.not_before IS NULL OR w.not_before <= clock_timestamp()))
    FROM campaigns c WHERE c.id = $1
    """)

  private static func insert(
    _ steps: ArraySlice<CampaignStep>, _ campaign: String, on connection: Connection
  ) throws {
    var results: [UInt8] = []
    var offsets: [Int] = []
    for step in steps {
      offsets.append(results.count)
      results += step.results
    }
    func column(_ text: (CampaignStep) -> String) -> Parameter { .array(steps.map(text)) }
    // Text that every type of the columns reads; NaN stands for unknown and is turned into null.
    func number(_ value: Double?) -> String { value.flatMap { $0.isFinite ? "\(Float($0))" : nil } ?? "NaN" }
    let answer = try connection.run(
      insertSteps,
      [
        .text(campaign), column { "\($0.version)" }, column { "\($0.phase)" }, column { "\($0.outerIteration)" },
        column { number($0.meanLoss) }, column { number($0.surviving) }, column { number($0.gradientNorm) },
        column { number($0.updateNorm) }, column { number($0.clippedShare) }, column { number($0.learningRate) },
        column { "\($0.innerSteps)" }, column { "{" + $0.staleness.map(String.init).joined(separator: ",") + "}" },
        column { "\($0.discarded)" }, column { "\($0.wallMilliseconds)" }, .array(offsets.map(String.init)),
        column { "\($0.results.count)" }, .bytes(results),
      ])
    guard var row = answer.first else { return }
    let different = row.integer()
    throw StoreError.corruptContent(
      "outer step \(different) of \(campaign) was made again and came out otherwise; the machines or programs differ")
  }

  // The rows that it answers are those that another run of the same step contradicts.
  private static let insertSteps = Statement(
    "campaign_steps_insert",
    """
    WITH s AS MATERIALIZED (
      SELECT version, phase, outer_iteration, nullif(mean_loss, 'NaN') AS mean_loss, surviving,
        nullif(gradient_norm, 'NaN') AS gradient_norm, nullif(update_norm, 'NaN') AS update_norm,
        nullif(clip_share, 'NaN') AS clip_share, nullif(learning_rate, 'NaN') AS learning_rate, inner_steps,
        staleness::integer[] AS staleness, discarded, wall_ms, substring($17::bytea FROM start + 1 FOR length) AS results
      FROM unnest($2::bigint[], $3::integer[], $4::bigint[], $5::real[], $6::real[], $7::real[], $8::real[], $9::real[],
        $10::real[], $11::bigint[], $12::text[], $13::integer[], $14::integer[], $15::integer[], $16::integer[])
        s(version, phase, outer_iteration, mean_loss, surviving, gradient_norm, update_norm, clip_share, learning_rate,
          inner_steps, staleness, discarded, wall_ms, start, length)
    ), added AS (
      INSERT INTO campaign_steps (campaign, version, phase, outer_iteration, mean_loss, surviving, gradient_norm,
        update_norm, clip_share, learning_rate, inner_steps, staleness, discarded, wall_ms, results)
      SELECT $1, version, phase, outer_iteration, mean_loss, surviving, gradient_norm, update_norm, clip_share,
        learning_rate, inner_steps, staleness, discarded, wall_ms, results FROM s
      ON CONFLICT (campaign, version) DO NOTHING
    )
    SELECT s.version FROM s JOIN campaign_steps o ON o.campaign = $1 AND o.version = s.version
    WHERE o.results <> s.results OR o.phase <> s.phase ORDER BY s.version LIMIT 1
    """)

  // MARK: Thetas and snapshots

  private static func keep(_ theta: NewTheta, _ campaign: String, on connection: Connection) throws {
    try connection.run(
      Statement(
        "campaign_theta_keep",
        """
        INSERT INTO campaign_thetas (campaign, version, content, sha256, kept) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (campaign, version) DO UPDATE SET kept = coalesce(campaign_thetas.kept, EXCLUDED.kept)
        """),
      [
        .text(campaign), .integer(theta.version), .bytes(theta.content), .bytes(SHA256.digest(theta.content)),
        .optional(theta.kept?.rawValue),
      ])
  }

  /// Deletes thetas that no group needs any more, now and then.
  private static func collectThetas(
    _ progress: CampaignProgress, _ campaign: String, on connection: Connection
  ) throws {
    guard !progress.thetas.isEmpty, progress.turn == nil || progress.head.version % thetasCollectedEvery == 0 else {
      return
    }
    try connection.run(
      Statement(
        "campaign_thetas_collect",
        """
        DELETE FROM campaign_thetas WHERE campaign = $1 AND kept IS NULL AND version < $2
          AND version < coalesce(
            (SELECT min(least(version, history[1])) FROM campaign_groups WHERE campaign = $1 AND state <> 'waiting'), $2)
        """), [.text(campaign), .integer(progress.head.version - thetasLeft)])
  }

  private static let thetasCollectedEvery = 8
  /// The newest versions stay, for late results and for people.
  private static let thetasLeft = 20

  private static func keepSnapshot(
    _ blob: BlobReference, version: Int, _ campaign: String, on connection: Connection
  ) throws {
    guard let digest = Hexadecimal.digest(blob.sha256) else { throw StoreError.notFound("content \(blob.sha256)") }
    try connection.run(
      Statement(
        "campaign_snapshot_keep",
        """
        WITH older AS (DELETE FROM campaign_snapshots WHERE campaign = $1 AND version <> $2)
        INSERT INTO campaign_snapshots (campaign, version, sha256) VALUES ($1, $2, $3)
        ON CONFLICT (campaign, version) DO UPDATE SET sha256 = EXCLUDED.sha256
        """), [.text(campaign), .integer(version), .bytes(digest)])
  }

  // MARK: Phases

  /// Ends a phase and begins another, with the learner's state at its start. Safe to repeat.
  ///
  /// - Parameters:
  ///   - thetas: to be kept at this place.
  ///   - snapshot: the new phase's learner, stored beforehand.
  /// - Returns: the phases after it; the new one is not active where it was replaced meanwhile, and then nothing was
  ///   changed.
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  public func enterPhase(
    _ turn: PhaseTurn, version: Int, thetas: [NewTheta], snapshot: BlobReference, event: NewCampaignEvent,
    lease: Lease
  ) throws -> [CampaignPhaseRecord] {
    let phases = try persist {
      try pool.transaction { connection -> [CampaignPhaseRecord] in
        let isHeld = try connection.run(
          Self.renewStatement, Self.holder(lease) + [.number(lease.seconds), .bool(true)])
        guard isHeld.changed == 1 else { throw StoreError.staleLease(subject: lease.subject) }
        let begun = try connection.run(
          Self.beginPhase, [.text(lease.subject), .integer(turn.to), .integer(version)])
        if begun.changed == 1 {
          try Self.turn(turn, version, lease.subject, on: connection)
          try Self.addEvent(lease.subject, event.kind.rawValue, event.message, event.data, on: connection)
        } else {
          // Either this is sent again, or the phase was replaced a moment ago: then the learner has to look again.
          let now = try Self.phases(lease.subject, on: connection)
          guard now.contains(where: { $0.number == turn.to && $0.state == .active }) else { return now }
        }
        for theta in thetas { try Self.keep(theta, lease.subject, on: connection) }
        try Self.keepSnapshot(snapshot, version: version, lease.subject, on: connection)
        return try Self.phases(lease.subject, on: connection)
      }
    }
    notifier.notify(.campaign, lease.subject)
    if turn.groups != nil { notifier.notify(.work, "group") }
    return phases
  }

  private static func turn(
    _ turn: PhaseTurn, _ version: Int, _ campaign: String, on connection: Connection
  ) throws {
    if let from = turn.from {
      try connection.run(
        Statement(
          "campaign_phase_end",
          """
          UPDATE campaign_phases SET state = CASE WHEN $4 THEN 'superseded' ELSE 'done' END, last_version = $3
          WHERE campaign = $1 AND number = $2
          """), [.text(campaign), .integer(from), .integer(version), .bool(turn.isChange)])
    }
    // Of several changes in one place the newest counts, and it has been begun already.
    try connection.run(
      Statement(
        "campaign_phase_pass",
        """
        UPDATE campaign_phases o SET state = 'superseded' FROM campaign_phases n
        WHERE n.campaign = $1 AND n.number = $2 AND o.campaign = $1 AND o.position = n.position AND o.number < n.number
          AND o.state = 'planned'
        """), [.text(campaign), .integer(turn.to)])
    let moved = try connection.run(
      Statement(
        "campaign_phase_head",
        """
        UPDATE campaigns SET phase = $2, outer_iteration = $3, growth_level = $4, revision = revision + 1
        WHERE id = $1 AND version = $5
        """),
      [
        .text(campaign), .integer(turn.to), .integer(turn.outerIteration), .integer(turn.growthLevel),
        .integer(version),
      ])
    guard moved.changed == 1 else { throw StoreError.staleLease(subject: campaign) }
    guard let groups = turn.groups else { return }
    try makeGroups(groups, turn, version, campaign, on: connection)
  }

  private static let beginPhase = Statement(
    "campaign_phase_begin",
    """
    UPDATE campaign_phases SET state = 'active', first_version = $3
    WHERE campaign = $1 AND number = $2 AND state = 'planned'
    """)

  // MARK: The end

  /// Ends the work on a campaign; one that paused can be resumed. Safe to repeat.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``, and then nothing was changed.
  public func endCampaign(lease: Lease, _ end: CampaignEnd) throws {
    let (state, reason, message): (CampaignState, String, String?) =
      switch end {
      case .succeeded: (.succeeded, "finished", nil)
      case .paused: (.paused, "pause_requested", nil)
      case .stuck(let reason, let message): (.paused, reason, message)
      case .cancelled: (.cancelled, "cancelled", nil)
      case .failed(let reason, let message): (.failed, reason, message)
      }
    try persist {
      try pool.transaction { connection in
        let done = try connection.run(
          Statement("campaign_work_end", "DELETE FROM work WHERE id = $1 AND fence = $2"), Self.holder(lease))
        guard done.changed == 1 else {
          let ended = try connection.run(
            Statement("campaign_has_ended", "SELECT id FROM campaigns WHERE id = $1 AND state = $2 AND attempt = $3"),
            [.text(lease.subject), .text(state.rawValue), .integer(lease.attempt)])
          guard ended.count == 1 else { throw StoreError.staleLease(subject: lease.subject) }
          return
        }
        try Self.changeState(of: lease.subject, to: state, reason, message, lease.attempt, on: connection)
        guard state.isTerminal else { return }
        try Self.tidy(lease.subject, isDone: state == .succeeded, on: connection)
      }
    }
    notifier.notify(.campaign, lease.subject)
  }

  /// Deletes what only a running campaign needs.
  private static func tidy(_ campaign: String, isDone: Bool, on connection: Connection) throws {
    try connection.run(
      Statement("campaign_groups_delete", "DELETE FROM campaign_groups WHERE campaign = $1"), [.text(campaign)])
    try connection.run(
      Statement(
        "campaign_theta_last",
        """
        UPDATE campaign_thetas SET kept = 'last' WHERE campaign = $1 AND kept IS NULL
          AND version = (SELECT version FROM campaigns WHERE id = $1)
        """), [.text(campaign)])
    guard isDone else { return }
    try connection.run(
      Statement(
        "campaign_phases_done",
        """
        UPDATE campaign_phases SET state = 'done', last_version = (SELECT version FROM campaigns WHERE id = $1)
        WHERE campaign = $1 AND state = 'active'
        """), [.text(campaign)])
  }

  private static func changeState(
    of campaign: String, to state: CampaignState, _ reason: String, _ message: String?, _ attempt: Int,
    on connection: Connection
  ) throws {
    let text = message.map { "\(state.rawValue): \($0)" } ?? state.rawValue
    try connection.run(
      Statement(
        "campaign_end_state",
        """
        WITH c AS (
          UPDATE campaigns SET state = $2, reason = $3, message = $4, finished_at = CASE WHEN $5 THEN now() END,
            revision = revision + 1, event_count = event_count + 1
          WHERE id = $1 RETURNING id, event_count, version
        )
        INSERT INTO campaign_events (campaign, sequence, kind, message, data)
        SELECT id, event_count, 'state', $6, $7::jsonb || jsonb_build_object('version', version) FROM c
        """),
      [
        .text(campaign), .text(state.rawValue), .text(reason), .optional(message), .bool(state.isTerminal), .text(text),
        .text(
          JSON.object([
            "state": .string(state.rawValue), "reason": .string(reason), "attempt": .integer(attempt),
          ]).text),
      ])
  }

  static func addEvent(
    _ campaign: String, _ kind: String, _ message: String, _ data: JSON, on connection: Connection
  ) throws {
    try connection.run(
      Statement(
        "campaign_learner_event",
        """
        WITH c AS (UPDATE campaigns SET event_count = event_count + 1 WHERE id = $1 RETURNING id, event_count)
        INSERT INTO campaign_events (campaign, sequence, kind, message, data) SELECT id, event_count, $2, $3, $4 FROM c
        """), [.text(campaign), .text(kind), .text(message), .text(data.text)])
  }

  /// Ends an attempt at a campaign without a result. The caller has locked its work.
  ///
  /// - Returns: whether nothing is left to do.
  static func endCampaignAttempt(
    _ campaign: String, attempt: Int, isLost: Bool, happened: String, exhausted: String?, on connection: Connection
  ) throws -> Bool {
    let before = try connection.run(
      Statement("campaign_state_lock", "SELECT state FROM campaigns WHERE id = $1 FOR NO KEY UPDATE"),
      [.text(campaign)]
    ).map { try stored(CampaignState.self, $0.text()) }.first
    switch before {
    case nil: return true
    case .cancelling:
      try changeState(of: campaign, to: .cancelled, "cancelled", nil, attempt, on: connection)
      try tidy(campaign, isDone: false, on: connection)
      return true
    case .pausing:
      try changeState(of: campaign, to: .paused, "pause_requested", nil, attempt, on: connection)
      return true
    case .queued, .running:
      if let exhausted {
        try changeState(of: campaign, to: .failed, "attempts_exhausted", exhausted, attempt, on: connection)
        try tidy(campaign, isDone: false, on: connection)
        return true
      }
      guard before == .running else { return false }
      try changeState(
        of: campaign, to: .queued, isLost ? "worker_lost" : "worker_stopped", "attempt \(attempt): \(happened)",
        attempt, on: connection)
      return false
    case .paused, .succeeded, .failed, .cancelled: return true
    }
  }
}
