// Sign descent (Bernstein et al. 2018, arXiv 1802.04434). See RulePass.swift.
//
//   p' = p - rate * sign(g)              sign(0) = 0
import Compute
import Contract

/// Sign descent; keeps no state.
struct SignSGD: RuleOptimizer {
  let name = "sign_sgd"
  let pass: RulePass
  private let learningRate: LearningRate

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, [], settings: settings, level: level)
    learningRate = settings.learningRate
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = RuleConstants()
    rule.rate = Float(learningRate.at(step))
    pass.run(.sign, rule, memory)
  }
}
