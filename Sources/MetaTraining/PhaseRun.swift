// One phase run by one process: its groups with their states, the lanes' memory, and the learner that they feed.
// LocalCampaign goes from phase to phase with it, and so do workers that lead a campaign by themselves.
import Compute
import Contract
import Foundation
import Learning

/// A phase whose pairs this process runs all. Used by one thread at a time.
public final class PhaseRun {
  public let learner: OuterLearner
  let groups: [ParticleGroup]
  private let problem: PhaseProblem
  private let laneMemory: [CampaignLane]

  /// The pairs of a learner's phase before their first window.
  ///
  /// - Parameter threads: as many as the lanes that ``advance(version:_:)`` is given.
  public init(_ learner: OuterLearner, threads: Int) {
    problem = learner.problem
    self.learner = learner
    let (memory, problem) = ((0..<threads).map { _ in CampaignLane(learner.problem) }, learner.problem)
    laneMemory = memory
    groups = problem.groups.map { ParticleGroup(problem, $0, memory[0]) }
    for group in groups { learner.adopt(group) }
  }

  /// One outer step: every pair runs a window, then theta moves.
  ///
  /// - Parameter version: the number of the theta that the windows are run around.
  public func advance(version: Int, _ lanes: LaneGroup) -> ([GroupResult], StepReport) {
    let context = learner.context(version: version)
    let windows = groups.map(\.windows)
    let slots = OutcomeSlots(count: problem.pairs.count)
    let particles = groups.flatMap(\.particles)
    // The lanes are this call's alone until `run` returns, and each pair is run by exactly one of them.
    nonisolated(unsafe) let work = (particles: particles, lanes: laneMemory, theta: learner.theta)
    let pairs = problem.pairs
    lanes.run(particles.count) { lane, pair in
      slots[pair] = work.particles[pair].run(
        work.lanes[lane].lane(pairs[pair].task), theta: work.theta.pointer, context: context)
    }
    let results = groups.map { group in
      GroupResult(
        group: group.group.index, window: windows[group.group.index], version: version,
        outcomes: group.group.pairs.map { slots[$0] })
    }
    return (results, learner.step(results.map { ($0, 0) }))
  }

  // MARK: Snapshots

  private static let form: UInt32 = 1

  /// The learner and all pairs between two outer steps, as bytes.
  public func snapshot() -> [UInt8] {
    var sealer = ByteSealer(kind: "TYPR", version: Self.form, owner: problem.fingerprint)
    sealer.append(nested: learner.snapshot())
    sealer.append(UInt32(groups.count))
    for group in groups { sealer.append(nested: group.snapshot()) }
    return sealer.sealed()
  }

  /// Puts the phase where ``snapshot()`` was taken, by this or another process on any number of threads.
  ///
  /// - Throws: ``SnapshotError`` for bytes that are damaged or another phase's; the phase cannot be used after that.
  public func restore(_ bytes: [UInt8]) throws(SnapshotError) {
    let name = "the phase's state"
    var reader = try SealedReader(
      bytes[...], kind: "TYPR", version: Self.form, owner: problem.fingerprint, name: name)
    try learner.restore(Array(reader.nested()))
    guard try reader.integer(UInt32.self) == groups.count else {
      throw SnapshotError("\(name): expected \(groups.count) groups")
    }
    for group in groups { try group.restore(Array(reader.nested())) }
    try reader.finish()
  }

  /// Puts the pairs where those of another phase stand, whose place this one takes.
  ///
  /// - Throws: ``SnapshotError`` where they are not the same pairs.
  public func takeOver(_ other: PhaseRun) throws(SnapshotError) {
    guard groups.count == other.groups.count else {
      throw SnapshotError("\(other.groups.count) groups cannot go on as \(groups.count)")
    }
    for (group, before) in zip(groups, other.groups) { try group.restore(before.snapshot()) }
  }
}

/// A result slot for each piece of work.
// @unchecked: every slot is written by one thread and read after all threads are done.
private final class OutcomeSlots: @unchecked Sendable {
  private let slots: UnsafeMutableBufferPointer<PairOutcome>

  init(count: Int) {
    slots = .allocate(capacity: count)
    slots.initialize(repeating: PairOutcome())
  }

  deinit {
    slots.deinitialize()
    slots.deallocate()
  }

  subscript(index: Int) -> PairOutcome {
    get { slots[index] }
    set { slots[index] = newValue }
  }
}
