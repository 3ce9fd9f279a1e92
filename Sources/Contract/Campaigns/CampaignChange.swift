// What may be asked of a campaign that exists: other settings from the next outer step on, further phases, a branch.
// Store+CampaignPhases.swift and Store+CampaignBranches.swift carry it out.
import Foundation

/// A change of a campaign that is not over.
public struct CampaignChange: Sendable, Hashable {
  /// The phase to change by its number; nil for the one that the campaign is in.
  public var phase: Int?
  /// Members of the phase with their new values; objects are merged, everything else is replaced.
  public var changes: JSON?
  /// Phases to add at the end.
  public var append: [CampaignPhase]

  public init(phase: Int? = nil, changes: JSON? = nil, append: [CampaignPhase] = []) {
    self.phase = phase
    self.changes = changes
    self.append = append
  }

  /// Reads the body of a request.
  public static func decode(_ json: JSON) throws(SpecError) -> CampaignChange {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let phase = fields.integer("phase", in: 0...Campaign.phasesMax)
      let changes = fields.value("changes")
      if let changes {
        if case .object(let members) = changes {
          if members.isEmpty { fields.fault("changes", "is empty; expected members of the phase") }
        } else {
          fields.fault("changes", "expected an object, got \(changes.kind)")
        }
      }
      let append = fields.array("append", counts: 1...32, read: CampaignPhase.read)
      fields.finish()
      if !fields.has("changes") {
        if phase != nil { fields.fault("phase", "names the phase that \"changes\" is about, which is missing") }
        if !fields.has("append") {
          faults.add("", "expected \"changes\", members of a phase with their new values, or \"append\", more phases")
        }
      }
      return CampaignChange(phase: phase, changes: changes, append: append ?? [])
    }
  }
}

extension Campaign {
  /// How many phases a campaign may have had, changes counted.
  public static let phasesMax = 1000
}

extension CampaignPhase {
  /// The phase with other settings.
  ///
  /// - Parameters:
  ///   - changes: members with their new values. Objects are merged, but for one that names another kind (`name` or
  ///     `growth`), which replaces the old one; null is a value, and means what it means in a phase.
  ///   - goesOn: whether the phase is under way; the outer optimizer then keeps its state, unless the changes say
  ///     otherwise or take another optimizer.
  /// - Throws: every fault under `/changes`.
  public func changed(by changes: JSON, goesOn: Bool) throws(SpecError) -> CampaignPhase {
    let old = json
    var merged = Self.merge(old, changes, isPhase: true)
    if goesOn, changes["reset_outer_optimizer"] == nil, case .object(var members) = merged {
      let isSame = old["outer"]?["optimizer"]?["name"] == merged["outer"]?["optimizer"]?["name"]
      members["reset_outer_optimizer"] = .bool(!isSame)
      merged = .object(members)
    }
    let json = merged
    return try Faults.collect { CampaignPhase.read(json, path: "/changes", faults: $0) }
  }

  private static func merge(_ old: JSON, _ new: JSON, isPhase: Bool = false) -> JSON {
    guard case .object(let before) = old, case .object(let after) = new else { return new }
    if !isPhase {
      for key in ["name", "growth"] {
        if let kind = after[key], kind != before[key] { return new }
      }
    }
    return .object(before.merging(after) { merge($0, $1) })
  }

  /// Where two phases differ: paths with the values before and after, in order.
  public func differences(to other: CampaignPhase) -> [(path: String, from: JSON, to: JSON)] {
    var found: [(path: String, from: JSON, to: JSON)] = []
    func compare(_ old: JSON, _ new: JSON, _ path: String) {
      guard old != new else { return }
      guard case .object(let before) = old, case .object(let after) = new else {
        found.append((path, old, new))
        return
      }
      for key in Set(before.keys).union(after.keys).sorted() {
        compare(before[key] ?? .null, after[key] ?? .null, "\(path)/\(key)")
      }
    }
    compare(json, other.json, "")
    return found
  }
}

/// A new campaign that goes on from a version of another one.
public struct CampaignBranch: Sendable, Hashable {
  /// Theta to start from.
  public var version: Int
  /// Members of the specification that differ from the other campaign's, as `POST /v1/campaigns` takes them.
  public var changes: [String: JSON]

  /// What may differ: the architecture is the theta's.
  public static let members = ["data", "evaluation", "mode", "name", "phases", "seed", "threads"]

  public init(version: Int, changes: [String: JSON] = [:]) {
    self.version = version
    self.changes = changes
  }

  /// Reads the body of a request.
  public static func decode(_ json: JSON) throws(SpecError) -> CampaignBranch {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let version = fields.integer("version", in: 0...1_000_000_000, required: "the version of theta to start from")
      var changes: [String: JSON] = [:]
      for name in members where fields.has(name) { changes[name] = fields.value(name) ?? .null }
      for name in ["optimizer", "constants", "initial", "start"] where fields.has(name) {
        fields.consume(name)
        fields.fault(name, "is given by the theta that the branch starts from; create a campaign for another")
      }
      fields.finish()
      return version.map { CampaignBranch(version: $0, changes: changes) }
    }
  }
}
