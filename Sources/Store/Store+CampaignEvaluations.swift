// The evaluations that campaigns ask for of their own theta, now and then while they run. Store+Evaluations.swift has what
// becomes of them.
import Contract
import Foundation

extension Store {
  /// Queues the evaluations that are due: of each campaign that asks for some, of its newest stored theta on a multiple of
  /// the outer steps asked for, unless its last evaluation goes on still. Several workers doing so do no harm.
  ///
  /// - Returns: the evaluations queued.
  /// - Throws: what ``createEvaluation(_:project:campaign:idempotency:)`` throws about the first that cannot be queued, such
  ///   as a dataset that is gone; the others are queued by the next call.
  @discardableResult
  public func evaluateCampaigns() throws -> [EvaluationRecord] {
    let due = try pool.read { connection in
      try connection.run(Self.dueCampaigns).map {
        (id: $0.text(), project: $0.text(), spec: $0.json(), version: $0.integer())
      }
    }
    return try due.compactMap { campaign in
      let campaignSpec = try CampaignSpec.decode(campaign.spec)
      guard let asked = campaignSpec.evaluation, case .object(var members) = asked.spec else { return nil }
      // The campaign's own data, where the evaluation names no other.
      if members["data"] == nil { members["data"] = .object(campaignSpec.data.mapValues(JSON.string)) }
      let spec = try Faults.collect {
        EvaluationSpec.read(
          ofCampaign: campaign.id, version: campaign.version, .object(members), path: "/evaluation/spec", faults: $0)
      }
      return try evaluateCampaign(campaign.id, version: campaign.version, spec, project: campaign.project)
    }
  }

  private static let dueCampaigns = Statement(
    "campaigns_to_evaluate",
    """
    SELECT c.id, c.project, c.spec, t.version FROM campaigns c
    JOIN LATERAL (
      SELECT version FROM campaign_thetas t WHERE t.campaign = c.id AND t.kept IS NOT NULL AND t.version > 0
        AND t.version % (c.spec -> 'evaluation' ->> 'every_outer_steps')::bigint = 0
      ORDER BY version DESC LIMIT 1) t ON true
    WHERE c.spec -> 'evaluation' ->> 'every_outer_steps' IS NOT NULL
      AND (c.finished_at IS NULL OR c.finished_at > now() - interval '1 hour')
      AND NOT EXISTS (
        SELECT FROM evaluations e WHERE e.campaign = c.id
          AND (e.campaign_version >= t.version OR e.finished_at IS NULL))
    LIMIT 100
    """)

  /// Queues a campaign's evaluation of a version of its theta, unless the one before goes on still or is of this version
  /// or a later one. Safe to repeat.
  ///
  /// - Parameter spec: names the campaign and the version among its optimizers; see
  ///   `EvaluationSpec.read(ofCampaign:version:_:path:faults:)`.
  /// - Returns: nil where nothing was queued.
  /// - Throws: as ``createEvaluation(_:project:campaign:idempotency:)``.
  public func evaluateCampaign(
    _ campaign: String, version: Int, _ spec: EvaluationSpec, project: String
  ) throws -> EvaluationRecord? {
    if let last = try newestEvaluation(ofCampaign: campaign),
      !last.state.isTerminal || (last.campaignVersion ?? 0) >= version
    {
      return nil
    }
    do {
      return try createEvaluation(spec, project: project, campaign: (campaign, version)).evaluation
    } catch StoreError.conflict(.versionExists, _) {
      // Another worker was faster.
      return nil
    }
  }

  /// The newest evaluation that a campaign asked for; nil where there is none.
  func newestEvaluation(ofCampaign campaign: String) throws -> EvaluationRecord? {
    try pool.read { connection in
      try connection.run(
        Statement(
          "evaluation_of_campaign",
          """
          SELECT \(Self.evaluationColumns) FROM evaluations e WHERE e.campaign = $1
          ORDER BY e.campaign_version DESC, e.id DESC LIMIT 1
          """), [.text(campaign)]
      ).map { try Self.decodeEvaluation(&$0) }.first
    }
  }
}
