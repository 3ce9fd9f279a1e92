// The calls about campaigns: plan, create, watch, change, branch, promote, export. Each maps to one route of the API.
import Contract
import Foundation

extension APIClient {
  /// What a campaign would cost, as far as the server can tell; nothing is stored.
  public func planCampaign(_ spec: JSON) throws(APIError) -> JSON {
    try post("/v1/campaigns/plan", spec, repetition: .harmless)
  }

  /// Creates a campaign.
  ///
  /// - Parameters:
  ///   - spec: the body as the API describes it, e.g. ``CampaignSpec/json``.
  ///   - idempotencyKey: one of the caller's own; a fresh one by default.
  public func createCampaign(_ spec: JSON, idempotencyKey: String? = nil) throws(APIError) -> JSON {
    try post("/v1/campaigns", spec, repetition: .underKey(idempotencyKey))
  }

  /// Reads a campaign; with `waitSeconds` (0 to 60) the server answers when it has ended or that time is over.
  public func campaign(_ id: String, waitSeconds: Int = 0) throws(APIError) -> JSON {
    try get(
      path(id), ["wait": waitSeconds > 0 ? String(waitSeconds) : nil], waitSeconds: Double(waitSeconds))
  }

  /// Waits for a campaign to differ from what was seen last.
  ///
  /// - Parameters:
  ///   - entityTag: what the last call gave; nil answers at once.
  ///   - waitSeconds: 0 to 60.
  /// - Returns: the campaign and its entity tag; nil when that time passed without a change.
  public func campaignChange(
    _ id: String, since entityTag: String?, waitSeconds: Int
  ) throws(APIError) -> (campaign: JSON, entityTag: String?)? {
    let wait = entityTag == nil ? 0 : waitSeconds
    return try change(
      path(id), ["wait": wait > 0 ? String(wait) : nil], unless: entityTag, waitSeconds: Double(wait)
    ).map { ($0.0, $0.entityTag) }
  }

  /// Campaigns, newest first.
  public func campaigns(state: String? = nil, limit: Int = 50) throws(APIError) -> [JSON] {
    try list("/v1/campaigns", state.map { ["state": $0] } ?? [:], limit: limit)
  }

  /// What may be asked of a campaign without a body.
  public enum CampaignAction: String, Sendable { case pause, resume, cancel }

  /// Pauses, resumes or cancels a campaign. Asking again changes nothing.
  public func campaign(_ id: String, _ action: CampaignAction) throws(APIError) -> JSON {
    try post("\(path(id))/\(action.rawValue)", nil, repetition: .harmless)
  }

  /// Changes a phase of a campaign, or adds phases.
  ///
  /// - Parameters:
  ///   - change: the body as the API describes it.
  ///   - revision: of the campaign as the caller knows it; nil for whatever it is.
  /// - Returns: the campaign and the phases that were made.
  public func changeCampaign(_ id: String, _ change: JSON, revision: Int? = nil) throws(APIError) -> JSON {
    try patch(path(id), change, entityTag: revision.map { "\"\($0)\"" })
  }

  /// The phases of a campaign in the order in which they were made.
  public func campaignPhases(_ id: String) throws(APIError) -> [JSON] {
    try get("\(path(id))/phases")["items"]?.array ?? []
  }

  /// Events after a sequence number, oldest first.
  public func events(campaign id: String, after sequence: Int = 0, limit: Int = 200) throws(APIError) -> [JSON] {
    try get("\(path(id))/events", ["after": String(sequence), "limit": String(limit)])["items"]?.array ?? []
  }

  /// Outer steps, thinned out to at most `rowsMax` rows. Values that are not known come as nil and NaN.
  public func campaignSteps(
    _ id: String, from: Int = 0, to: Int? = nil, rowsMax: Int = 1000
  ) throws(APIError) -> CampaignSteps {
    let json = try get(
      "\(path(id))/steps", ["from": String(from), "to": to.map(String.init), "max_points": String(rowsMax)])
    guard let steps = CampaignSteps(json) else {
      throw APIError(.malformedAnswer, title: "unexpected answer", detail: "steps need columns of one length")
    }
    return steps
  }

  /// The stored versions of theta, newest first.
  public func campaignThetas(_ id: String, limit: Int = 50) throws(APIError) -> [JSON] {
    try list("\(path(id))/thetas", limit: limit)
  }

  /// Downloads a version of theta; `sha256` is the hash its listing gave.
  public func downloadTheta(
    campaign id: String, version: Int, to file: URL, sha256: String
  ) throws(APIError) -> (bytes: Int, sha256: String) {
    try download("\(path(id))/thetas/\(version)/content", [:], to: file, sha256: sha256)
  }

  /// Creates a campaign that goes on from a version of another one.
  ///
  /// - Parameters:
  ///   - body: `version` and what differs, as the API describes it.
  ///   - endsParent: whether the other one is cancelled with it; the answer then has both.
  public func branchCampaign(_ id: String, _ body: JSON, endsParent: Bool = false) throws(APIError) -> JSON {
    try post("\(path(id))/\(endsParent ? "rollback" : "branch")", body, repetition: .underKey(nil))
  }

  /// Makes a theta an optimizer of the registry, to be validated by a worker still.
  ///
  /// - Parameter version: nil for the newest that is stored.
  public func promoteTheta(campaign id: String, version: Int?, isReleased: Bool) throws(APIError) -> JSON {
    var body: [String: JSON] = ["state": isReleased ? "released" : "candidate"]
    body["version"] = version.map(JSON.integer)
    return try post("\(path(id))/promote", .object(body), repetition: .underKey(nil))
  }

  private func path(_ id: String) -> String { "/v1/campaigns/\(segment(id))" }
}

extension CampaignSteps {
  /// Reads the columns of an answer; nil if they are not what the API promises.
  public init?(_ json: JSON) {
    guard let stride = json["stride"]?.integer, let total = json["total"]?.integer,
      let versions = json["version"]?.array
    else { return nil }
    var columns: [String: [JSON]] = [:]
    for name in [
      "phase", "mean_loss", "surviving", "gradient_norm", "update_norm", "clip_share", "learning_rate", "staleness",
      "discarded", "inner_steps", "wall_ms",
    ] {
      guard let column = json[name]?.array, column.count == versions.count else { return nil }
      columns[name] = column
    }
    func number(_ name: String, _ row: Int) -> Double? { columns[name]?[row].number }
    func integer(_ name: String, _ row: Int) -> Int { columns[name]?[row].integer ?? 0 }
    self.init(
      rows: versions.indices.map { row in
        Row(
          version: versions[row].integer ?? 0, phase: integer("phase", row), meanLoss: number("mean_loss", row),
          surviving: number("surviving", row) ?? .nan, gradientNorm: number("gradient_norm", row),
          updateNorm: number("update_norm", row), clipShare: number("clip_share", row),
          learningRate: number("learning_rate", row), staleness: number("staleness", row),
          discarded: integer("discarded", row), innerSteps: integer("inner_steps", row),
          wallMilliseconds: integer("wall_ms", row))
      }, stride: stride, total: total)
  }
}
