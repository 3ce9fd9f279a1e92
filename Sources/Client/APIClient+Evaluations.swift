// The calls about evaluations: create, watch, end, read the report. Each maps to one route of the API.
import Contract
import Foundation

extension APIClient {
  /// Creates an evaluation.
  ///
  /// - Parameters:
  ///   - spec: the body as the API describes it, e.g. ``EvaluationSpec/json``.
  ///   - idempotencyKey: one of the caller's own; a fresh one by default.
  public func createEvaluation(_ spec: JSON, idempotencyKey: String? = nil) throws(APIError) -> JSON {
    try post("/v1/evaluations", spec, repetition: .underKey(idempotencyKey))
  }

  /// Creates an evaluation of a campaign's theta.
  ///
  /// - Parameters:
  ///   - version: nil for the newest theta that is stored.
  ///   - spec: as for ``createEvaluation(_:idempotencyKey:)``; the theta becomes the first of its optimizers.
  public func evaluateCampaign(_ id: String, version: Int?, spec: JSON) throws(APIError) -> JSON {
    var body: [String: JSON] = ["spec": spec]
    body["version"] = version.map(JSON.integer)
    return try post("/v1/campaigns/\(segment(id))/evaluate", .object(body), repetition: .underKey(nil))
  }

  /// Reads an evaluation; with `waitSeconds` (0 to 60) the server answers when it has ended or that time is over.
  public func evaluation(_ id: String, waitSeconds: Int = 0) throws(APIError) -> JSON {
    try get(path(id), ["wait": waitSeconds > 0 ? String(waitSeconds) : nil], waitSeconds: Double(waitSeconds))
  }

  /// Waits for an evaluation to differ from what was seen last, a training that ended included.
  ///
  /// - Returns: the evaluation and its entity tag; nil when that time passed without a change.
  public func evaluationChange(
    _ id: String, since entityTag: String?, waitSeconds: Int
  ) throws(APIError) -> (evaluation: JSON, entityTag: String?)? {
    let wait = entityTag == nil ? 0 : waitSeconds
    return try change(
      path(id), ["wait": wait > 0 ? String(wait) : nil], unless: entityTag, waitSeconds: Double(wait)
    ).map { ($0.0, $0.entityTag) }
  }

  /// Evaluations, newest first.
  public func evaluations(
    state: String? = nil, campaign: String? = nil, limit: Int = 50
  ) throws(APIError) -> [JSON] {
    var query: [String: String] = [:]
    query["state"] = state
    query["campaign"] = campaign
    return try list("/v1/evaluations", query, limit: limit)
  }

  /// Ends an evaluation. One that has ended is left as it is.
  public func cancelEvaluation(_ id: String) throws(APIError) -> JSON {
    try post("\(path(id))/cancel", nil, repetition: .harmless)
  }

  /// Downloads the report of an evaluation and checks its hash.
  public func downloadReport(
    evaluation id: String, format: EvaluationReportFormat, to file: URL
  ) throws(APIError) -> (bytes: Int, sha256: String) {
    let evaluation = try evaluation(id)
    guard let sha256 = evaluation["reports"]?[format.rawValue]?["sha256"]?.string else {
      throw APIError(
        .answered(status: 409), title: "there is no report",
        detail: "evaluation \(id) is \(evaluation["state"]?.string ?? "unknown"); it has one once it has succeeded")
    }
    return try download("\(path(id))/report", ["format": format.rawValue], to: file, sha256: sha256)
  }

  private func path(_ id: String) -> String { "/v1/evaluations/\(segment(id))" }
}
