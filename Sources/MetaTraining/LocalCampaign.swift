// Runs a campaign in one process: particles stay in memory on kept threads, theta on the caller's. The outcome
// depends on the campaign file, the data and the CPU level, not on the number of threads.
import Compute
import Contract
import Foundation
import Learning

/// What an outer step reports.
public struct OuterReport: Sendable {
  public let phase: String
  public let outerStep: Int
  public let outerSteps: Int
  /// Mean normalised inner loss of the windows, over all particles.
  public let meanLoss: Double
  /// Share of particles whose losses stayed finite.
  public let surviving: Double
  /// Inner steps of the whole campaign so far, both members counted.
  public let innerSteps: Int
}

/// A campaign being run by this process.
public final class LocalCampaign {
  public let spec: CampaignSpec
  private let theta: AlignedBuffer
  private let schema: ThetaSchema
  public private(set) var innerSteps = 0
  private let builder: TaskBuilder
  private let level: CPULevel
  private let lanes: LaneGroup
  private let key: RandomKey

  /// - Parameters:
  ///   - data: the data sets by the names that the tasks use.
  ///   - initial: a theta to start from; nil draws one from the seed.
  public init(
    _ spec: CampaignSpec, data: [String: TrainingData], initial: Theta?, threads: Int, level: CPULevel
  ) throws {
    self.spec = spec
    builder = TaskBuilder(data: TaskDataSets(data), level: level)
    self.level = level
    lanes = LaneGroup(count: threads)
    key = RandomKey(seed: UInt64(spec.seed)).derive(1, 0, 0)
    let start = try initial ?? Theta.initial(Self.schema(spec), key: key.derive(5, 0, 0))
    guard start.schema.name == spec.optimizer else {
      throw SpecError([
        Fault(
          path: "/optimizer",
          reason:
            "the campaign trains \(spec.optimizer.rawValue), but the theta given is one of \(start.schema.name.rawValue)"
        )
      ])
    }
    schema = start.schema
    theta = start.aligned()
    guard initial == nil else { return }
    for (name, value) in spec.initial {
      guard let tensor = schema.layout[name] else {
        throw SpecError([
          Fault(
            path: "/initial/\(name)",
            reason:
              "theta has no such leaf; the leaves are \(schema.layout.tensors.map(\.name).joined(separator: ", "))")
        ])
      }
      (theta.pointer + tensor.offset).update(repeating: Float(value), count: tensor.count)
    }
  }

  deinit { lanes.stop() }

  /// Runs all phases; `report` is called after every outer step and returns false to stop early.
  public func run(report: (OuterReport) throws -> Bool) throws {
    for (index, phase) in spec.phases.enumerated() {
      let run = try PhaseRun(
        phase, tasks: try tasks(phase), theta: theta, thetaLayout: schema.layout,
        key: key.derive(2, UInt32(index), 0), lanes: lanes)
      for _ in 0..<phase.outerSteps {
        let (meanLoss, surviving) = run.advance()
        innerSteps += run.innerStepsPerOuterStep
        let goOn = try report(
          OuterReport(
            phase: phase.name, outerStep: run.learner.outerStep, outerSteps: phase.outerSteps, meanLoss: meanLoss,
            surviving: surviving, innerSteps: innerSteps))
        if !goOn { return }
      }
    }
  }

  /// The longest episode that theta is trained on, in inner steps.
  public var horizonSteps: Int { spec.phases.map(\.lengths.longest).max() ?? 0 }

  /// The theta of the last outer step.
  public func theta(provenance: [String: String]) throws -> Theta {
    try Theta(
      schema: schema, values: Array(UnsafeBufferPointer(start: theta.pointer, count: schema.layout.floats)),
      provenance: provenance)
  }

  /// The architecture of a campaign with its constants.
  private static func schema(_ spec: CampaignSpec, with more: [String: JSON] = [:]) throws -> ThetaSchema {
    try Faults.collect { faults in
      let constants = JSON.object(spec.constants.merging(more) { $1 })
      guard var fields = Fields(constants, path: "/constants", faults: faults) else { return nil }
      let schema = OptimizerCatalog.schema(of: spec.optimizer, reading: &fields)
      fields.finish()
      return schema
    }
  }

  private func tasks(_ phase: CampaignPhase) throws -> [InnerTask] {
    var all: [InnerTask] = []
    // The schema with what of it acts in this phase; its tensors are the same.
    let acting =
      try schema.configuration["phase"] == nil
      ? schema
      : Self.schema(
        spec, with: ["phase": .string((phase.usesScheduler ? Celo.Phase.full : .updateRule).rawValue)])
    for (index, task) in phase.tasks.enumerated() {
      let path = "/phases/tasks/\(index)"
      // Draws of families hang on the campaign's seed and on what is drawn, not on the phase.
      for variants in try TaskRegistry.standard.configs(of: task.task, path: path, key: key.derive(9, UInt32(index), 0)) {
        let built: [TrainingTask]
        do { built = try variants.map { try builder.build($0) } } catch let error as SpecError {
          throw SpecError(error.faults.map { Fault(path: path + $0.path, reason: $0.reason) })
        }
        all.append(
          try InnerTask(variants: built) { layout in
            do { try OptimizerCatalog.checkSize(of: layout, for: spec.optimizer) } catch let error as SpecError {
              throw SpecError(error.faults.map { Fault(path: path, reason: $0.reason) })
            }
            return acting.optimizer(parameters: layout, level: level)
          })
      }
    }
    return all
  }
}

/// One phase: its particles and its learner.
public final class PhaseRun {
  public let learner: OuterLearner
  private let particles: [Particle]
  private let laneMemory: [[InnerLane]]
  private let mask: ThetaMask
  private let lanes: LaneGroup
  private let pairsPerTask: Int
  let innerStepsPerOuterStep: Int

  init(
    _ phase: CampaignPhase, tasks: [InnerTask], theta: AlignedBuffer, thetaLayout: ParameterLayout, key: RandomKey,
    lanes: LaneGroup
  ) throws {
    let mask = ThetaMask(thetaLayout, prefixes: phase.trainable)
    guard mask.count > 0 else {
      throw SpecError([
        Fault(
          path: "/phases/trainable",
          reason: "no leaf of theta starts with \(phase.trainable); the leaves are \(thetaLayout.tensors.map(\.name))")
      ])
    }
    self.mask = mask
    self.lanes = lanes
    learner = OuterLearner(theta: theta, mask: mask, phase: phase)
    pairsPerTask = phase.estimator.pairs
    let total = tasks.count * pairsPerTask
    let laneMemory = (0..<lanes.count).map { _ in tasks.map(InnerLane.init) }
    self.laneMemory = laneMemory
    particles = (0..<total).map { index in
      Particle(
        laneMemory[0][index % tasks.count], key: key.derive(2, UInt32(index), 0), estimator: phase.estimator,
        lengths: phase.lengths, mask: mask,
        firstShare: (Double(index / tasks.count) + 0.5) / Double(phase.estimator.pairs))
    }
    innerStepsPerOuterStep = 2 * total * phase.estimator.window
  }

  /// One outer step: every particle runs a window, then theta moves.
  func advance() -> (meanLoss: Double, surviving: Double) {
    let outcomes = OutcomeSlots(count: particles.count)
    // The lanes are this call's alone until `run` returns, and each particle is run by exactly one of them.
    nonisolated(unsafe) let run = self
    lanes.run(particles.count) { lane, index in
      let particle = run.particles[index]
      let memory = run.laneMemory[lane][index % run.laneMemory[lane].count]
      outcomes[index] = particle.runWindow(memory, theta: run.learner.theta, mask: run.mask)
    }
    let windows = particles.indices.map { (particle: particles[$0], outcome: outcomes[$0]) }
    learner.update(windows)
    let valid = windows.filter(\.outcome.isValid)
    let mean = valid.reduce(0) { $0 + $1.outcome.meanLoss } / Double(max(1, valid.count))
    return (mean, Double(valid.count) / Double(windows.count))
  }
}

/// A result slot for each piece of work.
// @unchecked: every slot is written by one thread and read after all threads are done.
private final class OutcomeSlots: @unchecked Sendable {
  private let slots: UnsafeMutableBufferPointer<WindowOutcome>

  init(count: Int) {
    slots = .allocate(capacity: count)
    slots.initialize(repeating: WindowOutcome(difference: 0, meanLoss: 0, isValid: false))
  }

  deinit { slots.deallocate() }

  subscript(index: Int) -> WindowOutcome {
    get { slots[index] }
    set { slots[index] = newValue }
  }
}
