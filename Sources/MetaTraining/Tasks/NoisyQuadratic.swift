// The noisy quadratic model, in which the stability of an update rule is a matter of linear algebra (Harrison, Metz and
// Sohl-Dickstein 2022, arXiv 2209.11208).
//
//   loss_t(p) = (p - m_t)' H (p - m_t) / 2,  m_t ~ N(0, S) fresh each step
//   p <- p - (a I + P) grad:   p' = A p + B m,  A = I - (a I + P) H,  B = (a I + P) H
//
// Expected iterates converge iff the spectral radius of A is below 1; second moments go M' = A M A' + B S B', and the
// stationary expected loss is tr(H (M + S)) / 2.
import Compute
import Contract
import Foundation

/// The model with a diagonal H and independent noise of one deviation.
public struct NoisyQuadraticModel: Sendable {
  /// H's diagonal.
  public let curvatures: [Double]
  /// Deviation of each coordinate of m.
  public let noise: Double

  /// - Parameters:
  ///   - curvatures: the diagonal of the curvature.
  ///   - noise: the deviation of the centre in each coordinate.
  public init(curvatures: [Double], noise: Double) {
    self.curvatures = curvatures
    self.noise = noise
  }

  /// Curvatures drawn log-uniformly.
  public init(dimensions: Int, curvatures range: ClosedRange<Double>, noise: Double, key: RandomKey) {
    var draw = Draw(key)
    self.init(
      curvatures: (0..<dimensions).map { _ in draw.logFloat(range.lowerBound, range.upperBound) }, noise: noise)
  }

  /// The spectral radius of A for gradient descent with steps of `rate` and a diagonal black-box part P.
  public func spectralRadius(rate: Double, blackBox: [Double]? = nil) -> Double {
    curvatures.indices.map { abs(1 - (rate + (blackBox?[$0] ?? 0)) * curvatures[$0]) }.max() ?? 0
  }

  /// The expected loss that the iterates settle at; nil where they do not.
  public func stationaryLoss(rate: Double, blackBox: [Double]? = nil) -> Double? {
    var loss = 0.0
    for (index, curvature) in curvatures.enumerated() {
      let b = (rate + (blackBox?[index] ?? 0)) * curvature, a = 1 - b
      guard abs(a) < 1 else { return nil }
      // M = a² M + b² noise².
      let moment = b * b * noise * noise / (1 - a * a)
      loss += 0.5 * curvature * (moment + noise * noise)
    }
    return loss
  }

  /// Builds the task of a configuration.
  static func build(_ config: TaskConfig, _ fields: inout Fields, level: CPULevel) throws -> TrainingTask? {
    let count = fields.integer("dimensions", in: 1...100_000) ?? 100
    let noise = fields.number("noise", in: 0...1e6) ?? 1
    let seed = fields.integer("seed", in: 0...Int(Int32.max)) ?? 0
    let low = fields.number("low", in: 1e-9...1e9) ?? 1e-3
    let high = fields.number("high", in: 1e-9...1e9) ?? 1
    fields.finish()
    if high < low { fields.fault("high", "expected at least \"low\", \(low)") }
    guard fields.faults.isEmpty else { return nil }
    let model = NoisyQuadraticModel(
      dimensions: count, curvatures: low...high, noise: noise, key: RandomKey(seed: UInt64(seed)).derive(31, 0, 0))
    return try model.task(config: config, level: level)
  }

  /// The model as a task.
  func task(config: TaskConfig, level: CPULevel) throws -> TrainingTask {
    var graph = Graph()
    let count = curvatures.count
    let p = try graph.parameter("p", [count])
    let mean = try graph.scale(graph.input("noise", [count]), by: Float(noise))
    let weights = try graph.constant(curvatures.map { Float($0 / 2) }, [count])
    let loss = try graph.sum(graph.multiply(weights, graph.square(graph.subtract(p, mean))))
    graph.output("loss", loss)
    return TrainingTask(
      config: config, plan: try Plan(graph, differentiating: loss, level: level),
      start: .tensors([.normal(deviation: 1)]), source: NoiseBatches([("noise", count)], level: level),
      tags: ["analytic", "quadratic"])
  }
}
