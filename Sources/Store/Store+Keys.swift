// API keys: made, checked, listed, revoked. The secret leaves this file once, when the key is made.
import Contract
import Foundation

extension Store {
  private static let columns = """
    id, project, name, array_to_string(scopes, ' '), created_at, expires_at, revoked_at, last_used_at, rotated_at,
    CASE WHEN former_until > now() THEN former_until END
    """

  private static func decode(_ row: inout Row) -> APIKey {
    APIKey(
      id: row.text(), project: row.text(), name: row.text(),
      // A scope that a newer program granted and this one does not know grants nothing.
      scopes: Set(row.text().split(separator: " ").compactMap { Scope(rawValue: String($0)) }), createdAt: row.time(),
      expiresAt: row.optionalTime(), revokedAt: row.optionalTime(), lastUsedAt: row.optionalTime(),
      rotatedAt: row.optionalTime(), formerUntil: row.optionalTime())
  }

  /// Makes a key, and its project if it is new.
  ///
  /// - Parameters:
  ///   - name: what the key is for, 1 to 200 characters.
  ///   - scopes: at least one.
  ///   - expiresAt: nil for a key that does not expire.
  ///   - project: lower-case letters, digits, `-` and `_`, at most 64.
  /// - Returns: the key, and its secret, which is kept nowhere.
  public func createKey(
    name: String, scopes: Set<Scope>, expiresAt: Timestamp?, project: String
  ) throws -> (key: APIKey, secret: String) {
    try Self.checkProject(project)
    guard !scopes.isEmpty else { throw StoreError.limit("scopes: expected at least one") }
    let secret = APIKey.makeSecret()
    let key = try pool.transaction { connection in
      try connection.run(Self.ensureProject, [.text(project)])
      return try connection.run(
        Statement(
          "key_create",
          """
          INSERT INTO keys (id, project, name, scopes, secret_sha256, expires_at)
          VALUES ($1, $2, $3, $4, $5, $6) RETURNING \(Self.columns)
          """),
        [
          .text(Identifier.make(.key)), .text(project), .text(name), .array(scopes.map(\.rawValue).sorted()),
          .bytes(SHA256.digest(secret.utf8)), .optional(expiresAt?.rfc3339),
        ]
      ).map { Self.decode(&$0) }[0]
    }
    return (key, secret)
  }

  static let ensureProject = Statement(
    "project_ensure", "INSERT INTO projects (id) VALUES ($1) ON CONFLICT (id) DO NOTHING")

  static func checkProject(_ project: String) throws {
    guard Project.isValid(id: project) else {
      throw StoreError.limit("project: expected \(Project.idRule), got \"\(project.prefix(80))\"")
    }
  }

  /// The key that a secret belongs to.
  ///
  /// - Returns: nil if there is none, or if it is revoked or expired by the database's clock.
  public func authenticate(secret: String) throws -> APIKey? {
    let hash = SHA256.digest(secret.utf8)
    return try pool.read { connection in
      guard var row = try connection.run(Self.findBySecret, [.bytes(hash)]).first else { return nil }
      let isUseNew = row.bool()
      let key = Self.decode(&row)
      // The time of last use is for people: to the minute is enough, and spares a write for every request.
      if isUseNew { try connection.run(Self.touch, [.text(key.id)]) }
      return key
    }
  }

  private static let findBySecret = Statement(
    "key_authenticate",
    """
    SELECT coalesce(last_used_at < now() - interval '1 minute', true), \(columns) FROM keys
    -- One index after the other: no plan but a scan would serve both in one condition.
    WHERE id = (
        SELECT id FROM keys WHERE secret_sha256 = $1
        UNION ALL SELECT id FROM keys WHERE former_sha256 = $1 AND former_until > now() LIMIT 1)
      AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    """)

  // Concurrent requests do not queue up for the row: one of them writes the time.
  private static let touch = Statement(
    "key_touch",
    """
    UPDATE keys SET last_used_at = now()
    WHERE id = (SELECT id FROM keys WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED)
    """)

  /// A page of a project's keys, newest first, revoked ones too.
  public func listKeys(project: String, cursor: String? = nil, limit: Int = 50) throws -> Page<APIKey> {
    try page(
      Statement("keys_list", Self.pageSQL(Self.columns, from: "keys", where: "project = $1", after: 2)),
      [.text(project)],
      kind: .key, cursor: cursor, limit: limit, id: \.id, decode: Self.decode)
  }

  /// One key of a project, or of any where `project` is nil; nil if there is none.
  public func key(id: String, project: String?) throws -> APIKey? {
    try pool.read { connection in
      try connection.run(
        Statement(
          "key_get",
          "SELECT \(Self.columns) FROM keys WHERE id = $1 AND ($2::text IS NULL OR project = $2)"),
        [.text(id), .optional(project)]
      ).map { Self.decode(&$0) }.first
    }
  }

  /// Gives a key a new secret; the one it has works on for a while, and one from a rotation before ends at once.
  ///
  /// - Parameters:
  ///   - overlapSeconds: how long the present secret works on.
  ///   - project: nil for any.
  /// - Returns: the key and its new secret, which is kept nowhere; nil if there is no such key.
  /// - Throws: ``StoreError/conflict(_:_:)`` (`state`) for a key that is revoked or expired.
  public func rotateKey(
    id: String, project: String?, overlapSeconds: Int
  ) throws -> (key: APIKey, secret: String)? {
    let secret = APIKey.makeSecret()
    let key = try pool.run(
      Statement(
        "key_rotate",
        """
        UPDATE keys SET former_sha256 = secret_sha256, former_until = now() + make_interval(secs => $3::integer),
          secret_sha256 = $4, rotated_at = now()
        WHERE id = $1 AND ($2::text IS NULL OR project = $2)
          AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
        RETURNING \(Self.columns)
        """),
      [.text(id), .optional(project), .integer(overlapSeconds), .bytes(SHA256.digest(secret.utf8))]
    ).map { Self.decode(&$0) }.first
    if let key { return (key, secret) }
    guard let key = try self.key(id: id, project: project) else { return nil }
    throw StoreError.conflict(
      .state, "the key \(id) is \(key.revokedAt == nil ? "expired" : "revoked"); make a new one")
  }

  /// Revokes a key with all its secrets for good; it stays in the list. Revoking it again changes nothing.
  ///
  /// - Parameter project: nil for any.
  /// - Returns: the key, nil if there is none of that id.
  public func revokeKey(id: String, project: String?) throws -> APIKey? {
    try pool.run(
      Statement(
        "key_revoke",
        """
        UPDATE keys SET revoked_at = coalesce(revoked_at, now())
        WHERE id = $1 AND ($2::text IS NULL OR project = $2)
        RETURNING \(Self.columns)
        """), [.text(id), .optional(project)]
    ).map { Self.decode(&$0) }.first
  }

  /// How many keys can be used now, over all projects; 0 on the first start.
  public func activeKeyCount() throws -> Int {
    try pool.read { connection in
      try connection.run(
        Statement(
          "keys_active",
          "SELECT count(*) FROM keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())")
      ).map { $0.integer() }[0]
    }
  }
}
