// Lion: the sign of a mix of momentum and gradient (Chen et al. 2023, arXiv 2302.06675). See RulePass.swift.
//
//   c  = sign(b1 m + (1 - b1) g)         sign(0) = 0
//   m' = b2 m + (1 - b2) g
//   p' = p - rate * (c + lambda p)
import Compute
import Contract

/// Lion; keeps `momentum`.
struct Lion: RuleOptimizer {
  let name = "lion"
  let pass: RulePass
  private let learningRate: LearningRate
  private let beta1, beta2, weightDecay: Double

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["momentum"], settings: settings, level: level)
    learningRate = settings.learningRate
    beta1 = settings.number("beta1")
    beta2 = settings.number("beta2")
    weightDecay = settings.number("weight_decay")
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    let rate = learningRate.at(step)
    var rule = RuleConstants()
    rule.rate = Float(rate)
    rule.decay = Float(rate * weightDecay)
    (rule.beta1, rule.rest1) = (Float(beta1), Float(1 - beta1))
    (rule.beta2, rule.rest2) = (Float(beta2), Float(1 - beta2))
    pass.run(.lion, rule, memory)
  }
}
