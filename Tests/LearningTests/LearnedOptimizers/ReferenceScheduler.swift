// ReferenceScheduler: the averages of the loss, the features and the LSTM of Celo and VeLO in plain Float64, for
// ReferenceRule.
import Compute
import Foundation
import Learning

final class ReferenceScheduler {
  /// What a row of the LSTM gives to its tensor.
  struct Output {
    var controls: [Double]
    var rate: Double
  }

  private let theta: Theta
  private let totalSteps: Int
  /// The longest time constant of the averages, in updates.
  var horizon: Int
  /// Whether the LSTM starts every update from the same state.
  var isStateFixed = false
  private(set) var hidden: [[Double]]
  private(set) var cell: [[Double]]
  private(set) var means = [Double](repeating: 0, count: 10)
  private(set) var minima = [Double](repeating: 1e12, count: 10)

  init(_ theta: Theta, rows: Int, totalSteps: Int) {
    self.theta = theta
    self.totalSteps = totalSteps
    horizon = totalSteps
    hidden = Array(repeating: theta["lstm_init_state/hidden"].map(Double.init), count: rows)
    cell = Array(repeating: theta["lstm_init_state/cell"].map(Double.init), count: rows)
  }

  private func lossFeatures(_ loss: Double, _ iteration: Int) -> [Double] {
    let decays = (0..<10).map { exp(-1 / pow(10, 1 + Double($0) / 9 * (log10(Double(horizon)) - 1))) }
    let k = Double(iteration)
    let top = iteration == 0 ? loss : (0..<10).map { means[$0] / (1 - pow(decays[$0], k + 1)) }.max()!
    let limited = min(2 * abs(top), loss)
    for j in 0..<10 { means[j] = decays[j] * means[j] + (1 - decays[j]) * limited }
    let corrected = (0..<10).map { means[$0] / (1 - pow(decays[$0], k + 1)) }
    for j in 0..<10 { minima[j] = min(minima[j], corrected[j]) }
    if iteration + 1 <= 2 { return [Double](repeating: 0, count: 9) }
    return (0..<9).map { j in
      let f = (corrected[j] - minima[j]) / max(1e-8, corrected[j + 1] - minima[j]) - 1
      return min(max(f, -1), 1)
    }
  }

  private func linear(_ name: String, _ x: [Double]) -> [Double] {
    let w = theta["rnn_params/\(name)/w"]
    let b = theta["rnn_params/\(name)/b"]
    var out = b.map(Double.init)
    for row in 0..<x.count {
      for k in 0..<out.count { out[k] += x[row] * Double(w[w.startIndex + row * out.count + k]) }
    }
    return out
  }

  /// One step of the LSTM on rows of [time, loss features, own features]; rows that are not present are not heard by
  /// the others.
  func schedule(_ own: [[Double]], present: [Bool], loss: Double, iteration: Int) -> [Output] {
    let fraction = Double(iteration) / Double(totalSteps)
    let times = [0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1].map { tanh(10 * (fraction - $0)) }
    let common = times + lossFeatures(loss, iteration)
    let rows = own.map { common + $0 }
    var most = [Double](repeating: 0, count: hidden[0].count)
    for (row, isPresent) in zip(rows, present) where isPresent {
      most = zip(most, linear("linear_1", row)).map { max($0, $1) }
    }
    return rows.indices.map { row in
      let mixed = zip(linear("linear_2", rows[row]), most).map { $0 + $1 }
      let z = linear("rnn/linear", mixed + hidden[row])
      let h = most.count
      func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
      let c = (0..<h).map { sigmoid(z[2 * h + $0] + 1) * cell[row][$0] + sigmoid(z[$0]) * tanh(z[h + $0]) }
      let out = (0..<h).map { sigmoid(z[3 * h + $0]) * tanh(c[$0]) }
      if !isStateFixed {
        cell[row] = c
        hidden[row] = out
      }
      // Celo-Adam has no networks to choose among.
      let controls = theta.layout["rnn_params/rnn_to_controls/w"].map { _ in linear("rnn_to_controls", out) }
      return Output(controls: controls ?? [], rate: linear("step_size", out)[0])
    }
  }

  /// VeLO's own features of a tensor, from its accumulators before the update; those of a tensor without elements are
  /// of zeros.
  static func features(_ t: ReferenceRule.Tensor) -> [Double] {
    func mean(_ x: [Double]) -> Double { x.isEmpty ? 0 : x.reduce(0, +) / Double(x.count) }
    func squash(_ x: Double) -> Double { min(max(log(1e-8 + abs(10 * x)), -5), 5) / 2 }
    let scale = 1 / max(mean(t.p.map { $0 * $0 }), 1e-9).squareRoot()
    let v = t.v.map { $0 * scale }
    let m = t.m.map { $0.map { $0 * scale } }
    let centres = m.map(mean)
    /// The mean square distance of `x` from `centre`.
    func spread(_ x: [Double], _ centre: Double) -> Double { mean(x.map { ($0 - centre) * ($0 - centre) }) }
    let rank = t.shape.filter { $0 > 1 }.count
    let ranks: [Double] = (0..<5).map { $0 == rank ? 1 : 0 }
    return [squash(mean(v))] + ranks + zip(m, centres).map { squash(spread($0, $1)) }
      + centres.map { squash(spread(v, $0)) }
  }
}
