// OptList: NAdamW with constants from a list that was found on a thousand tasks (Metz et al. 2020, arXiv 2002.11887).
// Entry 0 is the best single setting, and each next one what most improves the best of those before it: users try 0, 1, 2
// until their budget ends. See NAdamW.swift for the rule.
//
// The list has a thousand entries of which the first ten are here, to six digits. The rate is held for a share of the run,
// then falls along half a cosine; with a warm-up it rises over all of that share instead, as it did when the list was made.
import Compute
import Contract

/// NAdamW with the constants of one entry of the list; keeps `first_moment` and `second_moment`.
struct OptList: RuleOptimizer {
  let name = "optlist"
  let pass: RulePass
  let needs: OptimizerNeeds = .totalSteps
  private let constants: AdamConstants
  private let nesterov: Bool

  /// One setting; its penalty on squared weights, which the list also has, is 0 in these ten.
  struct Entry: Sendable {
    let learningRate, beta1, beta2, epsilon: Double
    let nesterov: Bool
    let weightDecay, warmupFraction, final, constantFraction: Double
  }

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    pass = RulePass(parameters, ["first_moment", "second_moment"], settings: settings, level: level)
    let entry = Self.entries[settings.integer("index")]
    let schedule = LearningRateSchedule.HeldCosine(
      constantFraction: entry.constantFraction, warmupFraction: entry.warmupFraction, final: entry.final,
      warmupFillsConstant: true)
    constants = AdamConstants(
      rate: LearningRate(base: entry.learningRate, schedule: .heldCosine(schedule)), beta1: entry.beta1,
      beta2: entry.beta2, epsilon: entry.epsilon, epsilonRoot: 0, weightDecay: entry.weightDecay)
    nesterov = entry.nesterov
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    NAdamW.run(pass, constants, rate: constants.rate.at(step), nesterov: nesterov, l2: 0, memory, step)
  }

  private static func entry(
    _ rate: Double, _ beta1: Double, _ beta2: Double, _ epsilon: Double, _ nesterov: Bool, _ decay: Double,
    _ warmup: Double, _ final: Double, _ constant: Double
  ) -> Entry {
    Entry(
      learningRate: rate, beta1: beta1, beta2: beta2, epsilon: epsilon, nesterov: nesterov, weightDecay: decay,
      warmupFraction: warmup, final: final, constantFraction: constant)
  }

  /// Rate, betas, epsilon, Nesterov, weight decay; the schedule's warm-up, final factor and constant share.
  static let entries = [
    entry(0.00119483, 0.936004, 0.998950, 5.87581e-6, false, 0.0101420, 0, 0, 0.747304),
    entry(0.406011, 0.997241, 0.986803, 107.859, true, 0.0156202, 2.28916e-5, 0, 0.324149),
    entry(0.000211853, 0.622965, 0.972780, 1.54024e-7, false, 0.0536076, 1.13951e-5, 0.00138645, 0.209931),
    entry(0.00753148, 0.691916, 0.984343, 3.59271e-8, false, 0.000305967, 0, 0.000955439, 0.422489),
    entry(0.0556970, 0.974216, 0.999981, 4.21393, false, 0.000223311, 0, 0, 0.520991),
    entry(0.00695499, 0.994118, 0.993046, 4.35172e-7, false, 3.14233e-5, 0, 0, 0.0136191),
    entry(0.0205261, 0.357305, 0.860430, 8.87355e-5, true, 0.0721717, 0, 1.56667e-5, 0.885168),
    entry(0.000595087, 0.891296, 0.999832, 1.48348e-7, true, 0.0408702, 0.00821268, 0, 0.377601),
    entry(0.00532869, 0.960474, 0.999225, 8.66506e-8, true, 0.00556324, 0, 0, 0.172331),
    entry(0.00124159, 0.946657, 0.940666, 8.11363e-8, false, 7.25773e-5, 0, 0.00100757, 0.476951),
  ]
}
