// Stored models: definitions, and uploaded files with what a worker found in them.
import Contract
import Foundation

/// What a worker found in a model file.
public enum ModelOutcome: Sendable {
  case ready(ImportedModel)
  /// Why it cannot be trained here.
  case rejected(String)
}

extension Store {
  static let modelColumns = """
    id, project, name, created_at, spec, sha256, bytes, state, facts, problem, validated_at
    """
  static let modelColumnCount = 11

  static func decodeModel(_ row: inout Row) throws -> ModelDefinition {
    let (id, project, name, createdAt) = (row.text(), row.text(), row.text(), row.time())
    if let spec = row.optionalJSON() {
      row.skip(6)
      return ModelDefinition(
        id: id, project: project, name: name, source: .definition(try ModelSpec.decode(spec)), createdAt: createdAt)
    }
    let file = try ModelFile(
      sha256: row.digest(), bytes: row.integer(), state: stored(DatasetState.self, row.text()),
      imported: row.optionalJSON().flatMap(ImportedModel.decode), problem: row.optionalText(),
      validatedAt: row.optionalTime())
    return ModelDefinition(id: id, project: project, name: name, source: .file(file), createdAt: createdAt)
  }

  /// Stores a model definition.
  ///
  /// - Returns: the definition, and whether an earlier call with the idempotency key made it.
  public func createModel(
    name: String, spec: ModelSpec, project: String, idempotency: Idempotency? = nil
  ) throws -> (model: ModelDefinition, replayed: Bool) {
    try createModel(project, idempotency) { id, connection in
      try connection.run(
        Statement(
          "model_create",
          "INSERT INTO models (id, project, name, spec) VALUES ($1, $2, $3, $4) RETURNING \(Self.modelColumns)"),
        [.text(id), .text(project), .text(name), .text(spec.json.text)]
      ).map { try Self.decodeModel(&$0) }[0]
    }
  }

  /// Creates a model in state `validating` from a stored file, and queues its validation.
  ///
  /// - Parameter blob: from ``putBlob(fileDescriptor:)``.
  /// - Returns: the model as it was created, and whether that was an earlier call.
  public func createModel(
    name: String, file blob: BlobReference, project: String, idempotency: Idempotency? = nil,
    defaults: ProjectQuotas = ProjectQuotas()
  ) throws -> (model: ModelDefinition, replayed: Bool) {
    guard let digest = Hexadecimal.digest(blob.sha256) else { throw StoreError.notFound("content \(blob.sha256)") }
    var created = try createModel(project, idempotency) { id, connection in
      try Self.hold(.datasetBytes, project, defaults.datasetBytes, adding: blob.bytes, on: connection)
      let rows = try connection.run(Self.insertFile, [.text(id), .text(project), .text(name), .bytes(digest)])
        .map { try Self.decodeModel(&$0) }
      guard let model = rows.first else { throw StoreError.notFound("content \(blob.sha256)") }
      try connection.run(Self.enqueue, [.text(WorkKind.modelValidation.rawValue), .text(id), .integer(-1)])
      return model
    }
    if created.replayed, case .file(let file) = created.model.source {
      created.model.source = .file(ModelFile(sha256: file.sha256, bytes: file.bytes))
    } else {
      notifier.notify(.work, WorkKind.modelValidation.rawValue)
    }
    return created
  }

  private func createModel(
    _ project: String, _ idempotency: Idempotency?, insert: (String, Connection) throws -> ModelDefinition
  ) throws -> (model: ModelDefinition, replayed: Bool) {
    let id = Identifier.make(.model)
    return try pool.transaction { connection in
      if let made = try claimKey(idempotency, project: project, subject: id, on: connection) {
        guard let model = try Self.model(made, project, connection) else { throw Self.subjectGone(idempotency) }
        return (model, true)
      }
      return (try insert(id, connection), false)
    }
  }

  private static let insertFile = Statement(
    "model_create_file",
    """
    INSERT INTO models (id, project, name, state, sha256, bytes)
    SELECT $1, $2, $3, 'validating', sha256, bytes FROM blobs WHERE sha256 = $4 FOR KEY SHARE
    RETURNING \(modelColumns)
    """)

  /// A project's model, nil if it has none of that id.
  public func model(id: String, project: String) throws -> ModelDefinition? {
    try pool.read { try Self.model(id, project, $0) }
  }

  private static func model(_ id: String, _ project: String, _ connection: Connection) throws -> ModelDefinition? {
    try connection.run(
      Statement("model_get", "SELECT \(modelColumns) FROM models WHERE id = $1 AND project = $2"),
      [.text(id), .text(project)]
    ).map { try decodeModel(&$0) }.first
  }

  /// A page of a project's models, newest first.
  public func models(project: String, cursor: String? = nil, limit: Int = 50) throws -> Page<ModelDefinition> {
    try page(
      Statement("models_list", Self.pageSQL(Self.modelColumns, from: "models", where: "project = $1", after: 2)),
      [.text(project)], kind: .model, cursor: cursor, limit: limit, id: \.id, decode: Self.decodeModel)
  }

  /// Deletes a model; its validation, if it is under way, ends with a stale lease.
  ///
  /// - Returns: false if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`inUse`) while unfinished jobs need it.
  public func deleteModel(id: String, project: String) throws -> Bool {
    let deleted = try pool.transaction { connection in
      // The work first, then what it is about: the order of all that lock both.
      try connection.run(
        Statement("model_delete_lock_work", "SELECT id FROM work WHERE subject = $1 FOR UPDATE"), [.text(id)])
      let found = try connection.run(
        Statement("model_delete_lock", "SELECT id FROM models WHERE id = $1 AND project = $2 FOR UPDATE"),
        [.text(id), .text(project)])
      guard found.count == 1 else { return false }
      let users = try connection.run(
        Statement(
          "model_users",
          "SELECT id FROM jobs WHERE project = $2 AND finished_at IS NULL AND spec ->> 'model_id' = $1 LIMIT 3"),
        [.text(id), .text(project)]
      ).map { $0.text() }
      guard users.isEmpty else {
        throw StoreError.conflict(
          .inUse, "unfinished jobs need this model (\(users.joined(separator: ", "))); cancel them or let them end")
      }
      try connection.run(Statement("model_delete_work", "DELETE FROM work WHERE subject = $1"), [.text(id)])
      try connection.run(Statement("model_delete", "DELETE FROM models WHERE id = $1"), [.text(id)])
      return true
    }
    if deleted { notifier.notify(.model, id) }
    return deleted
  }

  // MARK: Validation

  /// Ends a model's validation. Safe to repeat.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``.
  public func finishModelValidation(lease: Lease, outcome: ModelOutcome) throws {
    precondition(lease.kind == .modelValidation, "the lease is for the validation of a model")
    try persist {
      try pool.transaction { connection in
        guard try connection.run(Self.endWork, Self.holder(lease)).count == 1 else {
          // Gone by our own hand if the first answer was lost on the way.
          let done = try connection.run(
            Statement("model_decided", "SELECT id FROM models WHERE id = $1 AND fence = $2"),
            [.text(lease.subject), .integer(lease.fence)])
          guard done.count == 1 else { throw StoreError.staleLease(subject: lease.subject) }
          return
        }
        try Self.settle(lease.subject, outcome, fence: lease.fence, on: connection)
      }
    }
    notifier.notify(.model, lease.subject)
  }

  /// Decides about a model whose work is locked or deleted.
  static func settle(_ model: String, _ outcome: ModelOutcome, fence: Int?, on connection: Connection) throws {
    var facts: String?
    var problem: String?
    switch outcome {
    case .ready(let imported): facts = imported.json.text
    case .rejected(let reason): problem = reason
    }
    try connection.run(
      Statement(
        "model_settle",
        """
        UPDATE models SET state = CASE WHEN $2::jsonb IS NULL THEN 'rejected' ELSE 'ready' END, facts = $2, problem = $3,
          validated_at = now(), fence = $4 WHERE id = $1 AND state = 'validating'
        """), [.text(model), .optional(facts), .optional(problem), fence.map(Parameter.integer) ?? .null])
  }
}
