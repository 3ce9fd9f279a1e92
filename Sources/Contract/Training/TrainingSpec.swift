// What a client asks for when it creates a job, with its validation. There are no hyperparameters: model, data,
// step budget.
import Foundation

/// A training job as requested. Everything that a run does follows from this value and its seed.
public struct TrainingSpec: Sendable, Hashable {
  public var name: String?
  /// The dataset's id.
  public var dataset: String
  /// The model, given in place …
  public var model: ModelSpec?
  /// … or by the id of a stored definition. Exactly one of the two is set.
  public var modelID: String?
  /// Step budget, 1 to 100,000,000. Learned optimizers plan for it, so it is part of the result.
  public var steps: Int
  /// Examples a step, 1 to 65,536; default 128.
  public var batchSize: Int
  public var optimizer: OptimizerSpec
  /// Seed of everything random in the run, 0 to 2^53 - 1; default 0.
  public var seed: Int
  /// Steps between evaluations on the held-out part; default a twentieth of the budget.
  public var evaluateEvery: Int
  public var tags: [String: String]
  /// 0 (first) to 9 (last); default 5.
  public var priority: Int

  public static let stepsRange = 1...100_000_000
  public static let batchSizeRange = 1...65_536
  public static let batchSizeDefault = 128
  public static let seedRange = 0...9_007_199_254_740_991

  public init(
    name: String? = nil, dataset: String, model: ModelSpec? = nil, modelID: String? = nil, steps: Int,
    batchSize: Int = batchSizeDefault, optimizer: OptimizerSpec = OptimizerSpec(), seed: Int = 0,
    evaluateEvery: Int? = nil, tags: [String: String] = [:], priority: Int = 5
  ) {
    self.name = name
    self.dataset = dataset
    self.model = model
    self.modelID = modelID
    self.steps = steps
    self.batchSize = batchSize
    self.optimizer = optimizer
    self.seed = seed
    self.evaluateEvery = evaluateEvery ?? TrainingSpec.defaultEvaluateEvery(steps: steps)
    self.tags = tags
    self.priority = priority
  }

  /// A twentieth of the budget, at least one step.
  public static func defaultEvaluateEvery(steps: Int) -> Int { max(1, steps / 20) }

  public var json: JSON {
    var members: [String: JSON] = [
      "dataset": .string(dataset), "steps": .integer(steps), "batch_size": .integer(batchSize),
      "optimizer": optimizer.json, "seed": .integer(seed), "evaluate_every": .integer(evaluateEvery),
      "tags": .object(tags.mapValues(JSON.string)), "priority": .integer(priority),
    ]
    if let name { members["name"] = .string(name) }
    if let model { members["model"] = model.json }
    if let modelID { members["model_id"] = .string(modelID) }
    return .object(members)
  }

  /// Reads a request body and throws all its faults at once.
  public static func decode(_ json: JSON) throws(SpecError) -> TrainingSpec {
    try Faults.collect { read(json, faults: $0) }
  }

  static func read(_ json: JSON, faults: Faults) -> TrainingSpec? {
    guard var fields = Fields(json, faults: faults) else { return nil }
    let name = fields.string("name")
    let dataset = fields.identifier("dataset", .dataset, required: "the id of a dataset")
    let steps = fields.integer("steps", in: stepsRange, required: "the step budget")
    let batchSize = fields.integer("batch_size", in: batchSizeRange) ?? batchSizeDefault
    let seed = fields.integer("seed", in: seedRange) ?? 0
    let priority = fields.integer("priority", in: 0...9) ?? 5
    let evaluateEvery = fields.integer("evaluate_every", in: stepsRange)
    let tags = fields.tags("tags")
    let optimizer =
      fields.value("optimizer").map { OptimizerSpec.read($0, path: "/optimizer", faults: faults) } ?? OptimizerSpec()
    if let steps, let group = optimizer?.settings.integer("accumulation"), group > steps {
      faults.add(
        "/optimizer/accumulation",
        "expected at most the \(steps) steps of the job, got \(group): there would be no update")
    }
    let modelID = fields.identifier("model_id", .model)
    var model: ModelSpec?
    if let json = fields.value("model") {
      if fields.has("model_id") { faults.add("/model_id", "expected either \"model\" or \"model_id\", got both") }
      model = ModelSpec.read(json, path: "/model", faults: faults)
    } else if !fields.has("model_id") {
      faults.add(
        "/model", "is required: a model such as {\"preset\": \"mlp\", \"hidden\": [128, 128]}, or \"model_id\"")
    }
    for key in ["learning_rate", "lr", "learningRate"] where fields.has(key) {
      fields.consume(key)
      fields.fault(key, OptimizerSpec.noLearningRate)
    }
    fields.finish()
    guard let dataset, let steps, let optimizer, model != nil || modelID != nil else { return nil }
    return TrainingSpec(
      name: name, dataset: dataset, model: model, modelID: modelID, steps: steps, batchSize: batchSize,
      optimizer: optimizer, seed: seed, evaluateEvery: evaluateEvery, tags: tags, priority: priority)
  }
}
