// A campaign as the API shows it and the store keeps it, with what it leaves behind: phases with their lineage, versions
// of theta, outer steps, events.
import Foundation

/// Where a campaign stands.
public enum CampaignState: String, Sendable, CaseIterable {
  /// Waits for a worker to be its learner.
  case queued
  /// A learner holds it.
  case running
  /// Was asked to pause; the learner has yet to notice.
  case pausing
  case paused
  case cancelling
  case succeeded
  case failed
  case cancelled

  /// Terminal states never change.
  public var isTerminal: Bool { self == .succeeded || self == .failed || self == .cancelled }

  /// The states that may follow this one.
  public var successors: Set<CampaignState> {
    switch self {
    case .queued: return [.running, .paused, .cancelled, .failed]
    // The learner pauses by itself where going on makes no sense.
    case .running: return [.queued, .pausing, .paused, .cancelling, .succeeded, .failed]
    case .pausing: return [.paused, .queued, .cancelling, .succeeded, .failed]
    case .paused: return [.queued, .cancelled]
    case .cancelling: return [.cancelled, .succeeded, .failed]
    case .succeeded, .failed, .cancelled: return []
    }
  }

  public func canBecome(_ next: CampaignState) -> Bool { successors.contains(next) }
}

/// A meta-training campaign.
public struct Campaign: Sendable, Hashable {
  public var id: String
  public var project: String
  public var spec: CampaignSpec
  public var state: CampaignState
  /// Why it is in its state, such as `claimed`, `pause_requested`, `steps_refused`, `worker_lost`.
  public var reason: String
  /// What went wrong, for people.
  public var message: String?
  /// The campaign and version that it branched from.
  public var parent: ThetaReference?
  /// Number of the phase it is in; see ``CampaignPhaseRecord/number``.
  public var phase: Int
  /// Theta's version: outer steps taken since the start, all phases counted.
  public var version: Int
  /// Outer steps of all phases as planned now.
  public var outerSteps: Int
  /// Inner steps made, both members of each pair counted.
  public var innerSteps: Int
  /// Mean normalised inner loss of the last durable outer step.
  public var loss: Double?
  /// Kernel level whose bits the campaign has; nil before its first learner.
  public var cpuLevel: String?
  public var createdAt: Timestamp
  public var startedAt: Timestamp?
  public var finishedAt: Timestamp?
  /// Rises with every change; the entity tag.
  public var revision: Int

  public init(
    id: String, project: String, spec: CampaignSpec, state: CampaignState, reason: String, message: String? = nil,
    parent: ThetaReference? = nil, phase: Int = 0, version: Int = 0, outerSteps: Int, innerSteps: Int = 0,
    loss: Double? = nil, cpuLevel: String? = nil, createdAt: Timestamp, startedAt: Timestamp? = nil,
    finishedAt: Timestamp? = nil, revision: Int = 1
  ) {
    self.id = id
    self.project = project
    self.spec = spec
    self.state = state
    self.reason = reason
    self.message = message
    self.parent = parent
    self.phase = phase
    self.version = version
    self.outerSteps = outerSteps
    self.innerSteps = innerSteps
    self.loss = loss
    self.cpuLevel = cpuLevel
    self.createdAt = createdAt
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.revision = revision
  }

  public var json: JSON {
    [
      "id": .string(id), "object": "campaign", "name": .string(spec.name), "state": .string(state.rawValue),
      "reason": .string(reason), "message": .optional(message), "optimizer": .string(spec.optimizer.rawValue),
      "mode": .string(spec.mode.rawValue), "parent": parent?.json ?? .null, "phase": .integer(phase),
      "version": .integer(version), "outer_steps": .integer(outerSteps), "inner_steps": .integer(innerSteps),
      "loss": loss.map(JSON.finite) ?? .null, "cpu_level": .optional(cpuLevel), "spec": spec.json,
      "created_at": .time(createdAt), "started_at": .time(startedAt), "finished_at": .time(finishedAt),
      "revision": .integer(revision),
    ]
  }
}

/// A theta by the campaign that made it.
public struct ThetaReference: Sendable, Hashable {
  public var campaign: String
  public var version: Int

  public init(campaign: String, version: Int) {
    self.campaign = campaign
    self.version = version
  }

  public var json: JSON { ["campaign": .string(campaign), "version": .integer(version)] }
}

/// A phase of a campaign with its place in the lineage.
public struct CampaignPhaseRecord: Sendable, Hashable {
  public enum State: String, Sendable, CaseIterable {
    case planned, active, done
    /// Replaced by a change before it was done.
    case superseded
  }
  /// From 0, in the order of creation; never used again.
  public var number: Int
  /// Place in the order in which phases run; a change takes the place of what it replaces.
  public var position: Int
  /// The phase it replaced, at ``firstVersion``; nil for phases of the campaign as it was created.
  public var parent: Int?
  public var phase: CampaignPhase
  /// The phase whose number the keys of its pairs are derived from: its own, or that of the phase whose pairs it goes on with.
  public var keysFrom: Int
  public var state: State
  /// Theta's version at its start and after its last step; nil before.
  public var firstVersion: Int?
  public var lastVersion: Int?
  /// Who made it: a key's id, or `policy`.
  public var author: String
  public var createdAt: Timestamp

  public init(
    number: Int, position: Int, parent: Int?, phase: CampaignPhase, keysFrom: Int, state: State,
    firstVersion: Int?, lastVersion: Int?, author: String, createdAt: Timestamp
  ) {
    self.number = number
    self.position = position
    self.parent = parent
    self.phase = phase
    self.keysFrom = keysFrom
    self.state = state
    self.firstVersion = firstVersion
    self.lastVersion = lastVersion
    self.author = author
    self.createdAt = createdAt
  }

  public var json: JSON {
    [
      "number": .integer(number), "position": .integer(position), "parent": parent.map(JSON.integer) ?? .null,
      "state": .string(state.rawValue), "first_version": firstVersion.map(JSON.integer) ?? .null,
      "last_version": lastVersion.map(JSON.integer) ?? .null, "author": .string(author), "phase": phase.json,
      "created_at": .time(createdAt),
    ]
  }
}
