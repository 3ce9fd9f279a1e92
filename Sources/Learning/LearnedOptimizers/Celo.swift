// Celo: a per-parameter network on Adafactor features and an LSTM that schedules its learning rate from the loss and
// the share of the run that is done (Moudgil et al. 2025, "Celo: Training Versatile Learned Optimizers on a Compute
// Diet", arXiv 2501.12670). Theta.swift holds its meta-parameters; the arithmetic is in
// CKernels/optimizer_celo.inc.h.
//
//   g clipped to +-1000; M, V, R, C (or D) as in SmallFC.swift with the fixed decays 0.9, 0.99, 0.999 and 0.999
//   x = small_fc's features without the time, and g clipped to +-0.1 and g/sqrt(V + 1e-6); normalised alike
//   (d, a) = W2' relu(W1' relu(W0' x + b0) + b1) + b2                  30 -> 4 -> 4 -> 3, the third output unused
//   p' = p - multiplier * d * sqrt(mean p^2 + 1e-9) * exp(0.001 a) * 0.001
//   multiplier = 0.1 exp(h W + b), h the LSTM's output on [tanh(10 (t/n - c)), 9 features of 10 averages of the loss]
//   With a bank of K networks, W0' ... b2 are sum_k softmax(h W_c + b_c)_k theta_k / K; the published Celo has K = 1.
//
// All tensors give the LSTM the same inputs and start from the same state, so one row stands for all of them.
import Compute
import Contract

/// The learned optimizer Celo: 37,089 meta-parameters.
public struct Celo: LearnedOptimizer {
  public static let optimizer = OptimizerName.celo
  public static let architecture = "celo"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  public let needs: OptimizerNeeds = [.loss, .totalSteps]
  private let rule: CeloRule
  private let tensors: AdafactorTensors
  private let kernels: OptimizerKernels

  /// Which part of the rule acts; meta-training has one phase for each.
  public enum Phase: String, Sendable, CaseIterable {
    /// The per-parameter network alone: the scheduler runs, but its multiplier is taken as 1.
    case updateRule = "update_rule"
    /// The whole optimizer.
    case full
  }

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// Which part of the rule acts; the whole.
    public var phase = Phase.full
    /// Units of the scheduler's LSTM, 1 to 2048; 64.
    public var lstmHidden = 64
    /// Networks in the bank that the LSTM blends, 1 to 4096; 1.
    public var networks = 1
    /// Scales the magnitude in the exponent; 0.001.
    public var expMultiplier = 0.001
    /// Scales every step; 0.001.
    public var stepMultiplier = 0.001

    public init() {}

    public init(phase: Phase = .full, lstmHidden: Int = 64, networks: Int = 1) {
      self.phase = phase
      self.lstmHidden = lstmHidden
      self.networks = networks
    }

    public mutating func read(_ fields: inout Fields) {
      if let number = fields.integer("train_phase", in: 1...2) { phase = number == 1 ? .updateRule : .full }
      phase = fields.choice("phase", of: Phase.self) ?? phase
      fields.accept(["lstm_hidden_size"], as: "lstm_hidden")
      fields.accept(["param_inits"], as: "networks")
      fields.accept(["exp_mult"], as: "exp_multiplier")
      fields.accept(["step_mult"], as: "step_multiplier")
      fields.accept(["ff_hidden_size"], as: "hidden")
      lstmHidden = fields.integer("lstm_hidden", in: NetworkBank.hiddenRange) ?? lstmHidden
      networks = fields.integer("networks", in: NetworkBank.networksRange) ?? networks
      expMultiplier = fields.number("exp_multiplier", in: 0...1000) ?? expMultiplier
      stepMultiplier = fields.number("step_multiplier", in: 0...1000) ?? stepMultiplier
      _ = fields.integer("hidden", in: 4...4)
      _ = fields.integer("ff_hidden_layers", in: 2...2)
    }

    public var json: JSON {
      [
        "hidden": 4, "lstm_hidden": .integer(lstmHidden), "networks": .integer(networks),
        "phase": .string(phase.rawValue), "exp_multiplier": .number(expMultiplier),
        "step_multiplier": .number(stepMultiplier),
      ]
    }

    /// The features that the scheduler sees: time (9) and averages of the loss (9).
    fileprivate var bank: NetworkBank { NetworkBank(inputs: 18, hidden: lstmHidden, networks: networks) }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] { configuration.bank.leaves }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    NetworkBank(tree, inputs: 18).map { Configuration(lstmHidden: $0.hidden, networks: $0.networks) }
  }

  /// The state's layout: the accumulators of each tensor as in `SmallFC`, the LSTM's `lstm/hidden` and `lstm/cell`,
  /// and the averages of the loss under `loss_buffer/`. `loss_buffer/decays` is zero until the first update writes
  /// them from the planned number of updates; `loss_buffer/count` counts updates and stays exact up to 2^24.
  public var state: ParameterLayout { tensors.state }

  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    precondition(configuration.bank.isWithinLimits, "Celo: \(configuration.json.text) is beyond the limits")
    let theta = ThetaSchema(Celo.self, configuration).layout
    self.parameters = parameters
    thetaLayout = theta
    tensors = AdafactorTensors(
      parameters: parameters, extra: NetworkBank.slots(lstm: [configuration.lstmHidden]))
    rule = CeloRule(configuration, theta: theta, state: tensors.state)
    scratchFloats = tensors.scratchFloats(rule)
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    guard let theta, let layout = thetaLayout else {
      preconditionFailure("Celo: a learned optimizer needs its theta")
    }
    NetworkBank.initialize(state, self.state, theta: theta, layout)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("Celo: a learned optimizer needs its theta") }
    kernels.celo(rule, tensors, parameters, gradients, state: state, theta: theta, scratch: scratch, step: step)
  }
}
