// TrainingSpec.swift, ModelSpec.swift, OptimizerSpec.swift: requests as clients send them, good and bad.
import Contract
import Testing

private let dataset = "ds_01jd3kq5v8m2n4p6r8t0w2y4a6"

private func faults(_ text: String) throws -> [String: String] {
  let error = #expect(throws: SpecError.self) { try TrainingSpec.decode(JSON.parse(text)) }
  return Dictionary((error?.faults ?? []).map { ($0.path, $0.reason) }, uniquingKeysWith: { first, _ in first })
}

@Suite struct TrainingSpecTests {
  @Test("model, data and a step budget are enough")
  func minimal() throws {
    let spec = try TrainingSpec.decode(
      JSON.parse("{\"dataset\":\"\(dataset)\",\"model\":{\"preset\":\"mlp\"},\"steps\":400}"))
    #expect(spec.steps == 400 && spec.batchSize == 128 && spec.evaluateEvery == 20 && spec.seed == 0)
    #expect(spec.optimizer == OptimizerSpec(name: .auto))
    #expect(spec.model == .mlp(hidden: [128, 128], activation: .relu))
  }

  @Test("a spec survives being written and read")
  func roundTrip() throws {
    let spec = TrainingSpec(
      name: "a", dataset: dataset, model: .layers([.flatten, .dense(units: 3, activation: .tanh), .activation(.relu)]),
      steps: 7, batchSize: 3, optimizer: OptimizerSpec(name: .adam, learningRate: 0.5), seed: 9, evaluateEvery: 2,
      tags: ["x": "y"], priority: 1)
    #expect(try TrainingSpec.decode(spec.json) == spec)
  }

  @Test("every fault is reported at once with the path of its field")
  func allFaults() throws {
    let found = try faults(
      """
      {"dataset": 5, "steps": 0, "batch_size": "8", "seed": -1, "colour": true, "tags": {"a": 1},
       "model": {"layers": [{"type": "dense", "units": 0}, {"type": "dense", "units": 4, "colour": true}, {"type": "blur"}, 7]},
       "optimizer": {"name": "adam", "learning_rate": -1}}
      """)
    let paths: Set = [
      "/dataset", "/steps", "/batch_size", "/seed", "/colour", "/tags", "/model/layers/0/units",
      "/model/layers/1/colour",
      "/model/layers/2/type", "/model/layers/3", "/optimizer/learning_rate",
    ]
    #expect(Set(found.keys) == paths)
    #expect(found["/steps"]?.contains("1 to 100000000, got 0") == true)
    #expect(found["/batch_size"]?.contains("got the string \"8\"") == true)
  }

  @Test(
    "a learning rate is refused with the reason why there is none", arguments: ["learning_rate", "lr", "learningRate"])
  func learningRate(key: String) throws {
    let found = try faults(
      "{\"dataset\":\"\(dataset)\",\"model\":{\"preset\":\"mlp\"},\"steps\":1,\"\(key)\":0.1}")
    #expect(found.count == 1)
    #expect(found["/\(key)"]?.contains("there is no learning rate to choose") == true)
    let learned = try faults(
      "{\"dataset\":\"\(dataset)\",\"model\":{\"preset\":\"mlp\"},\"steps\":1,\"optimizer\":{\"name\":\"celo\",\"learning_rate\":1}}"
    )
    #expect(learned["/optimizer/learning_rate"]?.contains("there is no learning rate") == true)
  }

  @Test("huge numbers and wrong kinds are faults, not crashes")
  func extremes() throws {
    for value in ["1e300", "9223372036854775807", "-9223372036854775808", "1.5", "null", "[]", "{}", "\"5\"", "true"] {
      let found = try faults("{\"dataset\":\"\(dataset)\",\"model\":{\"preset\":\"mlp\"},\"steps\":\(value)}")
      #expect(found["/steps"] != nil, "\(value) was accepted")
    }
  }

  @Test("steps that do not fill one update are refused")
  func accumulation() throws {
    func spec(_ group: Int) -> String {
      "{\"dataset\":\"\(dataset)\",\"model\":{\"preset\":\"mlp\"},\"steps\":8,"
        + "\"optimizer\":{\"name\":\"adam\",\"accumulation\":\(group)}}"
    }
    #expect(try faults(spec(9)).keys.sorted() == ["/optimizer/accumulation"])
    #expect(try TrainingSpec.decode(JSON.parse(spec(8))).optimizer.settings.integer("accumulation") == 8)
  }

  @Test("a model is given in place or by id, not both and not neither")
  func modelOrID() throws {
    let id = "mdl_01jd3kq5v8m2n4p6r8t0w2y4a6"
    #expect(try faults("{\"dataset\":\"\(dataset)\",\"steps\":1}")["/model"] != nil)
    #expect(
      try faults("{\"dataset\":\"\(dataset)\",\"steps\":1,\"model\":{\"preset\":\"mlp\"},\"model_id\":\"\(id)\"}")[
        "/model_id"]
        != nil)
    let spec = try TrainingSpec.decode(JSON.parse("{\"dataset\":\"\(dataset)\",\"steps\":1,\"model_id\":\"\(id)\"}"))
    #expect(spec.modelID == id && spec.model == nil)
  }
}
