// Learned SGDM: gradient descent with momentum whose two constants are meta-parameters: the smallest learned optimizer,
// and one whose unrolled trainings can be differentiated by hand (Maclaurin et al. 2015, arXiv 1502.03492).
//
//   m' = mu m + g,   p' = p - rate m'         rate = exp(log_learning_rate), mu = 1/(1 + exp(-momentum_logit))
import Compute
import Contract
import Foundation

/// The learned optimizer SGDM: 2 meta-parameters; keeps one slot, `momentum`.
public struct LearnedSGDM: LearnedOptimizer {
  public static let optimizer = OptimizerName.learnedSGDM
  public static let architecture = "sgdm"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  public let thetaLayout: ParameterLayout?
  /// Where the logarithm of the learning rate and the logit of the momentum lie in theta.
  public let places: (logRate: Int, logit: Int)
  private let kernels: OptimizerKernels
  private let floats: Int

  /// Where meta-training begins.
  public struct Configuration: ThetaConfiguration {
    /// The learning rate; 0.01.
    public var initialLearningRate = 0.01
    /// The momentum; 0.9.
    public var initialMomentum = 0.9

    public init() {}

    public mutating func read(_ fields: inout Fields) {
      initialLearningRate = fields.number("initial_learning_rate", in: 1e-8...1e3) ?? initialLearningRate
      initialMomentum = fields.number("initial_momentum", in: 1e-6...0.999999) ?? initialMomentum
    }

    public var json: JSON {
      ["initial_learning_rate": .number(initialLearningRate), "initial_momentum": .number(initialMomentum)]
    }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    let momentum = configuration.initialMomentum
    return [
      ThetaLeaf(["log_learning_rate"], .scalar, start: .constant(Float(log(configuration.initialLearningRate)))),
      ThetaLeaf(["momentum_logit"], .scalar, start: .constant(Float(log(momentum / (1 - momentum))))),
    ]
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    tree.shape(["log_learning_rate"]) == [] && tree.shape(["momentum_logit"]) == [] ? Configuration() : nil
  }

  /// - Parameter configuration: changes where meta-training begins, not the rule.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    let theta = ThetaSchema(LearnedSGDM.self, configuration).layout
    self.parameters = parameters
    thetaLayout = theta
    places = (theta["log_learning_rate"]!.offset, theta["momentum_logit"]!.offset)
    state = parameters.slots(["momentum"])
    kernels = OptimizerKernels(level: level)
    floats = parameters.packedFloats
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    precondition(theta != nil, "LearnedSGDM: a learned optimizer needs its theta")
    state.update(repeating: 0, count: self.state.floats)
  }

  /// The learning rate and the momentum that theta stands for.
  public func constants(_ theta: UnsafePointer<Float>) -> (rate: Double, momentum: Double) {
    (exp(Double(theta[places.logRate])), 1 / (1 + exp(-Double(theta[places.logit]))))
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("LearnedSGDM: a learned optimizer needs its theta") }
    let (rate, momentum) = constants(theta)
    kernels.momentum(parameters, gradients, state, count: floats, rate: Float(rate), decay: Float(momentum))
  }
}
