// Replay: theta of any version from the campaign's start and the records of its outer steps alone, with the same bits.
// Nothing is trained again; the noises are made anew from their keys.
import Compute
import Contract
import Foundation
import Learning

extension StepRecord {
  private static let form: UInt32 = 1

  /// The record as bytes: what windows measured, without what the learner made of it.
  public var bytes: [UInt8] {
    var sealer = ByteSealer(kind: "TYSR", version: Self.form, owner: UInt64(phase))
    sealer.append(UInt64(version))
    sealer.append(UInt32(results.count))
    for result in results {
      sealer.append(UInt32(result.group))
      sealer.append(nested: result.bytes)
    }
    return sealer.sealed()
  }

  /// Reads the results of a record of that phase, and the version that it made.
  public static func read(
    _ bytes: [UInt8], of problem: PhaseProblem
  ) throws(SnapshotError) -> (version: Int, results: [GroupResult]) {
    let name = "the record of an outer step"
    var reader = try SealedReader(
      bytes[...], kind: "TYSR", version: form, owner: UInt64(problem.number), name: name)
    let version = try reader.integer(UInt64.self)
    let count = try reader.integer(UInt32.self)
    guard version < 1 << 40, Int(count) <= reader.left / 24 else {
      throw SnapshotError("\(name): version \(version) of \(count) results")
    }
    var results: [GroupResult] = []
    for _ in 0..<count {
      let group = try reader.integer(UInt32.self)
      results.append(try GroupResult(bytes: Array(reader.nested()), group: Int(group), of: problem))
    }
    try reader.finish()
    return (Int(version), results)
  }
}

/// Applies the outer steps of a campaign that others have run.
public final class CampaignReplay {
  private let spec: CampaignSpec
  private let data: TaskDataSets
  private let outer: [Int: Theta]
  private let level: CPULevel
  private var learner: OuterLearner
  /// The version of theta that stands.
  public private(set) var version = 0

  /// Stands at version 0; the parameters are those of `LocalCampaign`.
  public init(
    _ spec: CampaignSpec, data: TaskDataSets, initial: Theta? = nil, outer: [Int: Theta] = [:], level: CPULevel
  ) throws {
    self.spec = spec
    self.data = data
    self.outer = outer
    self.level = level
    let problem = try PhaseProblem(spec, spec.phases[0], number: 0, data: data, level: level)
    let start = try initial ?? PhaseProblem.initialTheta(of: spec)
    learner = try OuterLearner(problem, theta: start.aligned(), outer: Self.outerTheta(problem, outer))
  }

  private static func outerTheta(_ problem: PhaseProblem, _ outer: [Int: Theta]) -> Theta? {
    if case .version(let version) = problem.phase.outer.source { return outer[version] }
    return nil
  }

  /// Takes the next outer step from its record.
  ///
  /// - Parameters:
  ///   - bytes: a record's ``StepRecord/bytes``.
  ///   - phase: the record's phase.
  /// - Throws: ``SnapshotError`` for damaged records and those of other steps than the next.
  @discardableResult
  public func apply(_ bytes: [UInt8], phase: Int) throws -> StepReport {
    if phase == learner.problem.number + 1, phase < spec.phases.count {
      let problem = try PhaseProblem(spec, spec.phases[phase], number: phase, data: data, level: level)
      learner = try OuterLearner(
        problem, theta: learner.theta, outer: Self.outerTheta(problem, outer), after: learner)
    }
    let record = try StepRecord.read(bytes, of: learner.problem)
    guard record.version == version + 1 else {
      throw SnapshotError("the record makes version \(record.version); the next is \(version + 1)")
    }
    version += 1
    return learner.step(record.results.map { ($0, max(0, record.version - 1 - $0.version)) })
  }

  /// The theta of ``version``.
  public func theta(provenance: [String: String] = [:]) throws -> Theta { try learner.theta(provenance: provenance) }
}
