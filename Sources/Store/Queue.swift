// The queue: leasing work, renewing leases, giving work back, and taking it back from workers that are gone. A lease
// ends by the database's clock alone; whoever holds an older fencing token than the row's changes nothing.
//
// Whatever locks both a row of `work` and the job or dataset it is about locks the work first.
import Contract
import Foundation

extension Store {
  /// How many attempts at one piece of work may be lost before it fails.
  public static let lossesMax = 5

  /// Leases the next piece of work: lowest priority number first, then the oldest.
  ///
  /// One statement makes the change of state, the attempt and its event. If nothing waits, expired leases are taken
  /// back first.
  ///
  /// - Parameters:
  ///   - worker: the worker's id.
  ///   - cpuLevel: kernel level whose bits the attempt has.
  ///   - leaseSeconds: how long the lease lives after each commit or renewal.
  /// - Returns: nil if there is nothing to do.
  public func claim(
    worker: String, kinds: Set<WorkKind>, cpuLevel: String = "", leaseSeconds: Double
  ) throws -> Claim? {
    precondition(kinds.isSubset(of: WorkKind.forSlots), "campaigns are claimed by claimCampaign")
    if let claim = try claimQueued(worker, kinds, cpuLevel, leaseSeconds) { return claim }
    guard try sweepExpiredLeases() > 0 else { return nil }
    return try claimQueued(worker, kinds, cpuLevel, leaseSeconds)
  }

  private func claimQueued(
    _ worker: String, _ kinds: Set<WorkKind>, _ cpuLevel: String, _ leaseSeconds: Double
  ) throws -> Claim? {
    let claim = try pool.with { connection -> Claim? in
      let result = try connection.run(
        Self.claimStatement,
        [.array(kinds.map(\.rawValue).sorted()), .text(worker), .number(leaseSeconds), .text(cpuLevel)])
      guard var row = result.first else { return nil }
      return try Self.decodeClaim(&row, leaseSeconds)
    }
    if let claim, claim.lease.kind == .job { notifier.notify(.job, claim.lease.subject) }
    return claim
  }

  private static func decodeClaim(_ row: inout Row, _ leaseSeconds: Double) throws -> Claim {
    let lease = try Lease(
      workID: row.integer(), kind: stored(WorkKind.self, row.text()), subject: row.text(), fence: row.integer(),
      attempt: row.integer(), seconds: leaseSeconds)
    if lease.kind == .evaluation { return Claim(lease: lease, work: .evaluation) }
    if lease.kind == .evaluationRun { return Claim(lease: lease, work: .evaluationRun) }
    let optimizer: LearnedOptimizerRecord?
    if row.isNull {
      row.skip(optimizerColumnCount)
      optimizer = nil
    } else {
      optimizer = try decodeOptimizer(&row)
    }
    if lease.kind == .optimizerValidation {
      guard let optimizer else { throw StoreError.notFound("the optimizer \(lease.subject)") }
      return Claim(lease: lease, work: .optimizerValidation(optimizer))
    }
    if lease.kind == .modelValidation {
      guard !row.isNull else { throw StoreError.notFound("the model \(lease.subject)") }
      return Claim(lease: lease, work: .modelValidation(try decodeModel(&row)))
    }
    row.skip(modelColumnCount)
    guard !row.isNull else { throw StoreError.notFound("the dataset of \(lease.subject)") }
    let dataset = try decodeDataset(&row)
    guard lease.kind == .job else { return Claim(lease: lease, work: .validation(dataset)) }
    let job = try decodeJob(&row)
    var resume: Checkpoint?
    if row.isNull { row.skip(7) } else { resume = try decodeCheckpoint(&row) }
    return Claim(lease: lease, work: .job(job, dataset: dataset, optimizer: optimizer, resume: resume))
  }

  private static let claimStatement = Statement(
    "work_claim",
    """
    WITH picked AS (
      SELECT id FROM work WHERE state = 'queued' AND kind = ANY($1::text[])
        AND (not_before IS NULL OR not_before <= clock_timestamp())
      ORDER BY priority, id LIMIT 1 FOR UPDATE SKIP LOCKED
    ), taken AS (
      UPDATE work SET state = 'leased', worker = $2, fence = nextval('work_fences'), attempt = attempt + 1,
        last_sequence = 0, lease_until = clock_timestamp() + make_interval(secs => $3)
      FROM picked WHERE work.id = picked.id
      RETURNING work.id, work.kind, work.subject, work.fence, work.attempt
    ), resume AS (
      SELECT c.* FROM taken JOIN LATERAL (
        SELECT * FROM checkpoints WHERE job = taken.subject AND kind = 'resume'
        ORDER BY step DESC, id DESC LIMIT 1) c ON taken.kind = 'job'
    ), start AS (
      SELECT taken.*, coalesce((SELECT step FROM resume), 0) AS step FROM taken WHERE taken.kind = 'job'
    ), j AS (
      UPDATE jobs SET state = 'running', reason = 'claimed', attempt = start.attempt, step = start.step,
        started_at = coalesce(started_at, now()), revision = revision + 1, event_count = event_count + 1
      FROM start WHERE jobs.id = start.subject RETURNING jobs.*
    ), added_attempt AS (
      INSERT INTO job_attempts (job, number, worker, fence, first_step, cpu_level)
      SELECT subject, attempt, $2, fence, step, $4 FROM start
    ), added_event AS (
      INSERT INTO job_events (job, sequence, kind, message, data)
      SELECT id, event_count, 'state',
        'running: attempt ' || attempt || CASE WHEN step > 0 THEN ' goes on from step ' || step ELSE '' END,
        jsonb_build_object('state', 'running', 'reason', 'claimed', 'attempt', attempt, 'first_step', step)
      FROM j
    )
    SELECT taken.id, taken.kind, taken.subject, taken.fence, taken.attempt, \(optimizerColumns),
      \(prefixed(modelColumns, "m")), \(prefixed(datasetColumns, "d")), \(jobColumns), \(checkpointColumns)
    FROM taken LEFT JOIN j ON true LEFT JOIN models m ON m.id = taken.subject
    LEFT JOIN datasets d ON d.id = coalesce(j.dataset, taken.subject)
    LEFT JOIN resume c ON true LEFT JOIN optimizers o ON o.id = coalesce(j.optimizer, taken.subject)
    """)

  private static func prefixed(_ columns: String, _ table: String) -> String {
    columns.split(separator: ",").map { "\(table)." + $0.trimmingCharacters(in: .whitespacesAndNewlines) }
      .joined(separator: ", ")
  }

  /// Lengthens a lease, for work that has nothing to commit yet.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``.
  public func renew(lease: Lease) throws {
    let renewed = try persist { try pool.run(Self.renewal, Self.holder(lease) + [.number(lease.seconds)]).changed }
    guard renewed == 1 else { throw StoreError.staleLease(subject: lease.subject) }
  }

  private static let renewal = Statement(
    "work_renew",
    """
    UPDATE work SET lease_until = clock_timestamp() + make_interval(secs => $3)
    WHERE id = $1 AND fence = $2
    """)

  /// The parameters that every write under a lease begins with. The token alone says whether it is held: it changes
  /// when the work is given back too. (Asking for the state as well would lead the planner to the index of leased
  /// work, which is made of dead entries.)
  static func holder(_ lease: Lease) -> [Parameter] { [.integer(lease.workID), .integer(lease.fence)] }

  // MARK: Giving back and taking back

  /// Gives work back at once, because the worker stops; this is no lost attempt.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``.
  public func release(lease: Lease) throws { try giveBack(lease, .released) }

  /// Gives work back that could not be done; this is a lost attempt, and the work fails when there are too many.
  ///
  /// - Parameter message: what went wrong, for people.
  /// - Throws: ``StoreError/staleLease(subject:)``.
  public func abandon(lease: Lease, message: String) throws { try giveBack(lease, .failed(message)) }

  private func giveBack(_ lease: Lease, _ end: AttemptEnd) throws {
    try persist { try pool.transaction { try Self.giveBack(lease, end, on: $0) } }
    announce(lease.kind, lease.subject)
  }

  static func giveBack(_ lease: Lease, _ end: AttemptEnd, on connection: Connection) throws {
    let held = try connection.run(lockHeld, holder(lease)).map { try HeldWork(&$0) }
    guard let work = held.first else { throw StoreError.staleLease(subject: lease.subject) }
    try endAttempt(of: work, end, on: connection)
  }

  /// Takes back the work of leases that have expired; it is queued again, or fails when too many attempts were lost.
  ///
  /// - Returns: how many leases were taken back, at most 100 at a time.
  @discardableResult
  public func sweepExpiredLeases() throws -> Int {
    let expired = try pool.transaction { connection in
      let expired = try connection.run(Self.lockExpired).map { try HeldWork(&$0) }
      for work in expired { try Self.endAttempt(of: work, .lost, on: connection) }
      return expired
    }
    for work in expired { announce(work.kind, work.subject) }
    return expired.count
  }

  private func announce(_ kind: WorkKind, _ subject: String) {
    let channel: NotificationChannel =
      switch kind {
      case .job: .job
      case .validation: .dataset
      case .modelValidation: .model
      case .optimizerValidation: .optimizer
      case .evaluation, .evaluationRun: .evaluation
      case .campaign, .distributedCampaign: .campaign
      }
    notifier.notify(channel, subject)
    notifier.notify(.work, kind.rawValue)
  }

  private static let heldColumns = "id, kind, subject, worker, attempt, losses"
  static let lockHeld = Statement(
    "work_lock_held",
    "SELECT \(heldColumns) FROM work WHERE id = $1 AND fence = $2 FOR UPDATE")
  private static let lockExpired = Statement(
    "work_lock_expired",
    """
    SELECT \(heldColumns) FROM work WHERE state = 'leased' AND lease_until < clock_timestamp()
    ORDER BY lease_until LIMIT 100 FOR UPDATE SKIP LOCKED
    """)

  private struct HeldWork {
    let id: Int, kind: WorkKind, subject: String, worker: String, attempt: Int, losses: Int

    init(_ row: inout Row) throws {
      id = row.integer()
      kind = try Store.stored(WorkKind.self, row.text())
      (subject, worker, attempt, losses) = (row.text(), row.text(), row.integer(), row.integer())
    }
  }

  enum AttemptEnd {
    case released, paused, lost
    case failed(String)

    var isLoss: Bool {
      switch self {
      case .released, .paused: false
      case .lost, .failed: true
      }
    }

    /// An error would likely come again at once: a full disk, say. A dead worker says nothing about the next one.
    var isError: Bool {
      if case .failed = self { return true }
      return false
    }
  }

  /// Ends the current attempt of locked work without a result, and queues it again if that makes sense.
  private static func endAttempt(of work: HeldWork, _ end: AttemptEnd, on connection: Connection) throws {
    let lossesMax = work.kind == .evaluationRun ? evaluationLossesMax : lossesMax
    let isExhausted = end.isLoss && work.losses + 1 >= lossesMax
    let happened: String
    switch end {
    case .released: happened = "worker \(work.worker) stopped"
    case .paused: happened = "worker \(work.worker) stored its state"
    case .lost: happened = "worker \(work.worker) gave no sign of life"
    case .failed(let message): happened = message
    }
    let exhausted = "all \(lossesMax) attempts were lost; the last one: \(happened)"
    var isOver = isExhausted
    switch work.kind {
    case .validation:
      if isExhausted {
        try reject(work.subject, [DatasetProblem(row: nil, column: nil, reason: exhausted)], fence: nil, on: connection)
      }
    case .modelValidation:
      if isExhausted { try settle(work.subject, .rejected(exhausted), fence: nil, on: connection) }
    case .optimizerValidation:
      if isExhausted { try settleOptimizer(work.subject, .rejected(exhausted), fence: nil, on: connection) }
    case .evaluation:
      if isExhausted { try failEvaluation(work.subject, exhausted, fence: nil, on: connection) }
    case .evaluationRun:
      if isExhausted {
        try endRun(work.subject, result: nil, reason: exhausted, fence: nil, on: connection)
      } else {
        try requeueRun(work.subject, on: connection)
      }
    case .campaign, .distributedCampaign:
      isOver = try endCampaignAttempt(
        work.subject, attempt: work.attempt, isLost: end.isLoss, happened: happened,
        exhausted: isExhausted ? exhausted : nil, on: connection)
    case .job:
      try connection.run(
        Statement(
          "attempt_end",
          "UPDATE job_attempts SET state = $3, ended_at = now() WHERE job = $1 AND number = $2"),
        [.text(work.subject), .integer(work.attempt), .text(end.isLoss ? "lost" : "released")])
      let state = try connection.run(
        Statement("job_state_lock", "SELECT state FROM jobs WHERE id = $1 FOR NO KEY UPDATE"), [.text(work.subject)]
      ).map { try stored(JobState.self, $0.text()) }.first
      let data: [String: JSON] = ["attempt": .integer(work.attempt)]
      if state == .cancelling {
        isOver = true
        try change(work.subject, to: .cancelled, .cancelled, message: nil, data: data, on: connection)
      } else if state == .pausing {
        isOver = true
        try rewind(work.subject, on: connection)
        try change(
          work.subject, to: .paused, .paused, message: "attempt \(work.attempt): \(happened)", data: data,
          on: connection)
      } else if isExhausted {
        try change(work.subject, to: .failed, .attemptsExhausted, message: exhausted, data: data, on: connection)
      } else {
        try rewind(work.subject, on: connection)
        try change(
          work.subject, to: .queued, end.isLoss ? .workerLost : .workerStopped,
          message: "attempt \(work.attempt): \(happened)", data: data, on: connection)
      }
    }
    if isOver {
      try connection.run(Statement("work_delete", "DELETE FROM work WHERE id = $1"), [.integer(work.id)])
    } else {
      try connection.run(
        Statement(
          "work_requeue",
          """
          UPDATE work SET state = 'queued', worker = NULL, lease_until = NULL, losses = losses + $2,
            not_before = CASE WHEN $3 THEN clock_timestamp() + make_interval(secs => power(2, losses)) END,
            fence = nextval('work_fences') WHERE id = $1
          """), [.integer(work.id), .integer(end.isLoss ? 1 : 0), .bool(end.isError)])
    }
  }
}
