// What a model definition comes to on a dataset: the shape after each layer, its parameters, its arithmetic and
// its memory, before anything is allocated. The server answers model checks from this alone.
import Foundation

/// What the data asks of a model.
public struct DataShape: Sendable, Hashable {
  /// Shape of one example, for example [28, 28] or, for 64 tokens, [64].
  public let input: [Int]
  public let elements: Elements
  public let target: Target

  /// What the elements of an example are.
  public enum Elements: Sendable, Hashable {
    case numbers
    /// Indices from 0 to below `vocabulary`.
    case tokens(vocabulary: Int)
  }

  /// What the model predicts.
  public enum Target: Sendable, Hashable {
    /// One of `classes` classes; trained with softmax cross-entropy, judged by accuracy.
    case classes(Int)
    /// `outputs` real numbers; trained with and judged by the mean squared error.
    case values(Int)
    /// One of `vocabulary` tokens at each position of the input: a language model. Judged by perplexity.
    case tokens(vocabulary: Int)

    /// How many numbers the last layer must produce, at each position where the target has positions.
    public var outputs: Int {
      switch self {
      case .classes(let count), .values(let count), .tokens(let count): return count
      }
    }
  }

  public init(input: [Int], elements: Elements = .numbers, target: Target) {
    self.input = input
    self.elements = elements
    self.target = target
  }
}

/// A named parameter tensor of a model.
public struct ParameterShape: Sendable, Hashable {
  public let name: String
  public let dimensions: [Int]
  public var count: Int { dimensions.reduce(1, *) }
}

/// A model definition resolved against the data it will be trained on.
public struct ResolvedModel: Sendable, Hashable {
  /// One layer with the shapes around it.
  public struct Step: Sendable, Hashable {
    public let layer: Layer
    /// `dense_0`, `flatten_1`: the type and the layer's index.
    public let name: String
    public let input: [Int]
    public let output: [Int]
    public let parameters: [ParameterShape]
    /// Floating-point operations of the forward pass for one example; a multiply-add counts two.
    public let flops: Int
  }

  public let data: DataShape
  public let steps: [Step]

  public var parameters: [ParameterShape] { steps.flatMap(\.parameters) }
  public var parameterCount: Int { parameters.reduce(0) { $0 + $1.count } }
  /// Arithmetic of one training step: forward once, backward twice.
  public func flopsPerStep(batchSize: Int) -> Int { 3 * batchSize * steps.reduce(0) { $0 + $1.flops } }

  private var activationsPerRow: Int { steps.reduce(0) { $0 + $1.output.reduce(1, *) } }
  private var inputsPerRow: Int { data.input.reduce(1, *) + 1 }

  /// Rows that are judged at once: 256, or fewer where rows are so large that 256 would need more than 64 MiB.
  public var judgedRows: Int { max(1, min(256, (16 << 20) / (activationsPerRow + inputsPerRow))) }

  /// Bytes a run holds at once: parameters, gradients (also summed up, for long runs), optimizer state, the copies of
  /// a checkpoint being written; activations with their gradients and one batch; the rows being judged.
  public func memoryBytes(batchSize: Int, stateFloatsPerParameter: Int) -> Int {
    let held = parameterCount * (3 + stateFloatsPerParameter)
    let checkpoint = 2 * parameterCount * (2 + stateFloatsPerParameter)
    return 4
      * (held + checkpoint + batchSize * (2 * activationsPerRow + inputsPerRow)
        + judgedRows * (activationsPerRow + inputsPerRow))
  }

  /// How many parameters a model may have here.
  public static let parametersMax = 100_000_000
}

extension ModelSpec {
  /// The preset's layers for the given data, or the layers as they stand.
  public func expanded(for data: DataShape) -> [Layer] {
    switch self {
    case .layers(let layers): return layers
    case .mlp(let hidden, let activation):
      return (data.input.count > 1 ? [.flatten] : [])
        + hidden.map { .dense(units: $0, activation: activation) }
        + [.dense(units: data.target.outputs, activation: .linear)]
    }
  }

  /// Infers every shape; impossible ones are faults that name the layer.
  public func resolve(for data: DataShape, path: String, faults: Faults) -> ResolvedModel? {
    var shape = data.input
    var steps: [ResolvedModel.Step] = []
    var count = 0
    for (index, layer) in expanded(for: data).enumerated() {
      let name = "\(layer.type)_\(index)"
      let input = shape
      var parameters: [ParameterShape] = []
      var flops = 0
      switch layer {
      case .flatten: shape = [shape.reduce(1, *)]
      case .activation: flops = shape.reduce(1, *)
      case .dense(let units, _):
        guard shape.count == 1 else {
          faults.add(
            "\(path)/layers/\(index)",
            "\(name): a dense layer needs a vector, but its input has shape \(shape); put a flatten layer before it")
          return nil
        }
        parameters = [
          ParameterShape(name: "\(name)/b", dimensions: [units]),
          ParameterShape(name: "\(name)/w", dimensions: [shape[0], units]),
        ]
        flops = 2 * shape[0] * units + units
        shape = [units]
      }
      count += parameters.reduce(0) { $0 + $1.count }
      guard count <= ResolvedModel.parametersMax else {
        faults.add(
          "\(path)/layers/\(index)",
          "\(name): the model has more than \(ResolvedModel.parametersMax) parameters from this layer on")
        return nil
      }
      steps.append(.init(layer: layer, name: name, input: input, output: shape, parameters: parameters, flops: flops))
    }
    let outputs = data.target.outputs
    guard shape == [outputs] else {
      let what: String
      switch data.target {
      case .classes: what = "\(outputs) classes"
      case .values: what = "\(outputs) target values"
      case .tokens: what = "\(outputs) tokens"
      }
      faults.add(
        "\(path)/layers", "the last layer produces shape \(shape), but the dataset has \(what): expected [\(outputs)]")
      return nil
    }
    guard !parameters(of: steps).isEmpty else {
      faults.add("\(path)/layers", "the model has no parameters, so there is nothing to train; add a dense layer")
      return nil
    }
    return ResolvedModel(data: data, steps: steps)
  }

  private func parameters(of steps: [ResolvedModel.Step]) -> [ParameterShape] { steps.flatMap(\.parameters) }

  /// Resolves a model that was checked before.
  public func resolved(for data: DataShape) throws(SpecError) -> ResolvedModel {
    try Faults.collect { resolve(for: data, path: "/model", faults: $0) }
  }
}
