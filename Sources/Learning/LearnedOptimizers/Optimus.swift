// Optimus: a transformer over all parameters that builds a preconditioner, a learned quasi-Newton method for problems of
// few parameters (Gärtner et al. 2022, "Transformer-based learned optimization", arXiv 2212.01055). Theta.swift holds its
// meta-parameters; the arithmetic is in CKernels/optimizer_optimus.inc.h.
//
//   F  = small_fc's features of the parameters as one vector (28 and 11 times), the last move and the change of the
//        gradient, 41 in all, each but the times divided by sqrt(1e-5 + mean of its square)
//   E  = F W + b                                                                                       [N, 128]
//   three times: E <- E + attention(norm E), 4 heads; E <- E + W_b relu(W_a norm E); u = w' norm E
//   B' = B + sum of u u', then times N / trace B'                              B starts as the identity
//   (d, a) of each parameter = W2' relu(W1' relu(W0' F + b0) + b1) + b2                    41 -> 64 -> 64 -> 2
//   p' = p - stepMultiplier exp(expMultiplier mean a) B' (F_g + d), F_g the normalised gradient
//
// The paper leaves sizes and constants open; those here are this project's. Nothing depends on the order of the
// parameters. Before meta-training d and a are zero and u is small, so that it is gradient descent of a set length.
// More than 1,024 parameters are cut into blocks of equal size, each with its own attention, features' means and B.
import Compute
import Contract

/// The learned optimizer Optimus: 410,949 meta-parameters.
public struct Optimus: LearnedOptimizer {
  public static let optimizer = OptimizerName.optimus
  public static let architecture = "optimus"
  /// The largest block: its preconditioner has the square of this.
  public static let blockMax = 1024
  /// The most parameters that it trains; an update's time grows by their number and the block's.
  public static let parametersMax = optimizer.traits.parametersMax!
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  /// Of the N parameters as one vector `momentum` [3, N], `rms` [N], `diagonal` [3, N], the last `gradient` and `move`
  /// [N]; and of each block of n of them, `preconditioner_0` and so on, [n, n].
  public let state: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  private let rule: OptimusRule
  private let kernels: OptimizerKernels

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// Scales the mean magnitude in the exponent; 0.1.
    public var expMultiplier = 0.1
    /// Scales every step; 0.001.
    public var stepMultiplier = 0.001

    public init() {}

    public mutating func read(_ fields: inout Fields) {
      fields.accept(["exp_mult"], as: "exp_multiplier")
      fields.accept(["step_mult"], as: "step_multiplier")
      expMultiplier = fields.number("exp_multiplier", in: 0...1000) ?? expMultiplier
      stepMultiplier = fields.number("step_multiplier", in: 0...1000) ?? stepMultiplier
    }

    public var json: JSON {
      ["exp_multiplier": .number(expMultiplier), "step_multiplier": .number(stepMultiplier)]
    }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] {
    let (features, width, branch) = (OptimusRule.features, OptimusRule.width, OptimusRule.branch)
    func norm(_ path: [String]) -> [ThetaLeaf] {
      [ThetaLeaf(path + ["offset"], [width]), ThetaLeaf(path + ["scale"], [width], start: .constant(1))]
    }
    let encoders = (0..<OptimusRule.encoders).flatMap { layer -> [ThetaLeaf] in
      let at = ["encoder_\(layer)"]
      // Small, not zero: a zero update would have no gradient in its own direction.
      let small = 0.01 / Float(width).squareRoot()
      return norm(at + ["attention_norm"]) + ThetaLeaf.linear(at + ["attention_in"], width, 3 * width)
        + ThetaLeaf.linear(at + ["attention_out"], width, width) + norm(at + ["linear_norm"])
        + ThetaLeaf.linear(at + ["linear_0"], width, 2 * width) + ThetaLeaf.linear(at + ["linear_1"], 2 * width, width)
        + norm(at + ["update_norm"]) + [
          ThetaLeaf(at + ["update", "b"], [1]),
          ThetaLeaf(at + ["update", "w"], [width, 1], start: .truncatedNormal(deviation: small)),
        ]
    }
    return ThetaLeaf.linear(["branch", "linear_0"], features, branch)
      + ThetaLeaf.linear(["branch", "linear_1"], branch, branch)
      + [ThetaLeaf(["branch", "linear_2", "b"], [2]), ThetaLeaf(["branch", "linear_2", "w"], [branch, 2])]
      + ThetaLeaf.linear(["embedding"], features, width) + encoders
  }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    tree.shape(["embedding", "w"]) == [OptimusRule.features, OptimusRule.width]
      && tree.shape(["encoder_\(OptimusRule.encoders - 1)", "update", "w"]) == [OptimusRule.width, 1]
      ? Configuration() : nil
  }

  /// An optimizer of at most ``parametersMax`` parameters; traps on more, which admission of jobs has refused.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    let count = parameters.elements
    precondition(
      count <= Self.parametersMax, "Optimus: \(count) parameters; it trains at most \(Self.parametersMax)")
    let theta = ThetaSchema(Optimus.self, configuration).layout
    let blocks = (count + Self.blockMax - 1) / Self.blockMax
    let sizes = (0..<blocks).map { count / blocks + ($0 < count % blocks ? 1 : 0) }
    self.parameters = parameters
    thetaLayout = theta
    state = ParameterLayout(
      [
        ("momentum", [3, count]), ("rms", [count]), ("diagonal", [3, count]), ("gradient", [count]), ("move", [count]),
      ] + sizes.enumerated().map { ("preconditioner_\($0.offset)", [$0.element, $0.element]) })
    rule = OptimusRule(configuration, parameters: parameters, blocks: sizes, state: state, theta: theta)
    scratchFloats = rule.scratchFloats
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    precondition(theta != nil, "Optimus: a learned optimizer needs its theta")
    state.update(repeating: 0, count: self.state.floats)
    for slot in self.state.tensors where slot.name.hasPrefix("preconditioner_") {
      for row in 0..<slot.shape[0] { state[slot.offset + row * (slot.shape[0] + 1)] = 1 }
    }
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("Optimus: a learned optimizer needs its theta") }
    kernels.optimus(
      rule, parameters, gradients, state: state, theta: theta, scratch: scratch, iteration: step.iteration)
  }
}
