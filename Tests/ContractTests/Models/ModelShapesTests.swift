// ModelShapes.swift, the ModelLayers files: shapes, parameters and costs of models, and what is said of impossible ones.
import Contract
import Testing

private let digits = DataShape(input: [28, 28], target: .classes(10))
private let colours = DataShape(input: [32, 32, 3], target: .classes(10))
private let table = DataShape(input: [4], target: .classes(3))
private let text = DataShape(input: [64], elements: .tokens(vocabulary: 256), target: .tokens(vocabulary: 256))

private func fault(_ layers: String, _ data: DataShape, with members: String = "") -> Fault? {
  do {
    let spec = try ModelSpec.decode(JSON.parse("{\"layers\": [\(layers)]\(members)}"))
    _ = try spec.resolved(for: data)
    return nil
  } catch let error as SpecError {
    return error.faults.first
  } catch {
    return Fault(path: "?", reason: "\(error)")
  }
}

private func resolve(_ layers: String, _ data: DataShape, with members: String = "") throws -> ResolvedModel {
  try ModelSpec.decode(JSON.parse("{\"layers\": [\(layers)]\(members)}")).resolved(for: data)
}

@Suite struct ModelShapesTests {
  @Test("the mlp preset expands to the layers people expect")
  func preset() throws {
    let model = try ModelSpec.mlp(hidden: [128, 128], activation: .relu).resolved(for: digits)
    #expect(model.steps.map(\.name) == ["flatten_0", "dense_1", "dense_2", "dense_3"])
    #expect(model.steps.map(\.output) == [[784], [128], [128], [10]])
    #expect(model.parameters.map(\.name).prefix(2) == ["dense_1/b", "dense_1/w"])
    #expect(model.parameterCount == 784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10)
    #expect(model.flopsPerStep(batchSize: 1) == 3 * (2 * (784 * 128 + 128 * 128 + 1280) + 128 + 128 + 10))
  }

  @Test(
    "each layer has the shape, the parameters and the arithmetic that its definition says",
    arguments: [
      (#"{"type":"dense","units":5}"#, [7, 4], [7, 5], ["b": [5], "w": [4, 5]], 2 * 7 * 4 * 5 + 35),
      (#"{"type":"dense","units":5,"bias":false}"#, [4], [5], ["w": [4, 5]], 40),
      (#"{"type":"activation","activation":"leaky_relu","slope":-0.5}"#, [7, 4], [7, 4], [:], 28),
      (#"{"type":"reshape","shape":[2,14]}"#, [7, 4], [2, 14], [:], 0),
      (#"{"type":"dropout","rate":0.5}"#, [7], [7], [:], 7),
      (
        #"{"type":"conv","filters":8,"stride":2}"#, [5, 7, 3], [3, 4, 8], ["b": [8], "w": [3, 3, 3, 8]],
        2 * 12 * 27 * 8 + 96
      ),
      (
        #"{"type":"conv","filters":8,"kernel":[3,1],"dilation":[2,1],"padding":"valid","groups":2,"bias":false}"#,
        [6, 5, 4], [2, 5, 8], ["w": [3, 1, 2, 8]], 2 * 10 * 6 * 8
      ),
      (
        #"{"type":"depthwise_conv","multiplier":2}"#, [4, 4, 3], [4, 4, 6], ["b": [6], "w": [3, 3, 1, 6]],
        2 * 16 * 9 * 6 + 96
      ),
      (#"{"type":"max_pool"}"#, [5, 4, 3], [2, 2, 3], [:], 4 * 12),
      (#"{"type":"average_pool","window":3,"stride":2,"padding":"same"}"#, [5, 4, 3], [3, 2, 3], [:], 9 * 18),
      (#"{"type":"global_average_pool"}"#, [5, 4, 3], [3], [:], 60),
      (#"{"type":"batch_norm"}"#, [5, 3], [5, 3], ["offset": [3], "scale": [3]], 120),
      (#"{"type":"layer_norm"}"#, [5, 3], [5, 3], ["offset": [3], "scale": [3]], 120),
      (#"{"type":"rms_norm"}"#, [5, 3], [5, 3], ["scale": [3]], 120),
      (#"{"type":"group_norm","groups":2}"#, [5, 4], [5, 4], ["offset": [4], "scale": [4]], 160),
      (#"{"type":"position_embedding"}"#, [5, 3], [5, 3], ["w": [5, 3]], 15),
      (#"{"type":"class_token"}"#, [5, 3], [6, 3], ["w": [1, 3]], 0),
      (
        #"{"type":"attention","heads":2}"#, [5, 6], [5, 6],
        ["out/b": [6], "out/w": [6, 6], "qkv/b": [18], "qkv/w": [6, 18]], 8 * 5 * 36 + 4 * 25 * 6
      ),
      (
        #"{"type":"attention","heads":2,"key_size":4}"#, [5, 6], [5, 6],
        ["out/b": [6], "out/w": [8, 6], "qkv/b": [24], "qkv/w": [6, 24]], 8 * 5 * 48 + 4 * 25 * 8
      ),
      (
        #"{"type":"rnn","units":4}"#, [5, 3], [5, 4], ["b": [16], "u": [4, 16], "w": [3, 16]],
        2 * 5 * 16 * 7 + 10 * 5 * 16
      ),
      (
        #"{"type":"rnn","cell":"gru","units":4,"returns":"last"}"#, [5, 3], [4],
        ["b": [12], "u": [4, 8], "u_candidate": [4, 4], "w": [3, 12]], 2 * 5 * 12 * 7 + 10 * 5 * 12
      ),
      (
        #"{"type":"rnn","cell":"irnn","units":4,"learns_initial_state":true}"#, [5, 3], [5, 4],
        ["b": [4], "initial_hidden": [4], "u": [4, 4], "w": [3, 4]], 2 * 5 * 4 * 7 + 10 * 5 * 4
      ),
      (#"{"type":"transpose","axes":[2,0,1]}"#, [5, 4, 3], [3, 5, 4], [:], 0),
      (#"{"type":"take","index":-1}"#, [5, 3], [3], [:], 0),
      (#"{"type":"take","axis":-1,"index":2}"#, [5, 3], [5], [:], 0),
      (#"{"type":"mean","axes":[0,-1]}"#, [5, 4, 3], [4], [:], 60),
    ] as [(String, [Int], [Int], [String: [Int]], Int)])
  func layer(definition: String, input: [Int], output: [Int], parameters: [String: [Int]], flops: Int) throws {
    // Its result goes through one dense layer to one value.
    let end = #", {"type":"flatten"}, {"type":"dense","units":1}"#
    let model = try resolve(definition + end, DataShape(input: input, target: .values(1)))
    let step = model.steps[0]
    #expect(step.output == output)
    #expect(
      Dictionary(uniqueKeysWithValues: step.parameters.map { ($0.name.dropFirst(step.name.count + 1), $0.dimensions) })
        == Dictionary(uniqueKeysWithValues: parameters.map { (Substring($0), $1) }))
    #expect(step.parameters.map(\.name) == step.parameters.map(\.name).sorted())
    #expect(step.flops == flops)
    #expect(try ModelSpec.layers([step.layer]) == ModelSpec.decode(ModelSpec.layers([step.layer]).json))
  }

  @Test("layers read the layers they name")
  func graph() throws {
    let model = try resolve(
      #"""
      {"type": "dense", "units": 4, "activation": "relu", "name": "stem"}, {"type": "dense", "units": 4},
      {"type": "add", "inputs": ["stem", "dense_1"]}, {"type": "concat", "inputs": ["add_2", "input"], "name": "all"},
      {"type": "dense", "units": 3}
      """#, table)
    #expect(model.steps.map(\.sources) == [[-1], [0], [0, 1], [2, -1], [3]])
    #expect(model.steps[3].output == [8])
    #expect(model.parameters.map(\.name) == ["stem/b", "stem/w", "dense_1/b", "dense_1/w", "dense_4/b", "dense_4/w"])
  }

  @Test("a grey image among the data has one channel")
  func grey() throws {
    let model = try resolve(
      #"{"type":"conv","filters":4},{"type":"global_average_pool"},{"type":"dense","units":10}"#, digits)
    #expect(model.steps[0].parameters[1].dimensions == [3, 3, 1, 4])
  }

  @Test(
    "impossible models are told which layer, what it got and what to do",
    arguments: [
      (
        #"{"type":"dense","units":10}"#, digits, "/model/layers",
        "produces shape [28, 10], but the dataset has 10 classes: expected [10]; put a flatten"
      ),
      (#"{"type":"flatten"},{"type":"dense","units":11}"#, digits, "/model/layers", "produces shape [11]"),
      (
        #"{"type":"flatten"},{"type":"dense","units":3},{"type":"conv","filters":4,"name":"stem"}"#, digits,
        "/model/layers/2", "conv_2 (\"stem\"): needs an input of rank 3 [height, width, channels], got [3]"
      ),
      (
        #"{"type":"conv","filters":4,"kernel":40,"padding":"valid"}"#, digits, "/model/layers/0",
        "its window [40, 40] is larger than the image [28, 28]"
      ),
      (#"{"type":"conv","filters":4,"groups":2}"#, colours, "/model/layers/0", "its 2 groups divide, got 3 and 4"),
      (#"{"type":"dense","units":4}"#, text, "/model/layers/0", "put an embedding layer before it"),
      (#"{"type":"embedding","units":4}"#, table, "/model/layers/0", "embedding_0: needs tokens"),
      (
        #"{"type":"embedding","units":6},{"type":"attention","heads":4}"#, text, "/model/layers/1",
        "needs a width that its 4 heads divide, got 6"
      ),
      (
        #"{"type":"embedding","units":6},{"type":"dense","units":9}"#, text, "/model/layers",
        "256 tokens to choose from at each position: expected [64, 256]"
      ),
      (
        #"{"type":"dense","units":4},{"type":"dense","units":3},{"type":"add","inputs":["dense_0","dense_1"]}"#, table,
        "/model/layers/2", "needs inputs of one shape, got [4] and [3]"
      ),
      (
        #"{"type":"dense","units":3,"inputs":["later"]},{"type":"dense","units":3,"name":"later"}"#, table,
        "/model/layers/0/inputs/0", "there is no layer \"later\" before it"
      ),
      (
        #"{"type":"dense","units":3,"name":"a"},{"type":"dense","units":3,"name":"a"}"#, table, "/model/layers/1/name",
        "taken by an earlier layer"
      ),
      (
        #"{"type":"dense","units":3,"name":"unused"},{"type":"dense","units":3,"inputs":["input"]}"#, table,
        "/model/layers/0", "no layer reads it"
      ),
      (#"{"type":"dense","units":3,"inputs":["input","input"]}"#, table, "/model/layers/0/inputs", "reads one input"),
      (#"{"type":"dense","units":4},{"type":"latent","size":2}"#, table, "/model/layers", "reconstruct"),
      (#"{"type":"reshape","shape":[3]}"#, table, "/model/layers/0", "needs a shape of 4 numbers"),
      (#"{"type":"take","index":4}"#, table, "/model/layers/0", "has no place 4: axis 0 of its input [4] has 4"),
      (
        #"{"type":"activation","activation":"relu"}"#, DataShape(input: [10], target: .classes(10)), "/model/layers",
        "no parameters"
      ),
    ])
  func impossible(layers: String, data: DataShape, path: String, reason: String) {
    let found = fault(layers, data)
    #expect(found?.path == path)
    #expect(found?.reason.contains(reason) == true, "\(found?.reason ?? "no fault")")
  }

  @Test("models that reconstruct must give as many numbers as they get, and need numbers")
  func reconstruction() throws {
    let members = #", "objective": "reconstruct", "loss": "bernoulli""#
    let model = try resolve(#"{"type":"flatten"},{"type":"dense","units":784}"#, digits, with: members)
    #expect(model.objective == .reconstruct(.bernoulli))
    #expect(fault(#"{"type":"dense","units":3}"#, table, with: members)?.reason.contains("expected [4]") == true)
    let tokens = fault(#"{"type":"embedding","units":1}"#, text, with: members)
    #expect(tokens?.reason.contains("needs numbers") == true)
    let loss = fault(#"{"type":"dense","units":3}"#, table, with: #", "loss": "mse""#)
    #expect(loss?.path == "/loss")
  }

  @Test("sizes beyond every limit are faults, whatever they multiply to")
  func extremes() {
    let widest = (0..<40).map { _ in #"{"type":"dense","units":65536}"# }.joined(separator: ",")
    #expect(fault(widest, DataShape(input: [10], target: .values(1)))?.reason.contains("parameters") == true)
    let large = DataShape(input: [65536, 256], target: .values(1))
    let filters = #"{"type":"conv","filters":65536,"kernel":1024}"#
    #expect(fault(filters, large)?.reason.contains("too large") == true)
    let many = (0..<16).map { _ in "\"input\"" }.joined(separator: ",")
    let doubled = (0..<9).map { index in
      #"{"type":"concat","name":"c\#(index)","inputs":["#
        + (index == 0 ? many : Array(repeating: "\"c\(index - 1)\"", count: 16).joined(separator: ","))
        + "]}"
    }
    #expect(fault(doubled.joined(separator: ","), large)?.reason.contains("too large") == true)
    #expect(
      fault(#"{"type":"rnn","units":8192}"#, DataShape(input: [9, 65536], target: .values(1)))?.path
        == "/model/layers/0")
  }
}
