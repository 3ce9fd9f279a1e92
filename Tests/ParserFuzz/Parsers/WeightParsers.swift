// Files of weights: safetensors and flax's MessagePack.
import Foundation
import Learning

extension FuzzedParser {
  static let safetensors = FuzzedParser(
    name: "safetensors",
    seeds: [
      Array(
        SafetensorsWriter.encode(
          [
            .init(name: "a", dtype: .f32, shape: [2, 2], bytes: Data(count: 16)),
            .init(name: "b", dtype: .f32, shape: [3], bytes: Data(count: 12)),
          ], metadata: ["format": "x"]))
    ],
    tokens: [
      "\"data_offsets\":[", "\"shape\":[", "__metadata__", "F32", "BF16", "I64", "9223372036854775807", "{", "}",
    ],
    isFault: { $0 is FormatError }
  ) { bytes, _ in
    let file = try SafetensorsFile(Data(bytes))
    for tensor in file.tensors {
      do { _ = try file.floats(tensor.name) } catch is FormatError {}
      do { _ = try file.integers(tensor.name) } catch is FormatError {}
    }
  }

  static let msgpack = FuzzedParser(
    name: "msgpack",
    seeds: [
      [0x81, 0xA1, 0x77, 0xC7, 0x16, 0x01, 0x93, 0x92, 0x01, 0x02, 0xA7] + Array("float32".utf8)
        + [0xC4, 0x08, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0],
      [0x84, 0xA1, 0x61, 0x05, 0xA1, 0x62, 0xCD, 0x01, 0x00, 0xA1, 0x65, 0x92, 0xC0, 0xC3, 0xA1, 0x67]
        + [0xCB, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0],
    ], tokens: ["float32", "bfloat16", "int64"], isFault: { $0 is FormatError }
  ) { bytes, _ in
    let written = try FlaxValue(flax: Data(bytes)).encoded
    let again = try FlaxValue(flax: written).encoded
    precondition(again == written, "what was written reads as something else")
    do { _ = try Theta(file: Data(bytes)) } catch is FormatError {}
  }
}
