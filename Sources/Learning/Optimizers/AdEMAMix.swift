// AdEMAMix: Adam with a second, much slower mean of the gradients (Pagliardini, Ablin & Grangier 2024,
// arXiv 2409.03137). See RulePass.swift.
//
//   m' = b1 m + (1 - b1) g               n' = b3 n + (1 - b3) g            v' = b2 v + (1 - b2) g^2
//   M  = m' / (1 - b1^k)                 V  = v' / (1 - b2^k)              k = t + 1; n is not corrected
//   p' = p - rate * ((M + alpha n') / (sqrt(V + epsilonRoot) + epsilon) + lambda p)
//
// With `slow_warmup_steps` T, alpha grows along a line to its value at T, and b3 from b1 so that the half-life of its mean
// does: b3_t = exp(log b1 log b3 / ((1 - k/T) log b3 + (k/T) log b1)).
import Compute
import Contract
import Foundation

/// AdEMAMix; keeps `first_moment`, `slow_moment` and `second_moment`.
struct AdEMAMix: RuleOptimizer {
  let name = "ademamix"
  let pass: RulePass
  private let constants: AdamConstants
  private let beta3, alpha: Double
  private let warmupSteps: Int

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "slow_moment", "second_moment"], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
    beta3 = settings.number("beta3")
    alpha = settings.number("alpha")
    warmupSteps = settings.integer("slow_warmup_steps")
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = constants.rule(at: step)
    let share = warmupSteps > 0 ? min(Double(step.iteration + 1) / Double(warmupSteps), 1) : 1
    let (start, end) = (log(constants.beta1), log(beta3))
    let slow =
      share < 1 && start.isFinite && end.isFinite ? exp(start * end / ((1 - share) * end + share * start)) : beta3
    (rule.beta3, rule.rest3) = (Float(slow), Float(1 - slow))
    rule.own = Float(constants.rate.at(step) * alpha * share)
    pass.run(.ademamix, rule, memory)
  }
}
