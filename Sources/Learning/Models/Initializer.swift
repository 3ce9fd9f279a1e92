// Initial weights: truncated normal with deviation 1/sqrt(fan-in) (cut at two deviations, not rescaled), zero biases.
import Compute

/// Draws the initial parameters of models.
public enum Initializer {
  /// Fills `parameters` (laid out by `layout`) from `key`. Tensor number i uses its own sub-key, so adding a
  /// tensor at the end changes no other.
  public static func fill(_ parameters: UnsafeMutablePointer<Float>, layout: ParameterLayout, key: RandomKey) {
    parameters.update(repeating: 0, count: layout.floats)
    for (index, tensor) in layout.tensors.enumerated() where tensor.shape.rank >= 2 {
      let fanIn = tensor.count / tensor.shape.dimensions.last!
      let scale = 1 / Float(fanIn).squareRoot()
      var normals = TruncatedNormals(key: key.derive(1, UInt32(index), 0))
      for element in 0..<tensor.count { parameters[tensor.offset + element] = scale * normals.next() }
    }
  }
}

/// A stream of standard normals restricted to [-2, 2] by rejection.
public struct TruncatedNormals {
  private let key: RandomKey
  private var block: UInt32 = 0
  private var pending: [Float] = []

  public init(key: RandomKey) { self.key = key }

  public mutating func next() -> Float {
    while true {
      if let value = pending.popLast() {
        if abs(value) <= 2 { return value }
        continue
      }
      let (a, b, c, d) = key.normals(block: block)
      pending = [d, c, b, a]
      block += 1
    }
  }
}
