// ReferenceRule: small_fc and Celo written plainly in Float64 from their formulas, with one loop for each, for the
// tests to compare the kernels with. It shares no code, no memory layout and no order of operations with them.
import Compute
import Foundation
import Learning

final class ReferenceRule {
  enum Kind {
    case smallFC(SmallFC.Configuration)
    case celo
  }

  private struct Tensor {
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
  private let totalSteps: Int
  private(set) var hidden: [Double] = []
  private(set) var cell: [Double] = []
  private(set) var lossMeans = [Double](repeating: 0, count: 10)
  private(set) var lossMinima = [Double](repeating: 1e12, count: 10)

  init(_ kind: Kind, theta: Theta, tensors: [(shape: [Int], values: [Float])], totalSteps: Int) {
    self.kind = kind
    self.theta = theta
    self.totalSteps = totalSteps
    self.tensors = tensors.map { shape, values in
      let zeros = [[Double]](repeating: [Double](repeating: 0, count: values.count), count: 3)
      return Tensor(
        shape: shape, p: values.map(Double.init), m: zeros, v: zeros[0], row: zeros, column: zeros)
    }
    if case .celo = kind {
      hidden = weights("lstm_init_state/hidden")
      cell = weights("lstm_init_state/cell")
    }
  }

  func parameters(_ index: Int) -> [Double] { tensors[index].p }

  private func weights(_ name: String) -> [Double] { theta[name].map(Double.init) }

  func update(_ gradients: [[Float]], loss: Float) {
    let multiplier: Double
    if case .celo = kind { multiplier = schedule(loss: Double(loss)) } else { multiplier = 1 }
    for index in tensors.indices {
      update(&tensors[index], gradients[index].map(Double.init), multiplier: multiplier)
    }
    iteration += 1
  }

  // MARK: Celo's scheduler

  private func lossFeatures(_ loss: Double) -> [Double] {
    let decays = (0..<10).map { exp(-1 / pow(10, 1 + Double($0) / 9 * (log10(Double(totalSteps)) - 1))) }
    let k = Double(iteration)
    let top =
      iteration == 0 ? loss : (0..<10).map { lossMeans[$0] / (1 - pow(decays[$0], k + 1)) }.max()!
    let limited = min(2 * abs(top), loss)
    for j in 0..<10 { lossMeans[j] = decays[j] * lossMeans[j] + (1 - decays[j]) * limited }
    let means = (0..<10).map { lossMeans[$0] / (1 - pow(decays[$0], k + 1)) }
    for j in 0..<10 { lossMinima[j] = min(lossMinima[j], means[j]) }
    if iteration + 1 <= 2 { return [Double](repeating: 0, count: 9) }
    return (0..<9).map { j in
      let f = (means[j] - lossMinima[j]) / max(1e-8, means[j + 1] - lossMinima[j]) - 1
      return min(max(f, -1), 1)
    }
  }

  private func linear(_ name: String, _ x: [Double]) -> [Double] {
    let w = weights("rnn_params/\(name)/w")
    let b = weights("rnn_params/\(name)/b")
    var out = b
    for row in 0..<x.count {
      for k in 0..<b.count { out[k] += x[row] * w[row * b.count + k] }
    }
    return out
  }

  private func schedule(loss: Double) -> Double {
    let fraction = Double(iteration) / Double(totalSteps)
    let times = [0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1].map { tanh(10 * (fraction - $0)) }
    let x = times + lossFeatures(loss)
    let mixed = zip(linear("linear_2", x), linear("linear_1", x)).map { $0 + max($1, 0) }
    let z = linear("rnn/linear", mixed + hidden)
    let h = hidden.count
    func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    for i in 0..<h {
      cell[i] = sigmoid(z[2 * h + i] + 1) * cell[i] + sigmoid(z[i]) * tanh(z[h + i])
      hidden[i] = sigmoid(z[3 * h + i]) * tanh(cell[i])
    }
    return 0.1 * exp(linear("step_size", hidden)[0])
  }

  // MARK: One tensor

  private func decay(_ initial: Double, _ name: String, _ index: Int, clipped: Bool) -> Double {
    guard case .smallFC = kind else { return initial }
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

  private func update(_ t: inout Tensor, _ raw: [Double], multiplier: Double) {
    let isCelo = if case .celo = kind { true } else { false }
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

    let w0: [Double]
    let layers: (b0: String, w1: String, b1: String, w2: String, b2: String)
    let (outputs, exponent, step): (Int, Double, Double)
    switch kind {
    case .celo:
      w0 = (0..<14).flatMap { weights("ff_mod_stack/~/w0__\($0)") }
      let at = "ff_mod_stack/~/"
      layers = (at + "b0", at + "w1", at + "b1", at + "w2", at + "b2")
      let size = (t.p.reduce(0) { $0 + $1 * $1 } / Double(n) + 1e-9).squareRoot()
      (outputs, exponent, step) = (3, 0.001, 0.001 * multiplier * size)
    case .smallFC(let configuration):
      let scales = [1.0, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000]
      features += scales.map { [Double](repeating: tanh(Double(iteration) / $0 - 1), count: n) }
      w0 = weights("nn/~/w0")
      layers = ("nn/~/b0", "nn/~/w1", "nn/~/b1", "nn/~/w2", "nn/~/b2")
      (outputs, exponent, step) = (2, Double(configuration.expMultiplier), Double(configuration.stepMultiplier))
    }
    let (b0, w1, b1) = (weights(layers.b0), weights(layers.w1), weights(layers.b1))
    let (w2, b2) = (weights(layers.w2), weights(layers.b2))
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
    for i in 0..<n {
      for f in 0..<features.count { x[f] = features[f][i] }
      let one = layer(x, w0, b0, columns: h, rectified: true)
      let two = layer(one, w1, b1, columns: h, rectified: true)
      let out = layer(two, w2, b2, columns: outputs, rectified: false)
      t.p[i] -= out[0] * exp(out[1] * exponent) * step
    }
  }
}
