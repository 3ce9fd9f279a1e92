// Draws the initial parameters of a model by the rules of its layers (Contract's Initialization).
import Compute
import Contract
import Foundation

/// Draws the initial parameters of models.
public enum Initializer {
  /// Fills `parameters`, laid out by the plans' layout, from `key`. Tensor number i uses its own sub-key, so adding a
  /// tensor at the end changes no other. A model from a file starts with the file's weights.
  public static func fill(_ parameters: UnsafeMutablePointer<Float>, plans: ModelPlans, key: RandomKey) {
    if let imported = plans.imported { return imported.fill(parameters, layout: plans.layout) }
    fill(parameters, layout: plans.layout, initial: plans.initializations, key: key)
  }

  /// The same with a rule of the caller's for each tensor of `layout`.
  public static func fill(
    _ parameters: UnsafeMutablePointer<Float>, layout: ParameterLayout, initial: [Initialization], key: RandomKey
  ) {
    precondition(initial.count == layout.tensors.count, "a rule for each tensor")
    parameters.update(repeating: 0, count: layout.floats)
    for (index, tensor) in layout.tensors.enumerated() {
      fill(
        UnsafeMutableBufferPointer(start: parameters + tensor.offset, count: tensor.count),
        shape: tensor.shape.dimensions, initial[index], key: key.derive(1, UInt32(index), 0))
    }
  }

  /// Fills one tensor.
  static func fill(
    _ tensor: UnsafeMutableBufferPointer<Float>, shape: [Int], _ initial: Initialization, key: RandomKey
  ) {
    let last = shape.last ?? 1
    let fanIn = shape.count > 1 ? tensor.count / last : tensor.count
    func truncated(_ scale: Float) {
      var normals = TruncatedNormals(key: key)
      for element in tensor.indices { tensor[element] = scale * normals.next() }
    }
    func normal(_ scale: Float) {
      var normals = [Float](repeating: 0, count: tensor.count)
      key.fillNormals(&normals)
      for element in tensor.indices { tensor[element] = scale * normals[element] }
    }
    func uniform(_ limit: Double) {
      for element in tensor.indices {
        let words = key.words(block: UInt32(element / 4))
        let word = [words.0, words.1, words.2, words.3][element % 4]
        tensor[element] = Float(limit * (2 * RandomKey.uniform(word) - 1))
      }
    }
    switch initial {
    case .zeros: tensor.update(repeating: 0)
    case .ones: tensor.update(repeating: 1)
    case .identity:
      tensor.update(repeating: 0)
      for diagonal in 0..<min(fanIn, last) { tensor[diagonal * last + diagonal] = 1 }
    case .truncatedNormal(nil): truncated(1 / Float(fanIn).squareRoot())
    case .truncatedNormal(let deviation?): truncated(Float(deviation))
    // The deviation of a standard normal cut at two.
    case .varianceScaling(let scale): truncated(Float((scale / Double(fanIn)).squareRoot() / 0.879_625_661_034_239_8))
    case .normal(let deviation): normal(Float(deviation))
    case .normalScaling(let scale): normal(Float((scale / Double(fanIn)).squareRoot()))
    case .uniformScaling(let scale): uniform((3 * scale / Double(fanIn)).squareRoot())
    case .xavierUniform: uniform((6 / Double(fanIn + last)).squareRoot())
    case .orthogonal(let gain): orthogonal(tensor, rows: fanIn, columns: last, gain: gain, key: key)
    }
  }

  /// A random matrix with orthonormal rows or columns, whichever are fewer, times `gain`: Gram-Schmidt over normals, done
  /// twice for accuracy, so that the distribution is that of a QR decomposition with a positive diagonal.
  private static func orthogonal(
    _ tensor: UnsafeMutableBufferPointer<Float>, rows: Int, columns: Int, gain: Double, key: RandomKey
  ) {
    let count = min(rows, columns), length = max(rows, columns)
    var normals = [Float](repeating: 0, count: count * length)
    key.fillNormals(&normals)
    var vectors = normals.map(Double.init)
    vectors.withUnsafeMutableBufferPointer { vectors in
      for index in 0..<count {
        let vector = UnsafeMutableBufferPointer(rebasing: vectors[index * length..<(index + 1) * length])
        for other in Array(0..<index) + Array(0..<index) {
          let before = UnsafeBufferPointer(rebasing: vectors[other * length..<(other + 1) * length])
          var product = 0.0
          for place in 0..<length { product += vector[place] * before[place] }
          for place in 0..<length { vector[place] -= product * before[place] }
        }
        let norm = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
        for place in 0..<length { vector[place] /= norm }
      }
      for row in 0..<rows {
        for column in 0..<columns {
          let value = rows <= columns ? vectors[row * length + column] : vectors[column * length + row]
          tensor[row * columns + column] = Float(gain * value)
        }
      }
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
