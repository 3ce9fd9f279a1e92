// Hand-designed rules against their formulas in Float64, where no recording reaches: all ranks and empty tensors,
// D-Adaptation, the list of settings, factored axes in any place, covers of any rank, options beside the defaults.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

@Suite("Hand-designed rules in Float64")
struct RuleReferenceTests {
  static let shapes: KeyValuePairs<String, Shape> = [
    "scalar": .scalar, "one": [1], "vector": [37], "empty": [0], "none": [4, 0], "w": [5, 19], "wide": [2, 70],
    "thin": [40, 1], "cube": [4, 6, 5], "tall": [7, 3, 2], "conv": [3, 2, 5, 4],
  ]

  /// Runs both for `steps` updates; the largest difference, relative to 1 or the value.
  private func deviation(
    _ settings: OptimizerSettings, _ level: CPULevel, steps: Int = 12, totalSteps: Int = 12,
    reference: (_ p: inout [[Double]], _ g: [[Double]], _ step: Int) -> Void
  ) -> Double {
    let parameters = layout(Self.shapes)
    let run = OptimizerRun(
      OptimizerCatalog.make(settings, parameters: parameters, totalSteps: totalSteps, level: level),
      totalSteps: totalSteps)
    var numbers = Numbers(seed: 11)
    var p = parameters.tensors.map { tensor -> [Double] in
      let values = (0..<tensor.count).map { _ in numbers.next() }
      run.set(tensor.name, to: values, in: run.parameters)
      return values.map(Double.init)
    }
    run.initialize()
    var worst = 0.0
    for step in 0..<steps {
      let g = parameters.tensors.map { tensor -> [Double] in
        // One tensor's gradients are tiny, one element's are zero.
        let size: Float = tensor.name == "w" ? 1e-4 : 0.5
        let values = (0..<tensor.count).map { $0 == 3 ? 0 : size * (numbers.next() + 0.3) }
        run.set(tensor.name, to: values, in: run.gradients)
        return values.map(Double.init)
      }
      run.update()
      reference(&p, g, step)
      for (tensor, wanted) in zip(parameters.tensors, p) {
        for (ours, theirs) in zip(run.parameter(tensor.name), wanted) {
          let difference = abs(Double(ours) - theirs) / max(1, abs(theirs))
          worst = difference <= worst ? worst : difference
        }
      }
    }
    return worst
  }

  /// Slots of zeros that lie as the parameters.
  private var zeros: [[Double]] { layout(Self.shapes).tensors.map { [Double](repeating: 0, count: $0.count) } }

  private func each(_ p: [[Double]], _ body: (Int, Int) -> Void) {
    for tensor in p.indices { for index in p[tensor].indices { body(tensor, index) } }
  }

  @Test("D-Adaptation finds its rate as the formula does", arguments: availableLevels, [0, 0.05])
  func dadapt(level: CPULevel, decay: Double) {
    let settings = OptimizerSettings(
      .dadaptAdamW,
      [
        "learning_rate": 0.5, "d0": 0.001, "weight_decay": .number(decay), "decay_vectors": true, "beta1": 0.8,
        "beta2": 0.98,
      ])
    var (m, v, s, d, r) = (zeros, zeros, zeros, 0.001, 0.0)
    let worst = deviation(settings, level) { p, g, step in
      let k = Double(step + 1), b = 0.98.squareRoot()
      let e = d * 0.5 * (1 - pow(0.98, k)).squareRoot() / (1 - pow(0.8, k))
      var (along, size) = (0.0, 0.0)
      each(p) { t, i in
        along += g[t][i] * s[t][i] / (v[t][i].squareRoot() + 1e-8)
        m[t][i] = 0.8 * m[t][i] + 0.2 * e * g[t][i]
        v[t][i] = 0.98 * v[t][i] + 0.02 * g[t][i] * g[t][i]
        s[t][i] = b * s[t][i] + (1 - b) * e * g[t][i]
        size += abs(s[t][i])
      }
      r = b * r + (1 - b) * e * along
      d = max(d, r / ((1 - b) * size))
      for t in p.indices {
        for i in p[t].indices { p[t][i] -= m[t][i] / (v[t][i].squareRoot() + 1e-8) + decay * e * p[t][i] }
      }
    }
    #expect(worst < 1e-5 && d > 0.0011, "\(worst), distance \(d)")
  }

  @Test("entries of the list act as their constants and schedule say", arguments: availableLevels, [0, 2, 6, 7])
  func optList(level: CPULevel, index: Int) {
    let entry = OptList.entries[index]
    var (m, v) = (zeros, zeros)
    let total = 40.0
    let worst = deviation(OptimizerSettings(.optlist, ["index": .integer(index)]), level, steps: 40, totalSteps: 40) {
      p, g, step in
      let (s, hold) = (Double(step), total * entry.constantFraction)
      let low = entry.final * entry.learningRate
      let decayed =
        (entry.learningRate - low) * (0.5 * cos(.pi * (max(s, hold) - hold) / (total - hold)) + 0.5) + low
      let rising = entry.warmupFraction > 0 && s < hold
      let rate = rising ? s / hold * entry.learningRate : decayed
      let k = s + 1
      let a = rate * (1 - pow(entry.beta2, k)).squareRoot() / (1 - pow(entry.beta1, k))
      for t in p.indices {
        for i in p[t].indices {
          m[t][i] = entry.beta1 * m[t][i] + (1 - entry.beta1) * g[t][i]
          v[t][i] = entry.beta2 * v[t][i] + (1 - entry.beta2) * g[t][i] * g[t][i]
          let q = entry.nesterov ? entry.beta1 * m[t][i] + (1 - entry.beta1) * g[t][i] : m[t][i]
          p[t][i] -= a * (q / (v[t][i].squareRoot() + entry.epsilon) + entry.weightDecay * p[t][i])
        }
      }
    }
    #expect(worst < 5e-6, "\(worst)")
  }

  /// The position of each element along each axis.
  private func positions(_ shape: [Int]) -> [[Int]] {
    (0..<shape.reduce(1, *)).map { flat in
      var rest = flat
      return Array(
        shape.reversed().map { length in
          defer { rest /= length }
          return rest % length
        }.reversed())
    }
  }

  @Test("Adafactor factors the two largest axes wherever they are", arguments: availableLevels, [0, 0.7])
  func adafactor(level: CPULevel, momentum: Double) {
    let settings = OptimizerSettings(
      .adafactor,
      [
        "learning_rate": 0.05, "min_dim_size_to_factor": 2, "momentum": .number(momentum), "weight_decay": 0.01,
        "clipping_threshold": 0.9,
      ])
    let tensors = layout(Self.shapes).tensors
    var (rows, columns, v, m) = (zeros, zeros, zeros, zeros)
    let worst = deviation(settings, level) { p, g, step in
      let q = 1 - pow(Double(step + 1), -0.8)
      for (t, tensor) in tensors.enumerated() where tensor.count > 0 {
        let shape = tensor.shape.dimensions
        let square = g[t].map { $0 * $0 + 1e-30 }
        let order = shape.indices.sorted { (shape[$0], $0) < (shape[$1], $1) }
        var u = g[t]
        if shape.count >= 2, shape[order[order.count - 2]] >= 2 {
          let (largest, second) = (order[order.count - 1], order[order.count - 2])
          let at = positions(shape)
          // Every element holds the mean over the axis for all that differ from it along that axis alone.
          func mean(_ x: [Double], over axis: Int) -> [Double] {
            var sums: [[Int]: Double] = [:]
            func key(_ i: Int) -> [Int] { at[i].enumerated().map { $0.offset == axis ? 0 : $0.element } }
            for i in x.indices { sums[key(i), default: 0] += x[i] / Double(shape[axis]) }
            return x.indices.map { sums[key($0)]! }
          }
          let (row, column) = (mean(square, over: largest), mean(square, over: second))
          for i in u.indices {
            rows[t][i] = q * rows[t][i] + (1 - q) * row[i]
            columns[t][i] = q * columns[t][i] + (1 - q) * column[i]
          }
          let center = mean(rows[t], over: second)
          for i in u.indices { u[i] *= (center[i] / rows[t][i]).squareRoot() / columns[t][i].squareRoot() }
        } else {
          for i in u.indices {
            v[t][i] = q * v[t][i] + (1 - q) * square[i]
            u[i] /= v[t][i].squareRoot()
          }
        }
        func rms(_ x: [Double]) -> Double { (x.reduce(0) { $0 + $1 * $1 } / Double(x.count)).squareRoot() }
        let scale = 0.05 / max(1, rms(u) / 0.9) * max(rms(p[t]), 1e-3)
        for i in u.indices {
          m[t][i] = momentum * m[t][i] + (1 - momentum) * scale * u[i]
          p[t][i] -= m[t][i] + (shape.count >= 2 ? 0.01 : 0) * p[t][i]
        }
      }
    }
    #expect(worst < 5e-6, "\(worst)")
  }

  @Test("SM3 covers tensors of every rank by their axes", arguments: availableLevels, [1, 0.9])
  func sm3(level: CPULevel, beta2: Double) {
    let settings = OptimizerSettings(.sm3, ["learning_rate": 0.1, "beta2": .number(beta2)])
    let tensors = layout(Self.shapes).tensors
    var m = zeros
    var covers = tensors.map {
      ($0.shape.rank == 0 ? [1] : $0.shape.dimensions).map { [Double](repeating: 0, count: $0) }
    }
    let worst = deviation(settings, level) { p, g, _ in
      for (t, tensor) in tensors.enumerated() {
        let at = positions(tensor.shape.rank == 0 ? [1] : tensor.shape.dimensions)
        var next = covers[t].map { $0.map { _ in 0.0 } }
        for i in p[t].indices {
          let least = at[i].indices.map { covers[t][$0][at[i][$0]] }.min()!
          let n = (beta2 == 1 ? 1 : 1 - beta2) * g[t][i] * g[t][i] + beta2 * least
          m[t][i] = 0.9 * m[t][i] + 0.1 * (n > 0 ? g[t][i] / (n + 1e-8).squareRoot() : 0)
          p[t][i] -= 0.1 * m[t][i]
          for axis in at[i].indices { next[axis][at[i][axis]] = max(next[axis][at[i][axis]], n) }
        }
        if tensor.count > 0 { covers[t] = next }
      }
    }
    #expect(worst < 5e-6, "\(worst)")
  }

  @Test("AdEMAMix raises its slow mean over its warm-up", arguments: availableLevels)
  func ademamix(level: CPULevel) {
    let settings = OptimizerSettings(
      .ademamix, ["learning_rate": 0.01, "slow_warmup_steps": 8, "beta3": 0.999, "alpha": 3])
    var (m, n, v) = (zeros, zeros, zeros)
    let worst = deviation(settings, level) { p, g, step in
      let k = Double(step + 1), share = min(k / 8, 1)
      let beta3 = exp(log(0.9) * log(0.999) / ((1 - share) * log(0.999) + share * log(0.9)))
      for t in p.indices {
        for i in p[t].indices {
          m[t][i] = 0.9 * m[t][i] + 0.1 * g[t][i]
          n[t][i] = beta3 * n[t][i] + (1 - beta3) * g[t][i]
          v[t][i] = 0.999 * v[t][i] + 0.001 * g[t][i] * g[t][i]
          let root = (v[t][i] / (1 - pow(0.999, k))).squareRoot() + 1e-8
          p[t][i] -= 0.01 * (m[t][i] / (1 - pow(0.9, k)) + 3 * share * n[t][i]) / root
        }
      }
    }
    #expect(worst < 5e-6, "\(worst)")
  }

  @Test("Schedule-Free is judged at the average of its base sequence", arguments: availableLevels)
  func scheduleFree(level: CPULevel) {
    let parameters = layout(["w": [6, 7], "b": [7]])
    let settings = OptimizerSettings(.scheduleFreeAdamW, ["learning_rate": 0.05])
    let optimizer = OptimizerCatalog.make(settings, parameters: parameters, totalSteps: 20, level: level)
    #expect(optimizer.evaluatesElsewhere)
    let run = OptimizerRun(optimizer)
    var numbers = Numbers(seed: 3)
    for tensor in parameters.tensors {
      run.set(tensor.name, to: (0..<tensor.count).map { _ in numbers.next() }, in: run.parameters)
    }
    run.initialize()
    let point = AlignedBuffer(floats: parameters.floats)
    // With a constant rate all updates weigh the same.
    var mean = [Double](repeating: 0, count: 42)
    for step in 1...20 {
      for tensor in parameters.tensors {
        run.set(tensor.name, to: (0..<tensor.count).map { _ in numbers.next() }, in: run.gradients)
      }
      run.update()
      optimizer.evaluationPoint(parameters: run.parameters.pointer, state: run.state.pointer, into: point.pointer)
      for (index, base) in run.slot("base/w").enumerated() {
        mean[index] += (Double(base) - mean[index]) / Double(step)
      }
      let judged = run.values("w", in: point, parameters)
      #expect(zip(judged, mean).allSatisfy { abs(Double($0) - $1) < 2e-6 })
      // The first update makes them one.
      #expect(step == 1 || zip(judged, run.parameter("w")).contains { abs($0 - $1) > 1e-4 })
    }
  }

  @Test("weight decay spares tensors of at most one axis unless it is told not to", arguments: [false, true])
  func decay(vectors: Bool) {
    for name in OptimizerName.allCases where name.options.contains(where: { $0.key == "decay_vectors" }) {
      let options: [String: JSON] = ["weight_decay": 0.5, "decay_vectors": .bool(vectors)]
      guard name != .optlist, !name.isLearned else { continue }
      let optimizer = OptimizerCatalog.make(
        OptimizerSettings(name, options), parameters: layout(["w": [3, 5], "b": [5], "s": .scalar]), level: .best)
      guard !optimizer.needs.contains(.problem) else { continue }
      let run = OptimizerRun(optimizer)
      for tensor in optimizer.parameters.tensors {
        run.set(tensor.name, to: [Float](repeating: 2, count: tensor.count), in: run.parameters)
      }
      run.initialize()
      for _ in 0..<3 {
        for tensor in optimizer.parameters.tensors {
          run.set(tensor.name, to: [Float](repeating: 0, count: tensor.count), in: run.gradients)
        }
        run.update()
      }
      #expect(run.parameter("w").allSatisfy { $0 < 2 }, "\(name)")
      for spared in ["b", "s"] {
        #expect(run.parameter(spared).allSatisfy { vectors ? $0 < 2 : abs($0 - 2) < 1e-6 }, "\(name)")
      }
    }
  }

  @Test("slots are those that the options ask for")
  func slots() {
    let parameters = layout(["w": [200, 3, 150], "b": [4]])
    func slots(_ name: OptimizerName, _ options: [String: JSON] = [:]) -> [String] {
      OptimizerCatalog.make(OptimizerSettings(name, options), parameters: parameters, level: .best).state.tensors.map {
        "\($0.name) \($0.shape)"
      }
    }
    #expect(slots(.rmsprop) == ["mean_square/w [200, 3, 150]", "mean_square/b [4]"])
    #expect(slots(.rmsprop, ["centered": true, "momentum": 0.5]).count == 6)
    #expect(slots(.adafactor) == ["row/w [3, 150]", "column/w [200, 3]", "second_moment/b [4]"])
    #expect(slots(.adafactor, ["min_dim_size_to_factor": 151, "momentum": 0.9]).count == 4)
    #expect(
      slots(.sm3) == [
        "momentum/w [200, 3, 150]", "momentum/b [4]", "axis_0/w [200]", "axis_1/w [3]", "axis_2/w [150]",
        "axis_0/b [4]",
      ])
    #expect(slots(.novograd).suffix(2) == ["second_moment/w []", "second_moment/b []"])
  }
}
