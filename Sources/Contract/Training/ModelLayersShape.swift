// Layers that join and rearrange: transpose, take, mean, add, multiply, concat; and the latent sample of a variational
// autoencoder. ModelLayer lists all kinds. Axes never count the batch.
import Foundation

extension Fields {
  /// Axes from -6 to 5.
  fileprivate mutating func axes(_ key: String, required: String) -> [Int]? {
    array(key, counts: 1...6, required: required) { json, path, faults in
      let axis = json.integer.flatMap { (-6...5).contains($0) ? $0 : nil }
      if axis == nil { faults.add(path, "expected an axis from -6 to 5, got \(json.kind)") }
      return axis
    }
  }
}

extension Layer {
  /// The axes in another order: axis i of the result is axis `axes[i]` of the input.
  public struct Transpose: LayerRule {
    public var axes: [Int]

    public init(_ axes: [Int]) { self.axes = axes }

    init?(_ fields: inout Fields) {
      guard let axes = fields.axes("axes", required: "the order of the axes") else { return nil }
      self.init(axes)
    }

    var members: [String: JSON] { ["axes": .array(axes.map(JSON.integer))] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      guard axes.sorted() == Array(site.shape.indices) else {
        throw LayerFault(
          "needs each of the axes 0 to \(site.shape.count - 1) of its input \(site.shape) once, got \(axes)")
      }
      return LayerFacts(output: axes.map { site.shape[$0] })
    }
  }

  /// One place along an axis, which goes away; negative counts from the end.
  public struct Take: LayerRule {
    public var axis: Int
    public var index: Int

    public init(axis: Int = 0, index: Int) {
      self.axis = axis
      self.index = index
    }

    init?(_ fields: inout Fields) {
      let axis = fields.integer("axis", in: -6...5) ?? 0
      let index = fields.integer("index", in: -Size.floatsMax...Size.floatsMax, required: "the place; -1 is the last")
      guard let index else { return nil }
      self.init(axis: axis, index: index)
    }

    var members: [String: JSON] { ["axis": .integer(axis), "index": .integer(index)] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      let from = try site.axis(axis)
      let length = site.shape[from]
      guard (-length..<length).contains(index) else {
        throw LayerFault("has no place \(index): axis \(axis) of its input \(site.shape) has \(length)")
      }
      var output = site.shape
      output.remove(at: from)
      return LayerFacts(output: output.isEmpty ? [1] : output)
    }
  }

  /// The mean over axes, which go away.
  public struct Mean: LayerRule {
    public var axes: [Int]

    public init(_ axes: [Int]) { self.axes = axes }

    init?(_ fields: inout Fields) {
      guard let axes = fields.axes("axes", required: "the axes to average over") else { return nil }
      self.init(axes)
    }

    var members: [String: JSON] { ["axes": .array(axes.map(JSON.integer))] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      var gone: Set<Int> = []
      for axis in axes { gone.insert(try site.axis(axis)) }
      let output = site.shape.indices.filter { !gone.contains($0) }.map { site.shape[$0] }
      return LayerFacts(
        output: output.isEmpty ? [1] : output, flops: Size.product(site.shape))
    }
  }

  /// Inputs of one shape, added or multiplied number by number.
  public struct Merge: LayerRule {
    public enum Operation: String, Sendable { case add, multiply }

    public var operation: Operation

    public init(_ operation: Operation) { self.operation = operation }

    var members: [String: JSON] { [:] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      try site.needsSeveral()
      guard site.inputs.allSatisfy({ $0 == site.shape }) else {
        throw LayerFault(
          "needs inputs of one shape, got \(site.inputs.map { "\($0)" }.joined(separator: " and ")); a dense or conv "
            + "layer can bring one to the shape of the other")
      }
      let count = Size.product(site.shape)
      let reads = LayerFacts.Reads(input: operation == .multiply)
      return LayerFacts(output: site.shape, flops: Size.product([site.inputs.count - 1, count]), reads: reads)
    }
  }

  /// Inputs side by side along an axis; all other axes are equal.
  public struct Concatenation: LayerRule {
    public var axis: Int

    public init(axis: Int = -1) { self.axis = axis }

    init?(_ fields: inout Fields) { self.init(axis: fields.integer("axis", in: -6...5) ?? -1) }

    var members: [String: JSON] { ["axis": .integer(axis)] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      try site.needsSeveral()
      let along = try site.axis(axis)
      var output = site.shape
      for other in site.inputs.dropFirst() {
        guard other.count == output.count, output.indices.allSatisfy({ $0 == along || other[$0] == output[$0] }) else {
          throw LayerFault(
            "needs inputs that differ in axis \(axis) alone, got "
              + site.inputs.map { "\($0)" }.joined(separator: " and "))
        }
        output[along] = Size.sum(output[along], other[along])
      }
      return LayerFacts(output: output)
    }
  }

  /// The sample of a variational autoencoder (Kingma and Welling 2014): from means and logarithms of deviations
  /// [.., 2 · size] to a sample [.., size]; adds the divergence from standard normals to the loss.
  public struct Latent: LayerRule {
    public var size: Int

    public init(size: Int) { self.size = size }

    init?(_ fields: inout Fields) {
      guard let size = fields.integer("size", in: 1...ModelSpec.unitsMax, required: "the size of the sample") else {
        return nil
      }
      self.init(size: size)
    }

    var members: [String: JSON] { ["size": .integer(size)] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      guard site.shape == [2 * size] else {
        throw LayerFault(
          "needs an input [\(2 * size)], \(size) means and as many logarithms of deviations, got \(site.shape); put a "
            + "dense layer of \(2 * size) units before it")
      }
      return LayerFacts(output: [size], flops: 12 * size, kept: 8 * size, forward: 8 * size)
    }
  }
}

extension LayerSite {
  fileprivate func needsSeveral() throws(LayerFault) {
    guard inputs.count >= 2 else {
      throw LayerFault("needs two or more inputs, got one; name them in \"inputs\"")
    }
  }
}
