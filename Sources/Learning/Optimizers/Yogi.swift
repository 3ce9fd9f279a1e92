// Yogi: Adam whose second moment moves by a bounded amount (Zaheer et al. 2018, "Adaptive Methods for Nonconvex
// Optimization"). See RulePass.swift.
//
//   m' = b1 m + (1 - b1) g               k = t + 1, both moments begin at `initial`
//   v' = v - (1 - b2) sign(v - g^2) g^2
//   p' = p - rate * (m' / (1 - b1^k)) / (sqrt(v' / (1 - b2^k)) + epsilon)
import Compute
import Contract

/// Yogi; keeps `first_moment` and `second_moment`.
struct Yogi: RuleOptimizer {
  let name = "yogi"
  let pass: RulePass
  private let constants: AdamConstants
  private let initial: Float

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "second_moment"], settings: settings, level: level)
    constants = AdamConstants(settings)
    initial = Float(settings.number("initial"))
  }

  func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    state.update(repeating: initial, count: self.state.floats)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    pass.run(.yogi, constants.rule(at: step), memory)
  }
}
