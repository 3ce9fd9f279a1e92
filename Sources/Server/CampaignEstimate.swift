// What a campaign would cost, as far as the server can tell: it knows layers and the speeds that workers measured, but not
// the registry of tasks.
import Contract
import Foundation
import Store

/// Plans campaigns by what is stored.
struct CampaignEstimate: Sendable {
  let store: Store

  /// Workers heard of within this time count as at hand.
  private static let workerSeenSeconds = 60.0

  func plan(of spec: CampaignSpec) throws -> CampaignPlan {
    let workers = try store.workers(seenSeconds: Self.workerSeenSeconds)
    // Any worker may get a local campaign, so the smallest is told.
    let cores =
      spec.mode == .distributed
      ? workers.reduce(0) { $0 + $1.slots } : workers.map { min($0.slots, spec.threads ?? $0.slots) }.min() ?? 0
    return try CampaignPlan(
      of: spec, cores: cores > 0 ? cores : nil, thetaParameters: store.thetaParameters(of: spec)
    ) { _, _, entry in
      switch entry.task {
      case .named: return nil
      case .config: return [CampaignPlan.TaskCost(secondsPerStep: nil, parameters: nil)]
      case .images(let task):
        guard let model = Self.model(of: task) else {
          return [CampaignPlan.TaskCost(secondsPerStep: nil, parameters: nil)]
        }
        let seconds = workers.map {
          model.secondsPerStep(batchSize: task.batchSize, optimizer: spec.optimizer, speed: $0.speed)
        }.max()
        return [CampaignPlan.TaskCost(secondsPerStep: seconds, parameters: model.parameterCount)]
      }
    }
  }

  /// Classes that are assumed of a data set: no more than a guess about the last layer.
  private static let classes = 10

  private static func model(of task: ImageTaskSpec) -> ResolvedModel? {
    let shape = DataShape(input: [task.imageSize * task.imageSize], target: .classes(classes))
    return ModelSpec.mlp(hidden: task.hidden, activation: task.activation).resolve(
      for: shape, path: "", faults: Faults())
  }
}
