// A group: the pairs of one task that are run together, with their states between windows. Its snapshot goes on with the
// same bits wherever it is restored; PhaseProblem makes what it needs.
import Compute
import Contract
import Foundation

/// One thread's memory for running any group of a phase.
public final class CampaignLane {
  private let problem: PhaseProblem
  private let perturbed: PerturbedTheta
  private var lanes: [ParticleLane<InnerLane>?]

  /// Memory is allocated when a task is run first.
  public init(_ problem: PhaseProblem) {
    self.problem = problem
    perturbed = PerturbedTheta(thetaFloats: problem.thetaLayout.floats, mask: problem.mask)
    lanes = Array(repeating: nil, count: problem.tasks.count)
  }

  /// The lane of one task.
  func lane(_ task: Int) -> ParticleLane<InnerLane> {
    if let lane = lanes[task] { return lane }
    let lane = ParticleLane(InnerLane(problem.tasks[task]), perturbed)
    lanes[task] = lane
    return lane
  }
}

/// The pairs of one group. Used by one thread at a time, but for different pairs.
public final class ParticleGroup {
  /// Which pairs these are.
  public let group: PhaseProblem.Group
  let particles: [Particle<InnerLane>]
  private let problem: PhaseProblem

  /// A group whose pairs have run no window.
  public init(_ problem: PhaseProblem, _ group: PhaseProblem.Group, _ lane: CampaignLane) {
    self.problem = problem
    self.group = group
    let pairsOfTask = Double(problem.pairs.count { $0.task == group.task })
    particles = group.pairs.map { pair in
      Particle(
        pair: pair, key: problem.key(ofPair: pair), noise: problem.noise(ofPair: pair), setting: problem.setting,
        firstShare: (Double(problem.pairs[pair].index) + 0.5) / pairsOfTask, problem: lane.lane(group.task).problem)
    }
  }

  /// Makes pairs that have run no window draw other noises, episodes and batches than those that were lost before them: their
  /// counters start so much higher. They are not spread over the phases of training again.
  ///
  /// - Parameter generation: how often the pairs were lost, 1 to ``generationsMax``.
  public func beginAnew(generation: Int) {
    precondition((1...Self.generationsMax).contains(generation), "ParticleGroup: \(generation) is no generation")
    for particle in particles {
      particle.position = PairPosition()
      let first = UInt32(generation) << 24
      (particle.position.drawn, particle.position.firstNoise, particle.position.episodes) = (first, first, first)
    }
  }

  /// How often pairs may begin anew.
  public static let generationsMax = 60

  /// Windows run.
  public var windows: Int { Int(particles[0].position.windows) }

  /// Runs a window of every pair around `theta`, which lies in the problem's layout.
  public func run(_ context: WindowContext, theta: AlignedBuffer, _ lane: CampaignLane) -> GroupResult {
    precondition(theta.floats == problem.thetaLayout.floats, "ParticleGroup: theta has another layout")
    let memory = lane.lane(group.task)
    let window = windows
    return GroupResult(
      group: group.index, window: window, version: context.version,
      outcomes: particles.map { $0.run(memory, theta: theta.pointer, context: context) })
  }

  // MARK: Snapshots

  private static let form: UInt32 = 1

  /// The group between two windows, as bytes.
  public func snapshot() -> [UInt8] {
    var sealer = ByteSealer(kind: "TYPG", version: Self.form, owner: problem.fingerprint(group))
    for particle in particles {
      for field in PairPosition.fields { sealer.append(particle.position[keyPath: field]) }
    }
    for particle in particles {
      for training in particle.trainings {
        sealer.append(training.parameters)
        sealer.append(training.state)
        sealer.append(training.memory)
      }
    }
    return sealer.sealed()
  }

  /// Puts the group where ``snapshot()`` was taken; on an error it stays as it was.
  ///
  /// - Throws: ``SnapshotError`` for bytes that are damaged or another group's.
  public func restore(_ bytes: [UInt8]) throws(SnapshotError) {
    let name = "the snapshot of group \(group.index)"
    var reader = try SealedReader(
      bytes[...], kind: "TYPG", version: Self.form, owner: problem.fingerprint(group), name: name)
    var positions: [PairPosition] = []
    for particle in particles {
      var position = PairPosition()
      for field in PairPosition.fields { position[keyPath: field] = try reader.integer(UInt32.self) }
      guard position.isPossible(variants: problem.tasks[group.task].variants.count) else {
        throw SnapshotError("\(name): pair \(particle.pair) is where no pair can be")
      }
      positions.append(position)
    }
    guard Set(positions.map(\.windows)).count == 1 else {
      throw SnapshotError("\(name): its pairs have run different numbers of windows")
    }
    let floats = particles.flatMap(\.trainings).reduce(0) {
      $0 + $1.parameters.floats + $1.state.floats + $1.memory.floats
    }
    guard reader.left == 4 * floats else {
      throw SnapshotError("\(name): expected \(4 * floats) bytes of trainings, got \(reader.left)")
    }
    for (particle, position) in zip(particles, positions) {
      for training in particle.trainings {
        try reader.floats(into: training.parameters)
        try reader.floats(into: training.state)
        try reader.floats(into: training.memory)
      }
      particle.position = position
      particle.resume()
    }
  }

  /// The size of a snapshot.
  public var snapshotBytes: Int {
    let training = particles[0].trainings.reduce(0) {
      $0 + 4 * ($1.parameters.floats + $1.state.floats + $1.memory.floats)
    }
    return 24 + particles.count * (4 * PairPosition.fields.count + training)
  }
}
