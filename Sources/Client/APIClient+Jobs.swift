// The calls about jobs: submit, watch, curves, results. Each maps to one route of the API.
import Contract
import Foundation

extension APIClient {
  /// Creates a job.
  ///
  /// - Parameters:
  ///   - spec: the body as the API describes it, e.g. ``TrainingSpec/json``.
  ///   - idempotencyKey: one of the caller's own; a fresh one by default.
  public func createJob(_ spec: JSON, idempotencyKey: String? = nil) throws(APIError) -> JSON {
    try post("/v1/jobs", spec, repetition: .underKey(idempotencyKey))
  }

  /// Reads a job; with `waitSeconds` (0 to 60) the server answers when the job has ended or that time is over.
  public func job(_ id: String, waitSeconds: Int = 0) throws(APIError) -> JSON {
    try get(
      "/v1/jobs/\(segment(id))", ["wait": waitSeconds > 0 ? String(waitSeconds) : nil],
      waitSeconds: Double(waitSeconds))
  }

  /// Waits for a job to differ from what was seen last.
  ///
  /// - Parameters:
  ///   - entityTag: what the last call gave; nil answers at once.
  ///   - waitSeconds: 0 to 60.
  /// - Returns: the job and its entity tag; nil when that time passed without a change.
  public func jobChange(
    _ id: String, since entityTag: String?, waitSeconds: Int
  ) throws(APIError) -> (job: JSON, entityTag: String?)? {
    let wait = entityTag == nil ? 0 : waitSeconds
    return try change(
      "/v1/jobs/\(segment(id))", ["wait": wait > 0 ? String(wait) : nil], unless: entityTag,
      waitSeconds: Double(wait)
    ).map { ($0.0, $0.entityTag) }
  }

  /// Jobs, newest first.
  ///
  /// - Parameter tag: `name:value`; only jobs with this tag.
  public func jobs(state: String? = nil, tag: String? = nil, limit: Int = 50) throws(APIError) -> [JSON] {
    var query: [String: String] = [:]
    query["state"] = state
    query["tag"] = tag
    return try list("/v1/jobs", query, limit: limit)
  }

  /// What may be asked of a job without a body.
  public enum JobAction: String, Sendable { case pause, resume, cancel }

  /// Pauses, resumes or cancels a job. Asking again changes nothing.
  public func job(_ id: String, _ action: JobAction) throws(APIError) -> JSON {
    try post("/v1/jobs/\(segment(id))/\(action.rawValue)", nil, repetition: .harmless)
  }

  /// Adds steps to a job; one that has succeeded is gone on with by a new job.
  ///
  /// - Parameter idempotencyKey: one of the caller's own; a fresh one by default.
  /// - Returns: the job that has the steps: the same one, or the new one.
  public func extendJob(_ id: String, steps: Int, idempotencyKey: String? = nil) throws(APIError) -> JSON {
    try post(
      "/v1/jobs/\(segment(id))/extend", ["steps": .integer(steps)], repetition: .underKey(idempotencyKey))
  }

  /// Changes a job's name, tags or priority.
  ///
  /// - Parameters:
  ///   - change: the body as the API describes it, e.g. ``JobChange/json``.
  ///   - revision: of the job as the caller knows it; nil for whatever it is.
  public func changeJob(_ id: String, _ change: JSON, revision: Int? = nil) throws(APIError) -> JSON {
    try patch("/v1/jobs/\(segment(id))", change, entityTag: revision.map { "\"\($0)\"" })
  }

  /// Deletes a job that is over, with its curves and files.
  public func deleteJob(_ id: String) throws(APIError) { try delete("/v1/jobs/\(segment(id))") }

  /// Events after a sequence number, oldest first.
  public func events(job id: String, after sequence: Int = 0, limit: Int = 200) throws(APIError) -> [JSON] {
    let page = try get("/v1/jobs/\(segment(id))/events", ["after": String(sequence), "limit": String(limit)])
    return page["items"]?.array ?? []
  }

  /// The tries at a job, oldest first.
  public func attempts(job id: String) throws(APIError) -> [JSON] {
    try get("/v1/jobs/\(segment(id))/attempts")["items"]?.array ?? []
  }

  /// The stored states of a job, with kind, step, size and hash.
  public func checkpoints(job id: String) throws(APIError) -> [JSON] {
    try list("/v1/jobs/\(segment(id))/checkpoints", limit: 10_000)
  }

  /// The series of a job with their last, lowest and highest values.
  public func curveSummaries(job id: String) throws(APIError) -> [JSON] {
    try get("/v1/jobs/\(segment(id))/curves")["items"]?.array ?? []
  }

  /// Points of a series. Values that are not finite come as NaN.
  public func curve(
    job id: String, series: CurveSeries, query: CurveQuery = CurveQuery()
  ) throws(APIError) -> CurvePoints {
    let json = try get("/v1/jobs/\(segment(id))/curves/\(series.rawValue)", parameters(of: query))
    guard let steps = json["steps"]?.array, let values = json["values"]?.array, steps.count == values.count else {
      throw APIError(.malformedAnswer, title: "unexpected answer", detail: "a curve needs as many steps as values")
    }
    return CurvePoints(
      steps: steps.map { $0.integer ?? 0 }, values: values.map { $0.number.map { Float($0) } ?? .nan })
  }

  /// Points of a series as `step,value` lines.
  public func curveCSV(job id: String, series: CurveSeries, query: CurveQuery) throws(APIError) -> String {
    try text("/v1/jobs/\(segment(id))/curves/\(series.rawValue)", parameters(of: query), accept: "text/csv")
  }

  /// The forms that a trained model can be downloaded in.
  public enum ModelFormat: String, Sendable, CaseIterable {
    /// The weights alone.
    case safetensors
    /// Graph and weights.
    case onnx
  }

  /// Downloads the trained model and checks its hash against the job's own record.
  ///
  /// - Returns: bytes and SHA-256 of the file.
  public func downloadModel(
    job id: String, format: ModelFormat = .safetensors, to file: URL
  ) throws(APIError) -> (bytes: Int, sha256: String) {
    let kind: Checkpoint.Kind = format == .onnx ? .onnx : .model
    let all = try checkpoints(job: id)
    let stored = all.last { $0["kind"]?.string == kind.rawValue }
    guard let sha256 = stored?["sha256"]?.string else {
      if format == .onnx, all.contains(where: { $0["kind"]?.string == Checkpoint.Kind.model.rawValue }) {
        throw APIError(
          .answered(status: 404), title: "the model has no form in ONNX",
          detail: "the events of job \(id) say why; its weights are there as safetensors")
      }
      let state = try job(id)["state"]?.string ?? "unknown"
      throw APIError(
        .answered(status: 409), title: "there is no model yet",
        detail: "job \(id) is \(state); a model exists once the job has succeeded")
    }
    return try download("/v1/jobs/\(segment(id))/model", ["format": format.rawValue], to: file, sha256: sha256)
  }

  /// Downloads one stored state of a job; `sha256` is the hash its listing gave.
  public func downloadCheckpoint(
    _ id: String, to file: URL, sha256: String
  ) throws(APIError) -> (bytes: Int, sha256: String) {
    try download("/v1/checkpoints/\(segment(id))/content", [:], to: file, sha256: sha256)
  }

  private func parameters(of query: CurveQuery) -> Query {
    [
      "from": query.from > 0 ? String(query.from) : nil, "to": query.to < .max ? String(query.to) : nil,
      "max_points": String(query.pointsMax), "sampling": query.sampling.rawValue,
    ]
  }
}
