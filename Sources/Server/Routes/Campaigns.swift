// Campaigns: planned, created, waited for, listed, paused, resumed, cancelled, and changed while they run.
// CampaignResults.swift has what they leave behind and what becomes of it.
import Contract
import HTTP
import Store

struct CampaignRoutes: Sendable {
  let store: Store
  let waiters: Waiters
  let audit: AuditTrail
  let limits: Limits

  /// What a campaign would come to; nothing is stored.
  func plan(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let spec = try CampaignSpec.decode(request.json())
    try store.checkCampaign(spec, project: caller.project)
    return .json(try CampaignEstimate(store: store).plan(of: spec).json)
  }

  func create(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let idempotency = try request.idempotency(route: "POST /v1/campaigns")
    // Before it is judged: what it names may be gone since, and the first answer still holds.
    if let idempotency, let campaign = try store.replayedCampaign(idempotency, project: caller.project) {
      return Self.created(campaign, replayed: true)
    }
    let spec = try CampaignSpec.decode(request.json())
    let (campaign, replayed) = try store.createCampaign(
      spec, project: caller.project, author: caller.id, idempotency: idempotency, defaults: limits.quotas)
    if !replayed {
      audit.record(
        "campaign.create", campaign.id, by: caller, request, ["optimizer": .string(spec.optimizer.rawValue)])
    }
    return Self.created(campaign, replayed: replayed)
  }

  static func created(_ campaign: Campaign, replayed: Bool) -> Response {
    .created(campaign.json, at: "/v1/campaigns/\(campaign.id)", replayed: replayed, tag: tag(campaign))
  }

  func list(_ request: Request, _ caller: APIKey) throws -> Response {
    let (state, place) = try Query.read(
      request.head, texts: Query.Place.texts + ["state"], numbers: Query.Place.numbers
    ) { fields in (fields.choice("state", of: CampaignState.self), Query.Place.read(&fields)) }
    let page = try store.campaigns(project: caller.project, state: state, cursor: place.cursor, limit: place.limit)
    return .json(page.json(\.json))
  }

  func get(_ request: Request, _ caller: APIKey) throws -> Response {
    let seconds = try Query.wait(request.head)
    let (id, head) = (request.parameter("campaign_id"), request.head)
    // With an entity tag the client waits for news, else for the end.
    let waitsForNews = head.headers["if-none-match"] != nil
    return try waiters.answer(
      id: id, seconds: Double(seconds), read: { try find(id, caller) },
      isOver: { $0.state.isTerminal || waitsForNews && !head.hasCurrent(Self.tag($0)) },
      answer: { .state($0.json, tag: Self.tag($0), head) })
  }

  func pause(_ request: Request, _ caller: APIKey) throws -> Response {
    try change("pause", request, caller) { id, revision in
      try store.pauseCampaign(id: id, project: caller.project, author: caller.id, revision: revision)
    }
  }

  func resume(_ request: Request, _ caller: APIKey) throws -> Response {
    try change("resume", request, caller) { id, revision in
      try store.resumeCampaign(id: id, project: caller.project, author: caller.id, revision: revision)
    }
  }

  func cancel(_ request: Request, _ caller: APIKey) throws -> Response {
    try change("cancel", request, caller) { id, revision in
      try store.cancelCampaign(id: id, project: caller.project, author: caller.id, revision: revision)
    }
  }

  private func change(
    _ what: String, _ request: Request, _ caller: APIKey, _ body: (String, Int?) throws -> Campaign?
  ) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("campaign_id")
    guard let campaign = try body(id, request.head.expectedRevision()) else {
      throw ErrorAnswers.missing("campaign", id)
    }
    audit.record("campaign.\(what)", id, by: caller, request)
    return .json(campaign.json, headers: ["ETag": Self.tag(campaign)])
  }

  /// New settings from the next outer step on.
  func set(_ request: Request, _ caller: APIKey) throws -> Response {
    try Query.none(request.head)
    let id = request.parameter("campaign_id")
    let change = try CampaignChange.decode(request.json())
    let changed = try store.changeCampaign(
      id: id, project: caller.project, change, author: caller.id, revision: request.head.expectedRevision())
    guard let (campaign, made) = changed else { throw ErrorAnswers.missing("campaign", id) }
    audit.record(
      "campaign.change", id, by: caller, request, ["phases": .array(made.map { .integer($0.number) })])
    return .json(
      ["campaign": campaign.json, "phases": .array(made.map(\.json))], headers: ["ETag": Self.tag(campaign)])
  }

  /// The caller's campaign of that id; 404 for anybody else's.
  func find(_ id: String, _ caller: APIKey) throws -> Campaign {
    guard Identifier.isValid(id, .campaign), let campaign = try store.campaign(id: id, project: caller.project) else {
      throw ErrorAnswers.missing("campaign", id)
    }
    return campaign
  }

  static func tag(_ campaign: Campaign) -> String { "\"\(campaign.revision)\"" }
}
