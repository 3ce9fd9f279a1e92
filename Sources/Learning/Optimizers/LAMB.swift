// LAMB: Adam's direction at the length of the weights, tensor by tensor (You et al. 2020, arXiv 1904.00962). See
// RulePass.swift.
//
//   m' = b1 m + (1 - b1) g               v' = b2 v + (1 - b2) g^2          k = t + 1
//   u  = (m' / (1 - b1^k)) / (sqrt(v' / (1 - b2^k) + epsilonRoot) + epsilon) + lambda p
//   p' = p - rate * f * u                f = |p| / |u|, 1 where either is 0
import Compute
import Contract

/// LAMB; keeps `first_moment` and `second_moment`.
struct LAMB: RuleOptimizer {
  let name = "lamb"
  let pass: RulePass
  private let constants: AdamConstants

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "second_moment"], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    let rate = constants.rate.at(step)
    var rule = constants.rule(at: step)
    rule.mix = Float(1 / step.bias(constants.beta1))
    rule.l2 = Float(constants.weightDecay)
    var descend = RuleConstants()
    for index in parameters.tensors.indices {
      let sums = pass.measure(.lamb, rule, memory, tensor: index)
      let trust = sums.first == 0 || sums.second == 0 ? 1 : (sums.first / sums.second).squareRoot()
      descend.rate = Float(rate * trust)
      pass.run(.descend, descend, memory, tensor: index)
    }
  }
}
