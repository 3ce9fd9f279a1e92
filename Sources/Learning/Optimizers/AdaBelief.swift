// AdaBelief: steps by how far a gradient is from what was expected (Zhuang et al. 2020, arXiv 2010.07468). See
// RulePass.swift.
//
//   m' = b1 m + (1 - b1) g               k = t + 1
//   s' = b2 s + (1 - b2) (g - m')^2 + epsilonRoot
//   p' = p - rate * (m' / (1 - b1^k)) / (sqrt(s' / (1 - b2^k)) + epsilon)
import Compute
import Contract

/// AdaBelief; keeps `first_moment` and `variance`.
struct AdaBelief: RuleOptimizer {
  let name = "adabelief"
  let pass: RulePass
  private let constants: AdamConstants

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "variance"], settings: settings, level: level)
    constants = AdamConstants(settings)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    pass.run(.adabelief, constants.rule(at: step), memory)
  }
}
