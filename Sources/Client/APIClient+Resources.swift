// The calls about everything but jobs: datasets, models, optimizers, keys, workers, capabilities.
import Contract
import Foundation

extension APIClient {
  // MARK: Datasets

  /// Uploads files one after another as one dataset, streamed from disk, and checks that the server holds the same bytes.
  ///
  /// - Parameters:
  ///   - name: the dataset's name.
  ///   - options: format and what else the data needs to be read.
  ///   - files: paths in order; for IDX inputs, labels, and optionally held-out inputs and labels.
  /// - Returns: the dataset, to be validated by a worker still.
  public func createDataset(name: String, options: DatasetOptions, files: [String]) throws(APIError) -> JSON {
    let (dataset, sha256) = try upload("/v1/datasets", [("name", name)] + options.query, files: files)
    guard dataset["sha256"]?.string == sha256 else {
      throw APIError(
        .corrupt, title: "the upload is damaged",
        detail:
          "sent SHA-256 \(sha256), the server holds \(dataset["sha256"]?.string ?? "nothing"); delete it, try again")
    }
    return dataset
  }

  /// Reads a dataset; with `waitSeconds` the server may hold the answer until it is validated.
  public func dataset(_ id: String, waitSeconds: Int = 0) throws(APIError) -> JSON {
    try get(
      "/v1/datasets/\(segment(id))", ["wait": waitSeconds > 0 ? String(waitSeconds) : nil],
      waitSeconds: Double(waitSeconds))
  }

  /// Datasets, newest first.
  public func datasets(limit: Int = 50) throws(APIError) -> [JSON] { try list("/v1/datasets", limit: limit) }

  /// The first rows of a dataset that is ready.
  public func datasetPreview(_ id: String) throws(APIError) -> JSON { try get("/v1/datasets/\(segment(id))/preview") }

  /// What is wrong with a dataset that was rejected, with row and column.
  public func datasetProblems(_ id: String) throws(APIError) -> [JSON] {
    try get("/v1/datasets/\(segment(id))/problems")["items"]?.array ?? []
  }

  /// Deletes a dataset; running jobs that hold it keep their copy.
  public func deleteDataset(_ id: String) throws(APIError) { try delete("/v1/datasets/\(segment(id))") }

  // MARK: Models

  /// Stores a model definition.
  public func createModel(name: String, model: JSON) throws(APIError) -> JSON {
    try post("/v1/models", ["name": .string(name), "model": model], repetition: .underKey(nil))
  }

  /// Uploads an ONNX file as a model, streamed from disk, and checks that the server holds the same bytes.
  ///
  /// - Returns: the model, to be validated by a worker still.
  public func createModel(name: String, onnx file: String) throws(APIError) -> JSON {
    let (model, sha256) = try upload("/v1/models", [("name", name), ("format", "onnx")], files: [file])
    let held = model["file"]?["sha256"]?.string
    guard held == sha256 else {
      throw APIError(
        .corrupt, title: "the upload is damaged",
        detail: "sent SHA-256 \(sha256), the server holds \(held ?? "nothing"); delete it, try again")
    }
    return model
  }

  /// Models, newest first.
  public func models(limit: Int = 50) throws(APIError) -> [JSON] { try list("/v1/models", limit: limit) }

  /// Reads a model; with `waitSeconds` the server may hold the answer until its file is validated.
  public func model(_ id: String, waitSeconds: Int = 0) throws(APIError) -> JSON {
    try get(
      "/v1/models/\(segment(id))", ["wait": waitSeconds > 0 ? String(waitSeconds) : nil],
      waitSeconds: Double(waitSeconds))
  }

  /// Deletes a model that no unfinished job needs.
  public func deleteModel(_ id: String) throws(APIError) { try delete("/v1/models/\(segment(id))") }

  /// Shapes, parameters, memory and cost a step of a model, without storing anything.
  ///
  /// - Parameter body: `model` or `model_id`, and `dataset` or the shapes it must fit, as the API describes.
  public func checkModel(_ body: JSON) throws(APIError) -> JSON {
    try post("/v1/model-checks", body, repetition: .harmless)
  }

  // MARK: Optimizers, workers, capabilities

  /// The optimizers a job may name.
  public func optimizers(limit: Int = 50) throws(APIError) -> [JSON] { try list("/v1/optimizers", limit: limit) }

  /// Reads a learned optimizer with its provenance; with `waitSeconds` the server may hold the answer until its file is
  /// validated.
  public func optimizer(_ id: String, waitSeconds: Int = 0) throws(APIError) -> JSON {
    try get(
      "/v1/optimizers/\(segment(id))", ["wait": waitSeconds > 0 ? String(waitSeconds) : nil],
      waitSeconds: Double(waitSeconds))
  }

  /// Uploads a file of weights, streamed from disk, and checks that the server holds the same bytes.
  ///
  /// - Returns: the optimizer, to be validated by a worker still.
  public func importOptimizer(
    _ upload: LearnedOptimizerRecord.Upload, file: String
  ) throws(APIError) -> JSON {
    let provenance = JSON.object(upload.provenance.mapValues(JSON.string))
    let (optimizer, sha256) = try self.upload(
      "/v1/optimizers",
      [
        ("name", upload.name.rawValue), ("version", upload.version.map(String.init)), ("state", upload.state.rawValue),
        ("config", upload.constants.text), ("provenance", provenance.text),
      ], files: [file])
    let held = optimizer["provenance"]?["source_sha256"]?.string
    guard held == sha256 else {
      throw APIError(
        .corrupt, title: "the upload is damaged",
        detail: "sent SHA-256 \(sha256), the server holds \(held ?? "nothing"); deprecate it, try again")
    }
    return optimizer
  }

  /// A learned optimizer's weights as a file.
  public func optimizerTheta(_ id: String, format: LearnedOptimizerRecord.Format) throws(APIError) -> Data {
    try bytes("/v1/optimizers/\(segment(id))/theta", ["format": format.rawValue])
  }

  /// Makes a learned optimizer the one that jobs get, or no longer.
  public func setOptimizer(_ id: String, released: Bool) throws(APIError) -> JSON {
    try post("/v1/optimizers/\(segment(id))/\(released ? "release" : "deprecate")", nil, repetition: .harmless)
  }

  /// The worker processes as they last reported themselves.
  public func workers() throws(APIError) -> [JSON] { try get("/v1/workers")["items"]?.array ?? [] }

  /// What this server can do: operations, presets, formats, optimizers, limits.
  public func capabilities() throws(APIError) -> JSON { try get("/v1/capabilities") }

  // MARK: Keys

  /// Makes a key; the answer alone holds its `secret`.
  ///
  /// - Parameter project: for another than the caller's own.
  public func createKey(
    name: String, scopes: Set<Scope>, expiresAt: Timestamp? = nil, project: String? = nil
  ) throws(APIError) -> JSON {
    var body: [String: JSON] = [
      "name": .string(name), "scopes": .array(scopes.map(\.rawValue).sorted().map(JSON.string)),
    ]
    if let expiresAt { body["expires_at"] = .time(expiresAt) }
    if let project { body["project"] = .string(project) }
    // The answer holds a secret, so the server keeps none to repeat.
    return try post("/v1/keys", .object(body), repetition: .forbidden)
  }

  /// Keys without their secrets, newest first.
  ///
  /// - Parameter project: another than the caller's own.
  public func keys(project: String? = nil, limit: Int = 200) throws(APIError) -> [JSON] {
    try list("/v1/keys", project.map { ["project": $0] } ?? [:], limit: limit)
  }

  /// Gives a key a new secret; the answer alone holds it. The old one works on for `overlapSeconds`.
  public func rotateKey(_ id: String, overlapSeconds: Int) throws(APIError) -> JSON {
    try post(
      "/v1/keys/\(segment(id))/rotate", ["overlap_seconds": .integer(overlapSeconds)], repetition: .forbidden)
  }

  /// Entries of the audit log, newest first.
  ///
  /// - Parameter filters: `action`, `subject` and `since`, as the API describes them.
  public func audit(_ filters: [String: String] = [:], limit: Int = 50) throws(APIError) -> [JSON] {
    try list("/v1/audit", filters, limit: limit)
  }

  /// Ends a key's life at once.
  @discardableResult
  public func revokeKey(_ id: String) throws(APIError) -> JSON { try delete("/v1/keys/\(segment(id))") }

  /// An id as one segment of a path, so that no id can name another route.
  func segment(_ id: String) -> String {
    let allowed = CharacterSet(charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    let kept = String(String.UnicodeScalarView(id.unicodeScalars.map { allowed.contains($0) ? $0 : "_" }))
    return kept.isEmpty ? "_" : kept
  }
}
