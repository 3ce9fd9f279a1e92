// NAdam: Adam with Nesterov's look ahead (Dozat 2016, "Incorporating Nesterov Momentum into Adam"), with decoupled weight
// decay. See RulePass.swift; NAdamW is another rule.
//
//   m' = b1 m + (1 - b1) g               v' = b2 v + (1 - b2) g^2          k = t + 1
//   M  = b1 m' / (1 - b1^(k+1)) + (1 - b1) g / (1 - b1^k)                  V = v' / (1 - b2^k)
//   p' = p - rate * (M / (sqrt(V + epsilonRoot) + epsilon) + lambda p)
import Compute
import Contract

/// NAdam; keeps `first_moment` and `second_moment`.
struct NAdam: RuleOptimizer {
  let name = "nadam"
  let pass: RulePass
  private let constants: AdamConstants

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "second_moment"], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = constants.rule(at: step)
    let rate = constants.rate.at(step)
    rule.mix = Float(rate * constants.beta1 / step.bias(constants.beta1, later: 1))
    rule.own = Float(rate * (1 - constants.beta1) / step.bias(constants.beta1))
    pass.run(.adam, rule, memory)
  }
}
