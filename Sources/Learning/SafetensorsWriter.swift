// SafetensorsWriter: tensors to the bytes that Safetensors.swift reads. The same tensors and metadata give the same
// bytes whatever their order, so that files can be named by their hash.
import Contract
import Foundation

/// Writes safetensors files.
public enum SafetensorsWriter {
  /// One tensor to write.
  public struct Tensor: Sendable {
    public let name: String
    public let dtype: SafetensorsType
    public let shape: [Int]
    /// The elements, little-endian and row-major.
    public let bytes: Data

    /// A tensor of raw elements; traps when their number is not the shape's.
    public init(name: String, dtype: SafetensorsType, shape: [Int], bytes: Data) {
      let expected = shape.reduce(dtype.bytes, *)
      precondition(
        bytes.count == expected, "SafetensorsWriter: \(name) \(shape) takes \(expected) bytes, got \(bytes.count)")
      self.name = name
      self.dtype = dtype
      self.shape = shape
      self.bytes = bytes
    }

    /// An F32 tensor.
    public init(name: String, shape: [Int], floats: UnsafeBufferPointer<Float>) {
      self.init(name: name, dtype: .f32, shape: shape, bytes: Data(buffer: floats))
    }

    /// An F32 tensor.
    public init(name: String, shape: [Int], floats: [Float]) {
      self.init(name: name, dtype: .f32, shape: shape, bytes: floats.withUnsafeBufferPointer { Data(buffer: $0) })
    }

    /// An I64 tensor.
    public init(name: String, shape: [Int], integers: [Int]) {
      self.init(name: name, dtype: .i64, shape: shape, bytes: integers.withUnsafeBufferPointer { Data(buffer: $0) })
    }
  }

  /// The file's bytes. Tensors lie by descending element size, then by name, so that each is aligned to its elements.
  ///
  /// Traps on a repeated name and on `__metadata__` as a tensor's name.
  public static func encode(_ tensors: [Tensor], metadata: [String: String] = [:]) -> Data {
    var header: [String: JSON] = [:]
    var offset = 0
    let ordered = tensors.sorted { ($1.dtype.bytes, $0.name) < ($0.dtype.bytes, $1.name) }
    for tensor in ordered {
      precondition(
        header[tensor.name] == nil && tensor.name != "__metadata__",
        "SafetensorsWriter: the name \(tensor.name) is taken")
      header[tensor.name] = [
        "dtype": .string(tensor.dtype.rawValue), "shape": .array(tensor.shape.map { .integer($0) }),
        "data_offsets": [.integer(offset), .integer(offset + tensor.bytes.count)],
      ]
      offset += tensor.bytes.count
    }
    if !metadata.isEmpty { header["__metadata__"] = .object(metadata.mapValues { .string($0) }) }
    var text = JSON.object(header).bytes
    while text.count % 8 != 0 { text.append(UInt8(ascii: " ")) }
    var out = Data(capacity: 8 + text.count + offset)
    withUnsafeBytes(of: UInt64(text.count).littleEndian) { out.append(contentsOf: $0) }
    out.append(contentsOf: text)
    for tensor in ordered { out.append(tensor.bytes) }
    return out
  }
}
