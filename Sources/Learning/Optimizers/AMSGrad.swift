// AMSGrad: Adam that divides by the largest second moment so far (Reddi, Kale & Kumar 2018, arXiv 1904.09237). See
// RulePass.swift.
//
//   m' = b1 m + (1 - b1) g               v' = b2 v + (1 - b2) g^2          k = t + 1
//   s' = max(s, v' / (1 - b2^k))         the greatest of the corrected moments
//   p' = p - rate * (m' / (1 - b1^k)) / (sqrt(s' + epsilonRoot) + epsilon)
import Compute
import Contract

/// AMSGrad; keeps `first_moment`, `second_moment` and `largest_second_moment`.
struct AMSGrad: RuleOptimizer {
  let name = "amsgrad"
  let pass: RulePass
  private let constants: AdamConstants

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(
      parameters, ["first_moment", "second_moment", "largest_second_moment"], settings: settings, level: level)
    constants = AdamConstants(settings)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    pass.run(.amsgrad, constants.rule(at: step), memory)
  }
}
