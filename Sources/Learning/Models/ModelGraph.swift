// A model's layers as a graph of Compute: what is read and made, and the objective at its end. The layers themselves
// are in ModelGraph+Layers and ModelGraph+Sequences; ModelPlans compiles the result.
import Compute
import Contract

/// The graph of a model for a batch of rows, under construction.
struct ModelGraph {
  /// The input with the step's random words.
  static let keyName = "key"

  var graph = Graph()
  let model: ResolvedModel
  let rows: Int
  /// Whether layers do what they do in training: drop, and normalise by the batch.
  let isTraining: Bool
  let data: Value
  private(set) var key: Value?
  private var parameters: [String: Value] = [:]
  private var results: [Value] = []
  /// Means and logarithms of deviations of latent layers.
  var latents: [(mean: Value, logDeviation: Value)] = []

  /// Adds the parameters in canonical order, the data, and all layers.
  init(_ model: ResolvedModel, _ imported: ONNXImport? = nil, rows: Int, isTraining: Bool) throws {
    self.model = model
    self.rows = rows
    self.isTraining = isTraining
    for parameter in model.parameters.sorted(by: { $0.name < $1.name }) {
      parameters[parameter.name] = try graph.parameter(parameter.name, Shape(parameter.dimensions))
    }
    let type: ElementType = model.data.vocabulary == nil ? .float32 : .int32
    data = try graph.input("inputs", Shape([rows] + model.data.input), type)
    if let imported {
      let key = isTraining && imported.dropsOut ? try randomKey() : nil
      let value = try imported.emit(into: &graph, inputs: data, dropoutKey: key, givesLogits: true)
      if case .values(let count) = model.data.target {
        results.append(try graph.reshape(value, to: [rows, count]))
      } else {
        results.append(value)
      }
    }
    for (index, step) in model.steps.enumerated() {
      let inputs = step.sources.map { $0 < 0 ? data : results[$0] }
      results.append(try emit(step, index: index, inputs))
    }
  }

  /// What the last layer makes.
  var output: Value { results.last! }

  /// A parameter of a layer.
  func parameter(_ step: ResolvedModel.Step, _ name: String) -> Value { parameters["\(step.name)/\(name)"]! }

  /// The shape of a batch of examples.
  func batch(_ example: [Int]) -> Shape { Shape([rows] + example) }

  /// The step's random words; layers that draw from them differ by their stream.
  mutating func randomKey() throws -> Value {
    if let key { return key }
    let made = try graph.input(Self.keyName, [2], .int32)
    key = made
    return made
  }

  mutating func apply(_ activation: Activation, to value: Value, slope: Double? = nil) throws -> Value {
    switch activation {
    case .linear: return value
    case .relu: return try graph.relu(value)
    case .tanh: return try graph.tanh(value)
    case .sigmoid: return try graph.sigmoid(value)
    case .gelu: return try graph.gelu(value)
    case .geluExact: return try graph.geluExact(value)
    case .silu: return try graph.silu(value)
    case .softplus: return try graph.softplus(value)
    case .relu6: return try graph.relu6(value)
    case .selu: return try graph.selu(value)
    case .elu: return try graph.elu(value)
    case .leakyRelu: return try graph.leakyRelu(value, slope: Float(slope ?? 0.01))
    case .sin: return try graph.sin(value)
    case .cos: return try graph.cos(value)
    }
  }

  // MARK: Objective

  /// The scalar that training lowers.
  mutating func loss() throws -> Value {
    let output = self.output
    if case .reconstruct(let form) = model.objective {
      let (given, made) = try sides()
      var loss =
        try form == .bernoulli
        ? graph.bernoulliNegativeLogLikelihood(made, target: given) : graph.meanSquaredError(made, target: given)
      if !latents.isEmpty, form == .mse { loss = try graph.affine(loss, scale: 0.5, shift: Self.normalConstant) }
      for (mean, logDeviation) in latents {
        let divergence = try graph.gaussianKL(mean: mean, logDeviation: logDeviation)
        loss = try graph.add(loss, graph.scale(divergence, by: 1 / Float(given.shape.last)))
      }
      return loss
    }
    switch model.data.target {
    case .classes, .tokens:
      let labels = try graph.input("labels", Shape(output.shape.dimensions.dropLast()), .int32)
      return try graph.softmaxCrossEntropy(output, labels: labels)
    case .values(let count):
      return try graph.meanSquaredError(output, target: graph.input("targets", [rows, count]))
    }
  }

  /// Half of log(2 pi): -log of a standard normal's density is that and half the square.
  private static let normalConstant: Float = 0.918_938_533_204_672_7

  /// Adds the outputs that judging reads.
  mutating func judge() throws {
    guard case .reconstruct(let form) = model.objective else {
      let isLanguage = if case .tokens = model.data.target { true } else { false }
      return graph.output("outputs", try isLanguage ? graph.logSoftmax(output) : output)
    }
    let (given, made) = try sides()
    let shown = try form == .bernoulli ? graph.sigmoid(made) : made
    let error = try graph.mean(graph.square(graph.subtract(shown, given)), over: .last)
    var loss = error
    if form == .bernoulli {
      loss = try graph.mean(graph.subtract(graph.softplus(made), graph.multiply(made, given)), over: .last)
    } else if !latents.isEmpty {
      loss = try graph.affine(error, scale: 0.5, shift: Self.normalConstant)
    }
    for (mean, logDeviation) in latents {
      let variance = try graph.exp(graph.scale(logDeviation, by: 2))
      let half = try graph.affine(graph.add(graph.square(mean), variance), scale: 0.5, shift: -0.5)
      let divergence = try graph.sum(graph.subtract(half, logDeviation), over: .last)
      loss = try graph.add(loss, graph.scale(divergence, by: 1 / Float(given.shape.last)))
    }
    graph.output("error", error)
    graph.output("loss", loss)
  }

  /// Input and reconstruction as rows.
  private mutating func sides() throws -> (given: Value, made: Value) {
    let flat = Shape([rows, data.shape.count / rows])
    return (try graph.reshape(data, to: flat), try graph.reshape(output, to: flat))
  }
}
