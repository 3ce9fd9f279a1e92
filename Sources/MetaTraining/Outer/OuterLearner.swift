// The outer learner: holds theta and turns the results of groups into outer steps.
//
//   g <- OuterGradient of all rows;  g <- clamp(g, ±clip);  g <- g min(1, normClip/|g|)
//   theta' = outer optimizer's update of the trained leaves by g         one in `accumulate` steps, with the mean of g
//
// The optimizer sees the trained leaves alone, so that weight decay and learned rules leave the others in peace. What it
// would make of a gradient that is not finite is refused, and theta stays.
import Compute
import Contract
import Foundation
import Learning

/// What an outer step did.
public struct StepReport: Sendable, Hashable {
  /// Outer steps of the phase, this one included.
  public var outerIteration: Int
  /// Mean normalised inner loss over tasks; NaN where no pair survived.
  public var meanLoss: Double
  /// Share of pairs whose losses stayed finite.
  public var surviving: Double
  /// Length of the averaged gradient before it was bounded, and of theta's move.
  public var gradientNorm: Double
  public var updateNorm: Double
  /// Share of the coordinates that the bound cut.
  public var clippedShare: Double
  /// Inner updates that the results took.
  public var innerSteps: Int
  /// Why theta stayed; nil where it moved, or waits for further gradients to be averaged.
  public var skipped: String?
  /// Why the campaign should stop for someone to look at it.
  public var mustPause: String?
}

/// Theta and the outer optimizer's state for one phase. Used by one thread at a time.
public final class OuterLearner {
  /// One result, and how many outer steps theta has moved on since its window began.
  public typealias Input = (result: GroupResult, staleness: Int)

  /// After so many refused steps in a row a campaign should pause.
  public static let skipsMax = 5

  public let problem: PhaseProblem
  /// Theta in the problem's layout; changed by ``step(_:)`` and ``restore(_:)`` alone.
  public let theta: AlignedBuffer
  /// Outer steps of the phase, those that were refused included.
  public private(set) var outerIteration = 0
  /// Steps refused in all, and in a row.
  public private(set) var skipped = 0
  public private(set) var skippedInARow = 0
  /// Inner updates behind all steps of the phase.
  public private(set) var innerSteps = 0
  /// How often lengths have grown by the law that waits for plateaus.
  public var growthLevel: Int { plateau.level }

  private let optimizer: any Optimizer
  private let packed: AlignedBuffer
  private let state: AlignedBuffer
  private let scratch: AlignedBuffer
  private let gradients: AlignedBuffer
  private let before: (packed: AlignedBuffer, state: AlignedBuffer)
  /// A learned outer optimizer's own theta, where that is not the one under training.
  private let outerTheta: AlignedBuffer?
  private let usesOwnTheta: Bool
  /// Updates that the optimizer has made before this phase.
  private var updatesBefore = 0
  private var gradient: OuterGradient
  private var noises: [Int: NoiseSum] = [:]
  private var sharedNoise: NoiseSum?
  private var plateau: PlateauWatch

  /// A learner at the start of a phase.
  ///
  /// - Parameters:
  ///   - theta: where the phase starts; copied.
  ///   - outer: the weights of a learned outer optimizer that the phase names by version.
  ///   - previous: the learner of the phase before, whose optimizer goes on where the phase says so.
  /// - Throws: `SpecError` for an outer optimizer that cannot make outer steps, or cannot go on.
  public init(
    _ problem: PhaseProblem, theta: AlignedBuffer, outer: Theta? = nil, after previous: OuterLearner? = nil
  ) throws {
    precondition(theta.floats == problem.thetaLayout.floats, "OuterLearner: theta has another layout")
    self.problem = problem
    self.theta = AlignedBuffer(floats: theta.floats)
    self.theta.copy(from: theta)
    let spec = problem.phase.outer
    let layout = Self.packedLayout(problem)
    (optimizer, outerTheta) = try Self.optimizer(problem, layout, outer)
    usesOwnTheta = spec.source == .own
    packed = AlignedBuffer(floats: layout.floats)
    gradients = AlignedBuffer(floats: layout.floats)
    state = AlignedBuffer(floats: optimizer.state.floats)
    scratch = AlignedBuffer(floats: optimizer.scratchFloats)
    before = (AlignedBuffer(floats: layout.floats), AlignedBuffer(floats: optimizer.state.floats))
    gradient = OuterGradient(
      mask: problem.mask, rule: GradientRule(problem.phase.estimator), taskWeights: problem.taskWeights)
    plateau = PlateauWatch(problem.phase.lengths)
    gather()
    if let previous, !problem.phase.resetsOuterOptimizer {
      guard previous.optimizer.name == optimizer.name, previous.optimizer.state == optimizer.state else {
        throw SpecError([
          Fault(
            path: "/reset_outer_optimizer",
            reason: "the optimizer can only go on where the phase before has the same one and trains the same leaves")
        ])
      }
      state.copy(from: previous.state)
      updatesBefore = previous.updatesBefore + previous.outerIteration
    } else {
      optimizer.initialize(state: state.pointer, parameters: packed.pointer, theta: thetaOfOptimizer)
    }
  }

  /// Goes on at the place of the learner of a phase whose settings were changed to this one's: at its outer iteration,
  /// and with what it knows of plateaus where lengths are drawn as before.
  ///
  /// An optimizer that began anew counts its own updates from here, and its schedule runs over the steps that are left.
  ///
  /// - Parameter previous: the one that was given as the one before, if the optimizer goes on.
  public func goOn(from previous: OuterLearner) {
    outerIteration = previous.outerIteration
    updatesBefore -= previous.outerIteration
    (skipped, innerSteps) = (previous.skipped, previous.innerSteps)
    if problem.phase.lengths == previous.problem.phase.lengths { plateau = previous.plateau }
  }

  /// Whether the phase has all the outer steps, or the inner ones, that it is to have.
  public var isOver: Bool {
    outerIteration >= problem.phase.outerSteps || problem.phase.innerStepsMax.map { innerSteps >= $0 } ?? false
  }

  private static func packedLayout(_ problem: PhaseProblem) -> ParameterLayout {
    let starts = Set(problem.mask.ranges.map(\.lowerBound))
    return ParameterLayout(
      problem.thetaLayout.tensors.filter { starts.contains($0.offset) && $0.count > 0 }.map { ($0.name, $0.shape) })
  }

  private static func optimizer(
    _ problem: PhaseProblem, _ layout: ParameterLayout, _ outer: Theta?
  ) throws -> (any Optimizer, AlignedBuffer?) {
    let spec = problem.phase.outer
    func refuse(_ reason: String) -> SpecError { SpecError([Fault(path: "/outer/optimizer", reason: reason)]) }
    let name = spec.optimizer.name
    var schema: ThetaSchema?
    switch spec.source {
    case .none: break
    case .own:
      guard name == problem.schema.name else {
        throw refuse("theta \"self\" is one of \(problem.schema.name.rawValue), not of \(name.rawValue)")
      }
      schema = problem.schema
    case .version(let version):
      guard let outer else { throw refuse("the weights of version \(version) are not at hand") }
      guard outer.schema.name == name else {
        throw refuse("version \(version) is one of \(outer.schema.name.rawValue), not of \(name.rawValue)")
      }
      schema = outer.schema
    }
    do { try OptimizerCatalog.checkSize(of: layout, for: name) } catch { throw refuse(error.faults[0].reason) }
    let made = OptimizerCatalog.make(
      spec.optimizer, parameters: layout, theta: schema, totalSteps: problem.phase.outerSteps, level: problem.level)
    guard made.needs.isDisjoint(with: [.problem, .noGradient]), !made.evaluatesElsewhere else {
      throw refuse("\(name.rawValue) evaluates the loss at other points than theta, which an outer step cannot")
    }
    return (
      spec.accumulate > 1 ? GradientAccumulation(made, group: spec.accumulate) : made,
      spec.source == .own ? nil : outer?.aligned()
    )
  }

  private var thetaOfOptimizer: UnsafePointer<Float>? {
    usesOwnTheta ? UnsafePointer(theta.pointer) : outerTheta.map { UnsafePointer($0.pointer) }
  }

  // MARK: Steps

  /// What windows of the next outer step are told.
  ///
  /// - Parameter version: theta's number in the campaign.
  public func context(version: Int) -> WindowContext {
    WindowContext(version: version, outerIteration: outerIteration, growthLevel: growthLevel)
  }

  /// Shares the noise sums that a group of this process keeps running, so that none is made twice.
  func adopt(_ group: ParticleGroup) {
    for particle in group.particles { noises[particle.pair] = particle.noise }
  }

  /// One outer step. The order of the results changes no bit.
  ///
  /// - Parameter results: at most one of each group and window, each of this phase's problem.
  public func step(_ results: [Input]) -> StepReport {
    var tasks: [[WeighedOutcome]] = problem.tasks.map { _ in [] }
    let discount = problem.phase.policy.discount
    var innerSteps = 0
    for input in results.sorted(by: { ($0.result.group, $0.result.window) < ($1.result.group, $1.result.window) }) {
      let group = problem.groups[input.result.group]
      precondition(input.result.outcomes.count == group.pairs.count, "OuterLearner: the result of another phase")
      let weight = discount == 0 ? 1 : pow(1 + Double(max(0, input.staleness)), -discount)
      for (pair, outcome) in zip(group.pairs, input.result.outcomes) {
        tasks[group.task].append(WeighedOutcome(pair: pair, outcome: outcome, weight: weight))
      }
      innerSteps += input.result.innerSteps
    }
    let estimate = gradient.estimate(tasks) { [self] in noise($0) }
    self.innerSteps += innerSteps
    var report = StepReport(
      outerIteration: outerIteration + 1, meanLoss: estimate.meanLoss, surviving: estimate.surviving,
      gradientNorm: 0, updateNorm: 0, clippedShare: 0, innerSteps: innerSteps)
    if estimate.isEmpty {
      report.skipped = "no pair gave a finite loss"
    } else {
      report.gradientNorm = estimate.values.reduce(0) { $0 + $1 * $1 }.squareRoot()
      report.clippedShare = place(estimate.values)
      apply(loss: estimate.meanLoss, &report)
    }
    outerIteration += 1
    plateau.enter(estimate.meanLoss)
    if let reason = report.skipped {
      skipped += 1
      skippedInARow += 1
      if skippedInARow >= Self.skipsMax {
        report.mustPause = "\(skippedInARow) outer steps in a row were refused, the last one because \(reason)"
      }
    } else {
      skippedInARow = 0
    }
    return report
  }

  /// Bounds the gradient and places it where the optimizer wants it; returns the share of coordinates that were cut.
  private func place(_ values: [Double]) -> Double {
    let spec = problem.phase.outer
    let bound = spec.clip ?? .infinity
    var cut = 0
    var square = 0.0
    for value in values {
      if abs(value) > bound { cut += 1 }
      let clipped = min(max(value, -bound), bound)
      square += clipped * clipped
    }
    let norm = square.squareRoot()
    let factor = spec.normClip.map { norm > $0 ? $0 / norm : 1 } ?? 1
    var index = 0
    for tensor in optimizer.parameters.tensors {
      for place in tensor.offset..<tensor.offset + tensor.count {
        gradients.pointer[place] = Float(min(max(values[index], -bound), bound) * factor)
        index += 1
      }
    }
    return values.isEmpty ? 0 : Double(cut) / Double(values.count)
  }

  private func apply(loss: Double, _ report: inout StepReport) {
    guard gradients.buffer.allSatisfy(\.isFinite) else {
      report.skipped = "the averaged gradient is not finite"
      return
    }
    gather()
    before.packed.copy(from: packed)
    before.state.copy(from: state)
    optimizer.update(
      parameters: packed.pointer, gradients: gradients.pointer, state: state.pointer, scratch: scratch.pointer,
      step: OptimizerStep(
        iteration: updatesBefore + outerIteration, totalSteps: updatesBefore + problem.phase.outerSteps,
        loss: Float(loss), theta: thetaOfOptimizer, key: problem.key(ofStep: outerIteration)))
    var square = 0.0
    for tensor in optimizer.parameters.tensors {
      for place in tensor.offset..<tensor.offset + tensor.count {
        let move = Double(packed.pointer[place]) - Double(before.packed.pointer[place])
        square += move * move
      }
    }
    guard square.isFinite else {
      packed.copy(from: before.packed)
      state.copy(from: before.state)
      report.skipped = "the optimizer's update is not finite"
      return
    }
    report.updateNorm = square.squareRoot()
    scatter()
  }

  /// Copies the trained leaves out of theta.
  private func gather() {
    for (range, tensor) in zip(problem.mask.ranges, optimizer.parameters.tensors) {
      (packed.pointer + tensor.offset).update(from: theta.pointer + range.lowerBound, count: range.count)
    }
  }

  private func scatter() {
    for (range, tensor) in zip(problem.mask.ranges, optimizer.parameters.tensors) {
      (theta.pointer + range.lowerBound).update(from: packed.pointer + tensor.offset, count: range.count)
    }
  }

  // MARK: Noise

  /// Sums of noises that this learner may keep for pairs that others run.
  static let keptBytesMax = 1 << 30

  /// The sum of a row's noises.
  private func noise(_ row: WindowRow) -> UnsafePointer<Float> {
    if let sum = noises[row.pair] { return sum.sum(row.firstNoise, row.lastNoise) }
    // Sums that grow from window to window are kept where they fit; others are made when they are wanted.
    let rule = problem.setting.rule
    let grows = rule.accumulates && rule.noise != .perEpisode
    if grows, problem.pairs.count * problem.mask.count * 8 <= Self.keptBytesMax {
      let sum = NoiseSum(problem.noise(ofPair: row.pair))
      noises[row.pair] = sum
      return sum.sum(row.firstNoise, row.lastNoise)
    }
    let sum = sharedNoise ?? NoiseSum(problem.noise(ofPair: row.pair))
    sharedNoise = sum
    sum.reset(to: problem.noise(ofPair: row.pair))
    return sum.sum(row.firstNoise, row.lastNoise)
  }

  // MARK: Theta and snapshots

  /// The theta of the last outer step.
  public func theta(provenance: [String: String] = [:]) throws -> Theta {
    try Theta(
      schema: problem.schema, values: Array(UnsafeBufferPointer(start: theta.pointer, count: theta.floats)),
      provenance: provenance)
  }

  private static let form: UInt32 = 1

  /// All that the next steps depend on, as bytes.
  public func snapshot() -> [UInt8] {
    var sealer = ByteSealer(kind: "TYOL", version: Self.form, owner: problem.fingerprint)
    for count in [outerIteration, skipped, skippedInARow, innerSteps] { sealer.append(UInt64(count)) }
    // Negative where an optimizer began anew in the midst of a phase.
    sealer.append(UInt64(bitPattern: Int64(updatesBefore)))
    plateau.write(&sealer)
    sealer.append(UInt64(theta.floats))
    sealer.append(theta)
    sealer.append(UInt64(state.floats))
    sealer.append(state)
    return sealer.sealed()
  }

  /// Puts the learner where ``snapshot()`` was taken; on an error it stays as it was.
  ///
  /// - Throws: ``SnapshotError`` for bytes that are damaged or another phase's.
  public func restore(_ bytes: [UInt8]) throws(SnapshotError) {
    let name = "the snapshot of the outer learner"
    var reader = try SealedReader(
      bytes[...], kind: "TYOL", version: Self.form, owner: problem.fingerprint, name: name)
    var counts: [Int] = []
    for _ in 0..<4 {
      let count = try reader.integer(UInt64.self)
      guard count < 1 << 60 else { throw SnapshotError("\(name): \(count) is no number of steps") }
      counts.append(Int(count))
    }
    let updatesBefore = Int64(bitPattern: try reader.integer(UInt64.self))
    guard (-(1 << 60)...1 << 60).contains(updatesBefore), counts[0] + Int(updatesBefore) >= 0 else {
      throw SnapshotError("\(name): \(updatesBefore) is no number of steps")
    }
    var plateau = self.plateau
    try plateau.read(&reader)
    let floats = AlignedBuffer(floats: theta.floats), state = AlignedBuffer(floats: self.state.floats)
    for buffer in [floats, state] {
      let count = try reader.integer(UInt64.self)
      guard count == buffer.floats else {
        throw SnapshotError("\(name): expected \(buffer.floats) numbers, got \(count)")
      }
      try reader.floats(into: buffer)
    }
    try reader.finish()
    guard floats.buffer.allSatisfy(\.isFinite) else { throw SnapshotError("\(name): theta is not finite") }
    (outerIteration, skipped, skippedInARow) = (counts[0], counts[1], counts[2])
    (innerSteps, self.updatesBefore) = (counts[3], Int(updatesBefore))
    self.plateau = plateau
    theta.copy(from: floats)
    self.state.copy(from: state)
  }
}
