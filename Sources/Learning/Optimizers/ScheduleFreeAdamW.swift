// Schedule-Free AdamW: averaging in place of a schedule (Defazio et al. 2024, arXiv 2405.15682). See RulePass.swift.
//
// What the caller holds as parameters is y, where gradients are taken; the model to judge and keep is the average x.
//   v' = b2 v + (1 - b2) g^2             u  = g / (sqrt(v' / (1 - b2^k)) + epsilon) + lambda y     k = t + 1
//   z' = z - rate * u                    c  = w / (sum of w so far), w = (largest rate so far)^power
//   x  = (y - (1 - b1) z) / b1           x' = (1 - c) x + c z'
//   y' = b1 x' + (1 - b1) z'
//
// A warm-up of W updates raises the rate from 0: it is t/W of the full one in z', and (t + 1)/W in the weights.
import Compute
import Contract
import Foundation

/// Schedule-Free AdamW; keeps `base` (z), `second_moment`, and the scalars `weight_sum` and `largest_rate`.
struct ScheduleFreeAdamW: RuleOptimizer {
  let name = "schedule_free_adamw"
  let pass: RulePass
  let evaluatesElsewhere = true
  private let constants: AdamConstants
  private let power: Double
  private let warmupSteps: Int
  private let weightSumAt, largestRateAt: Int

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(
      parameters, ["base", "second_moment"], extra: [("weight_sum", .scalar), ("largest_rate", .scalar)],
      settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
    power = settings.number("weight_power")
    warmupSteps = settings.integer("warmup_steps")
    weightSumAt = pass.state["weight_sum"]!.offset
    largestRateAt = pass.state["largest_rate"]!.offset
  }

  func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    state.update(repeating: 0, count: self.state.floats)
    state.update(from: parameters, count: pass.stride)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    func warm(_ updates: Int) -> Double { warmupSteps > 0 ? min(Double(updates) / Double(warmupSteps), 1) : 1 }
    let full = constants.rate.at(step)
    let largest = max(Double(memory.state[largestRateAt]), full * warm(step.iteration + 1))
    let weight = pow(largest, power)
    let sum = Double(memory.state[weightSumAt]) + weight
    memory.state[largestRateAt] = Float(largest)
    memory.state[weightSumAt] = Float(sum)
    let share = sum == 0 ? 0 : weight / sum

    var rule = constants.rule(at: step)
    rule.rate = Float(full * warm(step.iteration))
    (rule.beta3, rule.rest3) = (Float(share), Float(1 - share))
    (rule.decay, rule.l2) = (0, Float(constants.weightDecay))
    pass.run(.scheduleFree, rule, memory)
  }

  func evaluationPoint(
    parameters: UnsafePointer<Float>, state: UnsafePointer<Float>, into point: UnsafeMutablePointer<Float>
  ) {
    var rule = RuleConstants()
    (rule.beta1, rule.rest1) = (Float(constants.beta1), Float(1 - constants.beta1))
    pass.kernels.average(point, parameters, state, count: pass.stride, rule)
  }
}
