// Branches: new campaigns that go on from a version of another one; and rollbacks, which end the other one with it.
import Contract
import Foundation

extension Store {
  /// Creates a campaign that starts from a version of another one.
  ///
  /// It has the other's specification but for the branch's changes. Without phases of its own it runs what the other one
  /// had left there: of the phase at that version, with the settings of that time, the outer steps that were not taken,
  /// and the phases after it as they are planned now. Their schedules begin anew.
  ///
  /// - Parameter endsParent: whether the other one is cancelled in the same transaction, as far as it is not over: a
  ///   rollback.
  /// - Returns: the new campaign as it was created, the other one after it, and whether an earlier call with the
  ///   idempotency key made it; nil if the project has none of that id.
  /// - Throws: ``StoreError/invalid(_:)`` with the faults, about a version that is not stored with the nearest ones.
  public func branchCampaign(
    id parent: String, project: String, _ branch: CampaignBranch, endsParent: Bool = false, author: String,
    idempotency: Idempotency? = nil, defaults: ProjectQuotas = ProjectQuotas()
  ) throws -> (campaign: Campaign, parent: Campaign, replayed: Bool)? {
    let id = Identifier.make(.campaign)
    let made: (Campaign, Campaign, Bool)? = try pool.transaction { connection in
      guard let before = try Self.lockCampaign(parent, project, on: connection) else { return nil }
      if let made = try claimKey(idempotency, project: project, subject: id, on: connection) {
        guard let campaign = try Self.campaign(made, project, connection) else { throw Self.subjectGone(idempotency) }
        return (campaign.asCreated, before, true)
      }
      // One that takes its parent's place takes up no other.
      if !endsParent {
        try Self.hold(.unfinishedCampaigns, project, defaults.unfinishedCampaigns, adding: 1, on: connection)
      }
      let spec = try Self.spec(of: branch, from: before, endsParent: endsParent, on: connection)
      let campaign: Campaign
      do {
        campaign = try Self.insertCampaign(id, spec, project: project, author: author, on: connection)
      } catch StoreError.invalid(let faults) {
        // What the request calls version is the start of the specification.
        throw StoreError.invalid(
          faults.map { $0.path == "/start/version" ? Fault(path: "/version", reason: $0.reason) : $0 })
      }
      try Self.addEvent(
        parent, NewCampaignEvent.Kind.phase.rawValue, "campaign \(id) branches from version \(branch.version)",
        ["campaign": .string(id), "version": .integer(branch.version), "author": .string(author)], on: connection)
      if endsParent, let (state, _) = try Self.cancellation(of: before, on: connection) {
        try Self.changeCampaign(
          parent, to: state, "rolled_back", message: nil,
          data: ["author": .string(author), "campaign": .string(id), "version": .integer(branch.version)],
          on: connection)
      }
      return (campaign, try Self.campaign(parent, project, connection)!, false)
    }
    if let (campaign, parent, replayed) = made, !replayed {
      announceNew(campaign)
      notifier.notify(.campaign, parent.id)
    }
    return made.map { (campaign: $0.0, parent: $0.1, replayed: $0.2) }
  }

  private static func spec(
    of branch: CampaignBranch, from parent: Campaign, endsParent: Bool, on connection: Connection
  ) throws -> CampaignSpec {
    guard branch.version <= parent.version else {
      throw StoreError.invalid([
        Fault(
          path: "/version",
          reason: "campaign \(parent.id) has come to version \(parent.version), got \(branch.version)")
      ])
    }
    guard case .object(var members) = parent.spec.json else { preconditionFailure("a specification is an object") }
    members["start"] = ["campaign": .string(parent.id), "version": .integer(branch.version)]
    // Theta has its values already.
    members["initial"] = [:]
    let word = endsParent ? "rollback" : "branch"
    members["name"] = .string("\(parent.spec.name.prefix(150)), \(word) at \(branch.version)")
    let left = try remainder(of: parent, after: branch.version, on: connection)
    if branch.changes["phases"] == nil, left.isEmpty {
      throw StoreError.invalid([
        Fault(path: "/phases", reason: "version \(branch.version) is the end of the campaign: say what comes after it")
      ])
    }
    members["phases"] = .array(left.map(\.json))
    members.merge(branch.changes) { $1 }
    do { return try CampaignSpec.decode(.object(members)) } catch { throw StoreError.invalid(error.faults) }
  }

  /// The phases that a campaign had before it at a version.
  private static func remainder(
    of campaign: Campaign, after version: Int, on connection: Connection
  ) throws -> [CampaignPhase] {
    let all = try phases(campaign.id, on: connection)
    let places = Set(all.map(\.position)).sorted()
    var left: [CampaignPhase] = []
    for position in places {
      let here = all.filter { $0.position == position }
      let begun = here.filter { $0.firstVersion != nil }
      guard let first = begun.compactMap(\.firstVersion).min(), first <= version else {
        // Not begun at that version: as it is planned now.
        if let planned = here.last(where: { $0.state != .superseded }) { left.append(planned.phase) }
        continue
      }
      let last = begun.allSatisfy { $0.lastVersion != nil } ? begun.compactMap(\.lastVersion).max() : nil
      if let last, last <= version { continue }
      // Of several in this place the one that was in use at that version.
      guard var phase = begun.last(where: { ($0.firstVersion ?? 0) <= version })?.phase else { continue }
      phase.outerSteps = max(1, phase.outerSteps - (version - first))
      left.append(phase)
    }
    return left
  }
}
