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

  /// The vocabulary of tokens; nil for numbers.
  public var vocabulary: Int? { if case .tokens(let vocabulary) = elements { vocabulary } else { nil } }
}

/// A named parameter tensor of a model.
public struct ParameterShape: Sendable, Hashable {
  /// The layer's name and the tensor's within it, such as `dense_0/w`.
  public let name: String
  public let dimensions: [Int]
  public let initial: Initialization
  public var count: Int { dimensions.reduce(1, *) }
}

/// A model definition resolved against the data it will be trained on.
public struct ResolvedModel: Sendable, Hashable {
  /// One layer with the shapes around it, for one example.
  public struct Step: Sendable, Hashable {
    public let layer: Layer
    /// The layer's own name, or its type and index: `dense_0`, `flatten_1`.
    public let name: String
    /// The steps it reads, by index; -1 is the data.
    public let sources: [Int]
    /// Shape of its first input.
    public let input: [Int]
    public let output: [Int]
    public let parameters: [ParameterShape]
    /// Running averages: their names (`batch_norm_1/mean`) and shapes. Not trained, but part of the model.
    public let statistics: [ParameterShape]
    /// Floating-point operations of the forward pass for one example; a multiply-add counts two.
    public let flops: Int
    /// What it takes of memory, for ``ResolvedModel/memoryBytes(batchSize:stateFloatsPerParameter:)``.
    let reads: LayerFacts.Reads
    let keptFloats: Int
    let passingFloats: Int
    let forwardFloats: Int
    let scratchFloats: Int
  }

  public let data: DataShape
  public let objective: Objective
  /// Its layers in order; none of a model from a file.
  public let steps: [Step]
  /// The facts of a model from a file.
  public var imported: ImportedModel?

  /// The parameters of its layers.
  public var parameters: [ParameterShape] { steps.flatMap(\.parameters) }
  public var parameterCount: Int { imported?.parameterCount ?? parameters.reduce(0) { $0 + $1.count } }
  /// Arithmetic of one training step: forward once, backward twice; `Int.max` where it does not fit.
  public func flopsPerStep(batchSize: Int) -> Int {
    Size.product([3, batchSize, imported?.flops ?? Size.sum(steps.lazy.map(\.flops))])
  }

  /// How many parameters a model may have here.
  public static let parametersMax = 100_000_000
}

extension ModelSpec {
  /// Infers every shape; impossible ones are faults that name the layer.
  public func resolve(for data: DataShape, path: String, faults: Faults) -> ResolvedModel? {
    if case .preset(let preset) = self, let misfit = preset.facts.rule.misfit(data) {
      let fitting = Preset.Name.fitting(data).map(\.rawValue).joined(separator: ", ")
      let elements = data.vocabulary.map { "tokens of a vocabulary of \($0)" } ?? "numbers"
      faults.add(
        "\(path)/preset",
        "\(preset.facts.name.rawValue) \(misfit), but the dataset's rows have shape \(data.input) of \(elements); presets "
          + "that fit it: \(fitting)")
      return nil
    }
    if case .imported(let file) = self { return file.facts.resolve(for: data, path: path, faults: faults) }
    let (layers, objective) = expanded(for: data)
    guard layers.count <= ModelSpec.layersMax else {
      faults.add(path, "expands to \(layers.count) layers; at most \(ModelSpec.layersMax) are allowed")
      return nil
    }
    var resolution = Resolution(data: data, path: path, faults: faults)
    for (index, layer) in layers.enumerated() { guard resolution.add(layer, index) else { return nil } }
    return resolution.finish(objective)
  }

  /// Resolves a model that was checked before.
  public func resolved(for data: DataShape) throws(SpecError) -> ResolvedModel {
    try Faults.collect { resolve(for: data, path: "/model", faults: $0) }
  }
}

/// The walk over a model's layers.
private struct Resolution {
  let data: DataShape
  let path: String
  let faults: Faults
  private var steps: [ResolvedModel.Step] = []
  private var indices: [String: Int] = [Layer.dataName: -1]
  private var isRead: Set<Int> = []
  private var parameterCount = 0

  init(data: DataShape, path: String, faults: Faults) {
    self.data = data
    self.path = path
    self.faults = faults
  }

  /// Infers one layer; false and a fault where it cannot stand there.
  mutating func add(_ layer: Layer, _ index: Int) -> Bool {
    let standard = "\(layer.type)_\(index)"
    let name = layer.name ?? standard
    let label = layer.name.map { "\(standard) (\"\($0)\")" } ?? standard
    let place = "\(path)/layers/\(index)"
    guard indices[name] == nil else {
      faults.add("\(place)/name", "\(label): the name \"\(name)\" is taken by an earlier layer")
      return false
    }
    var sources = [index - 1]
    if let inputs = layer.inputs {
      sources = []
      for (position, input) in inputs.enumerated() {
        guard let source = indices[input] else {
          let known = indices.sorted { $0.value < $1.value }.suffix(8).map(\.key).joined(separator: ", ")
          faults.add(
            "\(place)/inputs/\(position)",
            "\(label): there is no layer \"\(input)\" before it; the last ones there are: \(known)")
          return false
        }
        sources.append(source)
      }
    }
    let shapes = sources.map { $0 < 0 ? data.input : steps[$0].output }
    let site = LayerSite(
      inputs: shapes, vocabulary: sources.contains(-1) ? data.vocabulary : nil, readsData: sources[0] < 0)
    let facts: LayerFacts
    do {
      facts = try layer.kind.facts.rule.resolve(site)
    } catch {
      faults.add(place, "\(label): \(error.reason)")
      return false
    }
    guard sources.count == 1 || layer.kind.readsSeveral else {
      faults.add(
        "\(place)/inputs", "\(label): reads one input, got \(sources.count); join them with add or concat before")
      return false
    }
    let sizes = [Size.product(facts.output), facts.kept, facts.passing, facts.forward]
    guard facts.flops < .max, sizes.allSatisfy({ $0 <= Size.floatsMax }) else {
      faults.add(
        place,
        "\(label): its result \(facts.output) is too large; at most \(Size.floatsMax) numbers are allowed for "
          + "one example")
      return false
    }
    let own = Size.sum(facts.parameters.map { Size.product($0.dimensions) })
    parameterCount = Size.sum(parameterCount, own)
    guard parameterCount <= ResolvedModel.parametersMax else {
      faults.add(
        place, "\(label): the model has more than \(ResolvedModel.parametersMax) parameters from this layer on")
      return false
    }
    isRead.formUnion(sources)
    indices[name] = index
    steps.append(
      ResolvedModel.Step(
        layer: layer, name: name, sources: sources, input: shapes[0], output: facts.output,
        parameters: facts.parameters.map {
          ParameterShape(name: "\(name)/\($0.name)", dimensions: $0.dimensions, initial: $0.initial)
        },
        statistics: facts.statistics.map {
          ParameterShape(
            name: "\(name)/\($0.name)", dimensions: $0.dimensions, initial: $0.name == "variance" ? .ones : .zeros)
        }, flops: facts.flops, reads: facts.reads, keptFloats: facts.kept, passingFloats: facts.passing,
        forwardFloats: facts.forward,
        scratchFloats: facts.scratch))
    return true
  }

  /// Checks that the layers together serve the objective.
  func finish(_ objective: Objective) -> ResolvedModel? {
    guard let last = steps.last else { return nil }
    for (index, step) in steps.enumerated().dropLast() where !isRead.contains(index) {
      faults.add(
        "\(path)/layers/\(index)",
        "\(step.name): no layer reads it; name it among the \"inputs\" of one, or leave it out")
      return nil
    }
    guard let fault = outputFault(last.output, objective) else {
      guard parameterCount > 0 else {
        faults.add("\(path)/layers", "the model has no parameters, so there is nothing to train; add a dense layer")
        return nil
      }
      return ResolvedModel(data: data, objective: objective, steps: steps)
    }
    faults.add("\(path)/layers", fault)
    return nil
  }

  private func outputFault(_ output: [Int], _ objective: Objective) -> String? {
    if case .reconstruct = objective {
      if data.isTokens { return "to reconstruct the input needs numbers, but the data are tokens" }
      let count = Size.product(data.input)
      return Size.product(output) == count
        ? nil : "the last layer produces shape \(output), but the input has shape \(data.input): expected [\(count)]"
    }
    if steps.contains(where: { if case .latent = $0.layer.kind { true } else { false } }) {
      return "a latent layer is for models that reconstruct their input; add \"objective\": \"reconstruct\""
    }
    let outputs = data.target.outputs
    let (what, wanted): (String, [Int]) =
      switch data.target {
      case .classes: ("\(outputs) classes", [outputs])
      case .values: ("\(outputs) target values", [outputs])
      case .tokens: ("\(outputs) tokens to choose from at each position", data.input + [outputs])
      }
    guard output != wanted else { return nil }
    let cure =
      output.count > 1 && wanted.count == 1
      ? "; put a flatten, mean, take or global_average_pool layer before the last dense layer" : ""
    return "the last layer produces shape \(output), but the dataset has \(what): expected \(wanted)\(cure)"
  }
}

extension Layer.Kind {
  /// Whether it may have more than one input.
  fileprivate var readsSeveral: Bool {
    switch self {
    case .add, .multiply, .concat: true
    default: false
    }
  }
}
