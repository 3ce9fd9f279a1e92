// Deleting what nobody needs any more. Any process may do it, at any time; several at once do no harm.
import Contract
import Foundation

/// How much a housekeeping deleted.
public struct Housekeeping: Sendable, Hashable {
  /// Contents that nothing refers to.
  public let contents: Int
  /// Idempotency keys that expired.
  public let idempotencyKeys: Int
  /// Workers that have not been seen for a day.
  public let workers: Int
}

extension Store {
  /// Deletes contents without a use, expired idempotency keys, and workers that are long gone. To be called every few
  /// minutes: a running job leaves an old state behind with every checkpoint.
  ///
  /// - Parameter blobGraceSeconds: see ``sweepBlobs(graceSeconds:)``.
  @discardableResult
  public func keepHouse(blobGraceSeconds: Double = 600) throws -> Housekeeping {
    let workers = try pool.run(
      Statement("workers_sweep", "DELETE FROM workers WHERE seen_at < now() - interval '1 day'")
    ).changed
    return Housekeeping(
      contents: try sweepBlobs(graceSeconds: blobGraceSeconds), idempotencyKeys: try sweepIdempotency(),
      workers: workers)
  }
}
