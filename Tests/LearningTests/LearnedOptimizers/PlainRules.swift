// MLPLOpt, NN-Adam, Celo-Adam and RNN-MLP written plainly in Float64 from their formulas.
import Foundation
import Learning

private func layers(_ theta: Theta, _ path: String) -> [(w: [Double], b: [Double])] {
  (0..<3).map { (theta["\(path)\($0)/w"].map(Double.init), theta["\(path)\($0)/b"].map(Double.init)) }
}

final class PlainMLPLOpt: PlainRule {
  private(set) var parameters: [[Double]]
  private var momenta: [[[Double]]]
  private let theta: Theta
  private let configuration: MLPLOpt.Configuration
  private var iteration = 0.0
  private static let decays = PlainNetwork.decays([0.1, 0.5, 0.9, 0.99, 0.999, 0.9999])

  init(_ configuration: MLPLOpt.Configuration, _ theta: Theta, _ tensors: [(shape: [Int], values: [Float])]) {
    self.configuration = configuration
    self.theta = theta
    parameters = tensors.map { $0.values.map(Double.init) }
    momenta = parameters.map { p in Self.decays.map { _ in p.map { _ in 0 } } }
  }

  func update(_ gradients: [[Double]], loss: Double) {
    let network = layers(theta, "mlp/~/linear_")
    let times = PlainNetwork.timeScales.map { tanh(iteration / $0 - 1) }
    for (index, g) in gradients.enumerated() where !g.isEmpty {
      for (j, decay) in Self.decays.enumerated() { momenta[index][j] = PlainNetwork.blend(momenta[index][j], g, decay) }
      let features = ([g, parameters[index]] + momenta[index]).map(PlainNetwork.normalised)
      for i in g.indices {
        let out = PlainNetwork.network(features.map { $0[i] } + times, network)
        parameters[index][i] -=
          out[0] * exp(out[1] * configuration.expMultiplier) * configuration.stepMultiplier
      }
    }
    iteration += 1
  }
}

final class PlainNNAdam: PlainRule {
  private(set) var parameters: [[Double]]
  private let ranks: [Int]
  private var m: [[Double]]
  private var v: [[Double]]
  private(set) var codes: [[Double]]
  private var hidden: [[Double]]
  private var cell: [[Double]]
  private let theta: Theta
  private let configuration: NNAdam.Configuration

  init(_ configuration: NNAdam.Configuration, _ theta: Theta, _ tensors: [(shape: [Int], values: [Float])]) {
    self.configuration = configuration
    self.theta = theta
    parameters = tensors.map { $0.values.map(Double.init) }
    ranks = tensors.map(\.shape.count)
    m = parameters.map { $0.map { _ in 0 } }
    v = m
    let start = ["lr", "beta1", "beta2", "epsilon"].map { Double(theta["per_layer_\($0)"].first!) }
    codes = tensors.map { _ in start }
    hidden = tensors.map { _ in theta["lstm_init_state/hidden"].map(Double.init) }
    cell = tensors.map { _ in theta["lstm_init_state/cell"].map(Double.init) }
  }

  private func decode(_ c: [Double]) -> [Double] {
    [
      min(max(exp(10 * c[0]), 1e-8), 1e3), 1 - exp(min(max(10 * c[1], -10), 0)),
      1 - exp(min(max(10 * c[2], -10), 0)), min(max(exp(10 * c[3]), 1e-11), 1e4),
    ]
  }

  func update(_ gradients: [[Double]], loss: Double) {
    func weights(_ name: String) -> [Double] { theta[name].map(Double.init) }
    let start = ["lr", "beta1", "beta2", "epsilon"].map { Double(theta["per_layer_\($0)"].first!) }
    for index in gradients.indices where !gradients[index].isEmpty {
      let g = gradients[index].map { PlainNetwork.clip($0, 1000) }
      let p = parameters[index]
      let code = codes[index]
      let constants = decode(code)
      let (rate, epsilon) = (constants[0], constants[3])
      m[index] = PlainNetwork.blend(m[index], g, constants[1])
      v[index] = PlainNetwork.blend(v[index], g.map { $0 * $0 }, constants[2])
      let (m, v) = (m[index], v[index])
      for i in p.indices {
        parameters[index][i] -= rate * (1 + epsilon) / (epsilon + (v[i] + 1e-10).squareRoot()) * m[i]
      }
      func half(_ x: Double) -> Double { PlainNetwork.logMagnitude(x) / 2 }
      let features: [String: Double] = [
        "lr": PlainNetwork.clip(code[0], 5) / 5, "beta1": PlainNetwork.clip(code[1], 5) / 5,
        "beta2": PlainNetwork.clip(code[2], 5) / 5,
        "epsilon": PlainNetwork.clip(code[3], 5) / 5, "is_bias": ranks[index] == 1 ? 1 : -1,
        "is_scalar": ranks[index] == 0 ? 1 : -1, "mean_g_mag": half(PlainNetwork.mean(g)),
        "mean_g_sign": PlainNetwork.sign(PlainNetwork.mean(g)), "mean_gabs_mag": half(PlainNetwork.mean(g.map(abs))),
        "mean_m_mag": half(PlainNetwork.mean(m)), "mean_m_sign": PlainNetwork.sign(PlainNetwork.mean(m)),
        "mean_p_mag": half(PlainNetwork.mean(p)), "mean_p_sign": PlainNetwork.sign(PlainNetwork.mean(p)),
        "mean_rms": half(PlainNetwork.mean(v)), "mean_sign": PlainNetwork.sign(PlainNetwork.mean(v)),
        "var_g": half(PlainNetwork.variance(g)),
        "var_m": half(PlainNetwork.variance(m)), "var_p": half(PlainNetwork.variance(p)),
        "var_rms": half(PlainNetwork.variance(v)),
      ]
      PlainNetwork.lstm(
        features.sorted { $0.key < $1.key }.map(\.value), hidden: &hidden[index], cell: &cell[index],
        weights("rnn_params/rnn/linear/w"), weights("rnn_params/rnn/linear/b"))
      let control = "rnn_to_controls_params/rnn_to_controls"
      let delta = PlainNetwork.linear(hidden[index], weights("\(control)/w"), weights("\(control)/b"))
      let moved = (0..<4).map { q in
        let x = code[q] + configuration.outputScale * delta[q]
        return x - configuration.decayStrength * (x - start[q])
      }
      let kept = decode(moved)
      codes[index] = [kept[0], 1 - kept[1], 1 - kept[2], kept[3]].map { 0.1 * log($0) }
    }
  }
}

final class PlainCeloAdam: PlainRule {
  private(set) var parameters: [[Double]]
  private var m: [[Double]]
  private var v: [[Double]]
  private let scheduler: ReferenceScheduler
  private var count = 0.0

  init(_ theta: Theta, _ tensors: [(shape: [Int], values: [Float])], totalSteps: Int) {
    parameters = tensors.map { $0.values.map(Double.init) }
    m = parameters.map { $0.map { _ in 0 } }
    v = m
    scheduler = ReferenceScheduler(theta, rows: 1, totalSteps: totalSteps)
  }

  func update(_ gradients: [[Double]], loss: Double) {
    let rate = scheduler.schedule([[]], present: [true], loss: loss, iteration: Int(count))[0].rate
    let multiplier = 0.1 * exp(rate)
    count += 1
    let decays = PlainNetwork.decays([0.9, 0.999])
    for index in gradients.indices {
      let g = gradients[index].map { PlainNetwork.clip($0, 1000) }
      m[index] = PlainNetwork.blend(m[index], g, decays[0])
      v[index] = PlainNetwork.blend(v[index], g.map { $0 * $0 }, decays[1])
      for i in g.indices {
        let (first, second) = (m[index][i] / (1 - pow(decays[0], count)), v[index][i] / (1 - pow(decays[1], count)))
        parameters[index][i] -= first * multiplier * 0.001 / (1e-8 + (second + 1e-10).squareRoot())
      }
    }
  }
}

final class PlainRNNMLP: PlainRule {
  private(set) var parameters: [[Double]]
  private let shapes: [[Int]]
  private var m: [[[Double]]]
  private var v: [[[Double]]]
  private var hidden: [[Double]]
  private var cell: [[Double]]
  private var fromMLP: [[Double]]
  private var fromLSTM: [Double]
  private var (clipValue, clipCount) = (0.01, 1.0)
  private var train = Average(decay: 0.9)
  private var valid = Average(decay: 0.95)
  private(set) var iteration = 0.0
  private let theta: Theta
  private let configuration: RNNMLP.Configuration
  private static let decays = PlainNetwork.decays([0.5, 0.9, 0.99, 0.999, 0.9999])

  private struct Average {
    let decay: Double
    var mean = 0.0
    var variance = 0.0
    var count = 0.0

    init(decay: Double) { self.decay = decay }

    mutating func enter(_ loss: Double) {
      mean = decay * mean + (1 - decay) * loss
      variance = decay * variance + (1 - decay) * (mean - loss) * (mean - loss)
      count += 1
    }

    var correction: Double { 1 / (1 - pow(decay, count) + 1e-8) }

    func standardised(_ loss: Double) -> Double {
      PlainNetwork.clip((loss - correction * mean) / (correction * variance + 1e-8).squareRoot(), 5)
    }
  }

  init(_ configuration: RNNMLP.Configuration, _ theta: Theta, _ tensors: [(shape: [Int], values: [Float])]) {
    self.configuration = configuration
    self.theta = theta
    // Tensors without elements have no rows.
    let tensors = tensors.filter { !$0.values.isEmpty }
    parameters = tensors.map { $0.values.map(Double.init) }
    shapes = tensors.map(\.shape)
    m = parameters.map { p in Self.decays.map { _ in p.map { _ in 0 } } }
    v = m
    hidden = tensors.map { _ in theta["lstm_init_state/hidden"].map(Double.init) }
    cell = tensors.map { _ in theta["lstm_init_state/cell"].map(Double.init) }
    fromMLP = tensors.map { _ in theta["initial_from_mlp"].map(Double.init) }
    fromLSTM = theta["initial_from_lstm"].map(Double.init)
  }

  func observe(_ loss: Double) {
    valid.enter(loss)
    iteration += 1
  }

  func update(_ raw: [[Double]], loss: Double) {
    func weights(_ name: String) -> [Double] { theta[name].map(Double.init) }
    train.enter(loss)
    let trainFeature = train.standardised(loss)
    let validFeature = train.standardised(valid.correction * valid.mean)
    let limit = 10 * clipValue / (1 - pow(0.99, clipCount))
    let gradients = raw.filter { !$0.isEmpty }.map { $0.map { PlainNetwork.clip($0, limit) } }
    let size = PlainNetwork.mean(gradients.map { PlainNetwork.mean($0.map { $0 * $0 }) })
    clipValue = 0.99 * clipValue + 0.01 * (1e-8 + size).squareRoot()
    clipCount += 1

    func norm(_ x: [Double]) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }
    for (index, g) in gradients.enumerated() {
      for (j, decay) in Self.decays.enumerated() {
        m[index][j] = PlainNetwork.blend(m[index][j], g, decay)
        v[index][j] = PlainNetwork.blend(v[index][j], g.map { $0 * $0 }, decay)
      }
      let (p, shape) = (parameters[index], shapes[index])
      let (m, v) = (m[index].flatMap { $0 }, v[index].flatMap { $0 })
      let sizes = (0..<4).map { log(Double($0 < shape.count ? shape[$0] : 1)) - 1 }
      let statistics = [
        PlainNetwork.logMagnitude(norm(g)), shape.isEmpty ? 1 : -1, PlainNetwork.logMagnitude(PlainNetwork.mean(m)),
        PlainNetwork.sign(PlainNetwork.mean(m)), PlainNetwork.logMagnitude(PlainNetwork.mean(v)),
        PlainNetwork.sign(PlainNetwork.mean(v)),
        PlainNetwork.logMagnitude(PlainNetwork.mean(p)), PlainNetwork.sign(PlainNetwork.mean(p)),
        PlainNetwork.logMagnitude(norm(p)),
      ]
      let spread = [m, v, p].map { PlainNetwork.logMagnitude(PlainNetwork.variance($0)) }
      PlainNetwork.lstm(
        fromLSTM + fromMLP[index] + statistics + sizes + [trainFeature, validFeature] + spread,
        hidden: &hidden[index], cell: &cell[index], weights("rnn_params/rnn/linear/w"),
        weights("rnn_params/rnn/linear/b"))
    }
    let told = hidden.map {
      PlainNetwork.linear($0, weights("rnn_to_in_params/rnn_to_in/w"), weights("rnn_to_in_params/rnn_to_in/b"))
    }
    fromLSTM = fromLSTM.indices.map { i in PlainNetwork.mean(told.map { $0[i] }) }

    let network = layers(theta, "ffmod_params/mlp/~/linear_")
    let times = PlainNetwork.timeScales.map { sin(iteration / ($0 * .pi)) }
    for (index, g) in gradients.enumerated() {
      let p = parameters[index]
      let q = v[index].map { $0.map { 1 / ($0 + 1e-6).squareRoot() } }
      let scaled = zip(m[index], q).map { zip($0, $1).map { $0 * $1 } }
      let features = ([g, p, p.map { log(abs($0) + 1e-8) }] + m[index] + v[index] + scaled + q).map(
        PlainNetwork.normalised)
      let common =
        times + [log(Double(gradients.count)) - 1, log(norm(p) + 1e-8), log(Double(p.count))]
        + PlainNetwork.linear(
          hidden[index], weights("rnn_to_ff_params/rnn_to_ff/w"), weights("rnn_to_ff_params/rnn_to_ff/b"))
      var messages = [Double](repeating: 0, count: configuration.fromMLP)
      for i in p.indices {
        let out = PlainNetwork.network(features.map { $0[i] } + common, network)
        parameters[index][i] -= out[0] * exp(out[1] * configuration.expMultiplier) * configuration.stepMultiplier
        for k in messages.indices { messages[k] += out[2 + k] / Double(p.count) }
      }
      fromMLP[index] = messages
    }
    iteration += 1
  }
}
