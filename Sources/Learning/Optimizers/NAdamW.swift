// NAdamW: the tuned baseline of learned-optimizer work (Metz et al. 2020, arXiv 2002.11887): Adam with Nesterov's look
// ahead, two kinds of weight decay, and epsilon beside the root of the uncorrected moment. See RulePass.swift.
//
//   G  = g + l2Sign * l2 p               k = t + 1
//   m' = b1 m + (1 - b1) G               v' = b2 v + (1 - b2) G^2
//   q  = b1 m' + (1 - b1) G with `nesterov`, else m'
//   a  = rate * sqrt(1 - b2^k) / (1 - b1^k)
//   p' = p - a * (q / (sqrt(v') + epsilon) + lambda p)
//
// A true penalty has l2Sign = 1; the published implementation, and the list of settings that was tuned with it, has -1.
import Compute
import Contract

/// NAdamW; keeps `first_moment` and `second_moment`.
struct NAdamW: RuleOptimizer {
  let name = "nadamw"
  let pass: RulePass
  private let constants: AdamConstants
  private let nesterov: Bool
  private let l2: Double

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "second_moment"], settings: settings, level: level)
    constants = AdamConstants(settings, decoupled: true)
    nesterov = settings.flag("nesterov")
    l2 = settings.number("l2_weight_decay") * (settings.flag("l2_subtracts") ? -1 : 1)
  }

  /// One update, which OptList shares.
  static func run(
    _ pass: RulePass, _ constants: AdamConstants, rate: Double, nesterov: Bool, l2: Double, _ memory: UpdateMemory,
    _ step: OptimizerStep
  ) {
    var rule = constants.rule(at: step)
    let rate = rate * step.bias(constants.beta2).squareRoot() / step.bias(constants.beta1)
    rule.mix = Float(nesterov ? rate * constants.beta1 : rate)
    rule.own = Float(nesterov ? rate * (1 - constants.beta1) : 0)
    rule.decay = Float(rate * constants.weightDecay)
    rule.l2 = Float(l2)
    rule.correction = 1
    pass.run(.adam, rule, memory)
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    Self.run(pass, constants, rate: constants.rate.at(step), nesterov: nesterov, l2: l2, memory, step)
  }
}
