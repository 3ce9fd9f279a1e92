// Prodigy: Adam that finds its own rate from the distance travelled (Mishchenko & Defazio 2024, arXiv 2306.06101). See
// RulePass.swift; DAdaptAdamW is its forerunner. Sums run over all tensors.
//
//   e  = d * rate * sqrt(1 - b2^k) / (1 - b1^k)                            k = t + 1; d begins at d0
//   A  = sum g (p_0 - p)
//   m' = b1 m + (1 - b1) d g             v' = b2 v + (1 - b2) (d g)^2
//   s' = b3 s + (e / d0) d g, with `safeguard_warmup` (d / d0) d g         b3 = sqrt(b2) unless given
//   r' = b3 r + (d / d0) e A             d' = max(d, dCoefficient * r' / sum |s'|)
//   p' = p - e m' / (sqrt(v') + d' epsilon) - lambda e p
//
// A quotient that is no number, as of gradients that are all zero, leaves d.
import Compute
import Contract

/// Prodigy; keeps `first_moment`, `second_moment`, `gradient_sum`, `first_parameters`, and the scalars `distance` and
/// `numerator`.
struct Prodigy: RuleOptimizer {
  let name = "prodigy"
  let pass: RulePass
  private let constants: AdamConstants
  private let beta3, firstDistance, coefficient: Double
  private let safeguardsWarmup: Bool
  private let distanceAt, numeratorAt: Int

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(
      parameters, ["first_moment", "second_moment", "gradient_sum", "first_parameters"],
      extra: [("distance", .scalar), ("numerator", .scalar)], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
    let given = settings.number("beta3")
    beta3 = given > 0 ? given : constants.beta2.squareRoot()
    firstDistance = settings.number("d0")
    coefficient = settings.number("d_coef")
    safeguardsWarmup = settings.flag("safeguard_warmup")
    distanceAt = pass.state["distance"]!.offset
    numeratorAt = pass.state["numerator"]!.offset
  }

  func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    state.update(repeating: 0, count: self.state.floats)
    (state + 3 * pass.stride).update(from: parameters, count: pass.stride)
    state[distanceAt] = Float(firstDistance)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    let d = Double(memory.state[distanceAt])
    let rate = constants.rate.at(step)
    let e = d * rate * step.bias(constants.beta2).squareRoot() / step.bias(constants.beta1)
    var rule = constants.rule(at: step)
    (rule.decay, rule.mix) = (0, Float(d))
    rule.beta3 = Float(beta3)
    rule.own = Float((safeguardsWarmup ? d : e) / firstDistance * d)
    var sums = TensorSums()
    for index in parameters.tensors.indices { pass.measure(.prodigy, rule, memory, tensor: index, &sums) }

    let numerator = beta3 * Double(memory.state[numeratorAt]) + d / firstDistance * e * sums.first
    memory.state[numeratorAt] = Float(numerator)
    let estimate = coefficient * numerator / sums.second
    let grown = estimate.isFinite ? max(d, estimate) : d
    memory.state[distanceAt] = Float(grown)

    rule.rate = Float(e)
    rule.epsilon = Float(grown * constants.epsilon)
    rule.decay = Float(constants.weightDecay * e)
    pass.run(.alongMoments, rule, memory)
  }
}
