// LARS: momentum whose rate is set tensor by tensor from the weights' and the gradients' lengths (You, Gitman & Ginsburg
// 2017, arXiv 1708.03888). See RulePass.swift.
//
//   u  = g + lambda p
//   f  = trust * |p| / (|u| + epsilon), 1 where either norm is 0
//   a' = mu a + rate * f * u             steps keep the rate they were made at
//   p' = p - a', nesterov: p - (rate * f * u + mu a')
import Compute
import Contract

/// LARS; keeps `momentum`.
struct LARS: RuleOptimizer {
  let name = "lars"
  let pass: RulePass
  private let learningRate: LearningRate
  private let momentum, weightDecay, trust, epsilon: Double
  private let nesterov: Bool

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["momentum"], settings: settings, level: level)
    learningRate = settings.learningRate
    momentum = settings.number("momentum")
    weightDecay = settings.number("weight_decay")
    trust = settings.number("trust_coefficient")
    epsilon = settings.number("epsilon")
    nesterov = settings.flag("nesterov")
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    let rate = learningRate.at(step)
    var rule = RuleConstants()
    rule.beta1 = Float(momentum)
    (rule.rate, rule.mix) = nesterov ? (Float(momentum), 1) : (1, 0)
    for index in parameters.tensors.indices {
      rule.l2 = Float(weightDecay)
      let sums = pass.measure(.norms, rule, memory, tensor: index)
      let scale =
        sums.first == 0 || sums.second == 0
        ? 1 : trust * sums.first.squareRoot() / (sums.second.squareRoot() + epsilon)
      rule.own = Float(rate * scale)
      rule.l2 = Float(rate * scale * weightDecay)
      pass.run(.momentum, rule, memory, tensor: index)
    }
  }
}
