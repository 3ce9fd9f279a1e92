// One training of an evaluation: the loss is measured on fresh batches every so many steps, before the update. Batches
// to train on, batches to measure on and initial weights have keys of their own, so that how often is measured does not
// change the training, and equal seeds start all optimizers from the same weights.
import Compute
import Contract
import Foundation
import Learning

/// What a training of an evaluation is told.
public struct EvaluationRun: Sendable {
  /// Why a training gave no result.
  public enum Failure: Error, Sendable, Hashable, CustomStringConvertible {
    case cancelled
    case timeLimit(seconds: Double, step: Int)

    public var description: String {
      switch self {
      case .cancelled: "cancelled"
      case .timeLimit(let seconds, let step): "over the time limit of \(seconds) s at step \(step)"
      }
    }
  }

  public var steps: Int
  /// Budgets, beside `steps`, at which the training is measured as at its end.
  public var marks: [Int]
  public var seed: Int
  public var measurement: EvaluationMeasurement
  public var keepsUpdates: Bool
  public var keepsLandscape: Bool
  public var keepsPath: Bool

  public init(
    steps: Int, marks: [Int] = [], seed: Int, measurement: EvaluationMeasurement = EvaluationMeasurement(),
    keepsUpdates: Bool = false, keepsLandscape: Bool = false, keepsPath: Bool = false
  ) {
    self.steps = steps
    self.marks = marks
    self.seed = seed
    self.measurement = measurement
    self.keepsUpdates = keepsUpdates
    self.keepsLandscape = keepsLandscape
    self.keepsPath = keepsPath
  }

  /// Points of updates that are kept at most.
  private static let updatePointsMax = 64

  /// Trains and measures.
  ///
  /// - Parameters:
  ///   - task: with the optimizer; its first variant is trained.
  ///   - theta: the weights of a learned optimizer.
  ///   - isCancelled: asked before every step.
  /// - Throws: ``Failure``.
  public func measure(
    _ task: InnerTask, theta: Theta?, isCancelled: () -> Bool = { false }
  ) throws(Failure) -> EvaluationResult {
    let buffer = theta?.aligned()
    let pointer = buffer.map { UnsafePointer($0.pointer) }
    let lane = InnerLane(task)
    let member = Member(lane)
    let began = Clock.now
    // A tag of its own keeps these trainings apart from all that theta is trained on.
    let key = RandomKey(seed: UInt64(seed)).derive(12, 0, 0)
    lane.select(variant: 0)
    lane.reset(member, initial: key.derive(4, 0, 0), episode: key.derive(6, 0, 0), theta: pointer)
    let start = keepsLandscape ? Self.copy(member.parameters) : nil
    let batches = key.derive(7, 0, 0), judged = key.derive(13, 0, 0)

    let every = measurement.every(steps)
    let budgets = Set(marks + [steps])
    let measured = Set(stride(from: 0, through: steps, by: every)).union(budgets).sorted()
    let kept = Self.thinned(measured, keeping: budgets, countMax: EvaluationMeasurement.pointsMax)
    let moves = keepsUpdates ? Set(Self.thinned(kept.dropLast(), keeping: [], countMax: Self.updatePointsMax)) : []
    let keptSet = Set(kept)
    var updates = EvaluationResult.Updates(tensors: task.layout.tensors.map(\.name), steps: [], moved: [], norms: [])
    let before = keepsUpdates ? AlignedBuffer(floats: task.layout.floats) : nil
    var path: [Float] = []
    let places = keepsPath ? Self.pair(task.layout) : nil

    var points: [EvaluationResult.Point] = []
    points.reserveCapacity(kept.count)
    var smoothed = 0.0, lastMeasured = 0
    var batchSum = 0.0, batchCount = 0
    var next = 0
    var training = 0.0
    var ending = EvaluationResult.Ending.finished
    var lap = Clock.now
    for step in 0...steps {
      if step == measured[next] {
        training += Clock.now.processor - lap.processor
        let isBudget = budgets.contains(step)
        let (loss, normalised) = judge(
          lane, member, judged.derive(8, UInt32(step), 0), step: step,
          batches: isBudget ? measurement.lastBatches : measurement.batches)
        let share = step == 0 ? 0 : pow(measurement.smoothing, Double(step - lastMeasured) / 10)
        smoothed = share * smoothed + (1 - share) * loss
        lastMeasured = step
        if keptSet.contains(step) || !loss.isFinite {
          points.append(
            EvaluationResult.Point(
              step: step, loss: Float(loss), smoothed: Float(smoothed), normalised: Float(normalised),
              training: batchCount == 0 ? .nan : Float(batchSum / Double(batchCount))))
          (batchSum, batchCount) = (0, 0)
        }
        next += 1
        lap = Clock.now
        if !loss.isFinite {
          ending = .diverged(step: step)
          break
        }
      }
      if let places { path += places.map { member.parameters.pointer[$0] } }
      if step == steps { break }
      if isCancelled() { throw .cancelled }
      if step % 16 == 0 {
        let seconds = Clock.now.wall - began.wall
        if seconds > measurement.timeLimitSeconds {
          throw .timeLimit(seconds: measurement.timeLimitSeconds, step: step)
        }
      }
      let keepsMove = moves.contains(step)
      if keepsMove, let before { before.copy(from: member.parameters) }
      lane.drawBatch(batches.derive(8, UInt32(step), 0))
      let loss = lane.step(member, theta: pointer, iteration: step, totalSteps: steps, at: step)
      batchSum += Double(loss)
      batchCount += 1
      if keepsMove, let before { Self.add(step, before, member.parameters, task.layout, to: &updates) }
    }
    var result = EvaluationResult(
      ending: ending, points: points, trainingSeconds: training + Clock.now.processor - lap.processor, totalSeconds: 0)
    if keepsUpdates { result.updates = updates }
    if keepsPath, places != nil { result.path = path }
    if let start, ending == .finished {
      result.landscape = Landscape.measure(
        lane, member, start: start, batch: judged.derive(15, 0, 0), directions: judged.derive(16, 0, 0), step: steps)
    }
    result.totalSeconds = Clock.now.processor - began.processor
    return result
  }

  /// Mean losses, raw and normalised one by one.
  private func judge(
    _ lane: InnerLane, _ member: Member, _ key: RandomKey, step: Int, batches: Int
  ) -> (loss: Double, normalised: Double) {
    var loss = 0.0, normalised = 0.0
    for batch in 0..<batches {
      lane.drawBatch(key.derive(8, UInt32(batch), 0))
      let one = lane.judge(member, step: step)
      loss += Double(one)
      normalised += Double(lane.normalise(one))
    }
    return (loss / Double(batches), normalised / Double(batches))
  }

  /// At most `countMax` of rising steps, dense at the beginning and ever sparser, with those to keep on top.
  static func thinned(_ steps: some Collection<Int>, keeping: Set<Int>, countMax: Int) -> [Int] {
    let all = Array(steps)
    guard all.count > countMax else { return all }
    // Places evenly spaced in the logarithm of the place plus one share of the whole, so that the beginning is dense
    // but not alone.
    var places: Set<Int> = [0, all.count - 1]
    let offset = Double(all.count) / 50
    let low = log(offset), high = log(Double(all.count - 1) + offset)
    for index in 0..<countMax {
      let position = exp(low + (high - low) * Double(index) / Double(countMax - 1)) - offset
      places.insert(min(all.count - 1, max(0, Int(position.rounded()))))
    }
    return all.indices.filter { places.contains($0) || keeping.contains(all[$0]) }.map { all[$0] }
  }

  private static func add(
    _ step: Int, _ before: AlignedBuffer, _ after: AlignedBuffer, _ layout: ParameterLayout,
    to updates: inout EvaluationResult.Updates
  ) {
    updates.steps.append(step)
    for tensor in layout.tensors {
      var moved = 0.0, norm = 0.0
      for place in tensor.offset..<tensor.offset + tensor.count {
        let old = Double(before.pointer[place]), change = Double(after.pointer[place]) - old
        moved += change * change
        norm += old * old
      }
      updates.moved.append(Float(moved.squareRoot()))
      updates.norms.append(Float(norm.squareRoot()))
    }
  }

  /// Where the two parameters of a task of two lie; nil for other tasks.
  private static func pair(_ layout: ParameterLayout) -> [Int]? {
    guard layout.elements == 2 else { return nil }
    return layout.tensors.flatMap { Array($0.offset..<$0.offset + $0.count) }
  }

  private static func copy(_ buffer: AlignedBuffer) -> AlignedBuffer {
    let copy = AlignedBuffer(floats: buffer.floats)
    copy.copy(from: buffer)
    return copy
  }
}

/// Seconds of the wall and of this thread's processor time.
private struct Clock {
  let wall: Double
  let processor: Double

  static var now: Clock {
    func seconds(_ clock: clockid_t) -> Double {
      var time = timespec()
      clock_gettime(clock, &time)
      return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }
    return Clock(wall: seconds(CLOCK_MONOTONIC), processor: seconds(CLOCK_THREAD_CPUTIME_ID))
  }
}
