// RMSProp (Tieleman & Hinton 2012, lecture 6.5 of "Neural Networks for Machine Learning"), centered or not (Graves 2013,
// arXiv 1308.0850), with momentum. See RulePass.swift.
//
//   v' = rho v + (1 - rho) g^2           c' = rho c + (1 - rho) g
//   w  = rate * g / sqrt(v' + epsilon), centered: sqrt(v' - c'^2 + epsilon)
//   a' = mu a + w                        the momentum is one of steps, so that each keeps the rate it was made at
//   p' = p - a', nesterov: p - (w + mu a')
import Compute
import Contract

/// RMSProp; keeps `mean_square`, with `centered` also `mean`, with momentum also `momentum`.
struct RMSProp: RuleOptimizer {
  let name = "rmsprop"
  let pass: RulePass
  private let learningRate: LearningRate
  private let decay, epsilon, momentum: Double
  private let nesterov: Bool
  private let kind: RuleKind

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    learningRate = settings.learningRate
    decay = settings.number("decay")
    epsilon = settings.number("epsilon")
    momentum = settings.number("momentum")
    nesterov = settings.flag("nesterov")
    let centered = settings.flag("centered")
    let slots = (centered ? ["mean"] : []) + ["mean_square"] + (momentum > 0 ? ["momentum"] : [])
    pass = RulePass(parameters, slots, settings: settings, level: level)
    kind =
      switch (centered, momentum > 0) {
      case (false, false): .rmsprop
      case (false, true): .rmspropMomentum
      case (true, false): .rmspropCentered
      case (true, true): .rmspropCenteredMomentum
      }
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = RuleConstants()
    rule.rate = Float(learningRate.at(step))
    (rule.beta2, rule.rest2) = (Float(decay), Float(1 - decay))
    rule.beta1 = Float(momentum)
    (rule.mix, rule.own) = nesterov ? (Float(momentum), 1) : (1, 0)
    rule.epsilon = Float(epsilon)
    pass.run(kind, rule, memory)
  }
}
