// Learned optimizers that come as files: uploaded, validated by a worker, released and deprecated. Store+Artifacts.swift
// finds them.
import Contract
import Foundation

/// What a worker found in a file of weights.
public enum OptimizerOutcome: Sendable {
  /// Good: stored as our own file and as one of the reference implementations.
  case ready(theta: BlobReference, flax: BlobReference, parameterCount: Int, provenance: JSON)
  /// What is wrong with it.
  case rejected(String)
}

extension Store {
  /// Creates an optimizer in state `validating` from a stored file, and queues its validation.
  ///
  /// - Parameters:
  ///   - blob: from ``putBlob(_:)``.
  ///   - provenance: what to store beside the upload's own.
  ///   - project: of the caller, whose idempotency keys these are; optimizers belong to no project.
  /// - Returns: the optimizer, and whether an earlier call with the idempotency key made it.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`versionExists`) if there is that version.
  public func createOptimizer(
    _ upload: LearnedOptimizerRecord.Upload, file blob: BlobReference, provenance: [String: String], project: String,
    idempotency: Idempotency? = nil
  ) throws -> (optimizer: LearnedOptimizerRecord, replayed: Bool) {
    guard let digest = Hexadecimal.digest(blob.sha256) else { throw StoreError.notFound("content \(blob.sha256)") }
    let id = Identifier.make(.optimizer)
    let all = upload.provenance.merging(provenance) { $1 }
    let created = try pool.transaction { connection -> (LearnedOptimizerRecord, Bool) in
      if let made = try claimKey(idempotency, project: project, subject: id, on: connection) {
        guard let optimizer = try Self.optimizer(made, connection) else { throw Self.subjectGone(idempotency) }
        return (optimizer, true)
      }
      // Two uploads of one kind at a time would choose the same version.
      try connection.run(
        Statement("optimizer_versions_lock", "SELECT pg_advisory_xact_lock(hashtext('optimizers'), hashtext($1))"),
        [.text(upload.name.rawValue)])
      let inserted = try connection.run(
        Self.insertUpload,
        [
          .text(id), .text(upload.name.rawValue), upload.version.map(Parameter.integer) ?? .null, .bytes(digest),
          .text(upload.state.rawValue), .text(upload.constants.text),
          .text(JSON.object(all.mapValues(JSON.string)).text),
        ])
      guard inserted.changed == 1 else {
        throw StoreError.conflict(
          .versionExists,
          "\(upload.name.rawValue) version \(upload.version ?? 0) exists; give it another version, or none for the next"
        )
      }
      try connection.run(Self.enqueue, [.text(WorkKind.optimizerValidation.rawValue), .text(id), .integer(-1)])
      return (try Self.optimizer(id, connection)!, false)
    }
    if !created.1 { notifier.notify(.work, WorkKind.optimizerValidation.rawValue) }
    return created
  }

  private static let insertUpload = Statement(
    "optimizer_upload",
    """
    INSERT INTO optimizers (id, name, version, state, sha256, source, wanted, constants, provenance)
    SELECT $1, $2,
      coalesce($3::integer, (SELECT coalesce(max(version), 0) + 1 FROM optimizers WHERE name = $2 AND state <> 'rejected')),
      'validating', sha256, sha256, $5, $6, $7
    FROM blobs WHERE sha256 = $4 FOR KEY SHARE
    ON CONFLICT (name, version) WHERE state <> 'rejected' DO NOTHING
    """)

  private static func optimizer(_ id: String, _ connection: Connection) throws -> LearnedOptimizerRecord? {
    try connection.run(
      Statement("optimizer_get", "SELECT \(optimizerColumns) FROM optimizers o WHERE o.id = $1"), [.text(id)]
    ).map { try decodeOptimizer(&$0) }.first
  }

  /// One learned optimizer, nil if there is none of that id.
  public func optimizer(id: String) throws -> LearnedOptimizerRecord? { try pool.read { try Self.optimizer(id, $0) } }

  // MARK: Validation

  /// Ends an optimizer's validation. Safe to repeat.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``.
  public func finishOptimizerValidation(lease: Lease, outcome: OptimizerOutcome) throws {
    precondition(lease.kind == .optimizerValidation, "the lease is for the validation of an optimizer")
    try persist {
      try pool.transaction { connection in
        guard try connection.run(Self.endWork, Self.holder(lease)).count == 1 else {
          // Gone by our own hand if the first answer was lost on the way.
          let done = try connection.run(
            Statement("optimizer_decided", "SELECT id FROM optimizers WHERE id = $1 AND fence = $2"),
            [.text(lease.subject), .integer(lease.fence)])
          guard done.count == 1 else { throw StoreError.staleLease(subject: lease.subject) }
          return
        }
        try Self.settleOptimizer(lease.subject, outcome, fence: lease.fence, on: connection)
      }
    }
    notifier.notify(.optimizer, lease.subject)
  }

  /// Decides about an optimizer whose work is locked or deleted.
  static func settleOptimizer(
    _ optimizer: String, _ outcome: OptimizerOutcome, fence: Int?, on connection: Connection
  ) throws {
    let fence = fence.map(Parameter.integer) ?? .null
    switch outcome {
    case .rejected(let reason):
      try connection.run(
        Statement(
          "optimizer_reject",
          "UPDATE optimizers SET state = 'rejected', problem = $2, fence = $3 WHERE id = $1 AND state = 'validating'"),
        [.text(optimizer), .text(reason), fence])
    case .ready(let theta, let flax, let count, let provenance):
      guard let thetaDigest = Hexadecimal.digest(theta.sha256), let flaxDigest = Hexadecimal.digest(flax.sha256) else {
        throw StoreError.notFound("content \(theta.sha256)")
      }
      try connection.run(
        Statement(
          "optimizer_accept",
          """
          UPDATE optimizers SET state = wanted, sha256 = $2, flax = $3, parameter_count = $4, provenance = $5, fence = $6,
            released_at = CASE WHEN wanted = 'released' THEN now() END
          WHERE id = $1 AND state = 'validating'
          """),
        [
          .text(optimizer), .bytes(thetaDigest), .bytes(flaxDigest), .integer(count), .text(provenance.text), fence,
        ])
    }
  }

  /// Releases or deprecates a learned optimizer. Jobs that use it are not touched.
  ///
  /// - Returns: nil if there is none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`notUsable`) for a file that is validating or was rejected.
  public func setOptimizerState(
    id: String, _ state: LearnedOptimizerRecord.State
  ) throws -> LearnedOptimizerRecord? {
    let changed = try pool.run(
      Statement(
        "optimizer_set_state",
        """
        UPDATE optimizers o SET state = $2,
          released_at = CASE WHEN $2 = 'released' AND o.state <> 'released' THEN now() ELSE released_at END
        WHERE id = $1 AND state NOT IN ('validating', 'rejected') RETURNING \(Self.optimizerColumns)
        """), [.text(id), .text(state.rawValue)]
    ).map { try Self.decodeOptimizer(&$0) }.first
    if changed == nil, let found = try optimizer(id: id) {
      throw StoreError.conflict(
        .notUsable,
        found.state == .validating
          ? "the optimizer \(id) is still validating; wait for it with GET /v1/optimizers/\(id)?wait=60"
          : "the file of optimizer \(id) was rejected: \(found.problem ?? "")")
    }
    return changed
  }
}
