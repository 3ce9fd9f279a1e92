// Celo2: a per-parameter network on Celo's features whose output becomes a step of root mean square 1, so that the step
// size is a matter of one number and a schedule (Moudgil et al. 2026, "Celo2: Towards Learned Optimization Free Lunch",
// arXiv 2602.19142). `Celo2Base` is the rule for all tensors; `Celo2` is meta-trained for matrices, whose steps it
// orthogonalizes, and gives the others to Adam. The arithmetic is in CKernels/optimizer_celo2*.inc.h.
//
//   g clipped to +-1000; M, R, C (or D) as in Celo.swift, V with the decay 0.95
//   x = Celo's features but for g/sqrt(V + 1e-8) and the like; without R, C and what is made of them for at most one axis;
//       each divided by sqrt(1e-9 + its mean square over the last two axes)
//   (d, a) = W2' relu(W1' relu(W0' x + b0) + b1) + b2                  30 -> 8 -> 8 -> 3, the third output unused
//   u = d * exp(expMultiplier * a)                                     over the last two axes in what follows:
//   u = NS5(u) where it orthogonalizes, five Newton-Schulz steps;      u = u / sqrt(1e-9 + mean u^2)
//   p' = p - rate * (u + weightDecay * p)
//   Adam's tensors: m, v with decays 0.9 and beta2, uncorrected;       p' = p - k rate * (m/sqrt(v + 1e-8) + decay * p)
import Compute
import Contract

/// What is fixed before meta-training of `Celo2Base` and `Celo2`.
public struct Celo2Constants: Sendable, Hashable {
  /// The step size, which is what a weight changes by in an update, in the root mean square; 0.001. A schedule may
  /// multiply it.
  public var stepMultiplier = 0.001
  /// Scales the network's magnitude in the exponent; 0, which leaves it out.
  public var expMultiplier = 0.0
  /// Pull of the weights towards zero, times the step size; 0.
  public var weightDecay = 0.0
  /// Whether the steps of matrices are orthogonalized.
  public var orthogonalize: Bool
  /// Whether the averages M, V, R and C are corrected for their start at zero; false.
  public var biasCorrection = false

  mutating func read(_ fields: inout Fields) {
    fields.accept(["step_mult"], as: "step_multiplier")
    fields.accept(["exp_mult"], as: "exp_multiplier")
    fields.accept(["ff_hidden_size", "hidden_size"], as: "hidden")
    stepMultiplier = fields.number("step_multiplier", in: 0...1000) ?? stepMultiplier
    expMultiplier = fields.number("exp_multiplier", in: 0...1000) ?? expMultiplier
    weightDecay = fields.number("weight_decay", in: 0...1000) ?? weightDecay
    orthogonalize = fields.bool("orthogonalize") ?? orthogonalize
    biasCorrection = fields.bool("bias_correction") ?? biasCorrection
    _ = fields.integer("hidden", in: Self.hidden...Self.hidden)
  }

  var json: [String: JSON] {
    [
      "hidden": .integer(Self.hidden), "step_multiplier": .number(stepMultiplier),
      "exp_multiplier": .number(expMultiplier), "weight_decay": .number(weightDecay),
      "orthogonalize": .bool(orthogonalize), "bias_correction": .bool(biasCorrection),
    ]
  }

  /// Units of both hidden layers.
  static let hidden = 8
  /// Channels of the 14 feature groups.
  private static let groups = [1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3]

  static let leaves: [ThetaLeaf] = {
    func network(_ name: String, _ shape: Shape, fanIn: Int? = nil) -> ThetaLeaf {
      ThetaLeaf(["ff_mod_stack", "~", name], shape, fanIn: fanIn)
    }
    return [network("b0", [hidden]), network("b1", [hidden]), network("b2", [3])]
      + groups.enumerated().map { network("w0__\($0.offset)", [$0.element, hidden], fanIn: 30) }
      + [network("w1", [hidden, hidden], fanIn: hidden), network("w2", [hidden, 3], fanIn: hidden)]
  }()

  static func recognises(_ tree: ThetaTree) -> Bool {
    tree.shape(["ff_mod_stack", "~", "b0"]) == [hidden] && tree.shape(["ff_mod_stack", "~", "w0__13"]) == [3, hidden]
      && tree.shape(["ff_mod_stack", "~", "w2"]) == [hidden, 3]
  }
}

/// Which tensors Celo2 gives to Adam, and Adam's constants.
struct Celo2Adam: Sendable {
  let pattern: PathPattern?
  let multiplier: Float
  let beta2: Float

  /// Tensors that the pattern matches; without one those of at most one axis and embeddings, as the authors advise.
  func updates(_ tensor: ParameterLayout.Tensor) -> Bool {
    pattern.map { $0.matches(tensor.name) } ?? (tensor.shape.rank <= 1 || tensor.name.contains("embed"))
  }
}

/// Both optimizers' update.
private struct Celo2Update: Sendable {
  let thetaLayout: ParameterLayout
  let kernel: Celo2Kernel
  private let rate: LearningRate
  private let kernels: OptimizerKernels

  init(
    _ schema: ThetaSchema, _ constants: Celo2Constants, _ settings: OptimizerSettings, parameters: ParameterLayout,
    adam: Celo2Adam?, level: CPULevel
  ) {
    thetaLayout = schema.layout
    kernel = Celo2Kernel(
      constants, weightDecay: Float(constants.weightDecay + settings.number("weight_decay")), parameters: parameters,
      theta: thetaLayout, adam: adam)
    rate = LearningRate(base: constants.stepMultiplier, schedule: settings.schedule)
    kernels = OptimizerKernels(level: level)
  }

  func callAsFunction(
    _ name: String, parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("\(name): a learned optimizer needs its theta") }
    kernels.celo2(
      kernel, parameters, gradients, state: state, theta: theta, scratch: scratch, iteration: step.iteration,
      stepSize: Float(rate.at(step)))
  }
}

/// The learned optimizer Celo2 as one rule for all tensors: 347 meta-parameters, no loss, no planned length.
public struct Celo2Base: LearnedOptimizer {
  public static let optimizer = OptimizerName.celo2Base
  public static let architecture = "celo2_base"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  private let update: Celo2Update

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// The constants of the rule; it does not orthogonalize.
    public var rule = Celo2Constants(orthogonalize: false)

    public init() {}
    public mutating func read(_ fields: inout Fields) { rule.read(&fields) }
    public var json: JSON { .object(rule.json) }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] { Celo2Constants.leaves }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    Celo2Constants.recognises(tree) ? Configuration() : nil
  }

  /// The slots of `Celo` for each tensor.
  public var state: ParameterLayout { update.kernel.state }
  public var thetaLayout: ParameterLayout? { update.thetaLayout }
  public var scratchFloats: Int { update.kernel.scratchFloats }

  /// - Parameter settings: `schedule`, `weight_decay`, which is added to the configuration's.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    self.parameters = parameters
    update = Celo2Update(
      ThetaSchema(Celo2Base.self, configuration), configuration.rule, settings, parameters: parameters, adam: nil,
      level: level)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    update(name, parameters: parameters, gradients: gradients, state: state, scratch: scratch, step: step)
  }
}

/// The learned optimizer Celo2 with its harness: the rule, orthogonalized, for matrices and Adam for all else.
public struct Celo2: LearnedOptimizer {
  public static let optimizer = OptimizerName.celo2
  public static let architecture = "celo2"
  public let name = optimizer.rawValue
  public let parameters: ParameterLayout
  private let update: Celo2Update

  /// What is fixed before meta-training.
  public struct Configuration: ThetaConfiguration {
    /// The constants of the rule; it orthogonalizes.
    public var rule = Celo2Constants(orthogonalize: true)
    /// Which tensors Adam updates, by their paths; nil for those of at most one axis and embeddings.
    public var vectorPattern: PathPattern?
    /// Adam's step size over the rule's; 20.
    public var vectorMultiplier = 20.0
    /// Decay of Adam's second moment; 0.95.
    public var adamBeta2 = 0.95

    public init() {}

    public mutating func read(_ fields: inout Fields) {
      rule.read(&fields)
      fields.accept(["regex_1d"], as: "vector_pattern")
      fields.accept(["mult_1d"], as: "vector_multiplier")
      fields.accept(["adam_b2"], as: "adam_beta2")
      if let text = fields.string("vector_pattern", lengths: 0...PathPattern.lengthMax), !text.isEmpty {
        vectorPattern = PathPattern(text)
        if vectorPattern == nil { fields.fault("vector_pattern", PathPattern.expected) }
      }
      vectorMultiplier = fields.number("vector_multiplier", in: 0...1_000_000) ?? vectorMultiplier
      adamBeta2 = fields.number("adam_beta2", in: 0...1) ?? adamBeta2
    }

    public var json: JSON {
      let own: [String: JSON] = [
        "vector_pattern": .string(vectorPattern?.text ?? ""), "vector_multiplier": .number(vectorMultiplier),
        "adam_beta2": .number(adamBeta2),
      ]
      return .object(rule.json.merging(own) { $1 })
    }
  }

  public static func leaves(_ configuration: Configuration) -> [ThetaLeaf] { Celo2Constants.leaves }

  public static func recognise(_ tree: ThetaTree) -> Configuration? {
    Celo2Constants.recognises(tree) ? Configuration() : nil
  }

  /// The slots of `Celo` for each tensor of the rule, `first_moment/…` and `second_moment/…` for Adam's.
  public var state: ParameterLayout { update.kernel.state }
  public var thetaLayout: ParameterLayout? { update.thetaLayout }
  public var scratchFloats: Int { update.kernel.scratchFloats }

  /// - Parameter settings: `schedule`, `weight_decay`, which is added to the configuration's.
  public init(
    parameters: ParameterLayout, configuration: Configuration = Configuration(),
    settings: OptimizerSettings = OptimizerSettings(optimizer), level: CPULevel
  ) {
    self.parameters = parameters
    update = Celo2Update(
      ThetaSchema(Celo2.self, configuration), configuration.rule, settings, parameters: parameters,
      adam: Celo2Adam(
        pattern: configuration.vectorPattern, multiplier: Float(configuration.vectorMultiplier),
        beta2: Float(configuration.adamBeta2)),
      level: level)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    update(name, parameters: parameters, gradients: gradients, state: state, scratch: scratch, step: step)
  }
}
