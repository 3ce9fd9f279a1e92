// Idempotency keys: the first request with a key makes the object, later ones find it.
import Contract
import Foundation

extension Store {
  /// Takes the key for `subject`, within the transaction that makes it.
  ///
  /// A concurrent request with the same key waits here until the first one has committed or failed.
  ///
  /// - Returns: nil if the key is now ours; else the id of what it made before.
  /// - Throws: ``StoreError/conflict(_:_:)`` if the key belongs to another request.
  func claimKey(
    _ idempotency: Idempotency?, project: String, subject: String, on connection: Connection
  ) throws -> String? {
    guard let idempotency else { return nil }
    guard let digest = Hexadecimal.digest(idempotency.requestSHA256) else {
      throw StoreError.limit("requestSHA256: expected 64 lower-case hexadecimal digits")
    }
    guard (1...255).contains(idempotency.key.unicodeScalars.count) else {
      throw StoreError.limit(
        "Idempotency-Key: expected 1 to 255 characters, got \(idempotency.key.unicodeScalars.count)")
    }
    let parameters: [Parameter] = [
      .text(project), .text(idempotency.key), .text(idempotency.route), .bytes(digest), .text(subject),
      .integer(Idempotency.lifetimeHours),
    ]
    if try connection.run(Self.takeKey, parameters).count == 1 { return nil }
    guard var row = try connection.run(Self.findKey, [.text(project), .text(idempotency.key)]).first else {
      // Expired and collected between the two statements: as good as a lost race, so the caller's retry decides.
      throw StoreError.unavailable(query: "idempotency", reason: "the key has just expired")
    }
    let (route, request, made) = (row.text(), row.bytes(), row.text())
    guard route == idempotency.route, request == digest else {
      throw StoreError.conflict(
        .idempotencyKeyReused,
        "the idempotency key \"\(idempotency.key.prefix(80))\" was used with another request within the last "
          + "\(Idempotency.lifetimeHours) hours; use a new key for a new request")
    }
    return made
  }

  static let takeKey = Statement(
    "idempotency_take",
    """
    INSERT INTO idempotency AS i (project, key, route, request_sha256, subject) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (project, key) DO UPDATE
      SET route = excluded.route, request_sha256 = excluded.request_sha256, subject = excluded.subject,
        created_at = now()
      WHERE i.created_at < now() - make_interval(hours => $6)
    RETURNING 1
    """)

  private static let findKey = Statement(
    "idempotency_find", "SELECT route, request_sha256, subject FROM idempotency WHERE project = $1 AND key = $2")

  /// The error for a key whose object has been deleted.
  static func subjectGone(_ idempotency: Idempotency?) -> StoreError {
    .conflict(
      .idempotencySubjectGone,
      "what the idempotency key \"\((idempotency?.key ?? "").prefix(80))\" made has been deleted; use a new key")
  }
}

extension Store {
  /// Forgets the keys that have expired.
  ///
  /// - Returns: how many.
  @discardableResult
  public func sweepIdempotency() throws -> Int {
    try pool.run(
      Statement(
        "idempotency_sweep", "DELETE FROM idempotency WHERE created_at < now() - make_interval(hours => $1)"),
      [.integer(Idempotency.lifetimeHours)]
    ).changed
  }
}
