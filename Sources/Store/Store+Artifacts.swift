// Learned optimizers. Store+Models has what jobs train.
import Contract
import Foundation

extension Store {
  static let optimizerColumns = """
    o.id, o.name, o.version, o.state, o.sha256, (SELECT b.bytes FROM blobs b WHERE b.sha256 = o.sha256),
    o.parameter_count, o.provenance, o.created_at, o.flax, (SELECT b.bytes FROM blobs b WHERE b.sha256 = o.flax),
    o.constants, o.wanted, o.problem
    """
  static let optimizerColumnCount = 14

  static func decodeOptimizer(_ row: inout Row) throws -> LearnedOptimizerRecord {
    try LearnedOptimizerRecord(
      id: row.text(), name: stored(OptimizerName.self, row.text()), version: row.integer(),
      state: stored(LearnedOptimizerRecord.State.self, row.text()), sha256: row.digest(), bytes: row.integer(),
      parameterCount: row.optionalInteger(), provenance: row.json(), createdAt: row.time(), flax: flax(&row),
      constants: row.json(), wanted: row.optionalText().map { try stored(LearnedOptimizerRecord.State.self, $0) },
      problem: row.optionalText())
  }

  private static func flax(_ row: inout Row) -> StoredContent? {
    guard !row.isNull else {
      row.skip(2)
      return nil
    }
    return StoredContent(sha256: row.digest(), bytes: row.integer())
  }

  /// Adds a learned optimizer; the same name, version and content again gives what is there. Safe to repeat.
  ///
  /// - Parameters:
  ///   - name: which kind of learned optimizer; not `auto`, and no hand-designed one.
  ///   - blob: its theta, from ``putBlob(_:)``.
  ///   - flax: the same weights as a file of the reference implementations; added to a version that lacks it.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`versionExists`) if the version has another content.
  public func installOptimizer(
    name: OptimizerName, version: Int, state: LearnedOptimizerRecord.State, blob: BlobReference,
    flax: BlobReference? = nil, parameterCount: Int, provenance: JSON
  ) throws -> LearnedOptimizerRecord {
    guard name.isLearned, name != .auto else {
      throw StoreError.limit("name: expected a kind of learned optimizer, got \"\(name.rawValue)\"")
    }
    guard let digest = Hexadecimal.digest(blob.sha256) else { throw StoreError.notFound("content \(blob.sha256)") }
    return try pool.transaction { connection in
      try connection.run(
        Self.insertOptimizer,
        [
          .text(Identifier.make(.optimizer)), .text(name.rawValue), .integer(version), .text(state.rawValue),
          .bytes(digest), .integer(parameterCount), .text(provenance.text),
          flax.flatMap { Hexadecimal.digest($0.sha256) }.map(Parameter.bytes) ?? .null,
        ])
      let found = try connection.run(
        Statement(
          "optimizer_get_version",
          "SELECT \(Self.optimizerColumns) FROM optimizers o WHERE o.name = $1 AND o.version = $2 AND o.state <> 'rejected'"
        ),
        [.text(name.rawValue), .integer(version)]
      ).map { try Self.decodeOptimizer(&$0) }.first
      guard let found else { throw StoreError.notFound("content \(blob.sha256)") }
      guard found.sha256 == blob.sha256 else {
        throw StoreError.conflict(
          .versionExists,
          "\(name.rawValue) version \(version) exists with other content (\(found.sha256)); give it a new version")
      }
      return found
    }
  }

  private static let insertOptimizer = Statement(
    "optimizer_install",
    """
    INSERT INTO optimizers (id, name, version, state, sha256, parameter_count, provenance, released_at, flax)
    SELECT $1, $2, $3, $4, sha256, $6, $7, CASE WHEN $4 = 'released' THEN now() END, $8
    FROM blobs WHERE sha256 = $5 FOR KEY SHARE
    ON CONFLICT (name, version) WHERE state <> 'rejected' DO UPDATE SET flax = excluded.flax
      WHERE optimizers.sha256 = excluded.sha256 AND optimizers.flax IS NULL
    """)

  /// The learned optimizer that a job gets.
  ///
  /// - Parameters:
  ///   - name: `auto` takes the one released last, of whatever kind.
  ///   - version: nil takes the newest released version; a given version may be of any state that has
  ///     weights.
  /// - Returns: nil if there is none.
  public func releasedOptimizer(named name: OptimizerName, version: Int? = nil) throws -> LearnedOptimizerRecord? {
    try pool.read { connection in
      try connection.run(
        Self.findReleased,
        [name == .auto ? .null : .text(name.rawValue), version.map(Parameter.integer) ?? .null]
      ).map { try Self.decodeOptimizer(&$0) }.first
    }
  }

  static let findReleased = Statement(
    "optimizer_released",
    """
    SELECT \(optimizerColumns) FROM optimizers o
    WHERE ($1::text IS NULL OR o.name = $1) AND o.state NOT IN ('validating', 'rejected') AND (o.version = $2 OR ($2::integer IS NULL AND o.state = 'released'))
    ORDER BY CASE WHEN $1 IS NULL THEN o.released_at END DESC NULLS LAST, o.version DESC, o.id DESC LIMIT 1
    """)

  /// A page of learned optimizers, newest first.
  public func optimizers(cursor: String? = nil, limit: Int = 50) throws -> Page<LearnedOptimizerRecord> {
    try page(
      Statement("optimizers_list", Self.pageSQL(Self.optimizerColumns, from: "optimizers o", where: "true", after: 1)),
      [], kind: .optimizer, cursor: cursor, limit: limit, id: \.id, decode: Self.decodeOptimizer)
  }
}
