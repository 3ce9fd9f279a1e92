// A training plan of a model with a loss of the caller's, for problems whose loss is no objective that models name.
// ModelPlans compiles the ordinary ones from the same ModelGraph.
import Compute
import Contract

/// The plan of a model under a loss given as graph operations. Input `inputs` [B, …], and `key` [2] where the model or the
/// loss draws random numbers; output `loss`.
public struct CustomLossPlan: Sendable {
  public let plan: Plan
  /// How each tensor of the plan's layout starts; parameters that the loss adds start at zero.
  public let initializations: [Initialization]

  /// What a loss is made from.
  public struct Parts {
    /// The batch, [B, …].
    public let inputs: Value
    /// What the last layer makes.
    public let output: Value
    /// Means and logarithms of deviations of the latent layers.
    public let latents: [(mean: Value, logDeviation: Value)]
    /// The step's random words, [2]; layers of the model use small stream numbers.
    public let key: Value
  }

  /// - Parameter loss: adds the loss, a scalar, to the graph of the model.
  /// - Throws: what `loss` throws, and `ComputeError` where the plan would be too large.
  public init(
    _ model: ResolvedModel, batchSize: Int, level: CPULevel, loss: (inout Graph, Parts) throws -> Value
  ) throws {
    var made = try ModelGraph(model, rows: batchSize, isTraining: true)
    let parts = Parts(inputs: made.data, output: made.output, latents: made.latents, key: try made.randomKey())
    let value = try loss(&made.graph, parts)
    made.graph.output("loss", value)
    plan = try Plan(made.graph, differentiating: value, level: level)
    let rules = Dictionary(model.parameters.map { ($0.name, $0.initial) }, uniquingKeysWith: { $1 })
    initializations = plan.parameterLayout.tensors.map { rules[$0.name] ?? .zeros }
  }
}
