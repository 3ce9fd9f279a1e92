// Theta: layouts, initial values, the file and its checks.
import Compute
import Foundation
import Learning
import Testing

@Suite("Theta")
struct ThetaTests {
  static let schemas: [ThetaSchema] = [
    ThetaSchema(SmallFC.self, .init()), ThetaSchema(SmallFC.self, .init(hidden: 32, stepMultiplier: 0.01)), celo,
  ]
  static let celo = ThetaSchema(Celo.self, .init())

  @Test("has the published numbers of meta-parameters")
  func counts() {
    #expect(Self.schemas.map { $0.layout.elements } == [197, 2409, 37_089])
  }

  @Test("lies in canonical order, where w0__10 comes before w0__2")
  func order() {
    let names = Self.celo.layout.tensors.map(\.name)
    #expect(names == names.sorted())
    #expect(names.firstIndex(of: "ff_mod_stack/~/w0__10")! < names.firstIndex(of: "ff_mod_stack/~/w0__2")!)
    #expect(names.contains("rnn_params/rnn/linear/w"))
  }

  @Test("starts with truncated normal weights and zero biases, the same for the same key", arguments: schemas)
  func initial(_ schema: ThetaSchema) {
    let theta = Theta.initial(schema, key: RandomKey(seed: 1))
    #expect(theta == Theta.initial(schema, key: RandomKey(seed: 1)))
    #expect(theta != Theta.initial(schema, key: RandomKey(seed: 2)))
    for tensor in schema.layout.tensors {
      let values = theta[tensor.name]
      let leaf = tensor.name.split(separator: "/").last!
      if leaf.hasPrefix("w") {
        let fanIn = leaf.hasPrefix("w0__") ? 30 : tensor.shape.dimensions[tensor.shape.rank - 2]
        let deviation = 1 / Float(fanIn).squareRoot()
        #expect(values.allSatisfy { abs($0) <= 2 * deviation })
        if values.count > 1000 {
          let square = values.reduce(0) { $0 + $1 * $1 } / Float(values.count)
          // A normal cut at two deviations has 0.8796 of its deviation left.
          #expect(abs(square.squareRoot() / deviation - 0.8796) < 0.05, "\(tensor.name)")
        }
        #expect(values.contains { $0 != 0 })
      } else {
        #expect(values.allSatisfy { $0 == 0 }, "\(tensor.name)")
      }
    }
  }

  @Test("returns from its file bit for bit, provenance and constants included", arguments: schemas)
  func file(_ schema: ThetaSchema) throws {
    var theta = Theta.initial(schema, key: RandomKey(seed: 3))
    theta.provenance = ["campaign": "c1", "meta_step": "10"]
    let data = theta.safetensors()
    let again = try Theta(safetensors: data)
    #expect(again == theta)
    #expect(again.safetensors() == data)
  }

  @Test("names tensors in the file with dots between the keys")
  func fileNames() throws {
    let file = try SafetensorsFile(Theta.initial(Self.celo, key: RandomKey(seed: 3)).safetensors())
    #expect(file.tensor("rnn_params.rnn:linear.w")?.shape == [128, 256])
    #expect(file.tensor("ff_mod_stack._root.w0__13")?.shape == [1, 3, 4])
    #expect(file.metadata["architecture"] == "celo")
  }

  @Test("refuses values that are not finite, with their tensor")
  func notFinite() {
    let layout = Self.celo.layout
    var values = [Float](repeating: 0, count: layout.floats)
    values[layout["rnn_params/step_size/w"]!.offset + 3] = .nan
    let error = #expect(throws: FormatError.self) { try Theta(schema: Self.celo, values: values) }
    #expect(error?.description.contains("rnn_params/step_size/w") == true)
  }

  @Test("refuses files of another format, architecture, shape or set of tensors")
  func refusals() throws {
    let schema = ThetaSchema(SmallFC.self, .init())
    let good = try SafetensorsFile(Theta.initial(schema, key: RandomKey(seed: 1)).safetensors())
    func encode(_ change: (inout [SafetensorsWriter.Tensor], inout [String: String]) -> Void) throws -> Data {
      var tensors = try good.tensors.map {
        SafetensorsWriter.Tensor(name: $0.name, shape: $0.shape, floats: try good.floats($0.name))
      }
      var metadata = good.metadata
      change(&tensors, &metadata)
      return SafetensorsWriter.encode(tensors, metadata: metadata)
    }
    #expect(throws: Never.self) { try Theta(safetensors: encode { _, _ in }) }
    let changes: [(String, (inout [SafetensorsWriter.Tensor], inout [String: String]) -> Void)] = [
      ("format", { $1["format"] = "model" }), ("format", { $1["format_version"] = "2" }),
      ("known are", { $1["architecture"] = "velox" }), ("/hidden", { $1["config"] = #"{"hidden":400}"# }),
      ("unknown field", { $1["config"] = #"{"hiden":4}"# }),
      ("invalid JSON", { $1["config"] = "{" }), ("no such tensor", { tensors, _ in tensors.removeLast() }),
      ("no such tensor", { tensors, _ in tensors.append(.init(name: "more", shape: [1], floats: [1])) }),
      ("expected shape", { $1["config"] = #"{"exp_multiplier":0.001,"hidden":8,"step_multiplier":0.001}"# }),
    ]
    for (says, change) in changes {
      let error = #expect(throws: FormatError.self) { try Theta(safetensors: encode(change)) }
      #expect(error?.description.contains(says) == true, "\(error?.description ?? "accepted")")
    }
  }

  @Test("takes the weights of a recorded case, and refuses those of another optimizer")
  func recordedWeights() throws {
    let theta = Theta.initial(ThetaSchema(SmallFC.self, .init()), key: RandomKey(seed: 1))
    func tensors(_ prefix: String) -> [SafetensorsWriter.Tensor] {
      theta.layout.tensors.map {
        .init(name: prefix + $0.name, shape: $0.shape.dimensions, floats: Array(theta[$0.name]))
      }
    }
    let start = SafetensorsWriter.Tensor(name: "init/w", shape: [1], floats: [1])
    let recorded = SafetensorsWriter.encode(tensors("theta/") + [start], metadata: [:])
    #expect(try Theta(file: recorded).values == theta.values)
    #expect(try Theta(file: recorded, as: .smallFC).schema == theta.schema)
    let other = #expect(throws: FormatError.self) { try Theta(file: recorded, as: .celo) }
    #expect(other?.description.contains("expected the weights of celo") == true)
    #expect(try Theta(file: SafetensorsWriter.encode(tensors(""), metadata: [:])).values == theta.values)
    let foreign = #expect(throws: FormatError.self) {
      try Theta(file: SafetensorsWriter.encode(tensors(""), metadata: ["format": "pt"]))
    }
    #expect(foreign?.description.contains("lopt-theta") == true)
  }
}
