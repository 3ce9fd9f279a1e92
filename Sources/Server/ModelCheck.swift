// What a model comes to on given data, without storing anything: shapes, parameters, memory, arithmetic.
import Contract
import Foundation
import Store

/// A request to check a model.
struct ModelCheck {
  private let model: ModelSpec?
  private let modelID: String?
  private let dataset: String?
  private let shape: DataShape?
  private let batchSize: Int
  private let optimizer: OptimizerSpec

  /// Longest side and largest size of an input that is given by shape.
  private static let sideMax = 65_536
  /// Workers heard of within this time count as at hand.
  private static let workerSeenSeconds = 60.0
  private static let inputMax = 16_777_216

  /// Reads a request body and throws all its faults at once.
  static func decode(_ json: JSON) throws(SpecError) -> ModelCheck {
    try Faults.collect { faults in
      guard var fields = Fields(json, faults: faults) else { return nil }
      let model = fields.value("model").flatMap { ModelSpec.read($0, path: "/model", faults: faults) }
      let modelID = fields.identifier("model_id", .model)
      if fields.has("model") == fields.has("model_id") {
        faults.add("", "expected either \"model\" or \"model_id\"")
      }
      let dataset = fields.identifier("dataset", .dataset)
      let shape = readShape(&fields)
      let batchSize = fields.integer("batch_size", in: TrainingSpec.batchSizeRange)
      let optimizer = fields.value("optimizer").map { OptimizerSpec.read($0, path: "/optimizer", faults: faults) }
      fields.finish()
      return ModelCheck(
        model: model, modelID: modelID, dataset: dataset, shape: shape,
        batchSize: batchSize ?? TrainingSpec.batchSizeDefault, optimizer: (optimizer ?? nil) ?? OptimizerSpec())
    }
  }

  private static func readShape(_ fields: inout Fields) -> DataShape? {
    let sides = fields.array("input_shape", counts: 1...8) { json, path, faults -> Int? in
      if let side = json.integer, (1...sideMax).contains(side) { return side }
      faults.add(path, "expected an integer from 1 to \(sideMax), got \(json.kind)")
      return nil
    }
    let classes = fields.integer("classes", in: 2...ModelSpec.unitsMax)
    let outputs = fields.integer("outputs", in: 1...ModelSpec.unitsMax)
    let vocabulary = fields.integer("vocabulary", in: 2...ModelSpec.unitsMax)
    let names = ["input_shape", "vocabulary", "classes", "outputs"].filter(fields.has)
    if fields.has("dataset") {
      for name in names { fields.fault(name, "is in place of \"dataset\", but both came") }
      return nil
    }
    let targets = names.filter { $0 == "classes" || $0 == "outputs" }
    guard names.first == "input_shape", targets.count == 1 || targets.isEmpty && names.contains("vocabulary") else {
      fields.faults.add(
        "",
        "expected \"dataset\", or \"input_shape\" with either \"classes\" or \"outputs\", or with \"vocabulary\" for "
          + "tokens")
      return nil
    }
    let elements: DataShape.Elements = vocabulary.map { .tokens(vocabulary: $0) } ?? .numbers
    guard let sides,
      let target = classes.map(DataShape.Target.classes) ?? outputs.map(DataShape.Target.values)
        ?? vocabulary.map({ .tokens(vocabulary: $0) }),
      elements != .numbers || !names.contains("vocabulary")
    else { return nil }
    // Side by side, so that no product overflows.
    var size = 1
    for side in sides {
      size *= side
      guard size <= inputMax else {
        fields.fault("input_shape", "expected at most \(inputMax) numbers in one input")
        return nil
      }
    }
    return DataShape(input: sides, elements: elements, target: target)
  }

  /// Does the check.
  ///
  /// - Throws: ``SpecError`` when the model does not fit; ``Problem`` 409 while the dataset is validating.
  func answer(store: Store, project: String, memoryBytesMax: Int) throws -> JSON {
    let faults = Faults()
    let definition = try model ?? JobAdmission.definition(modelID, store, project: project, faults)
    var data = shape
    if let dataset {
      if let found = try store.dataset(id: dataset, project: project) {
        data = try JobAdmission.schema(of: found, faults).shape
      } else {
        faults.add("/dataset", "there is no dataset \(dataset)")
      }
    }
    try faults.check()
    guard let definition, let data,
      let resolved = definition.resolve(for: data, path: modelID == nil ? "/model" : "/model_id", faults: faults)
    else { throw SpecError(faults.list) }
    // The slowest of the workers at hand: any of them may get the job.
    let seconds = try store.workers(seenSeconds: Self.workerSeenSeconds).map {
      resolved.secondsPerStep(batchSize: batchSize, optimizer: optimizer.name, speed: $0.speed)
    }.max()
    return [
      "object": "model_check",
      "layers": .array(
        resolved.steps.map { step in
          [
            "name": .string(step.name), "layer": step.layer.json,
            "inputs": .array(step.sources.map { .string($0 < 0 ? Layer.dataName : resolved.steps[$0].name) }),
            "input_shape": .array(step.input.map(JSON.integer)),
            "output_shape": .array(step.output.map(JSON.integer)),
            "parameters": .integer(step.parameters.reduce(0) { $0 + $1.count }), "flops": .integer(step.flops),
          ]
        }),
      "parameters": .integer(resolved.parameterCount), "batch_size": .integer(batchSize),
      "memory_bytes": .integer(
        resolved.memoryBytes(batchSize: batchSize, optimizer: optimizer.settings)),
      "memory_bytes_max": .integer(memoryBytesMax),
      "flops_per_step": .integer(resolved.flopsPerStep(batchSize: batchSize)),
      "seconds_per_step": seconds.map(JSON.number) ?? .null,
    ]
  }
}
