// Networks, statistics and averages in plain Float64, from which the PlainRules are made. They share no code, no memory
// layout and no order of operations with the kernels.
import Foundation

/// A learned optimizer's rule in plain Float64 for the tests to compare kernels with.
protocol PlainRule: AnyObject {
  /// The tensors' values, row-major.
  var parameters: [[Double]] { get }
  func update(_ gradients: [[Double]], loss: Double)
}

enum PlainNetwork {
  /// bias + x w, w: [x.count, bias.count] row-major.
  static func linear(_ x: [Double], _ w: [Double], _ bias: [Double]) -> [Double] {
    var out = bias
    for (row, value) in x.enumerated() {
      for column in out.indices { out[column] += value * w[row * out.count + column] }
    }
    return out
  }

  static func relu(_ x: [Double]) -> [Double] { x.map { $0 < 0 ? 0 : $0 } }

  /// Two relu'd layers and a linear one.
  static func network(_ x: [Double], _ layers: [(w: [Double], b: [Double])]) -> [Double] {
    layers.indices.reduce(x) { x, layer in
      let out = linear(x, layers[layer].w, layers[layer].b)
      return layer + 1 < layers.count ? relu(out) : out
    }
  }

  /// One step of a row of an LSTM with the gates input, candidate, forget, output.
  static func lstm(
    _ x: [Double], hidden: inout [Double], cell: inout [Double], _ w: [Double], _ b: [Double]
  ) {
    let z = linear(x + hidden, w, b)
    let units = hidden.count
    func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    for i in 0..<units {
      cell[i] = sigmoid(z[2 * units + i] + 1) * cell[i] + sigmoid(z[i]) * tanh(z[units + i])
      hidden[i] = sigmoid(z[3 * units + i]) * tanh(cell[i])
    }
  }

  static func mean(_ x: [Double]) -> Double { x.reduce(0, +) / Double(x.count) }

  static func variance(_ x: [Double]) -> Double {
    let center = mean(x)
    return mean(x.map { ($0 - center) * ($0 - center) })
  }

  /// Divided by the root of 1e-5 and the mean square.
  static func normalised(_ x: [Double]) -> [Double] {
    let scale = 1 / (1e-5 + mean(x.map { $0 * $0 })).squareRoot()
    return x.map { $0 * scale }
  }

  static func clip(_ x: Double, _ bound: Double) -> Double { min(max(x, -bound), bound) }

  /// ln(1e-8 + |x|) within 5 of zero.
  static func logMagnitude(_ x: Double) -> Double { clip(log(1e-8 + abs(x)), 5) }

  static func sign(_ x: Double) -> Double { x > 0 ? 1 : x < 0 ? -1 : 0 }

  static let timeScales = [1.0, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000]

  /// Decays as the published rules have them, in Float32: 1 - 0.9999 is then 1.0002e-4.
  static func decays(_ values: [Float]) -> [Double] { values.map(Double.init) }

  /// decay * old + (1 - decay) * new, element by element.
  static func blend(_ old: [Double], _ new: [Double], _ decay: Double) -> [Double] {
    zip(old, new).map { decay * $0 + (1 - decay) * $1 }
  }
}
