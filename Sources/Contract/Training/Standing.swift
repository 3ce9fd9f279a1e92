// Where a job or a campaign stands, without what never changes: what a stream of events tells between stored events.
import Foundation

/// Where a job stands.
public struct JobStanding: Sendable, Hashable {
  public var state: JobState
  public var reason: StateReason
  /// Steps done that are durable.
  public var step: Int
  /// Steps in all at the end of its budget.
  public var steps: Int
  /// Training loss of the last durable step; nil before the first or when not finite.
  public var loss: Double?
  /// Number of the current or last attempt; 0 before the first.
  public var attempt: Int
  /// Rises with every change of the job.
  public var revision: Int
  /// Events so far: the number of the newest.
  public var eventCount: Int

  public init(
    state: JobState, reason: StateReason, step: Int, steps: Int, loss: Double?, attempt: Int, revision: Int,
    eventCount: Int
  ) {
    self.state = state
    self.reason = reason
    self.step = step
    self.steps = steps
    self.loss = loss
    self.attempt = attempt
    self.revision = revision
    self.eventCount = eventCount
  }

  public var json: JSON {
    [
      "state": .string(state.rawValue), "reason": .string(reason.rawValue), "step": .integer(step),
      "steps": .integer(steps), "loss": loss.map(JSON.finite) ?? .null, "attempt": .integer(attempt),
      "revision": .integer(revision),
    ]
  }
}

/// Where a campaign stands.
public struct CampaignStanding: Sendable, Hashable {
  public var state: CampaignState
  public var reason: String
  /// Number of the phase it is in.
  public var phase: Int
  /// Outer steps taken, all phases counted.
  public var version: Int
  /// Outer steps of all phases as planned now.
  public var outerSteps: Int
  /// Inner steps made, both members of each pair counted.
  public var innerSteps: Int
  /// Mean normalised inner loss of the last durable outer step.
  public var loss: Double?
  /// Rises with every change of the campaign.
  public var revision: Int
  /// Events so far: the number of the newest.
  public var eventCount: Int

  public init(
    state: CampaignState, reason: String, phase: Int, version: Int, outerSteps: Int, innerSteps: Int, loss: Double?,
    revision: Int, eventCount: Int
  ) {
    self.state = state
    self.reason = reason
    self.phase = phase
    self.version = version
    self.outerSteps = outerSteps
    self.innerSteps = innerSteps
    self.loss = loss
    self.revision = revision
    self.eventCount = eventCount
  }

  public var json: JSON {
    [
      "state": .string(state.rawValue), "reason": .string(reason), "phase": .integer(phase),
      "version": .integer(version), "outer_steps": .integer(outerSteps), "inner_steps": .integer(innerSteps),
      "loss": loss.map(JSON.finite) ?? .null, "revision": .integer(revision),
    ]
  }
}
