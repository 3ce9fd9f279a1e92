// The safetensors reader and writer: round trips, every element type, and every lie a header can tell.
import Foundation
import Learning
import Testing

@Suite("Safetensors")
struct SafetensorsTests {
  /// A file with this header and that many bytes of data, all 1.
  private func file(_ header: String, data: Int = 0) -> Data {
    var out = Data()
    withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { out.append(contentsOf: $0) }
    out.append(contentsOf: header.utf8)
    out.append(Data(repeating: 1, count: data))
    return out
  }

  @Test("what was written is read back, scalars and empty tensors too")
  func roundTrip() throws {
    let values: [Float] = [1, -2, 3.5, .infinity, -0.0, .leastNonzeroMagnitude]
    let data = SafetensorsWriter.encode(
      [
        .init(name: "b", shape: [2, 3], floats: values),
        .init(name: "a", shape: [], floats: [42]),
        .init(name: "none", shape: [0, 4], floats: [Float]()),
        .init(name: "step", shape: [2], integers: [7, -1]),
      ], metadata: ["who": "a \"test\"\n", "é": "ü"])
    let file = try SafetensorsFile(data)
    #expect(file.metadata == ["who": "a \"test\"\n", "é": "ü"])
    #expect(try file.floats("b", shape: [2, 3]).map(\.bitPattern) == values.map(\.bitPattern))
    #expect(try file.floats("a", shape: []) == [42])
    #expect(try file.floats("none") == [])
    #expect(try file.integers("step") == [7, -1])
    #expect(file.tensors.map(\.name) == ["step", "a", "b", "none"])
  }

  @Test("data is aligned, and the bytes do not depend on the order of tensors")
  func deterministic() throws {
    let tensors: [SafetensorsWriter.Tensor] = [
      .init(name: "x", shape: [3], floats: [1, 2, 3]), .init(name: "n", shape: [1], integers: [5]),
      .init(name: "w", shape: [1], floats: [4]),
    ]
    let data = SafetensorsWriter.encode(tensors, metadata: ["a": "1", "b": "2"])
    #expect(data == SafetensorsWriter.encode(tensors.reversed(), metadata: ["b": "2", "a": "1"]))
    let file = try SafetensorsFile(data)
    #expect(file.tensors.allSatisfy { $0.range.lowerBound % $0.dtype.bytes == 0 })
    #expect(file.tensors.map(\.name) == ["n", "w", "x"])
  }

  @Test("a slice of a larger buffer is read like a whole one")
  func slice() throws {
    let data = SafetensorsWriter.encode([.init(name: "x", shape: [2], floats: [1, 2])])
    let padded = Data([9, 9, 9]) + data
    #expect(try SafetensorsFile(padded.dropFirst(3)).floats("x") == [1, 2])
  }

  @Test("half, bfloat16, double, integers and booleans are converted")
  func types() throws {
    func one(_ dtype: SafetensorsType, _ bytes: [UInt8]) throws -> SafetensorsFile {
      try SafetensorsFile(
        SafetensorsWriter.encode([
          .init(name: "x", dtype: dtype, shape: [bytes.count / dtype.bytes], bytes: Data(bytes))
        ]))
    }
    #expect(try one(.f16, [0x00, 0x3C, 0x00, 0xC0]).floats("x") == [1, -2])
    #expect(try one(.bf16, [0x80, 0x3F, 0x00, 0xC0]).floats("x") == [1, -2])
    #expect(try one(.f64, [0, 0, 0, 0, 0, 0, 0xF8, 0x3F]).floats("x") == [1.5])
    #expect(try one(.i32, [0xFE, 0xFF, 0xFF, 0xFF]).integers("x") == [-2])
    #expect(try one(.u8, [200, 3]).integers("x") == [200, 3])
    #expect(try one(.bool, [0, 1]).integers("x") == [0, 1])
    #expect(throws: FormatError.self) { try one(.bool, [2]).integers("x") }
    #expect(throws: FormatError.self) { try one(.u64, [UInt8](repeating: 255, count: 8)).integers("x") }
    #expect(throws: FormatError.self) { try one(.i32, [0, 0, 0, 0]).floats("x") }
    #expect(throws: FormatError.self) { try one(.f32, [0, 0, 0, 0]).integers("x") }
  }

  @Test("a missing tensor or another shape is named")
  func missing() throws {
    let file = try SafetensorsFile(SafetensorsWriter.encode([.init(name: "x", shape: [2], floats: [1, 2])]))
    let missing = #expect(throws: FormatError.self) { try file.floats("y") }
    #expect(missing?.description.contains("\"y\"") == true)
    let shape = #expect(throws: FormatError.self) { try file.floats("x", shape: [3]) }
    #expect(shape?.description.contains("expected shape [3], got [2]") == true)
  }

  static let lies: [(header: String, data: Int, says: String)] = [
    ("[]", 0, "starts with {"),
    ("{", 0, "invalid JSON"),
    (
      #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
      8, "a"
    ),
    (#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, 4, "dtype must be one of"),
    (#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "non-negative"),
    (#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "non-negative"),
    (#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#, 4, "too large"),
    (
      #"{"a":{"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}"#, 0, "too large"
    ),
    (#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#, 4, "at most 16"),
    (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "takes 8 bytes"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "ascending"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, 4, "data_offsets"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807]}}"#, 4, "ends at"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "leaves a hole"),
    (
      #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
      8, "overlaps"
    ),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 8, "8 bytes follow"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, 4, "unknown member \"x\""),
    (#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, "data_offsets"),
    (#"{"a":[1]}"#, 0, "expected an object"),
    (#"{"__metadata__":{"a":1}}"#, 0, "must be a string"),
    (#"{"a":[[[[[[[[1]]]]]]]]}"#, 0, "invalid JSON"),
  ]

  @Test("a header that lies is refused with its fault", arguments: lies)
  func lie(_ lie: (header: String, data: Int, says: String)) {
    let error = #expect(throws: FormatError.self) { try SafetensorsFile(file(lie.header, data: lie.data)) }
    #expect(error?.description.contains(lie.says) == true, "\(error?.description ?? "accepted")")
  }

  @Test("a truncated file and a header longer than the file or the limit are refused")
  func truncated() {
    let whole = SafetensorsWriter.encode([.init(name: "x", shape: [2], floats: [1, 2])])
    for length in 0..<whole.count {
      #expect(throws: FormatError.self, "the first \(length) bytes") { try SafetensorsFile(whole.prefix(length)) }
    }
    for claim in [UInt64.max, 1 << 62, UInt64(SafetensorsFile.headerBytesMax) + 1] {
      var data = Data()
      withUnsafeBytes(of: claim.littleEndian) { data.append(contentsOf: $0) }
      data.append(Data("{}".utf8))
      #expect(throws: FormatError.self) { try SafetensorsFile(data) }
    }
  }

  @Test("no flipped byte in the header crashes the reader")
  func corrupted() {
    let whole = SafetensorsWriter.encode(
      [.init(name: "x", shape: [2], floats: [1, 2]), .init(name: "y", shape: [1], integers: [3])],
      metadata: ["k": "v"])
    var accepted = 0
    for index in 0..<whole.count {
      for bit in [0, 3, 7] {
        var damaged = whole
        damaged[index] ^= 1 << UInt8(bit)
        if let file = try? SafetensorsFile(damaged) {
          accepted += 1
          for tensor in file.tensors { #expect(tensor.range.upperBound <= damaged.count) }
        }
      }
    }
    // Data bytes, and letters of names and metadata, may change without a fault.
    #expect(accepted > 0)
  }
}
