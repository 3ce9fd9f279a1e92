// What a project takes up, for quotas.
import Contract

extension Store {
  /// Bytes of a project's datasets as they were uploaded; equal contents count each time they were.
  public func datasetBytes(project: String) throws -> Int {
    try pool.read { connection in
      try connection.run(
        Statement("dataset_bytes", "SELECT coalesce(sum(bytes), 0)::bigint FROM datasets WHERE project = $1"),
        [.text(project)]
      ).map { $0.integer() }[0]
    }
  }
}
