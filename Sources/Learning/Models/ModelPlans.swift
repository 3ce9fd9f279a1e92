// From a resolved model to the plans that run it: one that gives loss and gradients for a training batch, one
// that gives outputs for judging. Contract decides the shapes, Compute compiles, this file only translates.
import Compute
import Contract

/// The compiled forms of one model. Immutable; shared by every thread that runs the model.
public struct ModelPlans: Sendable {
  public let model: ResolvedModel
  public let batchSize: Int
  /// Inputs `inputs` [B, …] and `labels` [B] (or `targets` [B, outputs]); output `loss`, a scalar.
  public let training: Plan
  /// Rows judged at once.
  public let judgedRows: Int
  /// Input `inputs` [judgedRows, …]; output `outputs` [judgedRows, outputs].
  public let inference: Plan

  /// Where each parameter tensor lies; both plans share it. Tensors are in the canonical order, sorted by name.
  public var layout: ParameterLayout { training.parameterLayout }

  public init(_ model: ResolvedModel, batchSize: Int, judgedRows: Int? = nil, level: CPULevel) throws {
    self.model = model
    self.batchSize = batchSize
    self.judgedRows = judgedRows ?? model.judgedRows
    var graph = Graph()
    let outputs = try model.emit(into: &graph, rows: batchSize)
    let loss: Value
    switch model.data.target {
    case .classes, .tokens:
      let labels = try graph.input("labels", Shape(outputs.shape.dimensions.dropLast()), .int32)
      loss = try graph.softmaxCrossEntropy(outputs, labels: labels)
    case .values(let count):
      loss = try graph.meanSquaredError(outputs, target: graph.input("targets", [batchSize, count]))
    }
    graph.output("loss", loss)
    training = try Plan(graph, differentiating: loss, level: level)
    var forward = Graph()
    forward.output("outputs", try model.emit(into: &forward, rows: self.judgedRows))
    inference = try Plan(forward, differentiating: nil, level: level)
  }
}

extension ResolvedModel {
  /// Adds the layers for a batch of `rows` to a graph; the value has shape [rows, outputs].
  fileprivate func emit(into graph: inout Graph, rows: Int) throws -> Value {
    var parameters: [String: Value] = [:]
    for parameter in self.parameters.sorted(by: { $0.name < $1.name }) {
      parameters[parameter.name] = try graph.parameter(parameter.name, Shape(parameter.dimensions))
    }
    var value = try graph.input("inputs", Shape([rows] + data.input))
    for step in steps {
      switch step.layer {
      case .flatten: value = try graph.reshape(value, to: [rows, step.output[0]])
      case .activation(let activation): value = try graph.apply(activation, to: value)
      case .dense(_, let activation):
        let product = try graph.matmul(value, parameters["\(step.name)/w"]!)
        value = try graph.apply(activation, to: graph.add(product, parameters["\(step.name)/b"]!))
      }
    }
    return value
  }
}

extension Graph {
  fileprivate mutating func apply(_ activation: Activation, to value: Value) throws -> Value {
    switch activation {
    case .linear: return value
    case .relu: return try relu(value)
    case .tanh: return try tanh(value)
    case .sigmoid: return try sigmoid(value)
    case .gelu: return try gelu(value)
    case .silu: return try silu(value)
    case .softplus: return try softplus(value)
    }
  }
}
