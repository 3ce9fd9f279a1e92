// Runs a campaign in one process: pairs stay in memory on kept threads, theta on the caller's. The outcome depends on the
// campaign file, the data and the CPU level, not on the number of threads, nor on how often it was stopped and resumed.
import Compute
import Contract
import Foundation
import Learning

/// An outer step as it is kept: with the campaign's start, these say what theta is at every version.
public struct StepRecord: Sendable {
  /// The number of the theta that the step made, counted over all phases from 1.
  public let version: Int
  /// The phase's number.
  public let phase: Int
  /// What the groups measured.
  public let results: [GroupResult]
  /// What the learner made of it.
  public let report: StepReport

  public init(version: Int, phase: Int, results: [GroupResult], report: StepReport) {
    self.version = version
    self.phase = phase
    self.results = results
    self.report = report
  }
}

/// A campaign being run by this process.
public final class LocalCampaign {
  public let spec: CampaignSpec
  /// Theta's number: outer steps over all phases.
  public private(set) var version = 0
  /// Inner steps of the whole campaign so far, all members counted.
  public private(set) var innerSteps = 0
  /// The number of the phase that ``run(report:)`` is in, or goes on with.
  public private(set) var phase = 0
  private let data: TaskDataSets
  private let level: CPULevel
  private let outer: [Int: Theta]
  private let lanes: LaneGroup
  private var current: PhaseRun

  /// - Parameters:
  ///   - data: the data sets by the names that the tasks use.
  ///   - initial: a theta to start from; nil draws one from the seed.
  ///   - outer: the weights of learned outer optimizers, by the versions that phases name.
  /// - Throws: `SpecError` with the path of what does not fit.
  public init(
    _ spec: CampaignSpec, data: TaskDataSets, initial: Theta? = nil, outer: [Int: Theta] = [:], threads: Int,
    level: CPULevel
  ) throws {
    self.spec = spec
    self.data = data
    self.level = level
    self.outer = outer
    let start = try initial ?? PhaseProblem.initialTheta(of: spec)
    guard try start.schema == PhaseProblem.schema(of: spec) else {
      throw SpecError([
        Fault(
          path: "/optimizer",
          reason: "the campaign trains \(spec.optimizer.rawValue) with constants \(JSON.object(spec.constants).text), "
            + "but the theta given is one of \(start.schema.name.rawValue) with \(start.schema.configuration.text)")
      ])
    }
    current = PhaseRun(
      try OuterLearner(
        Self.problem(spec, 0, data, level), theta: start.aligned(), outer: Self.outerTheta(spec.phases[0], outer)),
      threads: threads)
    lanes = LaneGroup(count: threads)
  }

  deinit { lanes.stop() }

  private static func problem(
    _ spec: CampaignSpec, _ phase: Int, _ data: TaskDataSets, _ level: CPULevel
  ) throws -> PhaseProblem {
    do {
      let problem = try PhaseProblem(spec, spec.phases[phase], number: phase, data: data, level: level)
      try problem.checkMemory(bytesMax: ProcessInfo.processInfo.physicalMemory)
      return problem
    } catch let error as SpecError {
      throw SpecError(error.faults.map { Fault(path: "/phases/\(phase)\($0.path)", reason: $0.reason) })
    }
  }

  private static func outerTheta(_ phase: CampaignPhase, _ outer: [Int: Theta]) -> Theta? {
    if case .version(let version) = phase.outer.source { return outer[version] }
    return nil
  }

  /// Goes on until all phases are done; `report` is called after every outer step and returns false to stop early.
  ///
  /// - Throws: what `report` throws, and what building the next phase does.
  public func run(report: (StepRecord) throws -> Bool) throws {
    while true {
      while !current.learner.isOver {
        let (results, step) = current.advance(version: version, lanes)
        version += 1
        innerSteps += step.innerSteps
        guard try report(StepRecord(version: version, phase: phase, results: results, report: step)) else { return }
      }
      guard phase + 1 < spec.phases.count else { return }
      current = PhaseRun(
        try OuterLearner(
          Self.problem(spec, phase + 1, data, level), theta: current.learner.theta,
          outer: Self.outerTheta(spec.phases[phase + 1], outer), after: current.learner), threads: lanes.count)
      phase += 1
    }
  }

  /// The longest episode that theta is trained on, in inner steps.
  public var horizonSteps: Int { spec.phases.map(\.lengths.longest).max() ?? 0 }

  /// The theta of the last outer step.
  public func theta(provenance: [String: String]) throws -> Theta { try current.learner.theta(provenance: provenance) }

  // MARK: Snapshots

  private static let form: UInt32 = 1

  /// Of what a snapshot must fit: all that outcomes depend on.
  private var fingerprint: UInt64 {
    ByteHash.of(
      "\(spec.seed) \(spec.optimizer.rawValue) \(JSON.object(spec.constants).text) "
        + "\(JSON.array(spec.phases.map(\.json)).text) \(level.rawValue)")
  }

  /// The whole campaign between two outer steps, as bytes.
  public func snapshot() -> [UInt8] {
    var sealer = ByteSealer(kind: "TYLC", version: Self.form, owner: fingerprint)
    for count in [phase, version, innerSteps] { sealer.append(UInt64(count)) }
    sealer.append(nested: current.snapshot())
    return sealer.sealed()
  }

  /// Puts the campaign where ``snapshot()`` was taken, by this or another process on any number of threads.
  ///
  /// - Throws: ``SnapshotError`` for bytes that are damaged or another campaign's; what building the phase throws.
  public func restore(_ bytes: [UInt8]) throws {
    let name = "the campaign's state"
    var reader = try SealedReader(bytes[...], kind: "TYLC", version: Self.form, owner: fingerprint, name: name)
    let phase = try reader.integer(UInt64.self), version = try reader.integer(UInt64.self)
    let innerSteps = try reader.integer(UInt64.self)
    guard phase < spec.phases.count, version < 1 << 40, innerSteps < 1 << 60 else {
      throw SnapshotError("\(name): it is in phase \(phase) at version \(version)")
    }
    let index = Int(phase)
    let restored = PhaseRun(
      try OuterLearner(
        Self.problem(spec, index, data, level), theta: current.learner.theta,
        outer: Self.outerTheta(spec.phases[index], outer)), threads: lanes.count)
    try restored.restore(Array(reader.nested()))
    try reader.finish()
    (current, self.phase, self.version, self.innerSteps) = (restored, index, Int(version), Int(innerSteps))
  }
}
