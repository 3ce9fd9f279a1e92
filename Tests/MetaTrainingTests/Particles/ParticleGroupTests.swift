// ParticleGroup.swift, GroupResult.swift, SealedBytes.swift: windows that go on from bytes, and bytes that are refused.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

/// Estimators with all that changes how pairs run.
let estimators: [EstimatorSpec] = [
  EstimatorSpec(kind: .pes, pairs: 3, window: 10),
  EstimatorSpec(kind: .nres, pairs: 3, window: 10, nonFinite: .ceiling, stagger: .burnIn),
  EstimatorSpec(kind: .gpes, pairs: 3, window: 5, refreshEvery: 10, weightingPower: 2, stagger: .offset),
  EstimatorSpec(kind: .truncatedES, pairs: 3, window: 10, logFloor: 1e-3),
  EstimatorSpec(kind: .truncatedES, pairs: 3, window: 10, metaLoss: .validAverage, evaluations: 7, followsMean: true),
  EstimatorSpec(kind: .fullES, pairs: 3, metaLoss: .lastRecompute, recomputeSamples: 3, sign: 1),
  EstimatorSpec(kind: .fullES, pairs: 3, metaLoss: .minimum, usesRanks: true, taskNormalisation: .unit),
  EstimatorSpec(kind: .pes, pairs: 3, window: 10, validationEvery: 4, differenceClip: 0.1, usesPublishedCredit: true),
]

/// A phase of two small tasks whose episodes end anywhere in a window.
func smallPhase(_ estimator: EstimatorSpec, outerSteps: Int = 6, groupPairs: Int = 2) -> CampaignPhase {
  CampaignPhase(
    name: "small", estimator: estimator, lengths: .logUniform(7...23), outerSteps: outerSteps,
    outer: OuterSpec(optimizer: OptimizerSettings(.adam, ["learning_rate": 0.01])),
    policy: CampaignPolicy(groupPairs: groupPairs),
    tasks: [
      CampaignTask(
        .config(
          TaskConfig(
            "DelayedGradient", ["delay": 2, "family": TaskConfig("Quadratic", ["dimensions": 3]).json]))),
      CampaignTask(.config(TaskConfig("SoftmaxRegression", ["dimensions": 4, "rows": 50])), pairs: 2, weight: 0.5),
    ])
}

/// A campaign of that phase alone.
func smallCampaign(_ phase: CampaignPhase, optimizer: OptimizerName = .rnnMLP) -> CampaignSpec {
  CampaignSpec(name: "small", optimizer: optimizer, seed: 3, phases: [phase])
}

/// The phase, built.
func smallProblem(_ estimator: EstimatorSpec, seed: Int = 3) throws -> PhaseProblem {
  let phase = smallPhase(estimator)
  var spec = smallCampaign(phase)
  spec.seed = seed
  return try PhaseProblem(spec, phase, number: 0, data: TaskDataSets([:]), level: .best)
}

@Suite struct ParticleGroupTests {
  @Test("a group goes on from its snapshot with the same bits, wherever in an episode", arguments: estimators.indices)
  func resume(number: Int) throws {
    let problem = try smallProblem(estimators[number])
    let theta = try PhaseProblem.initialTheta(of: problem.campaign).aligned()
    for group in problem.groups {
      let lane = CampaignLane(problem)
      let whole = ParticleGroup(problem, group, lane)
      var isInside = false
      for window in 0..<6 {
        let snapshot = whole.snapshot()
        #expect(snapshot.count <= whole.snapshotBytes + 64)
        // Another process: memory of its own, used for another group before.
        let otherLane = CampaignLane(problem)
        _ = ParticleGroup(problem, group, otherLane).run(
          WindowContext(version: 9, outerIteration: 9), theta: theta, otherLane)
        let other = ParticleGroup(problem, group, otherLane)
        try other.restore(snapshot)
        #expect(other.windows == window)
        let context = WindowContext(version: window, outerIteration: window)
        let result = whole.run(context, theta: theta, lane)
        #expect(other.run(context, theta: theta, otherLane) == result)
        #expect(other.snapshot() == whole.snapshot())
        #expect(result.innerSteps > 0 && result.dropped == 0 && result.lossSum.isFinite)
        isInside = isInside || whole.particles.contains { $0.position.step < $0.position.length }
      }
      #expect(isInside == (estimators[number].kind != .fullES))
    }
  }

  @Test("a result is the same after it was bytes", arguments: estimators.indices)
  func results(number: Int) throws {
    let problem = try smallProblem(estimators[number])
    let theta = try PhaseProblem.initialTheta(of: problem.campaign).aligned()
    let lane = CampaignLane(problem)
    for group in problem.groups {
      let pairs = ParticleGroup(problem, group, lane)
      for window in 0..<4 {
        let result = pairs.run(WindowContext(version: window, outerIteration: window), theta: theta, lane)
        #expect(try GroupResult(bytes: result.bytes, group: group.index, of: problem) == result)
        #expect(throws: SnapshotError.self) {
          try GroupResult(bytes: result.bytes, group: (group.index + 1) % problem.groups.count, of: problem)
        }
      }
    }
  }

  @Test("any changed or missing byte of a snapshot or a result is refused, and the group stays as it was")
  func damage() throws {
    let problem = try smallProblem(estimators[0])
    let theta = try PhaseProblem.initialTheta(of: problem.campaign).aligned()
    let lane = CampaignLane(problem)
    let group = ParticleGroup(problem, problem.groups[0], lane)
    let result = group.run(WindowContext(version: 0, outerIteration: 0), theta: theta, lane).bytes
    let snapshot = group.snapshot()
    let words = RandomKey(seed: 5)
    for trial in 0..<400 {
      let random = words.words(block: UInt32(trial))
      for bytes in [snapshot, result] {
        var damaged = bytes
        let place = Int(random.0) % bytes.count
        if trial % 4 == 0 {
          damaged.removeSubrange(place...)
        } else {
          damaged[place] ^= UInt8(1 + random.1 % 255)
        }
        if bytes == snapshot {
          #expect(throws: SnapshotError.self) { try group.restore(damaged) }
        } else {
          #expect(throws: SnapshotError.self) { try GroupResult(bytes: damaged, group: 0, of: problem) }
        }
      }
    }
    #expect(group.snapshot() == snapshot)
  }

  @Test("bytes with a right check sum and a wrong content are refused")
  func lies() throws {
    let problem = try smallProblem(estimators[0])
    let lane = CampaignLane(problem)
    let group = ParticleGroup(problem, problem.groups[0], lane)
    let theta = try PhaseProblem.initialTheta(of: problem.campaign).aligned()
    let result = group.run(WindowContext(version: 0, outerIteration: 0), theta: theta, lane).bytes
    let snapshot = group.snapshot()
    var refused = 0
    // Each word after the head at its extremes.
    for (bytes, isSnapshot) in [(snapshot, true), (result, false)] {
      for place in stride(from: 16, to: min(bytes.count - 8, 400), by: 1) {
        for value: UInt8 in [0xFF, 0x7F] {
          var lie = Array(bytes.dropLast(8))
          lie[place] = value
          withUnsafeBytes(of: ByteHash.of(lie[...]).littleEndian) { lie.append(contentsOf: $0) }
          // Some of these are other possible contents; none may trap.
          do throws(SnapshotError) {
            if isSnapshot {
              try group.restore(lie)
              try group.restore(snapshot)
            } else {
              _ = try GroupResult(bytes: lie, group: 0, of: problem)
            }
          } catch { refused += 1 }
        }
      }
    }
    #expect(refused > 100)
  }

  @Test("snapshots of other campaigns, estimators and groups are refused with the reason")
  func foreign() throws {
    let problem = try smallProblem(estimators[0])
    let lane = CampaignLane(problem)
    let group = ParticleGroup(problem, problem.groups[0], lane)
    let others = try [
      ParticleGroup(problem, problem.groups[1], lane), foreignGroup(estimators[1], seed: 3),
      foreignGroup(estimators[0], seed: 4),
    ]
    for other in others {
      let error = #expect(throws: SnapshotError.self) { try group.restore(other.snapshot()) }
      #expect(error?.description.contains("another campaign, phase or group") == true)
    }
  }

  private func foreignGroup(_ estimator: EstimatorSpec, seed: Int) throws -> ParticleGroup {
    let problem = try smallProblem(estimator, seed: seed)
    return ParticleGroup(problem, problem.groups[0], CampaignLane(problem))
  }

  @Test("a pair with a loss that is not finite is dropped and starts anew with other numbers")
  func dropped() {
    // The third step of the first episode has no loss where theta was moved up.
    let problem = AnalyticProblem(start: [0]) { state, theta, step in
      state.values[0] += Double(theta[0])
      return state.calls == 3 && theta[0] > 0 ? .nan : state.values[0]
    }
    let run = AnalyticPairs(problem, .of(.pes, window: 2), theta: [0], sigma: 0.1, pairs: 4, length: 8)
    let first = run.run()
    #expect(first.allSatisfy { !$0.isDropped && $0.rows.count == 1 })
    let second = run.run()
    #expect(second.allSatisfy { $0.isDropped && $0.rows.isEmpty && $0.counted == 0 })
    let third = run.run()
    for (particle, outcome) in zip(run.particles, third) {
      #expect(particle.position.episodes == 2 && particle.position.step == 2)
      // Only the noise drawn since weighs what comes now.
      #expect(!outcome.isDropped && outcome.rows.map(\.firstNoise) == [2] && outcome.rows.map(\.lastNoise) == [2])
    }
  }

  @Test("with a ceiling, losses that are not finite count as the worst there is")
  func ceiling() {
    var rule = ParticleRule.of(.nres, window: 4)
    rule.usesCeiling = true
    let problem = AnalyticProblem(start: [0], ceiling: 7) { state, theta, step in theta[0] > 0 ? .infinity : 1 }
    let run = AnalyticPairs(problem, rule, theta: [0], sigma: 0.1, pairs: 4, length: 8)
    for outcome in run.run() { #expect(!outcome.isDropped && abs(outcome.rows[0].sum) == 24 && outcome.lossSum == 16) }
  }

  @Test("with a ceiling, an episode ends where both members have lost their way")
  func lost() {
    var rule = ParticleRule.of(.nres, window: 4)
    rule.usesCeiling = true
    let problem = AnalyticProblem(start: [0], ceiling: 7) { _, _, step in step < 2 ? 1 : .nan }
    let run = AnalyticPairs(problem, rule, theta: [0], sigma: 0.1, pairs: 1, length: 8)
    for window in 1...3 {
      let outcome = run.run()[0]
      #expect(!outcome.isDropped && outcome.counted == 3 && outcome.innerSteps == 6 && outcome.lossSum == 9)
      #expect(run.particles[0].position.episodes == UInt32(window))
    }
  }

  @Test("the weights of an episode's steps rise by their power and are 1 on average")
  func weighting() {
    var rule = ParticleRule.of(.nres, window: 3)
    rule.power = 2
    // Differences of 1 at every step.
    let problem = AnalyticProblem(start: [0]) { _, theta, _ in theta[0] > 0 ? 0.5 : -0.5 }
    let run = AnalyticPairs(problem, rule, theta: [0], sigma: 0.1, pairs: 1, length: 6)
    let sums = (0..<2).map { _ in abs(run.run()[0].rows[0].sum) }
    #expect(abs(sums[0] + sums[1] - 6) < 1e-12)
    #expect(abs(sums[1] / sums[0] - (16 + 25 + 36) / (1 + 4 + 9)) < 1e-12)
  }

  @Test("staggered pairs stand at different steps, and after burn-in both members at one state")
  func stagger() {
    func steps(_ stagger: EstimatorSpec.Stagger) -> [UInt32] {
      let run = AnalyticPairs(
        .sum(), .of(.nres, window: 5, stagger: stagger), theta: [0.5], sigma: 0.1, pairs: 16, length: 100)
      _ = run.run()
      return run.particles.map { $0.position.length - $0.position.step }
    }
    #expect(Set(steps(.none)) == [95])
    for stagger in [EstimatorSpec.Stagger.offset, .burnIn, .spread] {
      let left = steps(stagger)
      #expect(Set(left).count > 8 && left.allSatisfy { $0 < 100 }, "\(stagger): \(left)")
    }
    let run = AnalyticPairs(
      .sum(), .of(.nres, window: 1, stagger: .burnIn), theta: [0.5], sigma: 0.1, pairs: 16, length: 100)
    for outcome in run.run() {
      // One step of each member under its own theta, after many under theta itself.
      let steps = (outcome.innerSteps - 2)
      #expect(abs(outcome.lossSum - 0.5 * Double(steps + 1)) < 1e-6)
    }
  }
}
