// Adadelta: steps in the parameters' own units (Zeiler 2012, arXiv 1212.5701). See RulePass.swift.
//
//   v' = rho v + (1 - rho) g^2
//   u  = sqrt(x + epsilon) / sqrt(v' + epsilon) * g
//   x' = rho x + (1 - rho) u^2
//   p' = p - rate * u
import Compute
import Contract

/// Adadelta; keeps `mean_square` and `mean_square_step`.
struct Adadelta: RuleOptimizer {
  let name = "adadelta"
  let pass: RulePass
  private let learningRate: LearningRate
  private let rho, epsilon: Double

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["mean_square", "mean_square_step"], settings: settings, level: level)
    learningRate = settings.learningRate
    rho = settings.number("rho")
    epsilon = settings.number("epsilon")
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = RuleConstants()
    rule.rate = Float(learningRate.at(step))
    (rule.beta1, rule.rest1) = (Float(rho), Float(1 - rho))
    rule.epsilon = Float(epsilon)
    pass.run(.adadelta, rule, memory)
  }
}
