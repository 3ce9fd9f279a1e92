// NN-Adam: Adam whose four constants an LSTM moves, for each tensor its own, after every update (Metz et al. 2022,
// "Practical tradeoffs between memory, compute, and performance in learned optimizers", arXiv 2203.11860). Theta.swift
// holds its meta-parameters; the arithmetic is in CKernels/optimizer_nn_adam.inc.h.
//
//   g clipped to +-1000; per tensor the codes c = 0.1 ln of rate, 1 - b1, 1 - b2 and epsilon
//   m' = b1 m + (1 - b1) g                    v' = b2 v + (1 - b2) g^2                    (no bias correction)
//   p' = p - rate (1 + epsilon) m' / (epsilon + sqrt(v' + 1e-10))
//   h  = LSTM(19 statistics of p, g, m', v' and c), a row for each tensor
//   c' = c + outputScale (W' h + b), less decayStrength (c' - c at the start); kept where rate is in [1e-8, 1e3],
//        b in [0, 1 - e^-10] and epsilon in [1e-11, 1e4]; it acts from the next update on
import Compute
import Contract
import Foundation

/// The learned optimizer NN-Adam: 6,856 meta-parameters at 32 units of LSTM. Before meta-training it is Adam.
public struct NNAdam: LearnedOptimizer {
  public static let optimizer = OptimizerName.nnAdam
  public static let architecture = "nn_adam"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  /// `momentum/…` and `rms/…` of each tensor; then, by the tensors that are not empty, the codes `learning_rate`,
  /// `beta1`, `beta2` and `epsilon` [tensors], and `lstm/hidden` and `lstm/cell` [tensors, units].
  public let state: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  private let rule: NNAdamRule
  private let kernels: OptimizerKernels

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// Units of the LSTM, 1 to 2048; 32.
    public var lstmHidden = 32
    /// Scales what the LSTM adds to the codes; 0.01.
    public var outputScale = 0.01
    /// Share by which the codes return to their start at every update; 0.
    public var decayStrength = 0.0
    /// Adam's constants where meta-training begins: 1e-4, 0.9, 0.999 and 1e-8.
    public var initialLearningRate = 1e-4
    public var initialBeta1 = 0.9
    public var initialBeta2 = 0.999
    public var initialEpsilon = 1e-8

    public init() {}

    /// Sizes of the LSTM that the kernels take.
    static let lstmRange = 1...NNAdamRule.lstmHiddenMax

    public mutating func read(_ fields: inout Fields) {
      fields.accept(["lstm_hidden_size"], as: "lstm_hidden")
      lstmHidden = fields.integer("lstm_hidden", in: Self.lstmRange) ?? lstmHidden
      outputScale = fields.number("output_scale", in: 0...1000) ?? outputScale
      decayStrength = fields.number("decay_strength", in: 0...1) ?? decayStrength
      initialLearningRate = fields.number("initial_learning_rate", in: 1e-8...1e3) ?? initialLearningRate
      initialBeta1 = fields.number("initial_beta1", in: 0...0.9999) ?? initialBeta1
      initialBeta2 = fields.number("initial_beta2", in: 0...0.9999) ?? initialBeta2
      initialEpsilon = fields.number("initial_epsilon", in: 1e-11...1e4) ?? initialEpsilon
    }

    public var json: JSON {
      [
        "lstm_hidden": .integer(lstmHidden), "output_scale": .number(outputScale),
        "decay_strength": .number(decayStrength), "initial_learning_rate": .number(initialLearningRate),
        "initial_beta1": .number(initialBeta1), "initial_beta2": .number(initialBeta2),
        "initial_epsilon": .number(initialEpsilon),
      ]
    }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    let h = configuration.lstmHidden
    func code(_ name: String, _ value: Double) -> ThetaLeaf {
      ThetaLeaf([name], .scalar, start: .constant(Float(0.1 * log(value))))
    }
    let controls = ["rnn_to_controls_params", "rnn_to_controls"]
    return ["cell", "hidden"].map { ThetaLeaf(["lstm_init_state", $0], [1, h]) } + [
      code("per_layer_beta1", 1 - configuration.initialBeta1), code("per_layer_beta2", 1 - configuration.initialBeta2),
      code("per_layer_epsilon", configuration.initialEpsilon), code("per_layer_lr", configuration.initialLearningRate),
    ] + ThetaLeaf.linear(["rnn_params", "rnn/linear"], NNAdamRule.features + h, 4 * h)
      // Zero: before meta-training the constants stay what they are.
      + [ThetaLeaf(controls + ["b"], [4]), ThetaLeaf(controls + ["w"], [h, 4])]
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    guard tree.shape(["per_layer_lr"]) == [],
      let controls = tree.shape(["rnn_to_controls_params", "rnn_to_controls", "w"]), controls.count == 2,
      Configuration.lstmRange.contains(controls[0])
    else { return nil }
    var configuration = Configuration()
    configuration.lstmHidden = controls[0]
    return configuration
  }

  /// - Parameter configuration: traps on a size that ``Configuration/read(_:)`` would refuse.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    precondition(
      Configuration.lstmRange.contains(configuration.lstmHidden), "NNAdam: \(configuration.lstmHidden) units of LSTM")
    let theta = ThetaSchema(NNAdam.self, configuration).layout
    let rows = parameters.tensors.filter { $0.count > 0 }.count
    self.parameters = parameters
    thetaLayout = theta
    state = ParameterLayout(
      ["momentum", "rms"].flatMap { slot in parameters.tensors.map { ("\(slot)/\($0.name)", $0.shape) } }
        + NNAdamRule.codes.map { ($0.slot, [rows]) }
        + ["hidden", "cell"].map { ("lstm/\($0)", [rows, configuration.lstmHidden]) })
    rule = NNAdamRule(configuration, parameters: parameters, state: state, theta: theta)
    scratchFloats = rule.scratchFloats
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    guard let theta else { preconditionFailure("NNAdam: a learned optimizer needs its theta") }
    state.update(repeating: 0, count: self.state.floats)
    for (slot, leaf) in NNAdamRule.codes { fill(slot, of: state, with: leaf, of: theta) }
    for part in ["hidden", "cell"] { fill("lstm/\(part)", of: state, with: "lstm_init_state/\(part)", of: theta) }
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("NNAdam: a learned optimizer needs its theta") }
    kernels.nnAdam(rule, parameters, gradients, state: state, theta: theta, scratch: scratch)
  }
}

extension LearnedOptimizer {
  /// Writes a leaf of theta into every row of a slot.
  func fill(
    _ slot: String, of state: UnsafeMutablePointer<Float>, with leaf: String, of theta: UnsafePointer<Float>
  ) {
    let to = self.state[slot]!
    let from = thetaLayout![leaf]!
    for row in stride(from: 0, to: to.count, by: from.count) {
      (state + to.offset + row).update(from: theta + from.offset, count: from.count)
    }
  }
}
