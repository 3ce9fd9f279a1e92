// RNN-MLP: a network for each parameter and an LSTM for each tensor that talk with one another (Metz et al. 2020, "Tasks,
// stability, architecture, and compute: training more effective learned optimizers, and using them to train
// themselves", arXiv 2009.11243). Theta.swift holds its meta-parameters; the arithmetic is in
// CKernels/optimizer_rnn_mlp.inc.h.
//
//   g clipped to +-10 S / (1 - 0.99^k), S a decayed average of the gradients' root mean square
//   M_j, V_j: averages of g and g^2 with the decays 0.5, 0.9, 0.99, 0.999, 0.9999
//   h = LSTM(18 statistics of the tensor and the losses, fromLSTM, fromMLP), a row for each tensor
//   fromLSTM' = mean over tensors of W_in' h + b_in
//   x = [g, p, ln(|p| + 1e-8), M, V, M/sqrt(V + 1e-6), 1/sqrt(V + 1e-6)],
//       each divided by sqrt(1e-5 + mean of its square over the tensor), then sin(t/(pi tau)) for 11 time scales tau,
//       ln T - 1 for T tensors, ln |p| and ln N of the tensor, and W_ff' h + b_ff
//   (d, a, m) = W2' relu(W1' relu(W0' x + b0) + b1) + b2                  fromMLP' = mean of m over the tensor
//   p' = p - d * exp(a * expMultiplier) * stepMultiplier
import Compute
import Contract
import Foundation

/// The learned optimizer RNN-MLP: 35,799 meta-parameters. It makes use of losses on held-out data.
public struct RNNMLP: LearnedOptimizer {
  public static let optimizer = OptimizerName.rnnMLP
  public static let architecture = "rnn_mlp"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  /// `momentum/…` and `rms/…` [5, shape] of each tensor; by the tensors that are not empty `lstm/hidden`, `lstm/cell`
  /// and `from_mlp`; `from_lstm`; `clip/value` and `clip/count`; `train_loss` and `valid_loss` (mean, variance, count);
  /// and `iteration`, which counts losses on held-out data too. Counts stay exact up to 2^24.
  public let state: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  public let needs: OptimizerNeeds = [.loss, .validationLoss]
  private let rule: RNNMLPRule
  private let train: LossAverage
  private let valid: LossAverage
  private let iteration: Int
  private let kernels: OptimizerKernels

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// Units of each of the two hidden layers, 1 to 64; 32.
    public var hidden = 32
    /// Units of the LSTM, 1 to 2048; 64.
    public var lstmHidden = 64
    /// Floats that the network tells its tensor's row, that all rows tell all, and that a row tells the network, each
    /// 1 to 64; 16, 18 and 17.
    public var fromMLP = 16
    public var fromLSTM = 18
    public var toMLP = 17
    /// Scales the magnitude in the exponent; 0.001.
    public var expMultiplier = 0.001
    /// Scales every step; 0.001.
    public var stepMultiplier = 0.001

    public init() {}

    static let hiddenRange = 1...SmallFCRule.hiddenMax
    static let lstmRange = 1...NNAdamRule.lstmHiddenMax
    static let messageRange = 1...RNNMLPRule.messageMax

    public mutating func read(_ fields: inout Fields) {
      fields.accept(["hidden_size"], as: "hidden")
      fields.accept(["lstm_hidden_size"], as: "lstm_hidden")
      fields.accept(["from_mlp_size"], as: "from_mlp")
      fields.accept(["from_lstm_size"], as: "from_lstm")
      fields.accept(["lstm_to_ff"], as: "to_mlp")
      fields.accept(["magnitude_rate", "exp_mult"], as: "exp_multiplier")
      fields.accept(["step_mult"], as: "step_multiplier")
      hidden = fields.integer("hidden", in: Self.hiddenRange) ?? hidden
      lstmHidden = fields.integer("lstm_hidden", in: Self.lstmRange) ?? lstmHidden
      fromMLP = fields.integer("from_mlp", in: Self.messageRange) ?? fromMLP
      fromLSTM = fields.integer("from_lstm", in: Self.messageRange) ?? fromLSTM
      toMLP = fields.integer("to_mlp", in: Self.messageRange) ?? toMLP
      expMultiplier = fields.number("exp_multiplier", in: 0...1000) ?? expMultiplier
      stepMultiplier = fields.number("step_multiplier", in: 0...1000) ?? stepMultiplier
      _ = fields.integer("hidden_layer", in: 2...2)
    }

    public var json: JSON {
      [
        "hidden": .integer(hidden), "lstm_hidden": .integer(lstmHidden), "from_mlp": .integer(fromMLP),
        "from_lstm": .integer(fromLSTM), "to_mlp": .integer(toMLP), "exp_multiplier": .number(expMultiplier),
        "step_multiplier": .number(stepMultiplier),
      ]
    }

    /// Whether the kernels take these sizes.
    var isInRange: Bool {
      Self.hiddenRange.contains(hidden) && Self.lstmRange.contains(lstmHidden)
        && [fromMLP, fromLSTM, toMLP].allSatisfy(Self.messageRange.contains)
    }

    /// What the LSTM and the network are given.
    var lstmInputs: Int { fromLSTM + fromMLP + RNNMLPRule.statistics }
    var inputs: Int { 23 + 11 + 3 + toMLP }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    let (h, units) = (configuration.hidden, configuration.lstmHidden)
    func message(_ name: String, _ count: Int) -> ThetaLeaf {
      // Variance 1/count after the cut at two deviations.
      let deviation = 1 / Float(count).squareRoot() / 0.879_625_66
      return ThetaLeaf([name], [count], start: .truncatedNormal(deviation: deviation))
    }
    return [message("initial_from_lstm", configuration.fromLSTM), message("initial_from_mlp", configuration.fromMLP)]
      + ["cell", "hidden"].map { ThetaLeaf(["lstm_init_state", $0], [1, units]) }
      + ThetaLeaf.linear(["rnn_params", "rnn/linear"], configuration.lstmInputs + units, 4 * units)
      + ThetaLeaf.linear(["rnn_to_ff_params", "rnn_to_ff"], units, configuration.toMLP)
      + ThetaLeaf.linear(["rnn_to_in_params", "rnn_to_in"], units, configuration.fromLSTM)
      + ThetaLeaf.linear(["ffmod_params", "mlp/~/linear_0"], configuration.inputs, h)
      + ThetaLeaf.linear(["ffmod_params", "mlp/~/linear_1"], h, h)
      + ThetaLeaf.linear(["ffmod_params", "mlp/~/linear_2"], h, 2 + configuration.fromMLP)
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    guard let told = tree.shape(["rnn_to_ff_params", "rnn_to_ff", "w"]), told.count == 2,
      let fromLSTM = tree.shape(["initial_from_lstm"]), fromLSTM.count == 1,
      let fromMLP = tree.shape(["initial_from_mlp"]), fromMLP.count == 1,
      let w1 = tree.shape(["ffmod_params", "mlp/~/linear_1", "w"]), w1.count == 2
    else { return nil }
    var configuration = Configuration()
    (configuration.lstmHidden, configuration.toMLP) = (told[0], told[1])
    (configuration.fromLSTM, configuration.fromMLP, configuration.hidden) = (fromLSTM[0], fromMLP[0], w1[0])
    return configuration.isInRange ? configuration : nil
  }

  /// - Parameter configuration: traps on sizes that ``Configuration/read(_:)`` would refuse.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    precondition(configuration.isInRange, "RNNMLP: sizes out of range: \(configuration.json.text)")
    let theta = ThetaSchema(RNNMLP.self, configuration).layout
    let rows = parameters.tensors.filter { $0.count > 0 }.count
    let averages = ["momentum", "rms"].flatMap { slot in
      parameters.tensors.map { (name: "\(slot)/\($0.name)", shape: Shape([RNNMLPRule.decays] + $0.shape.dimensions)) }
    }
    let state = ParameterLayout(
      averages + [
        ("lstm/hidden", [rows, configuration.lstmHidden]), ("lstm/cell", [rows, configuration.lstmHidden]),
        ("from_mlp", [rows, configuration.fromMLP]), ("from_lstm", [configuration.fromLSTM]),
        ("clip/value", .scalar), ("clip/count", .scalar), ("train_loss", [LossAverage.floats]),
        ("valid_loss", [LossAverage.floats]), ("iteration", .scalar),
      ])
    self.parameters = parameters
    self.state = state
    thetaLayout = theta
    train = LossAverage(decay: 0.9, offset: state["train_loss"]!.offset)
    valid = LossAverage(decay: 0.95, offset: state["valid_loss"]!.offset)
    iteration = state["iteration"]!.offset
    rule = RNNMLPRule(configuration, parameters: parameters, state: state, theta: theta)
    scratchFloats = rule.scratchFloats
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    guard let theta else { preconditionFailure("RNNMLP: a learned optimizer needs its theta") }
    state.update(repeating: 0, count: self.state.floats)
    for part in ["hidden", "cell"] { fill("lstm/\(part)", of: state, with: "lstm_init_state/\(part)", of: theta) }
    for message in ["from_mlp", "from_lstm"] { fill(message, of: state, with: "initial_\(message)", of: theta) }
    state[self.state["clip/value"]!.offset] = 0.01
    state[self.state["clip/count"]!.offset] = 1
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("RNNMLP: a learned optimizer needs its theta") }
    train.enter(step.loss, state)
    kernels.rnnMLP(
      rule, parameters, gradients, state: state, theta: theta, scratch: scratch, iteration: state[iteration],
      train: train.standardised(step.loss, state),
      valid: train.standardised(valid.correctedMean(state), state))
    state[iteration] += 1
  }

  public func observe(validationLoss: Float, state: UnsafeMutablePointer<Float>) {
    valid.enter(validationLoss, state)
    state[iteration] += 1
  }
}

/// Decayed averages of a loss and of its squared distance from them.
private struct LossAverage: Sendable {
  /// The slot: mean, variance, count.
  static let floats = 3
  let decay: Float
  let offset: Int

  func enter(_ loss: Float, _ state: UnsafeMutablePointer<Float>) {
    let slot = state + offset
    slot[0] = decay * slot[0] + (1 - decay) * loss
    let distance = slot[0] - loss
    slot[1] = decay * slot[1] + (1 - decay) * (distance * distance)
    slot[2] += 1
  }

  /// What makes up for averages that started at zero. Finite before the first loss, when both averages are zero.
  private func correction(_ state: UnsafeMutablePointer<Float>) -> Float {
    1 / (1 - powf(decay, state[offset + 2]) + 1e-8)
  }

  func correctedMean(_ state: UnsafeMutablePointer<Float>) -> Float { correction(state) * state[offset] }

  /// A loss by its distance from the mean in deviations, within +-5; NaN stays.
  func standardised(_ loss: Float, _ state: UnsafeMutablePointer<Float>) -> Float {
    let c = correction(state)
    let x = (loss - c * state[offset]) / (c * state[offset + 1] + 1e-8).squareRoot()
    return x > 5 ? 5 : x < -5 ? -5 : x
  }
}
