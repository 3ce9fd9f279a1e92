// Fromage: relative steps that do not let the weights grow (Bernstein et al. 2020, arXiv 2002.03432). See RulePass.swift.
//
//   c  = 1 / sqrt(1 + rate^2)
//   f  = max(|p|, minNorm) / max(|g|, minNorm)                             norms of one tensor
//   p' = c * (p - rate * f * g)
import Compute
import Contract

/// Fromage; keeps no state.
struct Fromage: RuleOptimizer {
  let name = "fromage"
  let pass: RulePass
  private let learningRate: LearningRate
  private let minNorm: Double

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, [], settings: settings, level: level)
    learningRate = settings.learningRate
    minNorm = settings.number("min_norm")
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    let rate = learningRate.at(step)
    let shrink = 1 / (1 + rate * rate).squareRoot()
    var rule = RuleConstants()
    for index in parameters.tensors.indices {
      rule.l2 = 0
      let sums = pass.measure(.norms, rule, memory, tensor: index)
      let length = max(sums.second.squareRoot(), minNorm)
      // With no least norm, a tensor without gradients.
      let scale = length == 0 ? 0 : max(sums.first.squareRoot(), minNorm) / length
      rule.rate = Float(rate * shrink * scale)
      rule.decay = Float(1 - shrink)
      pass.run(.descend, rule, memory, tensor: index)
    }
  }
}
