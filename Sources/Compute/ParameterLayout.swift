// ParameterLayout: where each named tensor lies in one flat Float buffer. Plans, optimizers, checkpoints and
// exports all read parameters, gradients and optimizer state through it; AlignedBuffer is the memory.

/// The places of named tensors in one contiguous `Float` buffer, in a stable order.
///
/// Each tensor starts on a 64-byte boundary (16 floats). The floats between tensors are padding: kernels that pass
/// over the whole buffer may read and write them, and nothing gives them a meaning.
public struct ParameterLayout: Sendable, Hashable {
  /// One tensor's name, shape and place.
  public struct Tensor: Sendable, Hashable {
    /// The name, unique in the layout, such as `dense_0/w`.
    public let name: String
    /// The dimensions, row-major.
    public let shape: Shape
    /// Where the first element lies, in floats from the start of the buffer; a multiple of 16.
    public let offset: Int
    /// The number of elements.
    public let count: Int
  }

  /// The floats that every tensor's start is a multiple of: one cache line, and the widest vector.
  public static let alignment = 16

  /// The tensors in the order given, which is the canonical order of names everywhere.
  public let tensors: [Tensor]
  /// The length of a buffer with this layout, in floats: padded tensors and 16 floats of slack; a multiple of 16.
  public let floats: Int
  /// The number of parameters: the sum of the tensors' counts.
  public let elements: Int
  private let indices: [String: Int]

  /// Lays the tensors out one after another.
  ///
  /// Traps on a repeated name or on a size that does not fit an `Int`; `Graph` has refused both before.
  public init(_ tensors: [(name: String, shape: Shape)]) {
    var placed: [Tensor] = []
    var indices: [String: Int] = [:]
    var offset = 0
    var elements = 0
    for (name, shape) in tensors {
      precondition(indices[name] == nil, "ParameterLayout: tensor \(name) appears twice")
      let count = shape.count
      precondition(count >= 0 && count < Int.max / 8 - offset, "ParameterLayout: tensor \(name) \(shape) is too large")
      indices[name] = placed.count
      placed.append(Tensor(name: name, shape: shape, offset: offset, count: count))
      offset += (count + Self.alignment - 1) / Self.alignment * Self.alignment
      elements += count
    }
    self.tensors = placed
    self.indices = indices
    self.elements = elements
    self.floats = offset + Self.alignment
  }

  /// The tensor of that name, or nil.
  public subscript(name: String) -> Tensor? { indices[name].map { tensors[$0] } }
}
