// The phases of campaigns: planned with them, changed while they run. A change is a new row in the place of the one it
// replaces, so that the rows are a tree. The learner takes it up between two outer steps.
import Contract
import Foundation

extension Store {
  /// A campaign's phases in the order of their numbers; replaced ones are among them.
  public func phases(campaign: String) throws -> [CampaignPhaseRecord] {
    try pool.read { try Self.phases(campaign, on: $0) }
  }

  static func insertPhase(
    campaign: String, number: Int, position: Int, parent: Int?, keysFrom: Int, _ phase: CampaignPhase, author: String,
    on connection: Connection
  ) throws {
    try connection.run(
      Statement(
        "campaign_phase_create",
        """
        INSERT INTO campaign_phases (campaign, number, position, parent, keys_from, settings, author)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        """),
      [
        .text(campaign), .integer(number), .integer(position), parent.map(Parameter.integer) ?? .null,
        .integer(keysFrom), .text(phase.json.text), .text(author),
      ])
  }

  /// Changes the settings of a phase, or adds phases.
  ///
  /// A planned phase is replaced at once. One that is active stays so until the learner, between two outer steps, goes
  /// on with the new one in its place: at the same outer iteration, and with the same pairs where the change leaves
  /// what they do as it is. Two changes before that add up.
  ///
  /// - Parameters:
  ///   - author: a key's id, or `policy`.
  ///   - revision: of the campaign as the caller knows it; nil for whatever it is.
  /// - Returns: the campaign and the phases it made; nil if the project has none of that id.
  /// - Throws: ``StoreError/invalid(_:)`` with the faults; ``StoreError/conflict(_:_:)`` (`revision`, `state`).
  public func changeCampaign(
    id: String, project: String, _ change: CampaignChange, author: String, revision: Int? = nil
  ) throws -> (campaign: Campaign, made: [CampaignPhaseRecord])? {
    let changed: (Campaign, [CampaignPhaseRecord])? = try pool.transaction { connection in
      guard let before = try Self.lockCampaign(id, project, revision: revision, on: connection) else { return nil }
      guard !before.state.isTerminal, before.state != .cancelling else { throw Self.impossible("change", before) }
      let all = try Self.phases(id, on: connection)
      var number = (all.last?.number ?? -1) + 1
      let first = number
      guard number + change.append.count < Campaign.phasesMax else {
        throw StoreError.limit("a campaign has at most \(Campaign.phasesMax) phases, changes counted; branch from it")
      }
      if let changes = change.changes {
        try Self.replace(before, all, change.phase, changes, number, author: author, on: connection)
        number += 1
      }
      var position = (all.map(\.position).max() ?? -1) + 1
      for phase in change.append {
        try Self.checkNew(phase, path: "/append/\(number - first)", spec: before.spec, on: connection)
        try Self.insertPhase(
          campaign: id, number: number, position: position, parent: nil, keysFrom: number, phase, author: author,
          on: connection)
        try Self.addEvent(
          id, NewCampaignEvent.Kind.phase.rawValue, "phase \(number), \(phase.name), was added at the end",
          ["phase": .integer(number), "position": .integer(position), "author": .string(author)], on: connection)
        (number, position) = (number + 1, position + 1)
      }
      try connection.run(Self.plan, [.text(id)])
      let made = try Self.phases(id, on: connection).filter { $0.number >= first }
      return (try Self.campaign(id, project, connection)!, made)
    }
    if changed != nil { notifier.notify(.campaign, id) }
    return changed.map { (campaign: $0.0, made: $0.1) }
  }

  /// Outer steps as planned: of each position the newest phase counts.
  private static let plan = Statement(
    "campaign_plan",
    """
    UPDATE campaigns SET revision = revision + 1, outer_steps = (
      SELECT sum((p.settings ->> 'outer_steps')::bigint) FROM (
        SELECT DISTINCT ON (position) settings FROM campaign_phases
        WHERE campaign = $1 AND state <> 'superseded' ORDER BY position, number DESC) p)
    WHERE id = $1
    """)

  private static func replace(
    _ campaign: Campaign, _ all: [CampaignPhaseRecord], _ wanted: Int?, _ changes: JSON, _ number: Int,
    author: String, on connection: Connection
  ) throws {
    guard let named = all.first(where: { $0.number == wanted ?? campaign.phase }) else {
      throw fault("/phase", "there is no phase \(wanted ?? 0); the last one is \(all.last?.number ?? 0)")
    }
    // Of several phases in one place the newest counts, be it active or a change still to be taken up.
    guard let base = all.last(where: { $0.position == named.position && $0.state != .superseded }) else {
      throw fault("/phase", "phase \(named.number) is not in use any more")
    }
    if wanted != nil, named.state == .superseded {
      throw fault("/phase", "phase \(named.number) was replaced by phase \(base.number): change that one")
    }
    guard base.state != .done else { throw fault("/phase", "phase \(base.number) is done; only later ones can change") }
    let isActive = all.contains { $0.position == base.position && $0.state == .active }
    let wished: CampaignPhase, phase: CampaignPhase
    do {
      wished = try base.phase.changed(by: changes, goesOn: false)
      phase = try base.phase.changed(by: changes, goesOn: isActive)
    } catch { throw StoreError.invalid(error.faults) }
    try checkNew(phase, path: "/changes", spec: campaign.spec, on: connection)
    let differences = base.phase.differences(to: wished)
    guard !differences.isEmpty else { throw fault("/changes", "leaves phase \(base.number) as it is") }
    if base.state == .planned {
      try connection.run(
        Statement(
          "campaign_phase_supersede",
          "UPDATE campaign_phases SET state = 'superseded' WHERE campaign = $1 AND number = $2 AND state = 'planned'"),
        [.text(campaign.id), .integer(base.number)])
    }
    try insertPhase(
      campaign: campaign.id, number: number, position: base.position, parent: base.number,
      keysFrom: base.phase.sharesParticles(with: phase) ? base.keysFrom : number, phase, author: author, on: connection)
    let words = differences.prefix(5).map { "\($0.path.dropFirst()) \($0.from.text) → \($0.to.text)" }
    try addEvent(
      campaign.id, NewCampaignEvent.Kind.phase.rawValue,
      "phase \(number) replaces phase \(base.number)\(isActive ? " from the next outer step on" : ""): "
        + String(words.joined(separator: ", ").prefix(500)),
      [
        "phase": .integer(number), "parent": .integer(base.number), "author": .string(author),
        "changes": .array(differences.map { ["path": .string($0.path), "from": $0.from, "to": $0.to] }),
      ], on: connection)
  }

  /// Whether the version of a learned outer optimizer, and the data of image classifiers, are there.
  private static func checkNew(
    _ phase: CampaignPhase, path: String, spec: CampaignSpec, on connection: Connection
  ) throws {
    let faults = Faults()
    try checkPhase(phase, path: path, data: spec.data, faults, connection)
    guard faults.isEmpty else { throw StoreError.invalid(faults.list) }
  }

  private static func fault(_ path: String, _ reason: String) -> StoreError {
    .invalid([Fault(path: path, reason: reason)])
  }
}
