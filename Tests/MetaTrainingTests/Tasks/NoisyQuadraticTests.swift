// NoisyQuadratic.swift: the stability facts, by formula and by running the task itself.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

@Suite struct NoisyQuadraticTests {
  private let model = NoisyQuadraticModel(curvatures: [0.1, 0.5, 1], noise: 0.5)

  /// The losses of gradient descent on the model.
  private func losses(rate: Float, steps: Int, noise: Double, seed: Int = 0) throws -> [Float] {
    let quiet = NoisyQuadraticModel(curvatures: model.curvatures, noise: noise)
    let task = try InnerTask(quiet.task(config: TaskConfig("NoisyQuadraticModel"), level: .best)) {
      SGD(parameters: $0, settings: OptimizerSettings(.sgd, ["learning_rate": .number(Double(rate))]), level: .best)
    }
    return InnerRun.curve(task, theta: nil, steps: steps, seed: seed)
  }

  @Test(
    "gradient descent converges exactly where the spectral radius is below one", arguments: [0.5, 1.9, 1.99, 2.01, 2.1])
  func convergence(rate: Double) throws {
    let radius = model.spectralRadius(rate: rate)
    #expect((radius < 1) == (rate < 2), "the largest curvature is 1, so rates below 2 converge")
    let curve = try losses(rate: Float(rate), steps: 2000, noise: 0)
    #expect((curve.last! < curve.first!) == (radius < 1))
    #expect((model.stationaryLoss(rate: rate) != nil) == (radius < 1))
  }

  @Test("a black-box part that is not positive is stable only beside a large enough nominal term")
  func nominalTerm() {
    let blackBox = [-0.3, 0.1, 0.2]
    #expect(model.spectralRadius(rate: 0, blackBox: blackBox) > 1)
    #expect(model.spectralRadius(rate: 0.5, blackBox: blackBox) < 1)
  }

  @Test("the loss settles at the stationary one")
  func stationaryLoss() throws {
    let expected = try #require(model.stationaryLoss(rate: 0.8))
    let burnIn = 200
    var means: [Double] = []
    for seed in 0..<10 {
      let curve = try losses(rate: 0.8, steps: 3000, noise: 0.5, seed: seed).dropFirst(burnIn).map(Double.init)
      means.append(curve.reduce(0, +) / Double(curve.count))
    }
    let mean = means.reduce(0, +) / 10
    let deviation = (means.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 9).squareRoot()
    #expect(abs(mean - expected) < 5 * deviation / 10.0.squareRoot(), "\(mean), expected \(expected)")
  }

  @Test("curvatures of the family lie where its configuration says")
  func curvatures() {
    let drawn = NoisyQuadraticModel(dimensions: 500, curvatures: 1e-3...1, noise: 1, key: RandomKey(seed: 2)).curvatures
    #expect(drawn.allSatisfy { (1e-3...1).contains($0) })
    // Log-uniform: half of them below the geometric mean of the ends.
    let low = drawn.count { $0 < 0.0316 }
    #expect((190...310).contains(low))
  }
}
