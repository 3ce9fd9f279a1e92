// What a worker process keeps of distributed campaigns between two windows: phases built, thetas fetched, and the states of
// the groups that it ran last. All of it can be had from the store again; the slots share it.
import Compute
import Contract
import Foundation
import Learning
import MetaTraining
import Store

/// A phase of a campaign by the number that its pairs' keys come from.
struct PhaseKey: Hashable {
  let campaign: String
  let phase: Int
}

/// A group of pairs by its keys.
struct GroupKey: Hashable {
  let phase: PhaseKey
  let number: Int
  let generation: Int

  init(_ lease: GroupLease) {
    phase = PhaseKey(campaign: lease.campaign, phase: lease.phase)
    number = lease.number
    generation = lease.generation
  }
}

/// The memory of a worker process for campaigns that others lead.
// @unchecked: everything that changes is guarded by `lock`; a group that was taken out belongs to who took it.
final class GroupMemory: @unchecked Sendable {
  private struct ThetaKey: Hashable {
    let campaign: String
    let version: Int
  }
  private let store: Store
  private let cache: DatasetCache
  private let bytesMax: Int
  private let lock = NSLock()
  private let building = NSLock()
  private var problems: [(key: PhaseKey, problem: PhaseProblem)] = []
  private var thetas: [(key: ThetaKey, theta: AlignedBuffer)] = []
  private var groups: [(key: GroupKey, group: ParticleGroup)] = []
  private var groupBytes = 0
  private var leased: Set<Int> = []
  private var lost: Set<Int> = []

  private static let problemsMax = 8
  private static let thetasMax = 64

  /// - Parameter bytesMax: of groups' states.
  init(store: Store, cache: DatasetCache, bytesMax: Int = 1 << 30) {
    self.store = store
    self.cache = cache
    self.bytesMax = bytesMax
  }

  /// The phase, built first if it is not here.
  func problem(_ key: PhaseKey, level: CPULevel) throws -> PhaseProblem {
    func kept() -> PhaseProblem? {
      lock.withLock {
        guard let index = problems.firstIndex(where: { $0.key == key }) else { return nil }
        let entry = problems.remove(at: index)
        problems.append(entry)
        return entry.problem
      }
    }
    if let problem = kept() { return problem }
    // One at a time: slots of a process mostly want the same one.
    return try building.withLock {
      if let problem = kept() { return problem }
      let found = try store.groupProblem(campaign: key.campaign, phase: key.phase)
      let data = TaskDataSets(try found.datasets.mapValues { try cache.open($0) })
      let problem = try PhaseProblem(found.spec, found.phase, number: key.phase, data: data, level: level)
      lock.withLock {
        problems.append((key, problem))
        if problems.count > Self.problemsMax { problems.removeFirst() }
      }
      return problem
    }
  }

  /// A version of theta, fetched first if it is not here; nil if the store has it no more.
  func theta(_ campaign: String, version: Int) throws -> AlignedBuffer? {
    let key = ThetaKey(campaign: campaign, version: version)
    let kept = lock.withLock { thetas.last { $0.key == key }?.theta }
    if let kept { return kept }
    guard let file = try store.thetaFile(campaign: campaign, version: version) else { return nil }
    let theta = try Theta(safetensors: Data(file)).aligned()
    lock.withLock {
      thetas.append((key, theta))
      if thetas.count > Self.thetasMax { thetas.removeFirst() }
    }
    return theta
  }

  /// Takes a group's state out, so that no one else runs it; nil if it is not here.
  func take(_ key: GroupKey) -> ParticleGroup? {
    lock.withLock {
      guard let index = groups.lastIndex(where: { $0.key == key }) else { return nil }
      let group = groups.remove(at: index).group
      groupBytes -= group.snapshotBytes
      return group
    }
  }

  /// Puts a group's state back; the ones that lay there longest give way.
  func put(_ key: GroupKey, _ group: ParticleGroup) {
    lock.withLock {
      groups.append((key, group))
      groupBytes += group.snapshotBytes
      while groupBytes > bytesMax, groups.count > 1 { groupBytes -= groups.removeFirst().group.snapshotBytes }
    }
  }

  // MARK: Leases

  /// Notes leases that were claimed.
  func hold(_ leases: [GroupLease]) { lock.withLock { leased.formUnion(leases.map(\.fence)) } }

  /// Notes leases that were delivered or given back.
  func drop(_ leases: [GroupLease]) {
    lock.withLock {
      leased.subtract(leases.map(\.fence))
      lost.subtract(leases.map(\.fence))
    }
  }

  /// Whether others have the group by now, or the campaign runs no more.
  func isLost(_ lease: GroupLease) -> Bool { lock.withLock { lost.contains(lease.fence) } }

  /// Lengthens all leases of the process in one statement and notes those that are gone.
  func renew(worker: String, leaseSeconds: Double) throws {
    let before = lock.withLock { leased }
    guard !before.isEmpty else { return }
    let held = try store.renewGroups(worker: worker, leaseSeconds: leaseSeconds)
    lock.withLock { lost.formUnion(before.subtracting(held).intersection(leased)) }
  }
}
