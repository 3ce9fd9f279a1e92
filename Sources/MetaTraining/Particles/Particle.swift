// A particle: an antithetic pair that goes through episodes window by window. ParticleRule says how; the whole outcome of
// a window follows from the pair's key, its counters, its trainings and theta, whichever thread runs it.
//
//   gradient of one window:  sum over rows of (sum of loss+ - loss-) * xi / (2 sigma^2 * steps)
//
// A row is a stretch of steps with the same noises. An episode that ends within a window ends a row: its steps are
// credited to its own noises, and those of the next one to the noises that act from there on.
import Compute
import Contract
import Foundation

/// One thread's memory for theta + eps, theta - eps and eps; every window writes it anew.
final class PerturbedTheta {
  let plus: AlignedBuffer
  let minus: AlignedBuffer
  let epsilon: AlignedBuffer

  init(thetaFloats: Int, mask: ThetaMask) {
    plus = AlignedBuffer(floats: thetaFloats)
    minus = AlignedBuffer(floats: thetaFloats)
    epsilon = AlignedBuffer(floats: mask.count)
  }
}

/// One thread's memory for running particles on one problem.
final class ParticleLane<Problem: UnrolledProblem> {
  let problem: Problem
  private let perturbed: PerturbedTheta
  var plus: AlignedBuffer { perturbed.plus }
  var minus: AlignedBuffer { perturbed.minus }
  var epsilon: AlignedBuffer { perturbed.epsilon }
  private var trainings: [Problem.Training] = []

  /// - Parameter perturbed: may be that of the thread's other lanes.
  init(_ problem: Problem, _ perturbed: PerturbedTheta) {
    self.problem = problem
    self.perturbed = perturbed
  }

  /// Memory for trainings that end with the window.
  func passing(_ index: Int) -> Problem.Training {
    while trainings.count <= index { trainings.append(problem.makeTraining()) }
    return trainings[index]
  }
}

/// What all particles of a phase share.
struct ParticleSetting: Sendable {
  let rule: ParticleRule
  let mask: ThetaMask
  let lengths: LengthSchedule
  /// Of what pairs draw together: the lengths of whole episodes.
  let sharedKey: RandomKey

  /// The length of an episode that begins, from the key of its draws.
  func length(_ key: RandomKey, _ context: WindowContext) -> Int {
    lengths.length(
      uniform: RandomKey.uniform(key.words(block: 0).0), normal: Double(key.normals(block: 1).0),
      at: context.outerIteration, level: context.growthLevel)
  }
}

/// One antithetic pair. Used by one thread at a time.
final class Particle<Problem: UnrolledProblem> {
  let pair: Int
  let noise: NoiseSum
  private let setting: ParticleSetting
  private var rule: ParticleRule { setting.rule }
  private let key: RandomKey
  /// Where the first episode is cut to.
  private let firstShare: Double
  var position = PairPosition()
  /// As many as the rule keeps.
  let trainings: [Problem.Training]

  // Of the window that is running.
  private var outcome = PairOutcome()
  private var rowSum = 0.0
  private var rowCount = 0
  private var weightScale = 1.0
  private var isFinite = true

  /// - Parameters:
  ///   - pair: its number in the phase, for its rows.
  ///   - firstShare: from 0 to 1; another one for each pair of a task.
  init(
    pair: Int, key: RandomKey, noise: PairNoise, setting: ParticleSetting, firstShare: Double, problem: Problem
  ) {
    self.pair = pair
    self.key = key
    // Where an episode ends inside a window, the sums of both are wanted.
    self.noise = NoiseSum(noise, keeping: setting.rule.trainings == .persistent ? 2 : 1)
    self.setting = setting
    self.firstShare = firstShare
    trainings = (0..<setting.rule.keptTrainings).map { _ in problem.makeTraining() }
  }

  /// Runs a window around `theta`, which has as many floats as the lane's memory for it.
  func run(_ lane: ParticleLane<Problem>, theta: UnsafePointer<Float>, context: WindowContext) -> PairOutcome {
    outcome = PairOutcome()
    (rowSum, rowCount, isFinite) = (0, 0, true)
    switch rule.trainings {
    case .wholeEpisodes: runEpisode(lane, theta, context)
    case .differentiated: differentiateWindow(lane, theta, context)
    case .persistent, .shared: runWindow(lane, theta, context)
    }
    position.windows += 1
    if !isFinite {
      (position.length, position.planned, position.step) = (0, 0, 0)
      position.firstNoise = position.drawn
      (outcome.rows, outcome.dense) = ([], [])
      (outcome.lossSum, outcome.counted, outcome.isDropped) = (0, 0, true)
    }
    return outcome
  }

  // MARK: Windows

  private func runWindow(_ lane: ParticleLane<Problem>, _ theta: UnsafePointer<Float>, _ context: WindowContext) {
    let members = Members(rule.trainings, trainings, lane)
    if position.step < position.length {
      lane.problem.select(variant: Int(position.variant))
      members.begin(lane.problem)
    }
    var slot = 0
    var isDrawn = false
    var isPerturbed = false
    while slot < rule.window, isFinite {
      let isNew = position.step >= position.length
      if isNew {
        // The published code spends a step on every reset but the first.
        if rule.isLegacyCredit, position.episodes > 0 { slot += 1 }
        beginEpisode(lane, theta, context, members)
      }
      switch rule.noise {
      case .perEpisode where isNew, .perWindow where !isDrawn:
        draw(lane)
        isPerturbed = false
      case .every(let steps) where isNew || position.noiseSteps >= steps:
        draw(lane)
        isPerturbed = false
      default:
        if !isPerturbed, !isDrawn { noise.vector(position.drawn - 1, into: lane.epsilon.pointer) }
      }
      isDrawn = true
      let newest = position.drawn - 1
      if !rule.accumulates || (isNew && !rule.isLegacyCredit) { position.firstNoise = newest }
      noise.keep(first: position.firstNoise, last: newest, vector: lane.epsilon.pointer)
      if !isPerturbed { perturb(lane, theta) }
      isPerturbed = true
      if isNew { members.reset(lane, theta, self) }
      var count = min(rule.window - slot, Int(position.length - position.step))
      if case .every(let steps) = rule.noise { count = min(count, steps - Int(position.noiseSteps)) }
      let endsEpisode = Int(position.length - position.step) == count
      if rule.isLegacyCredit, endsEpisode, count > 0 {
        advance(lane, theta, members, steps: count - 1)
        closeRow()
        position.firstNoise = newest
        noise.keep(first: newest, last: newest, vector: lane.epsilon.pointer)
        if position.step < position.length { advance(lane, theta, members, steps: 1) }
      } else {
        advance(lane, theta, members, steps: count)
      }
      closeRow()
      slot += count
    }
  }

  /// A window without noise: the derivative of what it counts, by stretches of one episode each.
  private func differentiateWindow(
    _ lane: ParticleLane<Problem>, _ theta: UnsafePointer<Float>, _ context: WindowContext
  ) {
    let training = trainings[0]
    var total = [Double](repeating: 0, count: lane.plus.floats)
    var slot = 0
    if position.step < position.length { lane.problem.select(variant: Int(position.variant)) }
    while slot < rule.window, isFinite {
      if position.step >= position.length {
        // Numbers its episodes as other pairs number their noises.
        position.firstNoise = position.drawn
        position.drawn += 1
        beginEpisode(lane, theta, context, nil)
        if position.step == 0 { lane.problem.reset(training, initial: initialKey, episode: drawnKey, theta: theta) }
      }
      let steps = min(rule.window - slot, Int(position.length - position.step))
      let found = lane.problem.differentiate(
        training, theta: theta,
        stretch: DifferentiatedStretch(
          iteration: Int(position.step), steps: steps, totalSteps: Int(position.planned),
          batches: episodeKey.derive(7, 0, 0), thetaFloats: lane.plus.floats
        ) { [self] step, loss in
          (weight(step) * rule.counted(loss), weight(step) * rule.countedDerivative(loss))
        })
      isFinite = found.isFinite
      for index in total.indices { total[index] += found.gradient[index] }
      outcome.lossSum += found.lossSum
      outcome.counted += steps
      outcome.innerSteps += steps
      position.step += UInt32(steps)
      slot += steps
    }
    outcome.dense = setting.mask.ranges.flatMap { $0.map { Float(total[$0]) } }
    isFinite = isFinite && outcome.dense.allSatisfy(\.isFinite)
  }

  /// Begins an episode, but for its trainings, which begin where their thetas are known.
  private func beginEpisode(
    _ lane: ParticleLane<Problem>, _ theta: UnsafePointer<Float>, _ context: WindowContext, _ members: Members<Problem>?
  ) {
    let isFirst = position.episodes == 0
    position.episodes += 1
    let key = episodeKey
    let words = key.derive(6, 0, 0).words(block: 0)
    let drawn = setting.length(key.derive(6, 0, 0), context)
    var length = drawn
    var planned = drawn
    if isFirst {
      switch rule.stagger {
      case .none, .burnIn: break
      case .offset: length -= Int(Double(length) * RandomKey.uniform(words.2))
      case .spread:
        length = max(1, Int((Double(length) * firstShare).rounded()))
        planned = length
      }
    }
    position.length = UInt32(length)
    position.planned = UInt32(planned)
    position.step = 0
    // Word 1 of this block, so that one variant more or less changes no length.
    position.variant = UInt32((UInt64(words.1) * UInt64(lane.problem.variantCount)) >> 32)
    weigh()
    lane.problem.select(variant: Int(position.variant))
    if isFirst, rule.stagger == .burnIn {
      let windows = (length + rule.window - 1) / rule.window
      burnIn(
        lane, theta, members, steps: min(length - 1, rule.window * Int(Double(windows) * RandomKey.uniform(words.2))))
    }
  }

  /// Brings the first episode to a step of its course under theta itself.
  private func burnIn(
    _ lane: ParticleLane<Problem>, _ theta: UnsafePointer<Float>, _ members: Members<Problem>?, steps: Int
  ) {
    let training = trainings[0]
    lane.problem.reset(training, initial: initialKey, episode: drawnKey, theta: theta)
    for _ in 0..<steps {
      lane.problem.drawBatch(stepKey)
      let loss = lane.problem.advance(
        training, theta: theta, iteration: Int(position.step), totalSteps: Int(position.planned))
      isFinite = isFinite && (loss.isFinite || rule.usesCeiling)
      position.step += 1
    }
    outcome.innerSteps += steps
    if rule.trainings == .persistent { lane.problem.copy(training, into: trainings[1]) }
    members?.begin(lane.problem)
  }

  private func draw(_ lane: ParticleLane<Problem>) {
    // Not through `noise`, which may keep vector sums alone.
    noise.vector(position.drawn, into: lane.epsilon.pointer)
    position.drawn += 1
    position.noiseSteps = 0
  }

  private func perturb(_ lane: ParticleLane<Problem>, _ theta: UnsafePointer<Float>) {
    let floats = lane.plus.floats
    setting.mask.perturb(lane.plus.pointer, theta, floats: floats, lane.epsilon.pointer, sign: 1)
    setting.mask.perturb(lane.minus.pointer, theta, floats: floats, lane.epsilon.pointer, sign: -1)
  }

  /// Runs steps on which nothing of the noise changes.
  private func advance(
    _ lane: ParticleLane<Problem>, _ theta: UnsafePointer<Float>, _ members: Members<Problem>, steps: Int
  ) {
    let problem = lane.problem
    let plus = UnsafePointer(lane.plus.pointer), minus = UnsafePointer(lane.minus.pointer)
    let batches = episodeKey.derive(7, 0, 0)
    let total = Int(position.planned)
    var made = 0
    while made < steps {
      made += 1
      let step = Int(position.step)
      problem.drawBatch(batches.derive(8, position.step, 0))
      let up = problem.advance(members.plus, theta: plus, iteration: step, totalSteps: total)
      let down = problem.advance(members.minus, theta: minus, iteration: step, totalSteps: total)
      if let mean = members.mean { _ = problem.advance(mean, theta: theta, iteration: step, totalSteps: total) }
      if rule.measure == .steps {
        count(problem, up, down, weight: weight(step))
      } else if !rule.usesCeiling {
        isFinite = isFinite && up.isFinite && down.isFinite
      }
      position.step += 1
      position.noiseSteps += 1
      observe(problem, members)
      let done = Int(position.step)
      if rule.isMeasured(done, of: Int(position.length)) {
        problem.drawBatch(episodeKey.derive(9, position.step, 1))
        count(
          problem, problem.loss(members.plus, iteration: done), problem.loss(members.minus, iteration: done),
          weight: weight(done - 1))
      }
      // What is dropped anyway need not be run to its end; where both members count as the worst, no difference follows.
      if !isFinite { break }
      if !up.isFinite, !down.isFinite {
        position.length = position.step
        break
      }
    }
    outcome.innerSteps += made * (members.mean == nil ? 2 : 3)
  }

  /// Tells the optimizers a validation loss where they are to know one.
  private func observe(_ problem: Problem, _ members: Members<Problem>) {
    let done = Int(position.step)
    guard let every = rule.observedEvery, done % every == 0 else { return }
    problem.drawBatch(episodeKey.derive(9, position.step, 0))
    problem.observe(members.plus, validationLoss: problem.loss(members.plus, iteration: done))
    problem.observe(members.minus, validationLoss: problem.loss(members.minus, iteration: done))
    if let mean = members.mean { problem.observe(mean, validationLoss: problem.loss(mean, iteration: done)) }
  }

  /// Counts one raw loss of each member in the row that is being made.
  @inline(__always)
  private func count(_ problem: Problem, _ up: Double, _ down: Double, weight: Double) {
    let a = normalised(problem, up), b = normalised(problem, down)
    rowSum += weight * (rule.counted(a) - rule.counted(b))
    rowCount += 1
    outcome.lossSum += 0.5 * (a + b)
  }

  /// The normalised loss; notes where there is none.
  private func normalised(_ problem: Problem, _ raw: Double) -> Double {
    if raw.isFinite {
      let loss = problem.normalised(raw)
      isFinite = isFinite && loss.isFinite
      return loss
    }
    // The largest loss that the normaliser knows; where it knows none, the pair is dropped all the same.
    let ceiling = problem.normalised(.infinity)
    isFinite = isFinite && rule.usesCeiling && ceiling.isFinite
    return ceiling
  }

  private func closeRow() {
    outcome.counted += rowCount
    if rowCount > 0 {
      outcome.rows.append(
        WindowRow(
          pair: pair, firstNoise: position.firstNoise, lastNoise: position.drawn - 1, sum: rowSum, count: rowCount))
    }
    (rowSum, rowCount) = (0, 0)
  }

  // MARK: Whole episodes

  private func runEpisode(_ lane: ParticleLane<Problem>, _ theta: UnsafePointer<Float>, _ context: WindowContext) {
    let shared = setting.sharedKey.derive(12, UInt32(context.outerIteration), 0)
    let length = max(10, setting.length(shared, context) / 10 * 10)
    position.episodes += 1
    (position.step, position.length, position.planned) = (0, UInt32(length), UInt32(length))
    let own = episodeKey.derive(6, 0, 0).words(block: 0)
    position.variant = UInt32((UInt64(own.1) * UInt64(lane.problem.variantCount)) >> 32)
    lane.problem.select(variant: Int(position.variant))
    weigh()
    draw(lane)
    position.firstNoise = position.drawn - 1
    noise.keep(first: position.firstNoise, last: position.firstNoise, vector: lane.epsilon.pointer)
    perturb(lane, theta)
    let members = Members(rule.trainings, trainings, lane)
    members.reset(lane, theta, self)
    var measure = EpisodeMeasure(rule.measure)
    let problem = lane.problem
    let batches = episodeKey.derive(7, 0, 0)
    while position.step < position.length, isFinite {
      let step = Int(position.step)
      problem.drawBatch(batches.derive(8, position.step, 0))
      let up = problem.advance(members.plus, theta: lane.plus.pointer, iteration: step, totalSteps: length)
      let down = problem.advance(members.minus, theta: lane.minus.pointer, iteration: step, totalSteps: length)
      enter(&measure, .step, problem, up, down, weight: weight(step))
      position.step += 1
      let done = Int(position.step)
      observe(problem, members)
      if rule.isMeasured(done, of: length) {
        problem.drawBatch(episodeKey.derive(9, position.step, 1))
        enter(
          &measure, .validation, problem, problem.loss(members.plus, iteration: done),
          problem.loss(members.minus, iteration: done), weight: weight(step))
      }
    }
    outcome.innerSteps = 2 * Int(position.step)
    for batch in 0..<(isFinite ? measure.batchesAtEnd : 0) {
      problem.drawBatch(episodeKey.derive(9, UInt32(batch), 2))
      enter(
        &measure, .end, problem, problem.loss(members.plus, iteration: length),
        problem.loss(members.minus, iteration: length), weight: 1)
    }
    let (up, down) = measure.result
    (rowSum, rowCount) = (up - down, 1)
    outcome.lossSum = measure.meanLoss
    closeRow()
    position.length = position.step
  }

  private func enter(
    _ measure: inout EpisodeMeasure, _ moment: EpisodeMeasure.Moment, _ problem: Problem, _ up: Double, _ down: Double,
    weight: Double
  ) {
    let a = normalised(problem, up), b = normalised(problem, down)
    measure.enter(moment, rule.counted(a), rule.counted(b), weight: weight, loss: 0.5 * (a + b))
  }

  // MARK: Keys and weights

  /// The key of the running episode; that of another number for each, so that a pair that was dropped starts anew.
  private var episodeKey: RandomKey { key.derive(3, position.episodes - 1, 0) }
  fileprivate var initialKey: RandomKey { episodeKey.derive(4, 0, 0) }
  fileprivate var drawnKey: RandomKey { episodeKey.derive(6, 1, 0) }
  private var stepKey: RandomKey { episodeKey.derive(7, 0, 0).derive(8, position.step, 0) }

  /// Finds what makes the weights of the episode's steps 1 on average.
  private func weigh() {
    guard rule.power != 0 else { return }
    let length = Double(position.length)
    var sum = 0.0
    for step in 1...max(1, position.length) { sum += pow(Double(step) / length, rule.power) }
    weightScale = length / sum
  }

  private func weight(_ step: Int) -> Double {
    rule.power == 0 ? 1 : weightScale * pow(Double(step + 1) / Double(position.length), rule.power)
  }

  /// Called after the counters were read from a snapshot.
  func resume() { if position.length > 0 { weigh() } }
}

/// The trainings that a window steps.
private struct Members<Problem: UnrolledProblem> {
  let plus: Problem.Training
  let minus: Problem.Training
  /// Under theta itself, where the next window begins at it.
  var mean: Problem.Training?
  private let isShared: Bool

  init(_ rule: ParticleRule.Trainings, _ kept: [Problem.Training], _ lane: ParticleLane<Problem>) {
    switch rule {
    case .persistent: (plus, minus, isShared) = (kept[0], kept[1], false)
    case .shared(isMean: false): (plus, minus, isShared) = (kept[0], lane.passing(0), true)
    case .shared(isMean: true): (plus, minus, mean, isShared) = (lane.passing(0), lane.passing(1), kept[0], true)
    case .wholeEpisodes, .differentiated: (plus, minus, isShared) = (lane.passing(0), lane.passing(1), false)
    }
  }

  /// Makes members that begin at one state begin there.
  func begin(_ problem: Problem) {
    guard isShared else { return }
    if let mean { problem.copy(mean, into: plus) }
    problem.copy(mean ?? plus, into: minus)
  }

  /// Puts all at the start of the particle's episode, but where it began before.
  func reset(_ lane: ParticleLane<Problem>, _ theta: UnsafePointer<Float>, _ particle: Particle<Problem>) {
    guard particle.position.step == 0 else { return }
    let initial = particle.initialKey, drawn = particle.drawnKey
    lane.problem.reset(plus, initial: initial, episode: drawn, theta: lane.plus.pointer)
    lane.problem.reset(minus, initial: initial, episode: drawn, theta: lane.minus.pointer)
    if let mean { lane.problem.reset(mean, initial: initial, episode: drawn, theta: theta) }
  }
}
