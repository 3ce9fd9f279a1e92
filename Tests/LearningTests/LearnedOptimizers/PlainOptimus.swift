// Optimus written plainly in Float64 from its formulas.
import Foundation
import Learning

final class PlainOptimus: PlainRule {
  private(set) var parameters: [[Double]]
  private let theta: Theta
  private var iteration = 0.0
  private var m: [[Double]]
  private var d: [[Double]]
  private var v: [Double]
  private var gradient: [Double]
  private var move: [Double]
  /// Row by row, in blocks.
  private(set) var preconditioners: [[[Double]]]

  /// - Parameter blocks: sizes of the blocks that parameters are cut into.
  init(_ theta: Theta, _ tensors: [(shape: [Int], values: [Float])], blocks: [Int]) {
    self.theta = theta
    parameters = tensors.map { $0.values.map(Double.init) }
    let zeros = parameters.flatMap { $0.map { _ in 0.0 } }
    (m, d, v, gradient, move) = ([zeros, zeros, zeros], [zeros, zeros, zeros], zeros, zeros, zeros)
    preconditioners = blocks.map { n in (0..<n).map { row in (0..<n).map { $0 == row ? 1 : 0 } } }
  }

  private func weights(_ name: String) -> [Double] { theta[name].map(Double.init) }

  func update(_ gradients: [[Double]], loss: Double) {
    let g = gradients.flatMap { $0 }
    var x = parameters.flatMap { $0 }
    for (j, decay) in PlainNetwork.decays([0.9, 0.99, 0.999]).enumerated() {
      m[j] = PlainNetwork.blend(m[j], g, decay)
      d[j] = PlainNetwork.blend(d[j], g.map { $0 * $0 + 1e-30 }, decay)
    }
    v = PlainNetwork.blend(v, g.map { $0 * $0 }, PlainNetwork.decays([0.999])[0])
    func root(_ x: [Double], _ epsilon: Double) -> [Double] { x.map { 1 / ($0 + epsilon).squareRoot() } }
    func times(_ x: [Double], _ y: [Double]) -> [Double] { zip(x, y).map { $0 * $1 } }
    let q = root(v, 1e-6)
    let inverse = d.map { root($0, 1e-8) }
    var channels: [[Double]] = [g, x] + m + [v]
    channels += m.map { times($0, q) } + [q]
    channels += d.map { times(g, root($0, 1e-9)) }
    channels += d + d + inverse + inverse
    channels += zip(m, d).map { times($0, root($1, 1e-6)) }
    channels += [move, zip(g, gradient).map { $0 - $1 }]
    var from = 0
    for block in preconditioners.indices {
      let n = preconditioners[block].count
      let delta = blockUpdate(channels.map { Array($0[from..<from + n]) }, &preconditioners[block])
      for i in 0..<n {
        x[from + i] += delta[i]
        move[from + i] = delta[i]
      }
      from += n
    }
    gradient = g
    from = 0
    for index in parameters.indices {
      parameters[index] = Array(x[from..<from + parameters[index].count])
      from += parameters[index].count
    }
    iteration += 1
  }

  private func norm(_ rows: [[Double]], _ name: String) -> [[Double]] {
    let (scale, offset) = (weights("\(name)/scale"), weights("\(name)/offset"))
    return rows.map { row in
      let (center, deviation) = (PlainNetwork.mean(row), (PlainNetwork.variance(row) + 1e-5).squareRoot())
      return row.indices.map { (row[$0] - center) / deviation * scale[$0] + offset[$0] }
    }
  }

  private func linear(_ rows: [[Double]], _ name: String) -> [[Double]] {
    let (w, b) = (weights("\(name)/w"), weights("\(name)/b"))
    return rows.map { PlainNetwork.linear($0, w, b) }
  }

  private func added(_ a: [[Double]], _ b: [[Double]]) -> [[Double]] {
    zip(a, b).map { zip($0, $1).map { $0 + $1 } }
  }

  private func attention(_ packed: [[Double]]) -> [[Double]] {
    packed.map { query in
      (0..<4).flatMap { head -> [Double] in
        let scores = packed.map { key -> Double in
          var product = 0.0
          for i in 32 * head..<32 * head + 32 { product += query[i] * key[128 + i] }
          return product / 32.0.squareRoot()
        }
        let top = scores.max()!
        let shares = scores.map { exp($0 - top) }
        let sum = shares.reduce(0, +)
        return (32 * head..<32 * head + 32).map { i -> Double in
          var mixed = 0.0
          for (share, key) in zip(shares, packed) { mixed += share / sum * key[256 + i] }
          return mixed
        }
      }
    }
  }

  private func blockUpdate(_ channels: [[Double]], _ b: inout [[Double]]) -> [Double] {
    let n = b.count
    let times = PlainNetwork.timeScales.map { tanh(iteration / $0 - 1) }
    let normalised = channels.map(PlainNetwork.normalised)
    let rows = (0..<n).map { i in
      normalised[..<28].map { $0[i] } + times + normalised[28...].map { $0[i] }
    }
    var e = linear(rows, "embedding")
    for layer in 0..<3 {
      let at = "encoder_\(layer)"
      e = added(
        e, linear(attention(linear(norm(e, "\(at)/attention_norm"), "\(at)/attention_in")), "\(at)/attention_out"))
      e = added(
        e, linear(linear(norm(e, "\(at)/linear_norm"), "\(at)/linear_0").map(PlainNetwork.relu), "\(at)/linear_1"))
      let u = linear(norm(e, "\(at)/update_norm"), "\(at)/update").map { $0[0] }
      for i in 0..<n { for j in 0..<n { b[i][j] += u[i] * u[j] } }
    }
    let trace = (0..<n).reduce(0.0) { $0 + b[$1][$1] }
    for i in 0..<n { for j in 0..<n { b[i][j] *= Double(n) / trace } }
    let layers = (0..<3).map { (weights("branch/linear_\($0)/w"), weights("branch/linear_\($0)/b")) }
    let out = rows.map { PlainNetwork.network($0, layers) }
    let step = 0.001 * exp(0.1 * PlainNetwork.mean(out.map { $0[1] }))
    let direction = (0..<n).map { normalised[0][$0] + out[$0][0] }
    return b.map { row -> Double in
      var product = 0.0
      for (x, v) in zip(row, direction) { product += x * v }
      return -step * product
    }
  }
}
