// AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101). See RulePass.swift.
//
//   m' = b1 m + (1 - b1) g               v' = b2 v + (1 - b2) g^2
//   M  = m' / (1 - b1^k)                 V  = v' / (1 - b2^k)              k = t + 1
//   p' = p - rate * (M / (sqrt(V + epsilonRoot) + epsilon) + lambda p)
import Compute
import Contract

/// AdamW; keeps `first_moment` and `second_moment`.
struct AdamW: RuleOptimizer {
  let name = "adamw"
  let pass: RulePass
  private let constants: AdamConstants

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "second_moment"], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    pass.run(.adam, constants.rule(at: step), memory)
  }
}
