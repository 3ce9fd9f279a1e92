// Writing flax files: shortest forms by hand-written bytes, published files byte for byte, every learned optimizer.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

@Suite("Flax encoding")
struct FlaxEncodingTests {
  /// A map {"a": value} and what it must be written as after the key.
  private func encoded(_ value: FlaxValue) -> [UInt8] { Array(FlaxValue.map([("a", value)]).encoded.dropFirst(3)) }

  @Test("integers take the shortest form and return")
  func integers() throws {
    let edges: [(Int, Int)] = [
      (0, 1), (127, 1), (128, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5), (4_294_967_295, 5), (4_294_967_296, 9),
      (.max, 9), (-1, 1), (-32, 1), (-33, 2), (-128, 2), (-129, 3), (-32_768, 3), (-32_769, 5), (-2_147_483_648, 5),
      (-2_147_483_649, 9), (.min, 9),
    ]
    for (integer, bytes) in edges {
      #expect(encoded(.integer(integer)).count == bytes, "\(integer)")
      guard case .integer(integer)? = try FlaxValue(flax: FlaxValue.map([("a", .integer(integer))]).encoded)["a"] else {
        Issue.record("\(integer) does not return")
        continue
      }
    }
  }

  @Test("texts, maps and arrays take the shortest form", arguments: [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
  func lengths(_ count: Int) throws {
    let text = String(repeating: "x", count: count)
    let textHead = count < 32 ? 1 : count < 256 ? 2 : count < 65_536 ? 3 : 5
    #expect(encoded(.string(text)).count == textHead + count)
    let map = FlaxValue.map((0..<min(count, 300)).map { ("\($0)", .null) })
    #expect(try FlaxValue(flax: map.encoded).encoded == map.encoded)
    let array = FlaxValue.array(FlaxArray(shape: [count], dtype: "uint8", bytes: [UInt8](repeating: 7, count: count)))
    let again = try FlaxValue(flax: array.encoded)
    guard case .array(let read) = again else {
      Issue.record("no array")
      return
    }
    #expect(read.shape == [count] && read.bytes.count == count && again.encoded == array.encoded)
  }

  @Test("what the reader's tests are made of comes out as it went in")
  func small() throws {
    let scalar: [UInt8] = [0xD8, 0x01, 0x93, 0x90, 0xA7] + Array("float32".utf8) + [0xC4, 0x04, 0, 0, 0x80, 0x3F]
    let step: [UInt8] = [0xC7, 0x0E, 0x03, 0x93, 0x90, 0xA5] + Array("int32".utf8) + [0xC4, 0x04, 9, 0, 0, 0]
    let plain: [UInt8] = [
      0x84, 0xA1, 0x61, 0xC0, 0xA1, 0x62, 0xC3, 0xA1, 0x63, 0xCB, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0, 0xA1, 0x64, 0xE0,
    ]
    for bytes in [FlaxMessagePackTests.small, scalar, step, plain] {
      #expect(try Array(FlaxValue(flax: Data(bytes)).encoded) == bytes)
    }
  }

  @Test(
    "published files return byte for byte, read and written, and through our own format",
    .enabled(if: pretrainedFolder != nil), arguments: ["celo", "celo_adam"])
  func published(_ name: String) throws {
    let data = try Data(contentsOf: #require(pretrainedFolder).appending(path: "\(name)/theta.state"))
    #expect(try FlaxValue(flax: data).encoded == data)
    guard OptimizerCatalog.learned.contains(where: { $0.architecture == name }) else {
      print("no \(name) here: its file is not read as weights")
      return
    }
    let theta = try Theta(file: data)
    #expect(theta.schema.architecture == name)
    #expect(theta.flax() == data)
    #expect(try Theta(safetensors: theta.safetensors()).flax() == data)
  }

  @Test("the weights of every learned optimizer return from its flax file")
  func every() throws {
    for type in OptimizerCatalog.learned {
      let name = type.optimizer
      // VeLO's millions of weights add nothing here.
      let schema =
        try name == .velo
        ? ThetaSchema(Velo.self, .init(lstmHidden: 24, networks: 6)) : #require(OptimizerCatalog.schema(of: name))
      var values = [Float](repeating: 0, count: schema.layout.floats)
      for tensor in schema.layout.tensors {
        for index in 0..<tensor.count { values[tensor.offset + index] = Float(index % 251) / 251 - 0.5 }
      }
      let theta = try Theta(schema: schema, values: values)
      let data = theta.flax()
      let again = try Theta(file: data, as: name)
      #expect(again.values == theta.values && again.schema.architecture == schema.architecture, "\(name.rawValue)")
      #expect(again.flax() == data && Theta.isFlax(data) && !Theta.isFlax(theta.safetensors()))
      #expect(try FlaxValue(flax: data).encoded == data)
    }
  }

  @Test("files have the published sizes")
  func sizes() throws {
    let sizes = ["celo": 149_216, "celo_adam": 147_803, "velo": 9_282_507, "small_fc": 1007, "nn_adam": 27_754]
    for type in OptimizerCatalog.learned {
      guard let bytes = sizes[type.optimizer.rawValue], let schema = OptimizerCatalog.schema(of: type.optimizer) else {
        continue
      }
      let theta = try Theta(schema: schema, values: [Float](repeating: 0, count: schema.layout.floats))
      #expect(theta.flax().count == bytes, "\(type.optimizer.rawValue)")
    }
  }

  // MARK: Wrappers and damage

  /// small_fc's weights and their tree.
  private func smallFC() throws -> (theta: Theta, tree: FlaxValue) {
    let theta = Theta.initial(ThetaSchema(SmallFC.self, .init()), key: RandomKey(seed: 5))
    return (theta, try FlaxValue(flax: theta.flax()))
  }

  @Test("weights are found at the root, under params, and first in a tuple")
  func wrappers() throws {
    let (theta, tree) = try smallFC()
    let step = FlaxValue.array(FlaxArray(shape: [], dtype: "int32", bytes: [1, 2, 0, 0], isNumPyScalar: true))
    let wrapped: [FlaxValue] = [
      tree, .map([("params", tree), ("gen_id", .string("fake_initial_gen_id")), ("step", step)]),
      .map([("0", tree), ("1", .string("")), ("2", .integer(0))]),
    ]
    for value in wrapped {
      #expect(try Theta(flax: value.encoded) == theta)
      #expect(try FlaxValue(flax: value.encoded).encoded == value.encoded)
    }
  }

  @Test("what is wrong with a tensor is said with its path")
  func damage() throws {
    let (theta, tree) = try smallFC()
    guard case .map(let members) = tree else {
      Issue.record("no map")
      return
    }
    func with(_ key: String, _ value: FlaxValue?) -> FlaxValue {
      .map(members.filter { $0.key != key } + (value.map { [(key, $0)] } ?? []))
    }
    func floats(_ values: [Float], shape: [Int]) -> FlaxValue {
      .array(
        FlaxArray(
          shape: shape, dtype: "float32",
          bytes: values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }))
    }
    let cases: [(FlaxValue, String)] = [
      (with("rms_decays", floats([.nan], shape: [1])), "rms_decays"),
      (with("rms_decays", floats([1, 2], shape: [2])), "rms_decays: expected float32 [1], got float32 [2]"),
      (with("rms_decays", .array(FlaxArray(shape: [1], dtype: "int32", bytes: [0, 0, 0, 0]))), "got int32"),
      (with("rms_decays", nil), "rms_decays: expected an array"),
      (with("rms_decays", .integer(3)), "rms_decays: expected float32 [1], got integer"),
      (with("more", floats([1], shape: [1])), "more: adafac has no such tensor"),
      (.map([("w", floats([1], shape: [1]))]), "expected the weights of"),
    ]
    for (value, says) in cases {
      let error = #expect(throws: FormatError.self) { try Theta(file: value.encoded, as: .smallFC) }
      #expect(error?.description.contains(says) == true, "\(error?.description ?? "accepted")")
    }
    let data = theta.flax()
    for count in stride(from: 0, to: data.count, by: 7) {
      #expect(throws: FormatError.self) { try Theta(file: data.prefix(count)) }
    }
    let long = Data(count: Theta.fileBytesMax + 1)
    #expect(throws: FormatError.self) { try Theta(file: long) }
  }

  @Test("constants go on top of a file's own, and must fit its tensors")
  func constants() throws {
    let theta = Theta.initial(ThetaSchema(SmallFC.self, .init(stepMultiplier: 0.01)), key: RandomKey(seed: 5))
    let changed = try theta.with(constants: ["exp_mult": 0.5])
    #expect(changed.schema.configuration["exp_multiplier"] == 0.5)
    #expect(changed.schema.configuration["step_multiplier"] == 0.01 && changed.values == theta.values)
    #expect(throws: FormatError.self) { try theta.with(constants: ["hidden": 8]) }
    #expect(throws: SpecError.self) { try theta.with(constants: ["hiden": 4]) }
  }
}
