// Particle.swift and OuterGradient.swift against recorded gradients of every estimator on a small noisy training, made in
// float64 from the published definitions and checked against the public implementations.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

/// The recording.
private struct Recording {
  private let file: SafetensorsFile

  init() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    file = try SafetensorsFile(Data(contentsOf: folder.appending(path: "Fixtures/estimators_quadratic.safetensors")))
  }

  /// A tensor of doubles with its shape.
  subscript(name: String) -> (values: [Double], shape: [Int]) {
    let tensor = file.tensor(name)!
    let values = file.withBytes(of: tensor) { bytes in
      (0..<bytes.count / 8).map {
        Double(bitPattern: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self)))
      }
    }
    return (values, tensor.shape)
  }
}

@Suite struct RecordedEstimatesTests {
  private static let methods: [(name: String, rule: ParticleRule)] = [
    ("full_es", .of(.fullES, window: 20)), ("truncated_es", .of(.truncatedES, window: 5)),
    ("pes", .of(.pes, window: 5)), ("nres", .of(.nres, window: 5)), ("gpes", .of(.gpes, window: 5, refreshEvery: 10)),
  ]

  @Test("every estimator gives the recorded gradients of three episodes", arguments: methods.indices)
  func gradients(method: Int) throws {
    let (name, rule) = Self.methods[method]
    let recording = try Recording()
    let eps = recording["\(name)/eps"]
    let pairs = eps.shape[1]
    let run = AnalyticPairs(
      .movingQuadratic(), rule, theta: recording["theta"].values.map { Float($0) }, sigma: 0.1, pairs: pairs,
      length: 20
    ) { pair, index in
      let place = (Int(index) * pairs + pair) * 2
      return [Float(eps.values[place]), Float(eps.values[place + 1])]
    }
    let expected = recording["\(name)/grad"]
    let largest = expected.values.map(abs).max()!
    for window in 0..<expected.shape[0] {
      let gradient = run.gradient(run.run())
      for coordinate in 0..<2 {
        let deviation = abs(gradient[coordinate] - expected.values[2 * window + coordinate])
        #expect(deviation <= 1e-5 * largest, "window \(window): \(deviation / largest)")
      }
    }
  }

  @Test(
    "both rules of credit give the recorded gradients where episodes end inside a window", arguments: [true, false])
  func boundary(usesPublishedCredit: Bool) throws {
    let recording = try Recording()
    let mask = recording["pes_boundary/mask"].values, up = recording["pes_boundary/loss_pos"].values
    let down = recording["pes_boundary/loss_neg"].values
    let before = recording["pes_boundary/accumulator_in"].values, eps = recording["pes_boundary/eps"].values
    // Steps left of the episode that each pair is in; the last one does not end. The first one begins an episode with the
    // window: the recording credits that to the old noises too, which costs variance and not the mean, where this code
    // begins with the window's noise. So its losses are run as those of an episode that goes on.
    let left = [usesPublishedCredit ? 0 : 100, 3, 4, 100]
    var mean = [0.0, 0.0]
    for pair in 0..<4 {
      let losses = (0..<7).filter { mask[4 * $0 + pair] == 1 }.map { (up[4 * $0 + pair], down[4 * $0 + pair]) }
      // The member with theta + eps is the one whose first coordinate is the larger, or not.
      let isPlusLarger = eps[2 * pair] > 0
      let problem = AnalyticProblem(start: [0]) { state, theta, _ in
        let loss = losses[state.calls - 1]
        return (theta[0] > 0) == isPlusLarger ? loss.0 : loss.1
      }
      let run = AnalyticPairs(
        problem, .of(.pes, window: usesPublishedCredit ? 7 : losses.count, usesPublishedCredit: usesPublishedCredit),
        theta: [0, 0], sigma: 0.1, pairs: 1, length: 100
      ) { _, index in
        let source = index == 0 ? before : eps
        return [Float(source[2 * pair]), Float(source[2 * pair + 1])]
      }
      let length = UInt32(max(1, left[pair]))
      run.particles[0].position.drawn = 1
      run.particles[0].position.episodes = 1
      run.particles[0].position.length = length
      run.particles[0].position.planned = length
      run.particles[0].position.step = left[pair] == 0 ? 1 : 0
      let outcome = run.run()[0]
      #expect(outcome.counted == losses.count)
      for (coordinate, value) in run.gradient([outcome]).enumerated() { mean[coordinate] += value / 4 }
      guard usesPublishedCredit else { continue }
      let position = run.particles[0].position
      let sum = run.particles[0].noise.sum(position.firstNoise, position.drawn - 1)
      let out = recording["pes_boundary/ref_accumulator_out"].values
      for coordinate in 0..<2 { #expect(abs(Double(sum[coordinate]) - out[2 * pair + coordinate]) < 1e-6) }
    }
    let expected = recording[usesPublishedCredit ? "pes_boundary/ref_grad" : "pes_boundary/corrected_grad"].values
    for coordinate in 0..<2 { #expect(abs(mean[coordinate] / expected[coordinate] - 1) < 1e-5, "\(mean) \(expected)") }
  }

  @Test("PES, NRES and GPES estimate the gradient of the smoothed loss, NRES with the least variance")
  func unbiased() throws {
    let recording = try Recording()
    let expected = recording["smoothed/grad"].values
    var traces: [Double] = []
    for rule in [ParticleRule.of(.nres, window: 5), .of(.gpes, window: 5, refreshEvery: 10), .of(.pes, window: 5)] {
      let pairs = 3000
      let run = AnalyticPairs(
        .movingQuadratic(), rule, theta: recording["theta"].values.map { Float($0) }, sigma: 0.1, pairs: pairs,
        length: 20)
      // An episode of each pair, by its four windows.
      var sums = [[Double]](repeating: [0, 0], count: pairs)
      for _ in 0..<4 {
        for (pair, outcome) in run.run().enumerated() {
          for (coordinate, value) in run.gradient(of: pair, outcome).enumerated() {
            sums[pair][coordinate] += value / 4
          }
        }
      }
      var trace = 0.0
      for coordinate in 0..<2 {
        let values = sums.map { $0[coordinate] }
        let mean = values.reduce(0, +) / Double(pairs)
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(pairs - 1)
        trace += variance
        // Fresh noise smooths a little differently than one noise for the episode.
        let allowed = 4 * (variance / Double(pairs)).squareRoot() + 0.02 * abs(expected[coordinate])
        #expect(abs(mean - expected[coordinate]) < allowed, "\(rule.noise): \(mean), expected \(expected[coordinate])")
      }
      traces.append(trace)
    }
    #expect(traces[0] < traces[1] && traces[1] < traces[2], "\(traces)")
  }
}
