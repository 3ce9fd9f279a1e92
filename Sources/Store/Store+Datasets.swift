// Datasets: an uploaded content, what it is called, and what a worker found in it.
import Contract
import Foundation

extension Store {
  static let datasetColumns = """
    id, project, name, options, state, sha256, bytes, schema, problem_count, created_at, validated_at
    """
  static let datasetColumnCount = 11

  static func decodeDataset(_ row: inout Row) throws -> Dataset {
    try Dataset(
      id: row.text(), project: row.text(), name: row.text(), options: DatasetOptions.decode(row.json()),
      state: stored(DatasetState.self, row.text()), sha256: row.digest(), bytes: row.integer(),
      schema: row.optionalJSON().flatMap(DatasetSchema.decode), problemCount: row.integer(), createdAt: row.time(),
      validatedAt: row.optionalTime())
  }

  /// A word of a closed list as it stands in the database.
  static func stored<Word: RawRepresentable>(_ type: Word.Type, _ text: String) throws -> Word
  where Word.RawValue == String {
    guard let word = Word(rawValue: text) else {
      throw StoreError.schema(
        "the database holds the \(type) \"\(text)\", which this program does not know: use the newer program")
    }
    return word
  }

  /// Creates a dataset in state `validating` from a stored content, and queues its validation.
  ///
  /// - Parameters:
  ///   - blob: from ``putBlob(fileDescriptor:)``.
  ///   - idempotency: with a key seen before, nothing is created and the first answer is given again.
  /// - Returns: the dataset as it was created, and whether that was an earlier call.
  public func createDataset(
    name: String, options: DatasetOptions, blob: BlobReference, project: String, idempotency: Idempotency? = nil,
    defaults: ProjectQuotas = ProjectQuotas()
  ) throws -> (dataset: Dataset, replayed: Bool) {
    guard let digest = Hexadecimal.digest(blob.sha256) else { throw StoreError.notFound("content \(blob.sha256)") }
    let id = Identifier.make(.dataset)
    let created: (dataset: Dataset, replayed: Bool) = try pool.transaction { connection in
      if let made = try claimKey(idempotency, project: project, subject: id, on: connection) {
        guard var dataset = try Self.dataset(made, project, connection) else { throw Self.subjectGone(idempotency) }
        dataset.state = .validating
        dataset.schema = nil
        dataset.problemCount = 0
        dataset.validatedAt = nil
        return (dataset, true)
      }
      try Self.hold(.datasetBytes, project, defaults.datasetBytes, adding: blob.bytes, on: connection)
      let rows = try connection.run(
        Self.insertDataset,
        [.text(id), .text(project), .text(name), .text(options.json.text), .bytes(digest)]
      ).map { try Self.decodeDataset(&$0) }
      guard let dataset = rows.first else { throw StoreError.notFound("content \(blob.sha256)") }
      try connection.run(Self.enqueue, [.text(WorkKind.validation.rawValue), .text(id), .integer(-1)])
      return (dataset, false)
    }
    if !created.replayed {
      notifier.notify(.work, WorkKind.validation.rawValue)
      notifier.notify(.dataset, id)
    }
    return created
  }

  private static let insertDataset = Statement(
    "dataset_create",
    """
    INSERT INTO datasets (id, project, name, options, sha256, bytes)
    SELECT $1, $2, $3, $4, sha256, bytes FROM blobs WHERE sha256 = $5 FOR KEY SHARE
    RETURNING \(datasetColumns)
    """)
  static let enqueue = Statement("work_enqueue", "INSERT INTO work (kind, subject, priority) VALUES ($1, $2, $3)")

  /// A project's dataset, nil if it has none of that id.
  public func dataset(id: String, project: String) throws -> Dataset? {
    try pool.read { try Self.dataset(id, project, $0) }
  }

  static func dataset(_ id: String, _ project: String, _ connection: Connection) throws -> Dataset? {
    try connection.run(
      Statement("dataset_get", "SELECT \(datasetColumns) FROM datasets WHERE id = $1 AND project = $2"),
      [.text(id), .text(project)]
    ).map { try decodeDataset(&$0) }.first
  }

  /// A page of a project's datasets, newest first.
  public func datasets(project: String, cursor: String? = nil, limit: Int = 50) throws -> Page<Dataset> {
    try page(
      Statement("datasets_list", Self.pageSQL(Self.datasetColumns, from: "datasets", where: "project = $1", after: 2)),
      [.text(project)], kind: .dataset, cursor: cursor, limit: limit, id: \.id, decode: Self.decodeDataset)
  }

  /// Deletes a dataset; its validation, if it is under way, ends with a stale lease.
  ///
  /// - Returns: false if the project has none of that id.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`inUse`) while unfinished jobs or campaigns need it.
  public func deleteDataset(id: String, project: String) throws -> Bool {
    let deleted = try pool.transaction { connection in
      // The work first, then what it is about: the order of all that lock both.
      try connection.run(
        Statement("dataset_delete_lock_work", "SELECT id FROM work WHERE subject = $1 FOR UPDATE"), [.text(id)])
      let found = try connection.run(
        Statement("dataset_delete_lock", "SELECT id FROM datasets WHERE id = $1 AND project = $2 FOR UPDATE"),
        [.text(id), .text(project)])
      guard found.count == 1 else { return false }
      let users = try connection.run(
        Statement(
          "dataset_users",
          """
          SELECT id FROM jobs WHERE dataset = $1 AND finished_at IS NULL
          UNION ALL
          SELECT c.id FROM campaigns c WHERE c.project = $2 AND c.finished_at IS NULL
            AND EXISTS (SELECT FROM jsonb_each_text(c.spec -> 'data') d WHERE d.value = $1)
          LIMIT 3
          """),
        [.text(id), .text(project)]
      ).map { $0.text() }
      guard users.isEmpty else {
        throw StoreError.conflict(
          .inUse,
          "unfinished jobs or campaigns need this dataset (\(users.joined(separator: ", "))); cancel them or let them end"
        )
      }
      try connection.run(Statement("dataset_delete_work", "DELETE FROM work WHERE subject = $1"), [.text(id)])
      try connection.run(Statement("dataset_delete", "DELETE FROM datasets WHERE id = $1"), [.text(id)])
      return true
    }
    if deleted { notifier.notify(.dataset, id) }
    return deleted
  }

  /// What is wrong with a rejected dataset, in the order it was found; empty for others.
  ///
  /// - Returns: nil if the project has no dataset of that id.
  public func datasetProblems(id: String, project: String) throws -> [DatasetProblem]? {
    try pool.read { connection in
      guard try Self.dataset(id, project, connection) != nil else { return nil }
      return try connection.run(
        Statement(
          "dataset_problems",
          "SELECT row_number, column_name, reason FROM dataset_problems WHERE dataset = $1 ORDER BY position"),
        [.text(id)]
      ).map { DatasetProblem(row: $0.optionalInteger(), column: $0.optionalText(), reason: $0.text()) }
    }
  }

  /// What a worker kept of the first rows of a ready dataset.
  ///
  /// - Returns: nil if the project has no dataset of that id, or if it is not ready.
  public func datasetPreview(id: String, project: String) throws -> JSON? {
    try pool.read { connection in
      try connection.run(
        Statement("dataset_preview", "SELECT preview FROM datasets WHERE id = $1 AND project = $2"),
        [.text(id), .text(project)]
      ).map { $0.optionalJSON() }.first ?? nil
    }
  }
}
