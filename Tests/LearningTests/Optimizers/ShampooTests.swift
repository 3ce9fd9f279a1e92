// Shampoo against the recording of its distributed implementation, and its options against plain Float64 code.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

@Suite("Shampoo")
struct ShampooTests {
  /// The reference takes inverse roots by iteration in float32.
  static let tolerance: Float = 1e-2

  @Test("follows the reference with both recorded grafts at every level", arguments: availableLevels)
  func follows(level: CPULevel) throws {
    for (trajectory, graft) in [
      ("shampoo_graft_sgd", "sgd"), ("shampoo_graft_rmsprop_normalized", "rmsprop_normalized"),
    ] {
      let recorded = try RecordedRun("shampoo")
      let settings = OptimizerSettings(
        .shampoo,
        ["learning_rate": 0.01, "block_size": 128, "start_preconditioning_step": 5, "graft_type": .string(graft)])
      let run = OptimizerRun(Shampoo(parameters: recorded.parameters, settings: settings, level: level))
      // In units of 1e-4 of the displacement.
      let worst = try recorded.replay(run, trajectory: "traj/\(trajectory)")
      #expect(worst * 1e-4 < Self.tolerance)
    }
  }

  @Test("the comparison notices axes that are not merged")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("shampoo")
    let settings = OptimizerSettings(.shampoo, ["learning_rate": 0.01, "merge_max": 128])
    let run = OptimizerRun(Shampoo(parameters: recorded.parameters, settings: settings, level: .scalar))
    #expect(try recorded.replay(run, trajectory: "traj/shampoo_graft_sgd") * 1e-4 > 10 * Self.tolerance)
  }

  static let variants: [[String: JSON]] = [
    ["graft": "sgd"], ["graft": "adagrad"], ["graft": "rmsprop"], ["graft": "adagrad_normalized"],
    ["graft": "rmsprop_normalized"], ["graft": "sqrt_n"], ["graft": "rmsprop", "graft_clip": 0.5],
    ["nesterov": false], ["average_momentum": true], ["average_momentum": true, "nesterov": false],
    ["weight_decay": 0.1], ["beta2": 1], ["exponent": 3], ["start_step": 0],
    ["refresh_steps": 3, "statistics_steps": 2],
  ]

  @Test("follows its rule in plain Float64 code for every option, on matrices in blocks", arguments: variants)
  func rule(_ options: [String: JSON]) {
    for (rows, columns) in [(5, 11), (8, 8), (17, 3)] {
      let settings = OptimizerSettings(
        .shampoo, ["learning_rate": 0.01, "block_size": 8, "merge_max": 8, "start_step": 2].merging(options) { $1 })
      let start = (0..<rows * columns).map { Float($0 % 7) - 3 }
      let runs = availableLevels.map { level in
        let run = OptimizerRun(Shampoo(parameters: layout(["w": [rows, columns]]), settings: settings, level: level))
        run.set("w", to: start, in: run.parameters)
        run.initialize()
        return run
      }
      let plain = PlainShampoo(Plain(rows, columns, start), settings)
      var numbers = Numbers(seed: 7)
      for step in 0..<6 {
        let gradient = (0..<rows * columns).map { _ in numbers.next() }
        plain.update(Plain(rows, columns, gradient))
        let moved = zip(plain.p.values, start).reduce(0) { max($0, abs($1.0 - Double($1.1))) }
        for (run, level) in zip(runs, availableLevels) {
          run.set("w", to: gradient, in: run.gradients)
          run.update()
          #expect(
            plain.p.distance(run.parameter("w")) < 1e-3 * moved + 1e-6,
            "\(rows) x \(columns) at \(level), step \(step)")
        }
      }
    }
  }

  @Test("what has no axes, or one too long, is moved by the graft alone", arguments: availableLevels)
  func skipped(level: CPULevel) {
    let parameters = layout(["s": .scalar, "long": [2, 30], "none": [4, 0]])
    let settings = OptimizerSettings(.shampoo, ["learning_rate": 0.1, "size_max": 20, "start_step": 0])
    let run = OptimizerRun(Shampoo(parameters: parameters, settings: settings, level: level))
    run.initialize()
    #expect(run.optimizer.state["statistics/long"] == nil && run.optimizer.state["statistics/s"] == nil)
    for tensor in parameters.tensors {
      run.set(tensor.name, to: (0..<tensor.count).map { Float($0 % 3) - 0.5 }, in: run.gradients)
    }
    run.update()
    run.update()
    // g (1 + 0.9) and g (1 + 0.9 (1 + 0.9)) at rate 0.1.
    #expect(abs(run.parameter("s")[0] - 0.5 * 0.1 * (1.9 + 2.71)) < 1e-6)
    #expect(abs(run.parameter("long")[1] + 0.5 * 0.1 * (1.9 + 2.71)) < 1e-6)
  }
}

@Suite("Shampoo's blocks")
struct TensorBlocksTests {
  @Test("short neighbouring axes are one, and axes of one vanish")
  func merging() {
    let cases: [([Int], Int, [Int])] = [
      ([2, 3, 64], 128, [6, 64]), ([3, 3, 64, 64], 128, [9, 64, 64]),
      ([1, 2, 512, 1, 2048, 1, 3, 4], 1024, [1024, 2048, 12]),
      ([17, 32], 4096, [544]), ([17, 32], 0, [17, 32]), ([1, 1], 128, [1]), ([], 128, []), ([3, 0], 128, []),
      ([1, 5, 1], 0, [5]), ([300], 128, [300]),
    ]
    for (shape, most, expected) in cases {
      #expect(TensorBlocks(Shape(shape), mergeMax: most, blockMax: 128).dimensions == expected, "\(shape)")
    }
  }

  @Test("blocks cover every element once, and return to their places")
  func cover() {
    for (shape, most, block) in [([5, 7], 0, 3), ([4, 3, 6], 0, 4), ([2, 3, 4, 5], 6, 4), ([19], 0, 8), ([1], 0, 8)] {
      let blocks = TensorBlocks(Shape(shape), mergeMax: most, blockMax: block)
      let count = shape.reduce(1, *)
      let tensor = AlignedBuffer(floats: count), out = AlignedBuffer(floats: count), part = AlignedBuffer(floats: count)
      for index in 0..<count {
        tensor.pointer[index] = Float(index)
        out.pointer[index] = .nan
      }
      var seen: [Float] = []
      for one in blocks.blocks {
        #expect(one.dimensions.allSatisfy { $0 <= block })
        blocks.gather(one, from: tensor.pointer, into: part.pointer)
        seen += part.buffer[0..<one.count]
        blocks.scatter(one, from: part.pointer, into: out.pointer)
      }
      #expect(seen.sorted() == (0..<count).map(Float.init))
      #expect((0..<count).allSatisfy { out.pointer[$0] == Float($0) })
    }
  }
}

/// Shampoo on one matrix in blocks of 8, as its formulas stand.
private final class PlainShampoo {
  private(set) var p: Plain
  private let settings: OptimizerSettings
  private var diagonal: [Double]
  private var momentum: [Double]
  private var graftMomentum: [Double]
  private var statistics: [[Int]: Plain] = [:]
  private var roots: [[Int]: Plain] = [:]
  private var iteration = 0

  init(_ start: Plain, _ settings: OptimizerSettings) {
    p = start
    self.settings = settings
    diagonal = [Double](repeating: 0, count: start.values.count)
    momentum = diagonal
    graftMomentum = diagonal
  }

  private func norm(_ x: [Double]) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }

  private func graft(_ g: [Double]) -> [Double] {
    let kind = settings.text("graft")
    if kind == "sgd" { return g }
    if kind == "sqrt_n" { return g.map { $0 > 0 ? 1 : $0 < 0 ? -1 : 0 } }
    let scale = kind.hasSuffix("normalized") ? 1 / (norm(g) + 1e-16) : 1
    let beta = settings.number("beta2")
    let (keep, share) = kind.hasPrefix("adagrad") ? (1, 1) : (beta, beta == 1 ? 1 : 1 - beta)
    var f = g.map { $0 * scale }
    for i in f.indices {
      diagonal[i] = keep * diagonal[i] + share * f[i] * f[i]
      f[i] /= diagonal[i].squareRoot() + 1e-10
    }
    let clip = settings.number("graft_clip")
    let size = norm(f) / Double(f.count).squareRoot()
    return clip > 0 ? f.map { $0 / max(1, size / clip) } : f
  }

  private func inverseRoot(_ statistic: Plain) -> Plain {
    let n = statistic.rows
    let (values, vectors) = statistic.eigen
    let largest = max(values[0], 1e-6)
    let exponent = settings.integer("exponent")
    var scaled = vectors
    for j in 0..<n {
      let value = pow(max(values[j], 0) + 1e-6 * largest, -1 / Double(exponent > 0 ? exponent : 4))
      for i in 0..<n { scaled[i, j] *= value }
    }
    return scaled * vectors.transposed
  }

  func update(_ g: Plain) {
    let beta1 = settings.number("beta1"), beta2 = settings.number("beta2")
    let f = graft(g.values)
    var s = g
    for top in stride(from: 0, to: g.rows, by: 8) {
      for left in stride(from: 0, to: g.columns, by: 8) {
        let rows = min(8, g.rows - top), columns = min(8, g.columns - left)
        let block = Plain(rows, columns, (0..<rows * columns).map { g[top + $0 / columns, left + $0 % columns] })
        for (axis, gram) in [block * block.transposed, block.transposed * block].enumerated() {
          let key = [top, left, axis]
          let old = statistics[key] ?? 1e-6 * Plain.identity(gram.rows)
          statistics[key] =
            iteration % settings.integer("statistics_steps") == 0
            ? beta2 * old + (beta2 == 1 ? 1 : 1 - beta2) * gram : old
          if iteration % settings.integer("refresh_steps") == 0 { roots[key] = inverseRoot(statistics[key]!) }
        }
        let turned = roots[[top, left, 0]]! * block * roots[[top, left, 1]]!
        for i in 0..<rows { for j in 0..<columns { s[top + i, left + j] = turned[i, j] } }
      }
    }
    let scale = norm(f) / (norm(s.values) + 1e-16)
    let share = settings.flag("average_momentum") ? 1 - beta1 : 1
    let leads = iteration >= settings.integer("start_step")
    for i in s.values.indices {
      let pull = settings.number("weight_decay") * p.values[i]
      let x = scale * s.values[i] + pull, y = f[i] + pull
      momentum[i] = beta1 * momentum[i] + share * x
      graftMomentum[i] = beta1 * graftMomentum[i] + share * y
      let (u, m) = leads ? (x, momentum[i]) : (y, graftMomentum[i])
      p.values[i] -= 0.01 * (settings.flag("nesterov") ? share * u + beta1 * m : m)
    }
    iteration += 1
  }
}
