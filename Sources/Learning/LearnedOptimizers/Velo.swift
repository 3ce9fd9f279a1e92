// VeLO: an LSTM with a row for every tensor, which blends a bank of small networks into the tensor's own update rule and
// gives its learning rate (Metz et al. 2022, "VeLO: Training Versatile Learned Optimizers by Scaling Up", arXiv
// 2211.09760; HyperV2 in the published implementation). NetworkBank has its meta-parameters; the arithmetic is in
// CKernels/optimizer_velo.inc.h.
//
//   s_i = 1/sqrt(max(mean p_i^2, 1e-9)); squash(x) = clip(ln(1e-8 + |10 x|), -5, 5)/2; M and V before this gradient
//   x_i = [tanh(10 (t/n - c)) (9), features of 10 averages of the loss (9), squash(mean s V), one-hot rank (5),
//          squash(var s M_j) (3), squash(mean (s V - mean s M_j)^2) (3)]
//   y_i = x_i W_2 + b_2 + max_k relu(x_k W_1 + b_1); (h_i, c_i) = LSTM(y_i, (h_i, c_i))
//   theta_i = mixingScale/K sum_k (h_i W_c + b_c)_k theta_k; rate_i = h_i W_s + b_s, which may be negative
//   g clipped to +-1000; M, V, R, C (or D) and the network's 30 features as in Celo.swift, its weights theta_i
//   p' = p - rate_i * d * sqrt(mean p^2 + 1e-9) * exp(expMultiplier a) * stepMultiplier
//
// A tensor without elements has a row, but none of the others hears of it: it takes no part in the maximum.
import Compute
import Contract

/// The learned optimizer VeLO: 2,320,385 meta-parameters at the published size.
public struct Velo: LearnedOptimizer {
  public static let optimizer = OptimizerName.velo
  public static let architecture = "hyperv2"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  public let needs: OptimizerNeeds = [.loss, .totalSteps]
  private let rule: VeloRule
  private let tensors: AdafactorTensors
  private let kernels: OptimizerKernels

  /// What is fixed before meta-training. The defaults are those of the published weights.
  public struct Configuration: ThetaConfiguration {
    /// Units of the LSTM, 1 to 2048; 512.
    public var lstmHidden = 512
    /// Networks in the bank that the LSTM blends, 1 to 4096; 256.
    public var networks = 256
    /// Scales the blended weights; 100, in later work 1.
    public var mixingScale = 100.0
    /// Scales the magnitude in the exponent; 0.001.
    public var expMultiplier = 0.001
    /// Scales every step; 0.001.
    public var stepMultiplier = 0.001
    /// Whether all averages of the loss run over 10 updates whatever the length of the run, as some older weights were
    /// trained.
    public var buggedLossFeatures = false
    /// Whether the LSTM starts every update from its first state, as some older weights were trained.
    public var buggedLSTMState = false

    public init() {}

    /// The published constants, but for those given.
    public init(lstmHidden: Int, networks: Int) {
      self.lstmHidden = lstmHidden
      self.networks = networks
    }

    public mutating func read(_ fields: inout Fields) {
      fields.accept(["lstm_hidden_size"], as: "lstm_hidden")
      fields.accept(["param_inits"], as: "networks")
      fields.accept(["ff_mult"], as: "mixing_scale")
      fields.accept(["exp_mult"], as: "exp_multiplier")
      fields.accept(["step_mult"], as: "step_multiplier")
      fields.accept(["use_bugged_loss_features"], as: "bugged_loss_features")
      fields.accept(["use_bugged_next_lstm_state"], as: "bugged_lstm_state")
      fields.accept(["ff_hidden_size"], as: "hidden")
      lstmHidden = fields.integer("lstm_hidden", in: NetworkBank.hiddenRange) ?? lstmHidden
      networks = fields.integer("networks", in: NetworkBank.networksRange) ?? networks
      mixingScale = fields.number("mixing_scale", in: -1e6...1e6) ?? mixingScale
      expMultiplier = fields.number("exp_multiplier", in: 0...1000) ?? expMultiplier
      stepMultiplier = fields.number("step_multiplier", in: 0...1000) ?? stepMultiplier
      buggedLossFeatures = fields.bool("bugged_loss_features") ?? buggedLossFeatures
      buggedLSTMState = fields.bool("bugged_lstm_state") ?? buggedLSTMState
      _ = fields.integer("hidden", in: 4...4)
      _ = fields.integer("ff_hidden_layers", in: 2...2)
    }

    public var json: JSON {
      [
        "hidden": 4, "lstm_hidden": .integer(lstmHidden), "networks": .integer(networks),
        "mixing_scale": .number(mixingScale), "exp_multiplier": .number(expMultiplier),
        "step_multiplier": .number(stepMultiplier), "bugged_loss_features": .bool(buggedLossFeatures),
        "bugged_lstm_state": .bool(buggedLSTMState),
      ]
    }

    fileprivate var bank: NetworkBank { NetworkBank(inputs: 30, hidden: lstmHidden, networks: networks) }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] { configuration.bank.leaves }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    NetworkBank(tree, inputs: 30).map { Configuration(lstmHidden: $0.hidden, networks: $0.networks) }
  }

  /// The state's layout: the accumulators of each tensor as in `SmallFC`, the LSTM's `lstm/hidden` and `lstm/cell`
  /// [tensors, units], and the averages of the loss under `loss_buffer/` as in `Celo`.
  public var state: ParameterLayout { tensors.state }

  /// - Parameter configuration: traps on sizes that ``Configuration/read(_:)`` would refuse.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    precondition(configuration.bank.isWithinLimits, "Velo: \(configuration.json.text) is beyond the limits")
    let theta = ThetaSchema(Velo.self, configuration).layout
    self.parameters = parameters
    thetaLayout = theta
    tensors = AdafactorTensors(
      parameters: parameters,
      extra: NetworkBank.slots(lstm: [parameters.tensors.count, configuration.lstmHidden]))
    rule = VeloRule(configuration, theta: theta, state: tensors.state)
    scratchFloats = tensors.scratchFloats(rule)
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    guard let theta, let layout = thetaLayout else {
      preconditionFailure("Velo: a learned optimizer needs its theta")
    }
    NetworkBank.initialize(state, self.state, theta: theta, layout)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("Velo: a learned optimizer needs its theta") }
    kernels.velo(rule, tensors, parameters, gradients, state: state, theta: theta, scratch: scratch, step: step)
  }
}
