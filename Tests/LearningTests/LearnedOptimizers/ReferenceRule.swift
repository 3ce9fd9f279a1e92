// ReferenceRule: small_fc, STAR, Celo and VeLO written plainly in Float64 from their formulas, with one loop for each, for
// the tests to compare the kernels with. It shares no code, no memory layout and no order of operations with them.
// ReferenceScheduler is the recurrent half of Celo and VeLO.
import Compute
import Foundation
import Learning

final class ReferenceRule {
  enum Kind {
    case smallFC(SmallFC.Configuration)
    case star(Star.Configuration)
    case celo(Celo.Configuration)
    case velo(Velo.Configuration)
  }

  struct Tensor {
    let shape: [Int]
    var p: [Double]
    var m: [[Double]]
    var v: [Double]
    /// By full index of the tensor with the lost axis at 0; for tensors of at most one axis `row` is the diagonal.
    var row: [[Double]]
    var column: [[Double]]
  }

  private let kind: Kind
  private let theta: Theta
  private var tensors: [Tensor]
  private var iteration = 0
  /// The recurrent half of Celo and VeLO.
  let scheduler: ReferenceScheduler?

  init(_ kind: Kind, theta: Theta, tensors: [(shape: [Int], values: [Float])], totalSteps: Int) {
    self.kind = kind
    self.theta = theta
    self.tensors = tensors.map { shape, values in
      let zeros = [[Double]](repeating: [Double](repeating: 0, count: values.count), count: 3)
      return Tensor(
        shape: shape, p: values.map(Double.init), m: zeros, v: zeros[0], row: zeros, column: zeros)
    }
    switch kind {
    case .smallFC, .star: scheduler = nil
    case .celo: scheduler = ReferenceScheduler(theta, rows: 1, totalSteps: totalSteps)
    case .velo(let configuration):
      scheduler = ReferenceScheduler(theta, rows: tensors.count, totalSteps: totalSteps)
      if configuration.buggedLossFeatures { scheduler?.horizon = 10 }
      scheduler?.isStateFixed = configuration.buggedLSTMState
    }
  }

  func parameters(_ index: Int) -> [Double] { tensors[index].p }

  private func weights(_ name: String) -> [Double] { theta[name].map(Double.init) }

  func update(_ gradients: [[Float]], loss: Float) {
    let rows: [ReferenceScheduler.Output]
    switch kind {
    case .smallFC, .star: rows = []
    case .celo(let configuration):
      var output = scheduler!.schedule([[]], present: [true], loss: Double(loss), iteration: iteration)[0]
      let sum = output.controls.map(exp).reduce(0, +)
      output.controls = output.controls.map { exp($0) / sum / Double(output.controls.count) }
      output.rate = configuration.phase == .full ? 0.1 * exp(output.rate) : 1
      rows = tensors.map { _ in output }
    case .velo(let configuration):
      rows = scheduler!.schedule(
        tensors.map(ReferenceScheduler.features), present: tensors.map { !$0.p.isEmpty }, loss: Double(loss),
        iteration: iteration
      ).map { output in
        var output = output
        output.controls = output.controls.map {
          configuration.mixingScale * $0 / Double(output.controls.count)
        }
        return output
      }
    }
    for index in tensors.indices where !tensors[index].p.isEmpty {
      update(&tensors[index], gradients[index].map(Double.init), rows.isEmpty ? nil : rows[index])
    }
    iteration += 1
  }

  // MARK: One tensor

  private func decay(_ initial: Double, _ name: String, _ index: Int, clipped: Bool) -> Double {
    guard scheduler == nil else { return initial }
    let d = 1 - (1 - initial) * exp(10 * Double(theta[name][theta[name].startIndex + index]))
    return clipped ? min(max(d, 0), 1) : d
  }

  /// The mean of `x` over one axis, written back to every element.
  private func mean(_ x: [Double], over axis: Int, shape: [Int]) -> [Double] {
    let inner = shape[(axis + 1)...].reduce(1, *)
    let size = shape[axis]
    var sums = [Double](repeating: 0, count: x.count)
    for index in 0..<x.count { sums[index / (inner * size) * inner + index % inner] += x[index] }
    return (0..<x.count).map { sums[$0 / (inner * size) * inner + $0 % inner] / Double(size) }
  }

  private func update(_ t: inout Tensor, _ raw: [Double], _ output: ReferenceScheduler.Output?) {
    // The features of Celo and VeLO differ from the others'.
    let isCelo = output != nil
    let n = t.p.count
    let g = isCelo ? raw.map { min(max($0, -1000), 1000) } : raw
    let initial = [0.9, 0.99, 0.999]
    for j in 0..<3 {
      let b = decay(initial[j], "momentum_decays", j, clipped: false)
      for i in 0..<n { t.m[j][i] = b * t.m[j][i] + (1 - b) * g[i] }
    }
    let c = decay(0.999, "rms_decays", 0, clipped: true)
    for i in 0..<n { t.v[i] = c * t.v[i] + (1 - c) * g[i] * g[i] }

    let axes = t.shape.indices.sorted { t.shape[$0] < t.shape[$1] || t.shape[$0] == t.shape[$1] && $0 < $1 }
    let square = g.map { $0 * $0 + 1e-30 }
    var factorG = t.m
    var factorM = t.m
    for j in 0..<3 {
      let f = decay(initial[j], "adafactor_decays", j, clipped: true)
      if t.shape.count >= 2 {
        let (d0, d1) = (axes[axes.count - 1], axes[axes.count - 2])
        let rows = mean(square, over: d0, shape: t.shape)
        let columns = mean(square, over: d1, shape: t.shape)
        for i in 0..<n {
          t.row[j][i] = f * t.row[j][i] + (1 - f) * rows[i]
          t.column[j][i] = f * t.column[j][i] + (1 - f) * columns[i]
        }
        let rowMeans = mean(t.row[j], over: d1, shape: t.shape)
        for i in 0..<n {
          let row = 1 / max(t.row[j][i] / (rowMeans[i] + 1e-9), 1e-9).squareRoot()
          factorG[j][i] = row / max(t.column[j][i], 1e-9).squareRoot()
          factorM[j][i] = factorG[j][i]
        }
      } else {
        for i in 0..<n {
          t.row[j][i] = f * t.row[j][i] + (1 - f) * square[i]
          t.column[j][i] = t.row[j][i]
          factorG[j][i] = 1 / max(t.row[j][i] + 1e-9, 1e-9).squareRoot()
          factorM[j][i] = 1 / (t.row[j][i] + (isCelo ? 0 : 1e-6)).squareRoot()
        }
      }
    }

    // Features by group, each [channels][n].
    let q = t.v.map { 1 / ($0 + 1e-6).squareRoot() }
    func times(_ x: [[Double]], _ y: [[Double]]) -> [[Double]] {
      x.indices.map { j in x[j].indices.map { x[j][$0] * y[j][$0] } }
    }
    func inverse(_ x: [[Double]]) -> [[Double]] { x.map { $0.map { 1 / ($0 + 1e-8).squareRoot() } } }
    let g3 = [g, g, g]
    let q3 = [q, q, q]
    var features: [[Double]]
    if isCelo {
      features =
        [g, g.map { min(max($0, -0.1), 0.1) }, t.p] + t.m + [t.v] + times(t.m, q3) + [q] + times(g3, factorG)
        + [zip(g, q).map { $0 * $1 }] + t.row + t.column + inverse(t.row) + inverse(t.column) + times(t.m, factorM)
    } else {
      features =
        [g, t.p] + t.m + [t.v] + times(t.m, q3) + [q] + times(g3, factorG) + t.row + t.column + inverse(t.row)
        + inverse(t.column) + times(t.m, factorM)
    }
    for f in features.indices {
      let scale = 1 / (1e-5 + features[f].reduce(0) { $0 + $1 * $1 } / Double(n)).squareRoot()
      for i in 0..<n { features[f][i] *= scale }
    }

    let isBank = output != nil
    /// A leaf of the network; of a bank, the sum of its entries times the controls.
    func leaf(_ name: String) -> [Double] {
      guard let output else { return weights("nn/~/\(name)") }
      let all = weights("ff_mod_stack/~/\(name)")
      let size = all.count / output.controls.count
      return (0..<size).map { i in
        output.controls.indices.reduce(0) { $0 + output.controls[$1] * all[$1 * size + i] }
      }
    }
    if !isBank {
      let scales = [1.0, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000]
      features += scales.map { [Double](repeating: tanh(Double(iteration) / $0 - 1), count: n) }
    }
    let w0 = isBank ? (0..<14).flatMap { leaf("w0__\($0)") } : leaf("w0")
    let (b0, w1, b1, w2, b2) = (leaf("b0"), leaf("w1"), leaf("b1"), leaf("w2"), leaf("b2"))
    let outputs = b2.count
    let h = b0.count
    func layer(_ x: [Double], _ w: [Double], _ b: [Double], columns: Int, rectified: Bool) -> [Double] {
      var out = b
      for row in 0..<x.count {
        for k in 0..<b.count { out[k] += x[row] * w[row * columns + k] }
      }
      if rectified { for k in 0..<out.count where out[k] < 0 { out[k] = 0 } }
      return out
    }
    var x = [Double](repeating: 0, count: features.count)
    var outs: [[Double]] = []
    for i in 0..<n {
      for f in 0..<features.count { x[f] = features[f][i] }
      let one = layer(x, w0, b0, columns: h, rectified: true)
      let two = layer(one, w1, b1, columns: h, rectified: true)
      outs.append(layer(two, w2, b2, columns: outputs, rectified: false))
    }
    let size = (t.p.reduce(0) { $0 + $1 * $1 } / Double(n) + 1e-9).squareRoot()
    let means = (0..<outputs).map { k in outs.reduce(0) { $0 + $1[k] } / Double(n) }
    let gradientMean = g.reduce(0, +) / Double(n)
    for i in 0..<n {
      let out = outs[i]
      switch kind {
      case .smallFC(let c): t.p[i] -= out[0] * exp(out[1] * c.expMultiplier) * c.stepMultiplier
      case .star(let c): t.p[i] = starStep(c, t, i, g[i], q[i], out, means, gradientMean)
      case .celo(let c): t.p[i] -= out[0] * exp(out[1] * c.expMultiplier) * c.stepMultiplier * output!.rate * size
      case .velo(let c): t.p[i] -= out[0] * exp(out[1] * c.expMultiplier) * c.stepMultiplier * output!.rate * size
      }
    }
  }

  private func starStep(
    _ c: Star.Configuration, _ t: Tensor, _ i: Int, _ g: Double, _ q: Double, _ out: [Double], _ means: [Double],
    _ gradientMean: Double
  ) -> Double {
    let magnitude = c.aggregateMagnitude ? means[1] : out[1]
    let nominal = c.nominalController ? c.aggregateNominal ? means[2] : out[2] : 1
    let decay = c.decayController ? c.aggregateDecay ? means[3] : out[3] : 0
    var step = out[0] * exp(magnitude * c.expMultipliers[0]) * c.stepMultiplier
    if c.normaliseStep { step *= q }
    if c.selfNormaliseStep { step *= gradientMean }
    let m = t.m.map { $0[i] }
    let estimate: Double
    switch c.nominalEstimator {
    case .sgd: estimate = g
    case .sgdm: estimate = m[2]
    case .aggMo: estimate = (m[0] + m[1] + m[2]) / 3
    case .adam: estimate = m[2] * q
    case .adamAggMo: estimate = (m[0] + m[1] + m[2]) / 3 * q
    }
    return (1 - c.weightDecay * exp(decay * c.expMultipliers[2])) * t.p[i] - step
      - c.nominalStep * exp(nominal * c.expMultipliers[1]) * estimate
  }
}
