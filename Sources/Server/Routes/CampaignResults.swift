// What a campaign leaves behind: phases, outer steps, thetas (Events.swift has its events); and what goes on from there: branches, rollbacks,
// optimizers of the registry.
import Contract
import Foundation
import HTTP
import Store

struct CampaignResultRoutes: Sendable {
  let store: Store
  let campaigns: CampaignRoutes
  let downloads: Downloads
  let audit: AuditTrail

  func phases(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let campaign = try campaigns.find(request.parameter("campaign_id"), caller)
    return .items(try store.phases(campaign: campaign.id).map(\.json))
  }

  func steps(_ request: Request, _ caller: APIKey) throws -> Response {
    let (from, to, rows) = try Query.read(request.head, numbers: ["from", "to", "max_points"]) { fields in
      let from = fields.integer("from", in: 0...Int.max) ?? 0
      let to = fields.integer("to", in: 0...Int.max) ?? .max
      if from > to { fields.fault("from", "expected at most \"to\", got \(from) above \(to)") }
      return (from, to, fields.integer("max_points", in: CampaignSteps.rowsMaxRange) ?? 1000)
    }
    let campaign = try campaigns.find(request.parameter("campaign_id"), caller)
    return .json(try store.steps(campaign: campaign.id, from: from, to: to, rowsMax: rows).json)
  }

  func thetas(_ request: Request, _ caller: APIKey) throws -> Response {
    let place = try Query.place(request.head)
    let campaign = try campaigns.find(request.parameter("campaign_id"), caller)
    return .json(
      try store.thetas(campaign: campaign.id, cursor: place.cursor, limit: place.limit).json(\.json))
  }

  func content(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let campaign = try campaigns.find(request.parameter("campaign_id"), caller)
    let text = request.parameter("version")
    guard let version = Int(text), version >= 0 else { throw ErrorAnswers.missing("theta", text) }
    let theta = try store.theta(campaign: campaign.id, version: version)
    return try downloads.answer(
      StoredContent(sha256: theta.sha256, bytes: theta.bytes), fileName: "\(campaign.id)-\(version).safetensors",
      request.head
    ) { offset, count in
      try store.readTheta(campaign: campaign.id, version: version, offset: offset, count: count)
    }
  }

  func branch(_ request: Request, _ caller: APIKey) throws -> Response {
    let (campaign, _, replayed) = try goOn(request, caller, endsParent: false)
    return CampaignRoutes.created(campaign, replayed: replayed)
  }

  func rollback(_ request: Request, _ caller: APIKey) throws -> Response {
    let (campaign, parent, replayed) = try goOn(request, caller, endsParent: true)
    return .created(
      ["campaign": campaign.json, "rolled_back": parent.json], at: "/v1/campaigns/\(campaign.id)", replayed: replayed,
      tag: CampaignRoutes.tag(campaign))
  }

  private func goOn(
    _ request: Request, _ caller: APIKey, endsParent: Bool
  ) throws -> (campaign: Campaign, parent: Campaign, replayed: Bool) {
    try Query.none(request.head)
    let id = request.parameter("campaign_id")
    let word = endsParent ? "rollback" : "branch"
    let branch = try CampaignBranch.decode(request.json())
    let idempotency = try request.idempotency(
      route: "POST /v1/campaigns/{campaign_id}/\(word)",
      content: SHA256.hexadecimal("\(id)\n\(SHA256.hexadecimal(request.body.bytes(max: .max)))".utf8))
    // A rollback takes the place of the campaign that it ends.
    let made = try store.branchCampaign(
      id: id, project: caller.project, branch, endsParent: endsParent, author: caller.id, idempotency: idempotency,
      defaults: campaigns.limits.quotas)
    guard let made else { throw ErrorAnswers.missing("campaign", id) }
    if !made.replayed {
      audit.record(
        "campaign.\(word)", id, by: caller, request,
        ["version": .integer(branch.version), "campaign": .string(made.campaign.id)])
    }
    return made
  }

  func promote(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("campaign_id")
    let promotion = try Promotion.decode(request.json())
    let campaign = try campaigns.find(id, caller)
    // A release is what everybody's jobs get.
    guard promotion.state == .candidate || caller.scopes.contains(.optimizersAdmin) else {
      throw Problem(
        .forbidden, status: 403, title: "Forbidden",
        detail:
          "releasing an optimizer needs a key with the scope \(Scope.optimizersAdmin.rawValue); without it a theta "
          + "becomes a candidate")
    }
    let idempotency = try request.idempotency(
      route: "POST /v1/campaigns/{campaign_id}/promote",
      content: SHA256.hexadecimal("\(id)\n\(SHA256.hexadecimal(request.body.bytes(max: .max)))".utf8))
    let (optimizer, theta, replayed) = try store.promote(
      campaign, version: promotion.version, state: promotion.state, author: caller.id, idempotency: idempotency)
    if !replayed {
      audit.record(
        "campaign.promote", id, by: caller, request,
        ["version": .integer(theta.version), "optimizer": .string(optimizer.id)])
    }
    return .created(optimizer.json, at: "/v1/optimizers/\(optimizer.id)", replayed: replayed)
  }

  /// The body of a request that promotes a theta.
  struct Promotion {
    /// Nil for the newest that is stored.
    let version: Int?
    let state: LearnedOptimizerRecord.State

    static func decode(_ json: JSON) throws(SpecError) -> Promotion {
      try Faults.collect { faults in
        guard var fields = Fields(json, faults: faults) else { return nil }
        let version = fields.integer("version", in: 0...1_000_000_000)
        let state = fields.choice("state", of: Wanted.self) ?? .candidate
        fields.finish()
        return Promotion(version: version, state: state == .released ? .released : .candidate)
      }
    }

    private enum Wanted: String, CaseIterable { case candidate, released }
  }
}
