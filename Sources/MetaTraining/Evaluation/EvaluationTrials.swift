// The settings that a tuned optimizer is allowed to try. NAdamW's are drawn from the distributions that VeLO's baseline
// was tuned with (Metz et al. 2022, arXiv 2211.09760):
//
//   learning rate 10^U(-5, 0)    1 - beta1 10^U(-3, 0)    1 - beta2 10^U(-5, 0)    epsilon 10^U(-8, 4)    Nesterov: half
//   weight decay: decoupled, on the gradient, or both, each strength 10^U(-5, -1)
//   warm-up: none in half, else 10^U(-5, -1) of the run; constant share U(0, 1); final factor 0 in half, else 10^U(-5, 0)
import Compute
import Contract
import Foundation

extension EvaluatedOptimizer {
  /// The settings tried, in order; one of them where nothing is tuned, none for weights that only a file names.
  var candidates: [OptimizerSettings] {
    switch source {
    case .setting(let spec): return [spec.settings]
    case .tuned(let spec, .rates):
      return Self.learningRates.map { spec.settings.with("learning_rate", .number($0)) }
    case .tuned(_, .search(let trials)):
      return (0..<trials).map { Self.drawnNAdamW(RandomKey(seed: 0x0ADA).derive(14, UInt32($0), 0)) }
    case .tuned(_, .list(let trials)):
      return (0..<trials).map { OptimizerSettings(.optlist, ["index": .integer($0)]) }
    case .campaign, .file: return []
    }
  }

  /// One draw of the search; draw number i is the same in every evaluation.
  static func drawnNAdamW(_ key: RandomKey) -> OptimizerSettings {
    var draw = Draw(key)
    func power(_ low: Double, _ high: Double) -> Double { pow(10, draw.uniform(low, high)) }
    let rate = power(-5, 0)
    let beta1 = 1 - power(-3, 0)
    let beta2 = 1 - power(-5, 0)
    let epsilon = power(-8, 4)
    let nesterov = draw.uniform(0, 1) < 0.5
    let kind = draw.uniform(0, 3)
    let decoupled = power(-5, -1), onGradient = power(-5, -1)
    let warms = draw.uniform(0, 1) < 0.5, warmup = power(-5, -1)
    let ends = draw.uniform(0, 1) < 0.5, final = power(-5, 0)
    let constant = draw.uniform(0, 1)
    let schedule = LearningRateSchedule.heldCosine(
      LearningRateSchedule.HeldCosine(
        constantFraction: constant, warmupFraction: warms ? warmup : 0, final: ends ? final : 0))
    return OptimizerSettings(
      .nadamw,
      [
        "learning_rate": .number(rate), "beta1": .number(beta1), "beta2": .number(min(beta2, 0.999_999)),
        "epsilon": .number(epsilon), "nesterov": .bool(nesterov),
        "weight_decay": .number(kind < 2 ? decoupled : 0), "decay_vectors": true,
        "l2_weight_decay": .number(kind >= 1 ? onGradient : 0), "schedule": schedule.json,
      ])
  }
}
