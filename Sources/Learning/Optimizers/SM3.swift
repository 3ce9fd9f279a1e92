// SM3: one accumulator for each index of each axis in place of one for each weight (Anil et al. 2019, arXiv 1901.11150).
// See RulePass.swift.
//
//   n  = w g^2 + b2 * min over axes a of s_a          w = 1 for b2 = 1, else 1 - b2
//   u  = g / sqrt(n + epsilon), 0 where n is 0
//   m' = b1 m + (1 - b1) u
//   p' = p - rate * m'
//   s_a' = max of n over all other axes
import Compute
import Contract

/// SM3; keeps `momentum` and for each axis `axis_0`, `axis_1` and so on; a scalar has one axis of length 1.
struct SM3: RuleOptimizer {
  let name = "sm3"
  let pass: RulePass
  let scratchFloats: Int
  private let learningRate: LearningRate
  private let momentum, beta2, epsilon: Double
  private let tensors: [CoveredTensor?]

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    learningRate = settings.learningRate
    momentum = settings.number("momentum")
    beta2 = settings.number("beta2")
    epsilon = settings.number("epsilon")
    func lengths(_ tensor: ParameterLayout.Tensor) -> [Int] {
      tensor.shape.rank == 0 ? [1] : tensor.shape.dimensions
    }
    let pass = RulePass(
      parameters, ["momentum"],
      extra: parameters.tensors.flatMap { tensor in
        lengths(tensor).enumerated().map { ("axis_\($0.offset)/\(tensor.name)", Shape([$0.element])) }
      }, settings: settings, level: level)
    tensors = parameters.tensors.map { tensor in
      guard tensor.count > 0 else { return nil }
      let lengths = lengths(tensor)
      // The kernel's vectors run along the last axis, which is better not one of length 1.
      let last = lengths.lastIndex { $0 > 1 } ?? lengths.count - 1
      let order = lengths.indices.filter { $0 != last } + [last]
      return CoveredTensor(
        axes: order.map { (lengths[$0], pass.state["axis_\($0)/\(tensor.name)"]!.offset) },
        momentum: pass.state["momentum/\(tensor.name)"]!.offset)
    }
    scratchFloats = tensors.map { $0?.scratchFloats ?? 0 }.max() ?? 0
    self.pass = pass
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = RuleConstants()
    rule.rate = Float(learningRate.at(step))
    (rule.beta1, rule.rest1) = (Float(momentum), Float(1 - momentum))
    (rule.beta2, rule.rest2) = (Float(beta2), beta2 == 1 ? 1 : Float(1 - beta2))
    rule.epsilon = Float(epsilon)
    for (tensor, covered) in zip(parameters.tensors, tensors) {
      guard let covered else { continue }
      pass.kernels.sm3(
        covered, memory.parameters + tensor.offset, memory.gradients + tensor.offset, state: memory.state,
        scratch: scratch, rule)
    }
  }
}
