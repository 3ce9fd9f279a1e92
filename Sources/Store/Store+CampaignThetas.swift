// The stored versions of a campaign's theta: listed, read in parts, and promoted to optimizers of the registry.
import Contract
import Foundation

extension Store {
  /// A page of a campaign's stored thetas, newest first. The caller has found the campaign in the project already.
  ///
  /// - Parameter cursor: the version after which the page begins, as the last page gave it.
  /// - Throws: ``StoreError/invalidCursor(_:)``, or ``StoreError/limit(_:)`` outside of 1 to 200.
  public func thetas(campaign: String, cursor: String? = nil, limit: Int = 50) throws -> Page<CampaignTheta> {
    try Self.checkLimit(limit)
    var before = Int.max
    if let cursor {
      guard let version = Int(cursor), version >= 0 else { throw StoreError.invalidCursor(cursor) }
      before = version
    }
    let items = try pool.read { connection in
      try connection.run(
        Statement(
          "campaign_thetas_list",
          """
          SELECT version, sha256, octet_length(content), kept, created_at FROM campaign_thetas
          WHERE campaign = $1 AND version < $2 ORDER BY version DESC LIMIT $3
          """), [.text(campaign), .integer(before), .integer(limit + 1)]
      ).map { Self.decodeTheta(&$0) }
    }
    let shown = Array(items.prefix(limit))
    return Page(items: shown, nextCursor: items.count > limit ? shown.last.map { String($0.version) } : nil)
  }

  private static func decodeTheta(_ row: inout Row) -> CampaignTheta {
    CampaignTheta(
      version: row.integer(), sha256: row.digest(), bytes: row.integer(), kept: row.optionalText(),
      createdAt: row.time())
  }

  /// A stored theta of a campaign.
  ///
  /// - Parameter version: nil for the newest.
  /// - Throws: ``StoreError/notFound(_:)`` that names the nearest ones.
  public func theta(campaign: String, version: Int? = nil) throws -> CampaignTheta {
    try pool.read { try Self.theta(campaign, version, $0) }
  }

  private static func theta(_ campaign: String, _ version: Int?, _ connection: Connection) throws -> CampaignTheta {
    let found = try connection.run(
      Statement(
        "campaign_theta_get",
        """
        SELECT version, sha256, octet_length(content), kept, created_at FROM campaign_thetas
        WHERE campaign = $1 AND version = coalesce($2, version) ORDER BY version DESC LIMIT 1
        """), [.text(campaign), version.map(Parameter.integer) ?? .null]
    ).map { decodeTheta(&$0) }.first
    if let found { return found }
    throw StoreError.missingTheta(
      try missingVersion(version ?? 0, of: campaign, connection) ?? "campaign \(campaign) has no stored theta yet")
  }

  /// A part of a theta's file.
  ///
  /// - Throws: ``StoreError/corruptContent(_:)`` when it is gone, or is not what it was any more.
  public func readTheta(campaign: String, version: Int, offset: Int, count: Int) throws -> [UInt8] {
    let part = try persist {
      try bulk.read { connection in
        try connection.run(
          Statement(
            "campaign_theta_read",
            """
            SELECT substring(content FROM $3::integer FOR $4::integer) FROM campaign_thetas
            WHERE campaign = $1 AND version = $2
            """), [.text(campaign), .integer(version), .integer(offset + 1), .integer(count)]
        ).map { $0.bytes() }.first
      }
    }
    guard let part, part.count == count else {
      throw StoreError.corruptContent("version \(version) of campaign \(campaign) was deleted while it was read")
    }
    return part
  }

  /// Makes a stored theta an optimizer of the registry: it is validated by a worker as an uploaded file is. The theta
  /// stays from now on.
  ///
  /// - Parameters:
  ///   - version: nil for the newest that is stored.
  ///   - state: what it becomes when it was found good: `candidate` or `released`.
  /// - Returns: the optimizer and whether an earlier call with the idempotency key made it.
  /// - Throws: ``StoreError/missingTheta(_:)``.
  public func promote(
    _ campaign: Campaign, version: Int?, state: LearnedOptimizerRecord.State, author: String,
    idempotency: Idempotency? = nil
  ) throws -> (optimizer: LearnedOptimizerRecord, theta: CampaignTheta, replayed: Bool) {
    let theta = try pool.transaction { connection -> CampaignTheta in
      let theta = try Self.theta(campaign.id, version, connection)
      try connection.run(
        Statement(
          "campaign_theta_promote",
          "UPDATE campaign_thetas SET kept = 'promoted' WHERE campaign = $1 AND version = $2"),
        [.text(campaign.id), .integer(theta.version)])
      return theta
    }
    let content = try readTheta(campaign: campaign.id, version: theta.version, offset: 0, count: theta.bytes)
    let upload = LearnedOptimizerRecord.Upload(
      name: campaign.spec.optimizer, state: state, constants: .object(campaign.spec.constants))
    let spec = campaign.spec.json.text
    let provenance = [
      "source": "campaign \(campaign.id)", "campaign": campaign.id, "campaign_name": campaign.spec.name,
      "campaign_version": String(theta.version), "campaign_spec_sha256": SHA256.hexadecimal(spec.utf8),
      "source_sha256": theta.sha256, "source_bytes": String(theta.bytes), "imported_by": author,
      "imported_at": Timestamp(Date()).rfc3339,
    ].merging(spec.utf8.count <= Self.provenanceTextMax ? ["campaign_spec": spec] : [:]) { $1 }
    let (optimizer, replayed) = try createOptimizer(
      upload, file: putBlob(content), provenance: provenance, project: campaign.project, idempotency: idempotency)
    return (optimizer, theta, replayed)
  }

  /// What a provenance may hold in one text.
  private static let provenanceTextMax = 8192
}
