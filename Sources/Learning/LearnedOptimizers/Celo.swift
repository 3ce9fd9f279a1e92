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

  /// Units of the scheduler's LSTM.
  static let lstmHidden = 64

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

    public init() {}

    public init(phase: Phase) { self.phase = phase }

    public mutating func read(_ fields: inout Fields) {
      if let number = fields.integer("train_phase", in: 1...2) { phase = number == 1 ? .updateRule : .full }
      phase = fields.choice("phase", of: Phase.self) ?? phase
      fields.accept(["lstm_hidden_size"], as: "lstm_hidden")
      fields.accept(["param_inits"], as: "networks")
      _ = fields.integer("hidden", in: 4...4)
      _ = fields.integer("lstm_hidden", in: Celo.lstmHidden...Celo.lstmHidden)
      _ = fields.integer("networks", in: 1...1)
    }

    public var json: JSON {
      [
        "hidden": 4, "lstm_hidden": .integer(Celo.lstmHidden), "networks": 1, "phase": .string(phase.rawValue),
      ]
    }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    let inputs = 18
    func network(_ name: String, _ shape: Shape, fanIn: Int? = nil) -> ThetaLeaf {
      ThetaLeaf(["ff_mod_stack", "~", name], shape, fanIn: fanIn)
    }
    // Channels of the 14 feature groups.
    let groups = [1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3]
    // `linear` and `rnn_to_controls` have no effect on the update; files of the reference hold them, and ours must.
    let layers = [
      ("linear", inputs, lstmHidden), ("linear_1", inputs, lstmHidden), ("linear_2", inputs, lstmHidden),
      ("rnn/linear", 2 * lstmHidden, 4 * lstmHidden), ("rnn_to_controls", lstmHidden, 1), ("step_size", lstmHidden, 1),
    ]
    return [network("b0", [1, 4]), network("b1", [1, 4]), network("b2", [1, 3])]
      + groups.enumerated().map { network("w0__\($0.offset)", [1, $0.element, 4], fanIn: 30) }
      + [network("w1", [1, 4, 4], fanIn: 4), network("w2", [1, 4, 3], fanIn: 4)]
      + ["cell", "hidden"].map { ThetaLeaf(["lstm_init_state", $0], [1, lstmHidden]) }
      + layers.flatMap { ThetaLeaf.linear(["rnn_params", $0], $1, $2) }
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    tree.shape(["ff_mod_stack", "~", "b0"]) == [1, 4] && tree.shape(["rnn_params", "linear", "w"]) == [18, lstmHidden]
      ? Configuration() : nil
  }

  /// The state's layout: the accumulators of each tensor as in `SmallFC`, the LSTM's `lstm/hidden` and `lstm/cell`,
  /// and the averages of the loss under `loss_buffer/`. `loss_buffer/decays` is zero until the first update writes
  /// them from the planned number of updates; `loss_buffer/count` counts updates and stays exact up to 2^24.
  public var state: ParameterLayout { tensors.state }

  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    let theta = ThetaSchema(Celo.self, configuration).layout
    let averages: Shape = [CeloRule.lossDecays]
    self.parameters = parameters
    thetaLayout = theta
    tensors = AdafactorTensors(
      parameters: parameters,
      extra: [
        ("lstm/hidden", [Celo.lstmHidden]), ("lstm/cell", [Celo.lstmHidden]), ("loss_buffer/means", averages),
        ("loss_buffer/minima", averages), ("loss_buffer/decays", averages), ("loss_buffer/count", .scalar),
      ])
    rule = CeloRule(
      scheduled: configuration.phase == .full, lstmHidden: Celo.lstmHidden, theta: theta, state: tensors.state)
    scratchFloats = tensors.scratchFloats(hidden: 4)
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    guard let theta, let layout = thetaLayout else {
      preconditionFailure("Celo: a learned optimizer needs its theta")
    }
    state.update(repeating: 0, count: self.state.floats)
    for part in ["hidden", "cell"] {
      let from = layout["lstm_init_state/\(part)"]!
      let to = self.state["lstm/\(part)"]!
      (state + to.offset).update(from: theta + from.offset, count: from.count)
    }
    let minima = self.state["loss_buffer/minima"]!
    (state + minima.offset).update(repeating: 1e12, count: minima.count)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("Celo: a learned optimizer needs its theta") }
    kernels.celo(rule, tensors, parameters, gradients, state: state, theta: theta, scratch: scratch, step: step)
  }
}
