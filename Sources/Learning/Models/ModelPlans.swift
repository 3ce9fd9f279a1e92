// From a resolved model to the plans that run it: one that gives loss and gradients for a training batch, one
// that gives outputs for judging. Contract decides the shapes, Compute compiles; ModelGraph translates the layers.
import Compute
import Contract

/// The compiled forms of one model. Immutable; shared by every thread that runs the model.
public struct ModelPlans: Sendable {
  public let model: ResolvedModel
  /// The file that graph and first weights come from, where the model is no layers.
  public let imported: ONNXImport?
  public let batchSize: Int
  /// Input `inputs` [B, …], of int32 where the data are tokens; `labels` [B] or [B, T], or `targets` [B, outputs], unless
  /// the model reconstructs its input; `key` [2] where ``usesKey``. Output `loss`, a scalar, and for each tensor of
  /// ``statistics`` what this batch measured, under its name.
  public let training: Plan
  /// Rows judged at once.
  public let judgedRows: Int
  /// Inputs `inputs` [judgedRows, …] and each tensor of ``statistics`` by its name; `key` where the model samples.
  ///
  /// Output `outputs` [judgedRows, …]: the logits of classes, the values, or the log-probabilities of tokens. Where the
  /// model reconstructs its input instead `loss` and `error` [judgedRows, 1]: for each row the training loss, and the
  /// mean squared difference from the input.
  public let inference: Plan
  /// How each tensor of ``layout`` starts.
  public let initializations: [Initialization]
  /// Where each running average lies: not trained, but part of the model.
  public let statistics: ParameterLayout
  /// How each tensor of ``statistics`` starts.
  public let statisticsInitializations: [Initialization]

  /// Where each parameter tensor lies; both plans share it. Tensors are in the canonical order, sorted by name.
  public var layout: ParameterLayout { training.parameterLayout }
  /// Whether a training step draws random numbers: its input `key` wants two new words for each.
  public var usesKey: Bool { training.inputs.contains { $0.name == ModelGraph.keyName } }
  /// Memory that executors of both plans allocate.
  public var arenaBytes: Int { training.arenaBytes + inference.arenaBytes }

  /// Plans a model.
  ///
  /// - Parameters:
  ///   - imported: the file of a model that comes from one.
  ///   - judgedRows: rows judged at once; nil takes as many as ``ResolvedModel/judgedRows`` finds right.
  /// - Throws: `ComputeError` where a plan would be too large, or the machine lacks `level`.
  public init(
    _ model: ResolvedModel, imported: ONNXImport? = nil, batchSize: Int, judgedRows: Int? = nil, level: CPULevel
  ) throws {
    precondition((model.imported == nil) == (imported == nil), "a model from a file needs its file, others none")
    self.model = model
    self.imported = imported
    self.batchSize = batchSize
    self.judgedRows = judgedRows ?? model.judgedRows
    let parameters = model.parameters.sorted { $0.name < $1.name }
    initializations = parameters.map(\.initial)
    let averages = model.steps.flatMap(\.statistics).sorted { $0.name < $1.name }
    statistics = ParameterLayout(averages.map { ($0.name, Shape($0.dimensions)) })
    statisticsInitializations = averages.map(\.initial)

    var trained = try ModelGraph(model, imported, rows: batchSize, isTraining: true)
    let loss = try trained.loss()
    trained.graph.output("loss", loss)
    training = try Plan(trained.graph, differentiating: loss, level: level)
    var judged = try ModelGraph(model, imported, rows: self.judgedRows, isTraining: false)
    try judged.judge()
    inference = try Plan(judged.graph, differentiating: nil, level: level)
  }
}
