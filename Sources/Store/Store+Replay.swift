// Jobs that were made by an earlier request with the same idempotency key, looked up before anything else is checked:
// a repeated request gets its first answer even when it could not be granted again.
import Contract

extension Store {
  /// The job that an earlier, equal request with this idempotency key made, as it was created.
  ///
  /// - Returns: nil if there was none; ``createJob(spec:model:optimizerID:project:idempotency:)`` then decides.
  public func replayedJob(_ idempotency: Idempotency, project: String) throws -> Job? {
    try pool.read { connection in
      try Self.replayedSubject(idempotency, project: project, on: connection)
        .flatMap { try Self.job($0, project, connection)?.asCreated }
    }
  }

  /// The id of what an earlier, equal request with this idempotency key made.
  static func replayedSubject(
    _ idempotency: Idempotency, project: String, on connection: Connection
  ) throws -> String? {
    guard let digest = Hexadecimal.digest(idempotency.requestSHA256) else { return nil }
    return try connection.run(
      Self.findEqual,
      [
        .text(project), .text(idempotency.key), .text(idempotency.route), .bytes(digest),
        .integer(Idempotency.lifetimeHours),
      ]
    ).map { $0.text() }.first
  }

  private static let findEqual = Statement(
    "idempotency_find_equal",
    """
    SELECT subject FROM idempotency
    WHERE project = $1 AND key = $2 AND route = $3 AND request_sha256 = $4
      AND created_at >= now() - make_interval(hours => $5)
    """)
}

extension Job {
  /// The job before anything happened to it.
  var asCreated: Job {
    Job(
      id: id, project: project, spec: spec, model: model, optimizerID: optimizerID, state: .queued, reason: .submitted,
      budgets: budgets.filter { $0 <= spec.steps }, extends: extends, firstStep: firstStep,
      // What it inherited from the job that it extends.
      fallback: fallback.flatMap { $0.fromStep < firstStep ? $0 : nil }, step: firstStep, createdAt: createdAt)
  }
}
