// Campaigns as clients see them: created, read, listed. Store+CampaignChanges.swift has what becomes of them,
// Store+CampaignPhases.swift and Store+CampaignBranches.swift their lineage, Store+CampaignThetas.swift and
// Store+CampaignSteps.swift what they leave behind.
import Contract
import Foundation

extension Store {
  static let campaignColumns = """
    c.id, c.project, c.spec, c.state, c.reason, c.message, c.parent, c.parent_version, c.phase, c.version, c.outer_steps,
    c.inner_steps, c.loss, c.cpu_level, c.created_at, c.started_at, c.finished_at, c.revision
    """
  static let campaignColumnCount = 18

  static func decodeCampaign(_ row: inout Row) throws -> Campaign {
    let (id, project) = (row.text(), row.text())
    let spec = try CampaignSpec.decode(row.json())
    let (state, reason, message) = (try stored(CampaignState.self, row.text()), row.text(), row.optionalText())
    let parent = row.optionalText().flatMap { id in
      row.optionalInteger().map { ThetaReference(campaign: id, version: $0) }
    }
    if parent == nil { row.skip(1) }
    return Campaign(
      id: id, project: project, spec: spec, state: state, reason: reason, message: message, parent: parent,
      phase: row.integer(), version: row.integer(), outerSteps: row.integer(), innerSteps: row.integer(),
      loss: row.optionalNumber(), cpuLevel: row.optionalText(), createdAt: row.time(), startedAt: row.optionalTime(),
      finishedAt: row.optionalTime(), revision: row.integer())
  }

  /// After all jobs and evaluations: whoever waits for a training is served first.
  static let campaignPriority = 10

  /// Creates a campaign with its planned phases and queues it.
  ///
  /// - Parameters:
  ///   - author: who creates it, as phases and events name them: a key's id.
  ///   - idempotency: with a key seen before, nothing is created and the first answer is given again.
  ///   - defaults: bounds for projects without quotas of their own; nil for none.
  /// - Returns: the campaign as it was created, and whether that was an earlier call.
  /// - Throws: ``StoreError/invalid(_:)`` with every fault about what the spec names: datasets, versions to start
  ///   from, outer optimizers; ``StoreError/conflict(_:_:)`` (`datasetNotReady`) while a dataset is validating.
  public func createCampaign(
    _ spec: CampaignSpec, project: String, author: String, idempotency: Idempotency? = nil,
    defaults: ProjectQuotas = ProjectQuotas()
  ) throws -> (campaign: Campaign, replayed: Bool) {
    let id = Identifier.make(.campaign)
    let created: (campaign: Campaign, replayed: Bool) = try pool.transaction { connection in
      if let made = try claimKey(idempotency, project: project, subject: id, on: connection) {
        guard let campaign = try Self.campaign(made, project, connection) else { throw Self.subjectGone(idempotency) }
        return (campaign.asCreated, true)
      }
      try Self.hold(.unfinishedCampaigns, project, defaults.unfinishedCampaigns, adding: 1, on: connection)
      return (try Self.insertCampaign(id, spec, project: project, author: author, on: connection), false)
    }
    if !created.replayed { announceNew(created.campaign) }
    return created
  }

  /// The campaign that an earlier, equal request with this idempotency key made, as it was created; nil if there was
  /// none.
  public func replayedCampaign(_ idempotency: Idempotency, project: String) throws -> Campaign? {
    try pool.read { connection in
      try Self.replayedSubject(idempotency, project: project, on: connection)
        .flatMap { try Self.campaign($0, project, connection)?.asCreated }
    }
  }

  func announceNew(_ campaign: Campaign) {
    notifier.notify(.work, Self.workKind(campaign.spec.mode).rawValue)
    notifier.notify(.campaign, campaign.id)
  }

  static func workKind(_ mode: CampaignSpec.Mode) -> WorkKind {
    mode == .local ? .campaign : .distributedCampaign
  }

  /// Creates a campaign within a transaction.
  static func insertCampaign(
    _ id: String, _ spec: CampaignSpec, project: String, author: String, on connection: Connection
  ) throws -> Campaign {
    let start = try checkCampaign(spec, project: project, on: connection)
    var parent: ThetaReference?
    if case .campaign(let id, let version) = spec.start { parent = ThetaReference(campaign: id, version: version) }
    try connection.run(
      insertCampaignRow,
      [
        .text(id), .text(project), .text(spec.name), .text(spec.json.text), .optional(parent?.campaign),
        parent.map { .integer($0.version) } ?? .null, .optional(start),
        .integer(spec.phases.reduce(0) { $0 + $1.outerSteps }),
        .text(campaignEventData(.queued, "submitted", ["author": .string(author)]).text),
      ])
    for (position, phase) in spec.phases.enumerated() {
      try insertPhase(
        campaign: id, number: position, position: position, parent: nil, keysFrom: position, phase, author: author,
        on: connection)
    }
    if let parent {
      // A copy, so that the branch lives on when its parent's is deleted.
      let copied = try connection.run(
        Statement(
          "campaign_copy_theta",
          """
          INSERT INTO campaign_thetas (campaign, version, content, sha256, kept)
          SELECT $1, 0, content, sha256, 'start' FROM campaign_thetas WHERE campaign = $2 AND version = $3
          """), [.text(id), .text(parent.campaign), .integer(parent.version)])
      guard copied.changed == 1 else {
        throw StoreError.notFound("version \(parent.version) of campaign \(parent.campaign)")
      }
    }
    try connection.run(
      enqueue, [.text(workKind(spec.mode).rawValue), .text(id), .integer(campaignPriority)])
    return try campaign(id, project, connection)!
  }

  private static let insertCampaignRow = Statement(
    "campaign_create",
    """
    WITH c AS (
      INSERT INTO campaigns (id, project, name, spec, parent, parent_version, start, outer_steps, event_count)
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1) RETURNING id
    )
    INSERT INTO campaign_events (campaign, sequence, kind, message, data) SELECT id, 1, 'state', 'queued', $9 FROM c
    """)

  /// What the event of a change of state says to programs.
  static func campaignEventData(_ state: CampaignState, _ reason: String, _ more: [String: JSON] = [:]) -> JSON {
    .object(["state": .string(state.rawValue), "reason": .string(reason)].merging(more) { $1 })
  }

  /// A project's campaign, nil if it has none of that id.
  public func campaign(id: String, project: String) throws -> Campaign? {
    try pool.read { try Self.campaign(id, project, $0) }
  }

  /// - Parameter project: nil for any.
  static func campaign(_ id: String, _ project: String?, _ connection: Connection) throws -> Campaign? {
    try connection.run(
      Statement(
        "campaign_get",
        "SELECT \(campaignColumns) FROM campaigns c WHERE c.id = $1 AND c.project = coalesce($2, c.project)"),
      [.text(id), .optional(project)]
    ).map { try decodeCampaign(&$0) }.first
  }

  /// A page of a project's campaigns, newest first, all or those in one state.
  public func campaigns(
    project: String, state: CampaignState? = nil, cursor: String? = nil, limit: Int = 50
  ) throws -> Page<Campaign> {
    try page(
      Statement(
        "campaigns_list",
        Self.pageSQL(
          Self.campaignColumns, from: "campaigns c", where: "project = $1 AND state = coalesce($2, state)", after: 3)),
      [.text(project), .optional(state?.rawValue)], kind: .campaign, cursor: cursor, limit: limit, id: \.id,
      decode: Self.decodeCampaign)
  }
}

extension Campaign {
  /// The campaign before anything happened to it.
  var asCreated: Campaign {
    Campaign(
      id: id, project: project, spec: spec, state: .queued, reason: "submitted", parent: parent,
      outerSteps: spec.phases.reduce(0) { $0 + $1.outerSteps }, createdAt: createdAt)
  }
}
