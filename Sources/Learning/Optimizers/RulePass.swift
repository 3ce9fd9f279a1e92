// RulePass: sends all tensors of a layout through the passes of a hand-designed rule. The rules' own files hold their
// formulas and turn settings into the constants of an update; OptimizerKernels+Rules calls the kernels.
import Compute
import Contract
import Foundation

/// The memory of one update.
struct UpdateMemory {
  let parameters: UnsafeMutablePointer<Float>
  let gradients: UnsafeMutablePointer<Float>
  let state: UnsafeMutablePointer<Float>
}

/// The passes over one layout with slots that lie like its tensors.
struct RulePass: Sendable {
  let parameters: ParameterLayout
  /// The slots, and what else was asked for behind them.
  let state: ParameterLayout
  let kernels: OptimizerKernels
  /// The distance of two slots in floats.
  let stride: Int
  /// Stretches of tensors that weight decay treats alike.
  private let stretches: [(offset: Int, count: Int, decays: Bool)]
  private let decaying: [Bool]

  /// - Parameters:
  ///   - slots: names of the slots, in the kernels' order.
  ///   - extra: other tensors of the state.
  init(
    _ parameters: ParameterLayout, _ slots: [String], extra: [(name: String, shape: Shape)] = [],
    settings: OptimizerSettings, level: CPULevel
  ) {
    self.parameters = parameters
    state = ParameterLayout(parameters.slots(slots).tensors.map { ($0.name, $0.shape) } + extra)
    kernels = OptimizerKernels(level: level)
    stride = parameters.packedFloats
    // Rules without the option have no weight decay of their own; what they call so shrinks all tensors.
    let all = !settings.has("decay_vectors") || settings.flag("decay_vectors")
    decaying = parameters.tensors.map { all || $0.shape.rank >= 2 }
    var stretches: [(offset: Int, count: Int, decays: Bool)] = []
    for (index, tensor) in parameters.tensors.enumerated() {
      let end = index + 1 < parameters.tensors.count ? parameters.tensors[index + 1].offset : stride
      if let last = stretches.last, last.decays == decaying[index] {
        stretches[stretches.count - 1].count = end - last.offset
      } else {
        stretches.append((tensor.offset, end - tensor.offset, decaying[index]))
      }
    }
    self.stretches = stretches
  }

  /// An elementwise rule over all tensors. Weight decay spares tensors of at most one axis, biases and scales, unless
  /// the option `decay_vectors` is set.
  func run(_ kind: RuleKind, _ constants: RuleConstants, _ memory: UpdateMemory) {
    guard constants.decay != 0 || constants.l2 != 0 else {
      kernels.run(
        kind, memory.parameters, memory.gradients, memory.state, stride: stride, count: stride, constants)
      return
    }
    for stretch in stretches {
      kernels.run(
        kind, memory.parameters + stretch.offset, memory.gradients + stretch.offset, memory.state + stretch.offset,
        stride: stride, count: stretch.count, stretch.decays ? constants : constants.withoutDecay)
    }
  }

  /// An elementwise rule over one tensor.
  func run(_ kind: RuleKind, _ constants: RuleConstants, _ memory: UpdateMemory, tensor index: Int) {
    let tensor = parameters.tensors[index]
    let end = (tensor.count + ParameterLayout.alignment - 1) / ParameterLayout.alignment * ParameterLayout.alignment
    kernels.run(
      kind, memory.parameters + tensor.offset, memory.gradients + tensor.offset, memory.state + tensor.offset,
      stride: stride, count: end, decaying[index] ? constants : constants.withoutDecay)
  }

  /// A measure of one tensor.
  func measure(
    _ kind: MeasureKind, _ constants: RuleConstants, _ memory: UpdateMemory, tensor index: Int, _ sums: inout TensorSums
  ) {
    let tensor = parameters.tensors[index]
    kernels.measure(
      kind, memory.parameters + tensor.offset, memory.gradients + tensor.offset, memory.state + tensor.offset,
      stride: stride, count: tensor.count, decaying[index] ? constants : constants.withoutDecay, &sums)
  }

  /// The two sums of one tensor.
  func measure(_ kind: MeasureKind, _ constants: RuleConstants, _ memory: UpdateMemory, tensor index: Int) -> TensorSums
  {
    var sums = TensorSums()
    measure(kind, constants, memory, tensor: index, &sums)
    return sums
  }
}

extension RuleConstants {
  var withoutDecay: RuleConstants {
    var copy = self
    copy.decay = 0
    copy.l2 = 0
    return copy
  }
}

/// An optimizer whose state is that of a `RulePass`.
protocol RuleOptimizer: Optimizer {
  var pass: RulePass { get }
  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep)
}

extension RuleOptimizer {
  var parameters: ParameterLayout { pass.parameters }
  var state: ParameterLayout { pass.state }

  func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    update(UpdateMemory(parameters: parameters, gradients: gradients, state: state), scratch: scratch, step: step)
  }
}

extension OptimizerStep {
  /// 1 - beta^k with k = t + 1, what corrects an average's start at zero; `later` steps ahead where a rule looks ahead.
  /// In double: 1 - beta^k cancels badly in float while k is small.
  func bias(_ beta: Double, later: Int = 0) -> Double { 1 - pow(beta, Double(iteration + 1 + later)) }
}

/// The decays and epsilons of a rule of Adam's family.
struct AdamConstants: Sendable {
  let rate: LearningRate
  let beta1, beta2, epsilon, epsilonRoot, weightDecay: Double

  /// The constants of one update: both bias corrections, the first one and the rate in `rate` and `mix`, and decay times
  /// the rate.
  func rule(at step: OptimizerStep) -> RuleConstants {
    let rate = rate.at(step)
    var rule = RuleConstants()
    rule.rate = Float(rate / step.bias(beta1))
    rule.mix = rule.rate
    rule.decay = Float(rate * weightDecay)
    (rule.beta1, rule.rest1) = (Float(beta1), Float(1 - beta1))
    (rule.beta2, rule.rest2) = (Float(beta2), Float(1 - beta2))
    rule.correction = Float(1 / step.bias(beta2))
    (rule.epsilon, rule.root) = (Float(epsilon), Float(epsilonRoot))
    return rule
  }
}

extension AdamConstants {
  /// Options that the optimizer does not have count as zero. `weight_decay` does too where the rule has none of its
  /// own: it then acts on the gradients before they come here.
  init(_ settings: OptimizerSettings, decoupled: Bool = false) {
    rate = settings.learningRate
    beta1 = settings.number("beta1")
    beta2 = settings.number("beta2")
    epsilon = settings.number("epsilon")
    epsilonRoot = settings.has("epsilon_root") ? settings.number("epsilon_root") : 0
    weightDecay = decoupled ? settings.number("weight_decay") : 0
  }
}
