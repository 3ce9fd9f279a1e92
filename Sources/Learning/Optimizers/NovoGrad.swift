// NovoGrad: gradients normalised tensor by tensor, then momentum (Ginsburg et al. 2019, arXiv 1905.11286). See
// RulePass.swift.
//
//   v' = b2 v + (1 - b2) |g|^2, at the first step |g|^2                    one number for each tensor
//   m' = b1 m + g / (sqrt(v' + epsilonRoot) + epsilon) + lambda p
//   p' = p - rate * m'
import Compute
import Contract

/// NovoGrad; keeps `momentum`, and the scalars `second_moment`.
struct NovoGrad: RuleOptimizer {
  let name = "novograd"
  let pass: RulePass
  private let constants: AdamConstants
  private let secondMoments: [Int]

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(
      parameters, ["momentum"], extra: parameters.tensors.map { ("second_moment/\($0.name)", .scalar) },
      settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
    secondMoments = pass.state.tensors.suffix(parameters.tensors.count).map(\.offset)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    var rule = RuleConstants()
    rule.rate = Float(constants.rate.at(step))
    rule.beta1 = Float(constants.beta1)
    for index in parameters.tensors.indices {
      rule.l2 = 0
      let square = pass.measure(.norms, rule, memory, tensor: index).second
      let at = memory.state + secondMoments[index]
      let moment =
        step.iteration == 0 ? square : constants.beta2 * Double(at.pointee) + (1 - constants.beta2) * square
      at.pointee = Float(moment)
      let root = (moment + constants.epsilonRoot).squareRoot() + constants.epsilon
      // An epsilon of zero must not make 0/0 of a tensor without gradients.
      rule.own = root == 0 ? 0 : Float(1 / root)
      rule.l2 = Float(constants.weightDecay)
      pass.run(.momentum, rule, memory, tensor: index)
    }
  }
}
