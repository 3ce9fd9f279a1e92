// When an outer step is taken: how work is cut, how many results it wants, how old they may be.
import Foundation

/// How a phase's pairs are cut into groups, and when a step is taken from their results.
///
/// With the defaults every step waits for all groups: then theta does not depend on who computed what when.
public struct CampaignPolicy: Sendable, Hashable {
  /// Pairs of one unit of work; the last group of a task may have fewer.
  public var groupPairs: Int
  /// Share of the groups whose results a step waits for.
  public var share: Double
  /// Outer steps that theta may have moved on since a result's window began.
  public var staleness: Int
  /// Whether a group goes on with its next window before the step that uses its result is taken.
  public var runsAhead: Bool
  /// After this long a step is taken from the results at hand, if they are ``quorum`` of those wanted; nil waits.
  public var deadlineSeconds: Double?
  public var quorum: Double
  /// A result that is k steps old counts 1/(1 + k)^discount.
  public var discount: Double

  public init(
    groupPairs: Int = 8, share: Double = 1, staleness: Int = 0, runsAhead: Bool = false,
    deadlineSeconds: Double? = nil, quorum: Double = 0.9, discount: Double = 0
  ) {
    self.groupPairs = groupPairs
    self.share = share
    self.staleness = staleness
    self.runsAhead = runsAhead
    self.deadlineSeconds = deadlineSeconds
    self.quorum = quorum
    self.discount = discount
  }

  /// Whether theta is a function of the campaign alone.
  public var isDeterministic: Bool { share == 1 && staleness == 0 && !runsAhead && deadlineSeconds == nil }

  public var json: JSON {
    [
      "group_pairs": .integer(groupPairs), "share": .number(share), "staleness": .integer(staleness),
      "run_ahead": .bool(runsAhead), "deadline_seconds": deadlineSeconds.map(JSON.number) ?? .null,
      "quorum": .number(quorum), "discount": .number(discount),
    ]
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> CampaignPolicy? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    var policy = CampaignPolicy()
    policy.groupPairs = fields.integer("group_pairs", in: 1...4096) ?? policy.groupPairs
    policy.share = fields.number("share", in: 0.01...1) ?? 1
    policy.staleness = fields.integer("staleness", in: 0...10_000) ?? 0
    policy.runsAhead = fields.bool("run_ahead") ?? false
    policy.deadlineSeconds = fields.number("deadline_seconds", in: 0.1...86_400)
    policy.quorum = fields.number("quorum", in: 0.01...1) ?? policy.quorum
    policy.discount = fields.number("discount", in: 0...10) ?? 0
    if policy.staleness == 0 && (policy.share < 1 || policy.runsAhead) {
      fields.fault("staleness", "a share below 1 or run_ahead leaves results behind; expected 1 or more steps")
    }
    fields.finish()
    return policy
  }
}
