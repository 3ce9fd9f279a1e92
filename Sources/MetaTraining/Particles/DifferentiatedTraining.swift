// Truncated backpropagation through trainings by learned SGDM: the derivative of what a stretch of steps counts with
// respect to theta = (log rate, momentum logit), its start taken as given (Maclaurin et al. 2015, arXiv 1502.03492).
//
//   forward    v_t+1 = mu v_t + g(x_t),  x_t+1 = x_t - rate v_t+1,  L = sum of c_t(loss(x_t))
//   backward   a = dL/dx, b = dL/dv, both 0 at the end; from the last step to the first:
//              b <- b - rate a,  d rate <- d rate - v_t+1 . a,  d mu <- d mu + v_t . b
//              a <- a + H(x_t) b + c_t' g(x_t),  b <- mu b
//   curvature  H u = (g(x + h u) - g(x - h u)) / (2 h),  h = 1e-3 (1 + |x|)/|u|
//
// With a window of a whole episode this is the gradient of its mean loss.
import Compute
import Contract
import Foundation
import Learning

/// Memory for differentiating stretches of one lane's trainings.
final class DifferentiatedTraining {
  private let optimizer: LearnedSGDM?
  private let floats: Int
  private let moved: AlignedBuffer
  private let up: AlignedBuffer
  private let down: AlignedBuffer
  private let a: AlignedBuffer
  private let b: AlignedBuffer
  /// Parameters, momentum and gradient of every step.
  private var steps: [(x: AlignedBuffer, v: AlignedBuffer, g: AlignedBuffer)] = []

  init(_ lane: InnerLane) {
    optimizer = lane.task.optimizer as? LearnedSGDM
    floats = lane.task.layout.floats
    moved = AlignedBuffer(floats: floats)
    up = AlignedBuffer(floats: floats)
    down = AlignedBuffer(floats: floats)
    a = AlignedBuffer(floats: floats)
    b = AlignedBuffer(floats: floats)
  }

  /// Numbers that the steps of a window may take.
  static let keptFloatsMax = 1 << 28

  /// Refuses phases that cannot be differentiated.
  ///
  /// - Throws: `SpecError` with what stands in the way.
  static func check(_ campaign: CampaignSpec, _ phase: CampaignPhase, _ tasks: [InnerTask]) throws(SpecError) {
    func refuse(_ path: String, _ reason: String) -> SpecError { SpecError([Fault(path: path, reason: reason)]) }
    let estimator = phase.estimator
    guard campaign.optimizer == .learnedSGDM else {
      throw refuse(
        "/estimator/kind",
        "tbptt differentiates trainings by learned_sgdm; for \(campaign.optimizer.rawValue) take pes, nres or full_es")
    }
    guard estimator.metaLoss == .average else {
      throw refuse("/estimator/meta_loss", "tbptt differentiates the mean of the training losses, avg")
    }
    guard estimator.sign == nil, !estimator.usesRanks, !estimator.dividesByDeviation, estimator.differenceClip == nil
    else { throw refuse("/estimator", "tbptt has no differences that could be cut, ranked or reduced to signs") }
    for task in tasks {
      for variant in task.variants {
        for augmentation in variant.augmentations {
          if case .reparametrised = augmentation { continue }
          throw refuse(
            "/estimator/kind",
            "tbptt needs tasks whose gradients are those of their loss, not changed by \(augmentation.object)")
        }
        guard variant.unroll == nil else {
          throw refuse("/estimator/kind", "tbptt needs tasks whose gradients are exact, not those of LOpt")
        }
      }
      guard estimator.window <= keptFloatsMax / (3 * task.layout.floats) else {
        throw refuse(
          "/estimator/window",
          "tbptt keeps every step; expected at most \(keptFloatsMax / (3 * task.layout.floats)) steps for "
            + "\(task.layout.elements) parameters, got \(estimator.window)")
      }
    }
  }

  /// Runs a stretch and differentiates it.
  func run(
    _ lane: InnerLane, _ member: Member, theta: UnsafePointer<Float>, _ stretch: DifferentiatedStretch
  ) -> StretchDerivative {
    guard let optimizer else { preconditionFailure("DifferentiatedTraining: \(lane.task.optimizer.name)") }
    var found = StretchDerivative(gradient: [Double](repeating: 0, count: stretch.thetaFloats))
    let slopes = forward(lane, member, optimizer, theta, stretch, &found)
    guard found.isFinite else { return found }
    let (rate, momentum) = optimizer.constants(theta)
    var (byRate, byMomentum) = (0.0, 0.0)
    a.zero()
    b.zero()
    for number in (0..<stretch.steps).reversed() {
      let kept = steps[number]
      var square = 0.0
      for index in 0..<floats {
        let x = Double(a.pointer[index]), v = Double(kept.v.pointer[index]), g = Double(kept.g.pointer[index])
        let y = Double(b.pointer[index]) - rate * x
        byRate -= (momentum * v + g) * x
        byMomentum += v * y
        square += y * y
        b.pointer[index] = Float(y)
      }
      if square > 0 { addCurvature(lane, member, kept.x, square.squareRoot(), number, stretch) }
      for index in 0..<floats {
        a.pointer[index] += Float(slopes[number]) * kept.g.pointer[index]
        b.pointer[index] *= Float(momentum)
      }
    }
    found.gradient[optimizer.places.logRate] = rate * byRate
    found.gradient[optimizer.places.logit] = momentum * (1 - momentum) * byMomentum
    found.isFinite = byRate.isFinite && byMomentum.isFinite
    return found
  }

  /// Takes the steps and keeps them; returns the derivatives of what each counts by its raw loss.
  private func forward(
    _ lane: InnerLane, _ member: Member, _ optimizer: LearnedSGDM, _ theta: UnsafePointer<Float>,
    _ stretch: DifferentiatedStretch, _ found: inout StretchDerivative
  ) -> [Double] {
    while steps.count < stretch.steps {
      steps.append(
        (AlignedBuffer(floats: floats), AlignedBuffer(floats: floats), AlignedBuffer(floats: floats)))
    }
    var slopes: [Double] = []
    for number in 0..<stretch.steps {
      let kept = steps[number]
      let step = stretch.iteration + number
      kept.x.copy(from: member.parameters)
      // Padding between tensors has no meaning; zeros keep it out of sums.
      kept.v.zero()
      kept.g.zero()
      copySpans(member.state, kept.v)
      lane.drawBatch(stretch.key(step))
      let loss = lane.evaluate(member, at: member.parameters.pointer, gradients: up.pointer, iteration: step)
      copySpans(up, kept.g)
      let normalised = lane.normalised(loss)
      found.isFinite = found.isFinite && loss.isFinite && normalised.isFinite
      guard found.isFinite else { return [] }
      found.lossSum += normalised
      slopes.append(stretch.counted(step, normalised).derivative * lane.normaliserDerivative(at: Float(loss)))
      optimizer.update(
        parameters: member.parameters.pointer, gradients: up.pointer, state: member.state.pointer,
        scratch: up.pointer,
        step: OptimizerStep(
          iteration: step, totalSteps: stretch.totalSteps, loss: Float(loss), theta: theta, key: stretch.key(step)))
    }
    return slopes
  }

  private func copySpans(_ from: AlignedBuffer, _ to: AlignedBuffer) {
    guard let optimizer else { return }
    for tensor in optimizer.parameters.tensors {
      (to.pointer + tensor.offset).update(from: from.pointer + tensor.offset, count: tensor.count)
    }
  }

  /// a <- a + H(x) b, by central differences of the gradient on the step's batch.
  private func addCurvature(
    _ lane: InnerLane, _ member: Member, _ x: AlignedBuffer, _ length: Double, _ number: Int,
    _ stretch: DifferentiatedStretch
  ) {
    guard let optimizer else { return }
    let step = stretch.iteration + number
    var square = 0.0
    for tensor in optimizer.parameters.tensors {
      for place in tensor.offset..<tensor.offset + tensor.count {
        square += Double(x.pointer[place]) * Double(x.pointer[place])
      }
    }
    let h = Float(1e-3 * (1 + square.squareRoot()) / length)
    lane.drawBatch(stretch.key(step))
    for (sign, gradients) in [(Float(1), up), (-1, down)] {
      for index in 0..<floats { moved.pointer[index] = x.pointer[index] + sign * h * b.pointer[index] }
      _ = lane.evaluate(member, at: moved.pointer, gradients: gradients.pointer, iteration: step)
    }
    for tensor in optimizer.parameters.tensors {
      for place in tensor.offset..<tensor.offset + tensor.count {
        a.pointer[place] += (up.pointer[place] - down.pointer[place]) / (2 * h)
      }
    }
  }
}

extension InnerLane {
  func differentiate(
    _ training: Member, theta: UnsafePointer<Float>, stretch: DifferentiatedStretch
  ) -> StretchDerivative { differentiated.run(self, training, theta: theta, stretch) }
}
