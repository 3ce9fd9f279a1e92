// An inner problem as one immutable value: the plan of its loss and gradients, how parameters start, where batches come
// from, how its loss is normalised, and what is done to its gradients. InnerTask joins it with an optimizer.
import Compute
import Contract
import Learning

/// One problem to train on. Immutable; every lane that runs it shares it.
public final class TrainingTask: Sendable {
  /// What the task was built from.
  public let config: TaskConfig
  /// The output `loss` and the gradients of all parameters; of the inner task, where there is an ``unroll``.
  public let plan: Plan
  /// How parameters start.
  public let start: TaskStart
  /// What fills the plan's inputs before a step.
  public let source: any BatchSource
  /// How the outer problem sees the loss.
  public let normaliser: LossNormaliser
  /// The loss of an output that knows nothing, where there is such a thing.
  public let chanceLoss: Double?
  /// Examples of a step; 1 where there are none.
  public let batchSize: Int
  /// What changes parameters, losses and gradients on their way to the optimizer, from the innermost to the outermost.
  public let augmentations: [Augmentation]
  /// Words to find the task by, such as `image`.
  public let tags: Set<String>
  /// The training that one evaluation of the loss is, where the parameters are an optimizer's.
  public let unroll: UnrolledTraining?

  /// - Parameters:
  ///   - plan: has the output `loss` and differentiates; traps otherwise.
  ///   - source: fills all inputs of the plan but `key`.
  ///   - augmentations: from the innermost to the outermost.
  public init(
    config: TaskConfig, plan: Plan, start: TaskStart, source: any BatchSource = NoBatches(),
    normaliser: LossNormaliser = .identity, chanceLoss: Double? = nil, batchSize: Int = 1,
    augmentations: [Augmentation] = [], tags: Set<String> = [], unroll: UnrolledTraining? = nil
  ) {
    precondition(plan.differentiates, "TrainingTask: \(config.object) has a plan without gradients")
    self.config = config
    self.plan = plan
    self.start = start
    self.source = source
    self.normaliser = normaliser
    self.chanceLoss = chanceLoss
    self.batchSize = batchSize
    self.augmentations = augmentations
    self.tags = tags
    self.unroll = unroll
  }

  /// Where parameters and gradients lie.
  public var layout: ParameterLayout { unroll == nil ? plan.parameterLayout : UnrolledTraining.layout }

  /// Arithmetic of one step as the optimizer counts them, evaluations of augmentations included.
  public var flopsPerStep: Double {
    let flops = unroll.map { Double(1 + 2 * $0.pairs) * $0.flops } ?? Double(plan.flops)
    return augmentations.reduce(flops) { $1.flops($0, parameters: layout.elements) }
  }

  /// The task with another augmentation around it; `config` is the tree that says so.
  func wrapped(_ augmentation: Augmentation, config: TaskConfig) -> TrainingTask {
    TrainingTask(
      config: config, plan: plan, start: start, source: source, normaliser: normaliser, chanceLoss: chanceLoss,
      batchSize: batchSize, augmentations: augmentations + [augmentation], tags: tags, unroll: unroll)
  }
}

/// How the parameters of a task start.
public enum TaskStart: Sendable {
  /// By the rules of the model's layers.
  case model([Initialization])
  /// One rule for each tensor of the layout.
  case tensors([TensorStart])

  /// How one tensor starts.
  public enum TensorStart: Sendable {
    case zeros
    case normal(deviation: Float)
    /// Each element from its own range; one range serves all.
    case uniform([ClosedRange<Float>])
  }

  /// Writes the parameters of a training that begins. Tensor number i draws from its own sub-key.
  func fill(_ parameters: UnsafeMutablePointer<Float>, layout: ParameterLayout, key: RandomKey) {
    guard case .tensors(let rules) = self else {
      if case .model(let rules) = self { Initializer.fill(parameters, layout: layout, initial: rules, key: key) }
      return
    }
    precondition(rules.count == layout.tensors.count, "TaskStart: a rule for each tensor")
    parameters.update(repeating: 0, count: layout.floats)
    for (index, tensor) in layout.tensors.enumerated() {
      let values = UnsafeMutableBufferPointer(start: parameters + tensor.offset, count: tensor.count)
      let key = key.derive(1, UInt32(index), 0)
      switch rules[index] {
      case .zeros: break
      case .normal(let deviation):
        var normals = [Float](repeating: 0, count: tensor.count)
        key.fillNormals(&normals)
        for place in values.indices { values[place] = deviation * normals[place] }
      case .uniform(let ranges):
        var draw = Draw(key)
        for place in values.indices {
          let range = ranges[place % ranges.count]
          values[place] = Float(draw.uniform(Double(range.lowerBound), Double(range.upperBound)))
        }
      }
    }
  }
}
