// What a project takes up, for quotas.
import Contract

extension Store {
  /// Bytes of a project's datasets and model files as they were uploaded; equal contents count each time they were.
  public func uploadedBytes(project: String) throws -> Int {
    try pool.read { connection in
      try connection.run(
        Statement(
          "uploaded_bytes",
          """
          SELECT (coalesce((SELECT sum(bytes) FROM datasets WHERE project = $1), 0)
            + coalesce((SELECT sum(bytes) FROM models WHERE project = $1), 0))::bigint
          """), [.text(project)]
      ).map { $0.integer() }[0]
    }
  }
}
