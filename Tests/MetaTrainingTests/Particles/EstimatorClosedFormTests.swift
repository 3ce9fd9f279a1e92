// Particle.swift and OuterGradient.swift on systems whose expectations and variances are known in closed form. Exact
// expectations come from impulses: an estimate that is bilinear in the noises has the mean that the sum over "this noise
// is sigma, all others zero" gives.
import Compute
import Contract
import Foundation
import Testing

@testable import MetaTraining

/// The mean over windows of the exact expectation of a pair's estimate on the sum problem, episodes of 6 steps.
private func expectation(_ rule: ParticleRule, skipping: Int, windows: Int) -> Double {
  var total = 0.0
  var heard = 0
  // Every noise that any of these windows can know of.
  for impulse in 0..<UInt32(skipping + windows + 40) {
    let run = AnalyticPairs(.sum(), rule, theta: [0], sigma: 0.5, pairs: 1, length: 6) { _, index in
      [index == impulse ? 0.5 : 0]
    }
    heard = 0
    for window in 0..<skipping + windows {
      let outcome = run.run()
      guard window >= skipping, outcome[0].counted > 0 else { continue }
      heard += 1
      // sigma is 0.5 in truth: an impulse stands for the variance of one noise.
      total += run.gradient(outcome)[0] * 1
    }
  }
  return total / Double(heard)
}

/// Mean and standard error of numbers.
private func summary(_ values: [Double]) -> (mean: Double, error: Double) {
  let mean = values.reduce(0, +) / Double(values.count)
  let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)
  return (mean, (variance / Double(values.count)).squareRoot())
}

@Suite struct EstimatorClosedFormTests {
  @Test("steps are credited to the noises that acted on them, wherever windows and episodes end", arguments: 1...10)
  func credit(window: Int) {
    for rule in [ParticleRule.of(.pes, window: window), .of(.nres, window: window)] {
      let mean = expectation(rule, skipping: 6, windows: 6)
      #expect(abs(mean - 3.5) < 1e-6, "\(rule.noise), window \(window): \(mean)")
    }
  }

  @Test("the published credit has its known bias", arguments: [1, 2, 3, 4, 5, 6, 7, 10])
  func publishedCredit(window: Int) {
    let known = [1: 2.667, 2: 2.5, 3: 2.714, 4: 2.857, 5: 2.971, 6: 3.071, 7: 3.5, 10: 3.244]
    let mean = expectation(.of(.pes, window: window, usesPublishedCredit: true), skipping: 7, windows: 7)
    #expect(abs(mean - known[window]!) < 6e-4, "\(mean)")
  }

  @Test("truncated windows see their own horizon alone", arguments: [1, 2, 3, 6])
  func truncated(window: Int) {
    for followsMean in [false, true] {
      let rule = ParticleRule.of(.truncatedES, window: window, followsMean: followsMean)
      let mean = expectation(rule, skipping: 6, windows: 6)
      #expect(abs(mean - Double(window + 1) / 2) < 1e-6, "\(mean)")
    }
  }

  @Test("backpropagation sees its window alone too, and whole episodes whole", arguments: [1, 2, 3, 6])
  func differentiated(window: Int) {
    let run = AnalyticPairs(.sum(), .of(.tbptt, window: window), theta: [0.25], sigma: 1, pairs: 1, length: 6)
    var mean = 0.0
    for _ in 0..<6 { mean += run.gradient(run.run())[0] / 6 }
    let expected = Double(window + 1) / 2
    #expect(abs(mean - expected) < 1e-5, "\(mean)")
  }

  @Test("GPES lies between both and needs no whole number of windows either", arguments: [1, 2, 4])
  func gpes(window: Int) {
    let mean = expectation(.of(.gpes, window: window, refreshEvery: 4), skipping: 6, windows: 6)
    #expect(abs(mean - 3.5) < 1e-6, "\(mean)")
  }

  @Test("noises that cancel cost PES its variance and NRES none")
  func cancelling() {
    // The second step's loss is the first step's theta minus its own.
    let problem = AnalyticProblem(start: [0]) { state, theta, step in
      let loss = step == 0 ? 0 : state.values[0] - Double(theta[0])
      state.values[0] = Double(theta[0])
      return loss
    }
    for (rule, expected) in [(ParticleRule.of(.pes, window: 1), 4.0), (.of(.nres, window: 1), 0)] {
      let run = AnalyticPairs(problem, rule, theta: [0.3], sigma: 0.1, pairs: 20_000, length: 2)
      _ = run.run()
      let estimates = run.run().enumerated().map { run.gradient(of: $0.offset, $0.element)[0] }
      let (mean, error) = summary(estimates)
      let (variance, varianceError) = summary(estimates.map { $0 * $0 })
      #expect(abs(mean) <= 4 * error + 1e-6)
      #expect(abs(variance - expected) <= 4 * varianceError + 1e-9, "\(variance)")
    }
  }

  @Test("orthogonal segments cost PES s times the variance of NRES")
  func orthogonal() {
    let (count, segments) = (5, 3)
    // Step j adds coordinate j; only the last step has a loss.
    let problem = AnalyticProblem(start: [0]) { state, theta, step in
      state.values[0] += Double(theta[step])
      return step == segments - 1 ? state.values[0] : 0
    }
    let s = Double(segments), p = Double(count)
    for (rule, expected) in [(ParticleRule.of(.pes, window: 1), s * s * p + s), (.of(.nres, window: 1), s * p + s)] {
      let run = AnalyticPairs(
        problem, rule, theta: [Float](repeating: 0, count: count), sigma: 0.1, pairs: 10_000, length: segments)
      for _ in 1..<segments { _ = run.run() }
      let estimates = run.run().enumerated().map { run.gradient(of: $0.offset, $0.element) }
      for coordinate in 0..<count {
        let (mean, error) = summary(estimates.map { $0[coordinate] })
        #expect(abs(mean - (coordinate < segments ? 1 : 0)) < 4.5 * error)
      }
      // Squared distances from the true mean.
      let (trace, error) = summary(
        estimates.map { estimate in
          estimate.enumerated().reduce(0) { sum, entry in
            let distance = entry.element - (entry.offset < segments ? 1 : 0)
            return sum + distance * distance
          }
        })
      #expect(abs(trace - expected) < 4 * error, "\(trace), expected \(expected)")
    }
  }

  @Test("one-step losses have the gradients of their smoothed selves", arguments: [EstimatorSpec.Kind.fullES, .nres])
  func smoothed(kind: EstimatorSpec.Kind) {
    let sigma = 0.3
    let start: [Float] = [0.5, -0.25]
    let theta = start.map(Double.init)
    let scale = 0.4
    let cases: [(loss: (UnsafePointer<Float>) -> Double, gradient: [Double])] = [
      ({ theta in (0..<2).reduce(0) { $0 + pow(Double(theta[$1]), 2) } }, theta.map { 2 * $0 }),
      (
        { theta in (0..<2).reduce(0) { $0 + pow(Double(theta[$1]), 4) } },
        theta.map { 4 * pow($0, 3) + 12 * sigma * sigma * $0 }
      ),
      (
        { theta in (0..<2).reduce(0) { $0 + sin(Double(theta[$1]) / scale) } },
        theta.map { exp(-sigma * sigma / (2 * scale * scale)) * cos($0 / scale) / scale }
      ),
    ]
    for (number, (loss, expected)) in cases.enumerated() {
      let run = AnalyticPairs(.plain(loss), .of(kind, window: 1), theta: start, sigma: sigma, pairs: 6000, length: 1)
      let estimates = run.run().enumerated().map { run.gradient(of: $0.offset, $0.element) }
      for coordinate in 0..<2 {
        let (mean, error) = summary(estimates.map { $0[coordinate] })
        #expect(abs(mean - expected[coordinate]) < 4 * error, "loss \(number): \(mean), \(expected[coordinate])")
      }
    }
  }

  @Test("every unbiased estimator finds the learning rate and the momentum of a short training")
  func learns() {
    var ends: [Double] = []
    for rule in [
      ParticleRule.of(.fullES, window: 20), .of(.pes, window: 10, stagger: .spread),
      .of(.nres, window: 10, stagger: .spread), .of(.gpes, window: 5, refreshEvery: 10, stagger: .burnIn),
    ] {
      let run = AnalyticPairs(
        .movingQuadratic(), rule, theta: [Float(log(0.01)), 0], sigma: 0.05, pairs: 16, length: 20, seed: 7)
      for step in 0..<200 {
        let gradient = run.gradient(run.run(WindowContext(version: step, outerIteration: step)))
        let norm = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
        // Steps of falling length along the gradient.
        for index in 0..<2 {
          run.theta.pointer[index] -= Float(0.1 * (1 - Double(step) / 200) * gradient[index] / (norm + 0.01))
        }
      }
      ends.append(Self.loss(run.theta.pointer))
    }
    let begin = [Float(log(0.01)), 0].withUnsafeBufferPointer { Self.loss($0.baseAddress!) }
    #expect(ends.allSatisfy { $0 < 0.5 * begin }, "\(begin) -> \(ends)")
    #expect(ends.max()! < 1.1 * ends.min()!, "\(ends)")
  }

  /// The mean loss of an episode of the moving quadratic.
  private static func loss(_ theta: UnsafePointer<Float>) -> Double {
    let problem = AnalyticProblem.movingQuadratic()
    let state = problem.makeTraining()
    return (0..<20).reduce(0) { $0 + problem.advance(state, theta: theta, iteration: $1, totalSteps: 20) } / 20
  }
}
