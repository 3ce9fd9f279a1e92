// AdaMax: Adam with the infinity norm (Kingma & Ba 2015, arXiv 1412.6980, section 7); with weight decay AdaMaxW. See
// RulePass.swift.
//
//   m' = b1 m + (1 - b1) g               u' = max(b2 u, |g| + epsilon)     k = t + 1
//   p' = p - rate * ((m' / (1 - b1^k)) / u' + lambda p)
import Compute
import Contract

/// AdaMax; keeps `first_moment` and `largest`.
struct AdaMax: RuleOptimizer {
  let name = "adamax"
  let pass: RulePass
  private let constants: AdamConstants

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "largest"], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    pass.run(.adamax, constants.rule(at: step), memory)
  }
}
