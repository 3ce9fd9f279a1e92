// RAdam: Adam whose rate is rectified while its second moment is uncertain (Liu et al. 2020, arXiv 1908.03265). See
// RulePass.swift.
//
//   m' = b1 m + (1 - b1) g               v' = b2 v + (1 - b2) g^2          k = t + 1
//   M  = m' / (1 - b1^k)                 V  = v' / (1 - b2^k)
//   R  = 2 / (1 - b2) - 1                r  = R - 2 k b2^k / (1 - b2^k)
//   if r >= threshold: p' = p - rate * f * M / (sqrt(V + epsilonRoot) + epsilon)
//                      with f = sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r))
//   else:              p' = p - rate * M
import Compute
import Contract
import Foundation

/// RAdam; keeps `first_moment` and `second_moment`.
struct RAdam: RuleOptimizer {
  let name = "radam"
  let pass: RulePass
  private let constants: AdamConstants
  private let threshold: Double

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "second_moment"], settings: settings, level: level)
    constants = AdamConstants(settings)
    threshold = settings.number("threshold")
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = constants.rule(at: step)
    let k = Double(step.iteration + 1)
    let limit = 2 / (1 - constants.beta2) - 1
    // In float as published implementations have it: the two terms nearly cancel in the first steps, and what rounding
    // leaves of them, a percent of f, is part of the trajectories that they give.
    let power = Float(pow(Double(Float(constants.beta2)), k))
    let length = Double(Float(limit) - Float(2 * k) * power / (1 - power))
    guard length >= threshold else { return pass.run(.moments, rule, memory) }
    let rectified = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    rule.mix = Float(constants.rate.at(step) / step.bias(constants.beta1) * rectified.squareRoot())
    pass.run(.adam, rule, memory)
  }
}
