// What a worker reports about a dataset it has read.
import Contract
import Foundation

extension Store {
  /// Ends a validation. Safe to repeat.
  ///
  /// - Throws: ``StoreError/staleLease(subject:)``.
  public func finishValidation(lease: Lease, outcome: ValidationOutcome) throws {
    precondition(lease.kind == .validation, "the lease is for a validation")
    try persist {
      try pool.transaction { connection in
        guard try connection.run(Self.endWork, Self.holder(lease)).count == 1 else {
          // Gone by our own hand if the first answer was lost on the way.
          let done = try connection.run(Self.isDecided, [.text(lease.subject), .integer(lease.fence)]).count == 1
          guard done else { throw StoreError.staleLease(subject: lease.subject) }
          return
        }
        switch outcome {
        case .ready(let schema, let preview):
          try connection.run(
            Self.accept,
            [.text(lease.subject), .text(schema.json.text), .text(preview.text), .integer(lease.fence)])
        case .rejected(let problems):
          precondition(!problems.isEmpty, "a rejection has a reason")
          try Self.reject(lease.subject, problems, fence: lease.fence, on: connection)
        }
      }
    }
    notifier.notify(.dataset, lease.subject)
  }

  static let endWork = Statement(
    "work_end", "DELETE FROM work WHERE id = $1 AND fence = $2 RETURNING id")
  private static let isDecided = Statement("dataset_decided", "SELECT id FROM datasets WHERE id = $1 AND fence = $2")
  private static let accept = Statement(
    "dataset_accept",
    """
    UPDATE datasets SET state = 'ready', schema = $2, preview = $3, validated_at = now(), fence = $4
    WHERE id = $1 AND state = 'validating'
    """)

  /// Rejects a dataset whose work is locked or deleted.
  static func reject(
    _ dataset: String, _ problems: [DatasetProblem], fence: Int?, on connection: Connection
  ) throws {
    let kept = problems.prefix(DatasetProblem.countMax)
    try connection.run(
      rejection,
      [
        .text(dataset), .integer(kept.count), fence.map(Parameter.integer) ?? .null,
        .text(JSON.array(kept.map(\.json)).text),
      ])
  }

  private static let rejection = Statement(
    "dataset_reject",
    """
    WITH d AS (
      UPDATE datasets SET state = 'rejected', problem_count = $2, validated_at = now(), fence = $3
      WHERE id = $1 AND state = 'validating' RETURNING id
    )
    INSERT INTO dataset_problems (dataset, position, row_number, column_name, reason)
    SELECT d.id, p.position, (p.problem ->> 'row')::bigint, p.problem ->> 'column', p.problem ->> 'reason'
    FROM d, jsonb_array_elements($4::jsonb) WITH ORDINALITY p(problem, position)
    """)
}
