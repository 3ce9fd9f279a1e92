// D-Adaptation of AdamW: finds its own rate from the distance to the solution (Defazio & Mishchenko 2023,
// arXiv 2301.07733). See RulePass.swift. Sums run over all tensors.
//
//   e  = d * rate * sqrt(1 - b2^k) / (1 - b1^k)                            k = t + 1; d begins at d0; b = sqrt(b2)
//   A  = sum g s / (sqrt(v) + epsilon)                                     of the old s and v
//   m' = b1 m + (1 - b1) e g             v' = b2 v + (1 - b2) g^2          s' = b s + (1 - b) e g
//   r' = b r + (1 - b) e A               d' = max(d, r' / ((1 - b) sum |s'|))
//   p' = p - m' / (sqrt(v') + epsilon) - lambda e p
//
// A quotient that is no number, as of gradients that are all zero, leaves d.
import Compute
import Contract

/// D-Adaptation of AdamW; keeps `first_moment`, `second_moment`, `gradient_sum`, and the scalars `distance` and
/// `numerator`.
struct DAdaptAdamW: RuleOptimizer {
  let name = "dadapt_adamw"
  let pass: RulePass
  private let constants: AdamConstants
  private let firstDistance: Double
  private let distanceAt, numeratorAt: Int

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(
      parameters, ["first_moment", "second_moment", "gradient_sum"],
      extra: [("distance", .scalar), ("numerator", .scalar)], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
    firstDistance = settings.number("d0")
    distanceAt = pass.state["distance"]!.offset
    numeratorAt = pass.state["numerator"]!.offset
  }

  func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    state.update(repeating: 0, count: self.state.floats)
    state[distanceAt] = Float(firstDistance)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    let d = Double(memory.state[distanceAt])
    let rate = constants.rate.at(step)
    let e = d * rate * step.bias(constants.beta2).squareRoot() / step.bias(constants.beta1)
    let b = constants.beta2.squareRoot()
    var rule = constants.rule(at: step)
    rule.rate = Float(e)
    rule.decay = Float(constants.weightDecay * e)
    (rule.beta3, rule.rest3) = (Float(b), Float(1 - b))
    var sums = TensorSums()
    for index in parameters.tensors.indices { pass.measure(.dadapt, rule, memory, tensor: index, &sums) }

    let numerator = b * Double(memory.state[numeratorAt]) + (1 - b) * e * sums.first
    memory.state[numeratorAt] = Float(numerator)
    let estimate = numerator / ((1 - b) * sums.second)
    if estimate.isFinite { memory.state[distanceAt] = Float(max(d, estimate)) }
  }
}
