// Celo-Adam: Adam behind Celo's scheduler, an LSTM that sets the learning rate from the loss and the share of the run
// that is done (Moudgil et al. 2025, "Celo: Training Versatile Learned Optimizers on a Compute Diet", arXiv
// 2501.12670). Celo.swift has the scheduler; the arithmetic is in CKernels/optimizer_celo_adam.inc.h.
//
//   g clipped to +-1000; m' = 0.9 m + 0.1 g                     v' = 0.999 v + 0.001 g^2
//   M = m' / (1 - 0.9^k)                                        V = v' / (1 - 0.999^k)                 k = t + 1
//   p' = p - 0.001 multiplier M / (1e-8 + sqrt(V + 1e-10)), where multiplier is the scheduler's, as in Celo
import Compute
import Contract
import Foundation

/// The learned optimizer Celo-Adam: 36,865 meta-parameters.
public struct CeloAdam: LearnedOptimizer {
  public static let optimizer = OptimizerName.celoAdam
  public static let architecture = "celo_adam"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  /// `first_moment/…` and `second_moment/…` of each tensor, then the scheduler's slots as in ``Celo``.
  public let state: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let needs: OptimizerNeeds = [.loss, .totalSteps]
  private let rule: CeloAdamRule
  private let kernels: OptimizerKernels
  private let floats: Int

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// Units of the LSTM, 1 to 2048; 64.
    public var lstmHidden = 64

    public init() {}

    public mutating func read(_ fields: inout Fields) {
      fields.accept(["lstm_hidden_size"], as: "lstm_hidden")
      lstmHidden = fields.integer("lstm_hidden", in: NetworkBank.hiddenRange) ?? lstmHidden
      // Published arguments that have one value here.
      let only: KeyValuePairs<String, JSON> = [
        "initial_epsilon": 1e-8, "initial_momentum_decays": [0.9], "initial_rms_decays": [0.999],
      ]
      for (key, only) in only {
        if let value = fields.value(key), value != only {
          fields.fault(key, "expected \(only.text): it is always so here")
        }
      }
    }

    public var json: JSON { ["lstm_hidden": .integer(lstmHidden)] }
  }

  /// Celo's without the networks and what chooses among them.
  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    NetworkBank(inputs: 18, hidden: configuration.lstmHidden, networks: 1).leaves.filter {
      $0.path[0] != "ff_mod_stack" && $0.path[1] != "rnn_to_controls"
    }
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    guard let mixing = tree.shape(["rnn_params", "linear", "w"]), mixing.count == 2, mixing[0] == 18,
      NetworkBank.hiddenRange.contains(mixing[1]), tree.shape(["rnn_params", "step_size", "w"]) == [mixing[1], 1],
      !tree.has(["ff_mod_stack"])
    else { return nil }
    var configuration = Configuration()
    configuration.lstmHidden = mixing[1]
    return configuration
  }

  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    let theta = ThetaSchema(CeloAdam.self, configuration).layout
    self.parameters = parameters
    thetaLayout = theta
    let moments = parameters.slots(["first_moment", "second_moment"])
    state = ParameterLayout(
      moments.tensors.map { ($0.name, $0.shape) } + NetworkBank.slots(lstm: [configuration.lstmHidden]))
    rule = CeloAdamRule(lstmHidden: configuration.lstmHidden, theta: theta, state: state)
    floats = parameters.packedFloats
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    guard let theta, let layout = thetaLayout else {
      preconditionFailure("CeloAdam: a learned optimizer needs its theta")
    }
    NetworkBank.initialize(state, self.state, theta: theta, layout)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("CeloAdam: a learned optimizer needs its theta") }
    let k = Double(step.iteration + 1)
    // In double, as in Adam.swift, of the decays as the kernel holds them.
    func correction(_ decay: Float) -> Float { Float(1 / (1 - pow(Double(decay), k))) }
    kernels.celoAdam(
      rule, parameters, gradients, state, state + floats, count: floats, state: state, theta: theta, step: step,
      corrections: (correction(0.9), correction(0.999)))
  }
}
