// AdaGrad (Duchi, Hazan & Singer 2011, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization").
// See RulePass.swift.
//
//   v' = v + g^2, which begins at `initial_accumulator`
//   p' = p - rate * g / sqrt(v' + epsilon), unmoved where v' is 0
import Compute
import Contract

/// AdaGrad; keeps `sum_of_squares`.
struct AdaGrad: RuleOptimizer {
  let name = "adagrad"
  let pass: RulePass
  private let learningRate: LearningRate
  private let epsilon, initial: Double

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["sum_of_squares"], settings: settings, level: level)
    learningRate = settings.learningRate
    epsilon = settings.number("epsilon")
    initial = settings.number("initial_accumulator")
  }

  func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    state.update(repeating: Float(initial), count: self.state.floats)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = RuleConstants()
    rule.rate = Float(learningRate.at(step))
    rule.epsilon = Float(epsilon)
    pass.run(.adagrad, rule, memory)
  }
}
