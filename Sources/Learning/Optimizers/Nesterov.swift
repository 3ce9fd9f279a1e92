// Nesterov: momentum that looks ahead (Nesterov 1983; in this form Sutskever et al. 2013). See RulePass.swift.
//
//   m' = g + mu * m
//   p' = p - rate * (g + mu * m')        without `nesterov`, p - rate * m'
import Compute
import Contract

/// Nesterov's momentum; keeps `momentum`.
struct Nesterov: RuleOptimizer {
  let name = "nesterov"
  let pass: RulePass
  private let learningRate: LearningRate
  private let decay: Double
  private let looksAhead: Bool

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["momentum"], settings: settings, level: level)
    learningRate = settings.learningRate
    decay = settings.number("decay")
    looksAhead = settings.flag("nesterov")
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    let rate = learningRate.at(step)
    var rule = RuleConstants()
    rule.beta1 = Float(decay)
    rule.own = 1
    (rule.rate, rule.mix) = looksAhead ? (Float(rate * decay), Float(rate)) : (Float(rate), 0)
    pass.run(.momentum, rule, memory)
  }
}
