// The outer learner: holds theta and turns estimated gradients into outer steps with Adam.
//
//   g <- clip(mean of particles, ±c);  m <- 0.9 m + 0.1 g;  v <- 0.999 v + 0.001 g^2
//   theta <- theta - lr(k) * m/(1-0.9^k) / (sqrt(v/(1-0.999^k)) + 1e-8)
//
// lr follows a cosine from the phase's first to its last rate.
import Compute
import Contract
import Foundation

/// Theta and the outer optimizer's state for one phase.
public final class OuterLearner {
  public let theta: AlignedBuffer
  private let mask: ThetaMask
  private let phase: CampaignPhase
  private var gradient: [Double]
  private var m: [Double]
  private var v: [Double]
  /// Outer steps taken.
  public private(set) var outerStep = 0
  /// Steps refused because no particle survived or the update was not finite.
  public private(set) var skipped = 0

  init(theta: AlignedBuffer, mask: ThetaMask, phase: CampaignPhase) {
    self.theta = theta
    self.mask = mask
    self.phase = phase
    gradient = [Double](repeating: 0, count: mask.count)
    m = gradient
    v = gradient
  }

  /// One outer step from the particles' windows, taken in their order so that sums round the same way every time.
  func update(_ windows: [(particle: Particle, outcome: WindowOutcome)]) {
    let valid = windows.filter(\.outcome.isValid)
    outerStep += 1
    guard !valid.isEmpty else {
      skipped += 1
      return
    }
    for index in gradient.indices { gradient[index] = 0 }
    let sigma = phase.estimator.sigma
    for (particle, outcome) in valid {
      let weight = outcome.difference / (2 * sigma * sigma * Double(valid.count))
      particle.xi.withUnsafeBufferPointer { xi in
        gradient.withUnsafeMutableBufferPointer { gradient in
          for index in 0..<gradient.count { gradient[index] += weight * Double(xi[index]) }
        }
      }
    }
    let rate = phase.outer.optimizer.learningRate.at(outerStep - 1, of: phase.outerSteps)
    let clip = phase.outer.clip ?? .infinity
    let correctionM = 1 - pow(0.9, Double(outerStep))
    let correctionV = 1 - pow(0.999, Double(outerStep))
    var index = 0
    for range in mask.ranges {
      for place in range {
        let g = min(max(gradient[index], -clip), clip)
        m[index] = 0.9 * m[index] + 0.1 * g
        v[index] = 0.999 * v[index] + 0.001 * g * g
        theta.pointer[place] -= Float(rate * (m[index] / correctionM) / ((v[index] / correctionV).squareRoot() + 1e-8))
        index += 1
      }
    }
  }
}
