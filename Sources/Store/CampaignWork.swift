// What learners and runners of campaigns lease and report: the values of Store+CampaignLearner.swift and
// Store+CampaignGroups.swift.
import Contract
import Foundation

/// What a machine can compute and with which program: a campaign's bits hang on both.
public struct CampaignEngine: Sendable, Hashable {
  /// Kernel levels that the machine has, and the one that a campaign without one is begun at.
  public var levels: [String]
  public var level: String
  /// Name and version of the program.
  public var name: String

  public init(levels: [String], level: String, name: String) {
    self.levels = levels
    self.level = level
    self.name = name
  }
}

/// How far a campaign has come.
public struct CampaignHead: Sendable, Hashable {
  /// Theta's version.
  public var version: Int
  /// Number of the phase it is in.
  public var phase: Int
  /// Outer steps of that phase, also those before a change of it.
  public var outerIteration: Int
  /// How often lengths have grown by the law that waits for plateaus.
  public var growthLevel: Int
  public var innerSteps: Int

  public init(version: Int, phase: Int, outerIteration: Int, growthLevel: Int, innerSteps: Int) {
    self.version = version
    self.phase = phase
    self.outerIteration = outerIteration
    self.growthLevel = growthLevel
    self.innerSteps = innerSteps
  }
}

/// A campaign as its learner finds it.
public struct CampaignWork: Sendable {
  public let id: String
  public let project: String
  public let spec: CampaignSpec
  /// Kernel level whose bits the campaign has.
  public let cpuLevel: String
  public let head: CampaignHead
  /// All phases by their number.
  public let phases: [CampaignPhaseRecord]
  /// The newest state to go on from, and theta's version there; nil to start over.
  public let snapshot: (version: Int, content: String)?
  /// The file of the theta that the campaign began with; nil before its first learner, unless it is a branch.
  public let start: [UInt8]?
  /// Hash of the content of the release to start from; nil where there is none.
  public let release: String?
  /// The uploaded datasets by the names that tasks use.
  public let datasets: [String: Dataset]
}

/// An outer step for the record.
public struct CampaignStep: Sendable {
  /// Of the theta that it made.
  public var version: Int
  public var phase: Int
  /// Outer steps of the phase, this one included.
  public var outerIteration: Int
  /// Those that are not finite are kept as unknown.
  public var meanLoss: Double
  public var surviving: Double
  public var gradientNorm: Double
  public var updateNorm: Double
  public var clippedShare: Double
  public var learningRate: Double?
  public var innerSteps: Int
  /// How many results were so many steps old; index 0 counts those that were not.
  public var staleness: [Int]
  /// Results that were too old.
  public var discarded: Int
  public var wallMilliseconds: Int
  /// All that the step was made of, as ``CampaignResults`` writes it.
  public var results: [UInt8]

  public init(
    version: Int, phase: Int, outerIteration: Int, meanLoss: Double, surviving: Double, gradientNorm: Double,
    updateNorm: Double, clippedShare: Double, learningRate: Double?, innerSteps: Int, staleness: [Int], discarded: Int,
    wallMilliseconds: Int, results: [UInt8]
  ) {
    self.version = version
    self.phase = phase
    self.outerIteration = outerIteration
    self.meanLoss = meanLoss
    self.surviving = surviving
    self.gradientNorm = gradientNorm
    self.updateNorm = updateNorm
    self.clippedShare = clippedShare
    self.learningRate = learningRate
    self.innerSteps = innerSteps
    self.staleness = staleness
    self.discarded = discarded
    self.wallMilliseconds = wallMilliseconds
    self.results = results
  }
}

/// A theta to be kept.
public struct NewTheta: Sendable {
  /// Why a theta stays for good.
  public enum Kept: String, Sendable { case start, phase, spaced, last }
  public var version: Int
  /// A theta file.
  public var content: [UInt8]
  /// Nil for one that may go when no group needs it.
  public var kept: Kept?

  public init(version: Int, content: [UInt8], kept: Kept?) {
    self.version = version
    self.content = content
    self.kept = kept
  }
}

/// Something that a learner tells of a campaign.
public struct NewCampaignEvent: Sendable, Hashable {
  /// Of the kinds that events have.
  public enum Kind: String, Sendable { case phase, evaluation, warning }
  public var kind: Kind
  public var message: String
  public var data: JSON

  public init(_ kind: Kind, _ message: String, _ data: JSON = [:]) {
    self.kind = kind
    self.message = message
    self.data = data
  }
}

/// What a learner did since its last commit.
public struct CampaignProgress: Sendable {
  /// In order, at most ``stepsMax``.
  public var steps: [CampaignStep]
  public var head: CampaignHead
  /// Mean normalised loss of the last step.
  public var loss: Double?
  public var thetas: [NewTheta]
  /// A state to go on from, stored beforehand, at the head.
  public var snapshot: BlobReference?
  /// At most 256.
  public var events: [NewCampaignEvent]
  /// Distributed mode: what becomes of the groups.
  public var turn: GroupTurn?

  public static let stepsMax = 20_000

  public init(
    steps: [CampaignStep], head: CampaignHead, loss: Double?, thetas: [NewTheta] = [],
    snapshot: BlobReference? = nil, events: [NewCampaignEvent] = [], turn: GroupTurn? = nil
  ) {
    self.steps = steps
    self.head = head
    self.loss = loss
    self.thetas = thetas
    self.snapshot = snapshot
    self.events = events
    self.turn = turn
  }
}

/// What people want of a running campaign.
public struct CampaignWishes: Sendable, Hashable {
  public let pause: Bool
  public let cancel: Bool
  /// Whether a phase stands in the place of the one that is running.
  public let change: Bool
  /// Whether work that goes before campaigns waits for a slot.
  public let makeWay: Bool
}

/// The way from one phase of a campaign into another.
public struct PhaseTurn: Sendable {
  /// The phase that ends; nil at the campaign's start.
  public var from: Int?
  /// Whether it was changed before its end.
  public var isChange: Bool
  public var to: Int
  /// The outer iteration and the growth level that the new phase begins with.
  public var outerIteration: Int
  public var growthLevel: Int
  /// Groups that begin anew; nil where those that there are go on, or where there are none.
  public var groups: Int?
  public var ahead: Int

  public init(
    from: Int?, isChange: Bool, to: Int, outerIteration: Int, growthLevel: Int, groups: Int?, ahead: Int
  ) {
    self.from = from
    self.isChange = isChange
    self.to = to
    self.outerIteration = outerIteration
    self.growthLevel = growthLevel
    self.groups = groups
    self.ahead = ahead
  }
}

/// How a learner ends its work on a campaign.
public enum CampaignEnd: Sendable {
  case succeeded
  /// As people wished.
  case paused
  /// Because going on makes no sense; the reason is one word.
  case stuck(reason: String, String)
  case cancelled
  case failed(reason: String, String)
}

// MARK: Groups

/// A leased window of a group of pairs.
public struct GroupLease: Sendable, Hashable {
  public let campaign: String
  public let number: Int
  /// The phase that the keys of its pairs come from.
  public let phase: Int
  public let generation: Int
  /// The window to run, from 0.
  public let window: Int
  /// What it is run around and with.
  public let setting: WindowSetting
  public let fence: Int
  public let cpuLevel: String
  /// Settings of the windows from ``snapshotWindow`` up to this one.
  public let history: [WindowSetting]
  /// How many windows the stored state has behind it; 0 for none.
  public let snapshotWindow: Int
}

/// What a window is told of the campaign.
public struct WindowSetting: Sendable, Hashable {
  public var version: Int
  public var outerIteration: Int
  public var growthLevel: Int

  public init(version: Int, outerIteration: Int, growthLevel: Int) {
    self.version = version
    self.outerIteration = outerIteration
    self.growthLevel = growthLevel
  }
}

/// The result of a leased window.
public struct GroupDelivery: Sendable {
  public let lease: GroupLease
  public let result: [UInt8]
  public let milliseconds: Int
  /// The group after that window, where it is to be kept.
  public let state: [UInt8]?

  public init(lease: GroupLease, result: [UInt8], milliseconds: Int, state: [UInt8]?) {
    self.lease = lease
    self.result = result
    self.milliseconds = milliseconds
    self.state = state
  }
}

/// Results of one group that no step has used.
public struct GroupResults: Sendable, Hashable {
  public let group: Int
  /// Oldest first, each with the generation of the group's keys.
  public let results: [(generation: Int, bytes: [UInt8])]
  /// Bytes that they take in the row.
  let length: Int

  public static func == (a: GroupResults, b: GroupResults) -> Bool {
    a.group == b.group && a.length == b.length
      && a.results.elementsEqual(b.results) { $0.generation == $1.generation && $0.bytes == $1.bytes }
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(group)
    hasher.combine(length)
  }
}

/// What an outer step does to the groups.
public struct GroupTurn: Sendable {
  /// Results that are used up, or too old.
  public var taken: [GroupResults]
  /// The phase of the groups' keys.
  public var phase: Int
  /// What their next windows are run with; nil where there are none in this phase.
  public var next: WindowSetting?
  /// Whether groups that wait for a worker are to be run around the new theta too.
  public var renewsWaiting: Bool

  public init(taken: [GroupResults], phase: Int, next: WindowSetting?, renewsWaiting: Bool) {
    self.taken = taken
    self.phase = phase
    self.next = next
    self.renewsWaiting = renewsWaiting
  }
}
