// A particle: an antithetic pair of inner trainings that goes through episodes window by window. Both estimators
// run it the same way and differ in the noise alone:
//
//   PES   a fresh eps for every window, xi = sum of the episode's eps so far   (Vicol et al. 2021)
//   NRES  one eps for the whole episode, xi = eps                              (Li et al. 2023)
//
//   gradient of one window:  (mean over its steps of loss+ - loss-) * xi / (2 sigma^2)
//
// Episode lengths are whole numbers of windows, so no episode ends inside one and every step is credited to the
// noises that acted on it.
import Compute
import Contract
import Foundation

/// Where the trained coordinates of theta lie.
struct ThetaMask: Sendable {
  let ranges: [Range<Int>]
  let count: Int

  /// The tensors of `layout` whose name starts with one of the prefixes; all of them without prefixes.
  init(_ layout: ParameterLayout, prefixes: [String]) {
    let chosen = layout.tensors.filter { tensor in
      prefixes.isEmpty || prefixes.contains { tensor.name.hasPrefix($0) }
    }
    ranges = chosen.map { $0.offset..<$0.offset + $0.count }
    count = ranges.reduce(0) { $0 + $1.count }
  }
}

/// What a window measured.
struct WindowOutcome: Sendable {
  /// Mean over the window's steps of the two members' loss difference; 0 when the particle was dropped.
  var difference: Double
  /// Mean normalised loss of both members over the window.
  var meanLoss: Double
  /// False when a loss was not finite: the pair counts in no average and starts anew.
  var isValid: Bool
}

/// One antithetic pair. Used by one thread at a time.
final class Particle {
  let task: InnerTask
  private let key: RandomKey
  private let estimator: EstimatorSpec
  private let lengths: LengthSchedule
  private let positive: Member
  private let negative: Member
  /// The noise that weighs the loss difference, over the trained coordinates; times sigma already.
  private(set) var xi: [Float]
  private var epsilon: [Float]
  private var variant = 0
  private var episode = -1
  private var step = 0
  private var length = 0
  private let firstShare: Double

  /// - Parameter firstShare: the first episode is cut to this share, so that particles are at all phases of
  ///   training from the start.
  init(
    _ lane: InnerLane, key: RandomKey, estimator: EstimatorSpec, lengths: LengthSchedule, mask: ThetaMask,
    firstShare: Double
  ) {
    task = lane.task
    self.key = key
    self.estimator = estimator
    self.lengths = lengths
    self.firstShare = firstShare
    positive = Member(lane)
    negative = Member(lane)
    xi = [Float](repeating: 0, count: mask.count)
    epsilon = xi
  }

  /// Runs both members for one window around `theta`.
  func runWindow(_ lane: InnerLane, theta: AlignedBuffer, mask: ThetaMask) -> WindowOutcome {
    let isNewEpisode = step >= length
    if isNewEpisode { beginEpisode() }
    drawNoise(isNewEpisode: isNewEpisode)
    perturb(lane.thetaPlus, theta, mask, sign: 1)
    perturb(lane.thetaMinus, theta, mask, sign: -1)
    let episodeKey = key.derive(3, UInt32(episode), 0)
    lane.select(variant: variant)
    if isNewEpisode {
      let initial = episodeKey.derive(4, 0, 0)
      let drawn = key.derive(6, UInt32(episode), 0)
      lane.reset(positive, initial: initial, episode: drawn, theta: lane.thetaPlus.pointer)
      lane.reset(negative, initial: initial, episode: drawn, theta: lane.thetaMinus.pointer)
    }
    let batches = episodeKey.derive(7, 0, 0)
    var difference = 0.0
    var sum = 0.0
    var isFinite = true
    for _ in 0..<estimator.window {
      lane.drawBatch(batches.derive(8, UInt32(step), 0))
      let plus = lane.step(positive, theta: lane.thetaPlus.pointer, iteration: step, totalSteps: length)
      let minus = lane.step(negative, theta: lane.thetaMinus.pointer, iteration: step, totalSteps: length)
      isFinite = isFinite && plus.isFinite && minus.isFinite
      let normalisedPlus = Double(lane.normalise(plus))
      let normalisedMinus = Double(lane.normalise(minus))
      difference += normalisedPlus - normalisedMinus
      sum += normalisedPlus + normalisedMinus
      step += 1
    }
    if !isFinite { length = 0 }
    let window = Double(estimator.window)
    return WindowOutcome(
      difference: isFinite ? difference / window : 0, meanLoss: sum / (2 * window), isValid: isFinite)
  }

  private func beginEpisode() {
    episode += 1
    step = 0
    let key = self.key.derive(6, UInt32(episode), 0)
    let words = key.words(block: 0)
    let share = (Double(words.0) + 0.5) / 4_294_967_296
    var drawn = Double(lengths.length(uniform: share, normal: 0, at: 0, level: 0))
    if episode == 0 { drawn *= firstShare }
    let window = estimator.window
    length = max(1, Int((drawn / Double(window)).rounded())) * window
    // Word 1 of this block, so that one variant more or less changes no length.
    variant = Int((UInt64(words.1) * UInt64(task.variants.count)) >> 32)
  }

  private func drawNoise(isNewEpisode: Bool) {
    guard isNewEpisode || estimator.kind == .pes else { return }
    let segment = estimator.kind == .pes ? UInt32(step / estimator.window) : 0
    key.derive(3, UInt32(episode), 0).derive(10, segment, 0).fillNormals(&epsilon)
    let sigma = Float(estimator.sigma)
    for index in epsilon.indices {
      epsilon[index] *= sigma
      xi[index] = isNewEpisode ? epsilon[index] : xi[index] + epsilon[index]
    }
  }

  private func perturb(_ out: AlignedBuffer, _ theta: AlignedBuffer, _ mask: ThetaMask, sign: Float) {
    out.copy(from: theta)
    var index = 0
    for range in mask.ranges {
      for place in range {
        out.pointer[place] += sign * epsilon[index]
        index += 1
      }
    }
  }
}
