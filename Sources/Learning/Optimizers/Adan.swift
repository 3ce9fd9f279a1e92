// Adan: Adam with a moment of the gradients' differences (Xie et al. 2022, arXiv 2208.06677). See RulePass.swift.
//
//   d  = g - g_last, 0 at the first step                                   k = t + 1
//   m' = b1 m + (1 - b1) g               c' = b2 c + (1 - b2) d
//   v' = b3 v + (1 - b3) (g + (1 - b2) d)^2
//   u  = (m' / (1 - b1^k) + (1 - b2) c' / (1 - b2^k)) / (sqrt(v' / (1 - b3^k) + epsilonRoot) + epsilon)
//   p' = p - rate * (u + lambda p)
import Compute
import Contract

/// Adan; keeps `first_moment`, `difference`, `second_moment` and `last_gradient`.
struct Adan: RuleOptimizer {
  let name = "adan"
  let pass: RulePass
  private let constants: AdamConstants
  private let beta3: Double

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(
      parameters, ["first_moment", "difference", "second_moment", "last_gradient"], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
    beta3 = settings.number("beta3")
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = constants.rule(at: step)
    (rule.beta3, rule.rest3) = (Float(beta3), Float(1 - beta3))
    rule.correction = Float(1 / step.bias(beta3))
    rule.own = Float(constants.rate.at(step) * (1 - constants.beta2) / step.bias(constants.beta2))
    rule.blend = step.iteration == 0 ? 0 : 1
    pass.run(.adan, rule, memory)
  }
}
