// OperationCase: one operation, tried at every CPU level of this machine: results against Reference.swift's Float64 loops,
// gradients against its central differences, at shapes that are no multiples of a vector. OperationTests and the files in
// Operations list the cases.
import Testing

@testable import Compute

/// One operation, the shapes it is tried at and how to build it from parameters.
struct OperationCase: Sendable, CustomTestStringConvertible {
  let name: String
  var shapes: [[Shape]]
  var classes = 1 << 30
  /// From a standard normal to the operand's domain.
  var values: @Sendable (Float) -> Float = { $0 }
  let build: @Sendable (inout Graph, [Value]) throws -> Value

  var testDescription: String { name }

  /// The operation as the only output, and as one of several with a loss that weights each element.
  private func experiment(_ shapes: [Shape], kept: Bool) throws -> Experiment {
    var graph = Graph()
    var operands: [Value] = []
    for (index, shape) in shapes.enumerated() { operands.append(try graph.parameter("p\(index)", shape)) }
    let result = try build(&graph, operands)
    let weights = try graph.input("weights", result.shape)
    let loss = try graph.sum(graph.multiply(result, weights))
    if kept { graph.output("result", result) }
    graph.output("loss", loss)
    return Experiment(graph, loss: loss, seed: UInt64(shapes[0].count), classes: classes, values: values)
  }

  /// Checks results at every level against loops in Float64.
  func checkResults() throws {
    for shapes in shapes {
      let experiment = try experiment(shapes, kept: true)
      let reference = experiment.graph.evaluate(experiment.bindings)
      for level in CPULevel.supported {
        let plan = try Plan(experiment.graph, level: level)
        let (executor, parameters) = experiment.prepare(plan)
        executor.run(parameters: parameters.pointer)
        for (name, id) in experiment.graph.outputs {
          let result = executor.output(name)
          // The loss sums products of either sign, whose rounding errors add up like a random walk.
          let summed = name == "loss" ? Double(executor.output("result").count).squareRoot() : 1
          let scale = max(1, reference[id].map { abs($0) }.max()!) * summed
          let error = zip(result, reference[id]).map { abs(Double($0) - $1) }.max()!
          #expect(error < 4e-6 * scale, "\(shapes) at \(level): \(name)")
        }
      }
    }
  }

  /// Checks gradients at every level against central differences; `kept` makes the result an output, so that it cannot be
  /// fused into what follows.
  func checkGradients(kept: Bool) throws {
    for shapes in shapes {
      let experiment = try experiment(shapes, kept: kept)
      let slopes = shapes.indices.map { experiment.differences("p\($0)") }
      let scale = max(1, slopes.joined().map { abs($0.slope) }.max()!)
      for level in CPULevel.supported {
        let plan = try Plan(experiment.graph, differentiating: experiment.loss, level: level)
        let (executor, parameters) = experiment.prepare(plan)
        let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
        for i in 0..<gradients.floats { gradients.pointer[i] = .nan }
        executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
        for (tensor, expected) in zip(plan.parameterLayout.tensors, slopes) {
          let got = UnsafeBufferPointer(start: gradients.pointer + tensor.offset, count: tensor.count)
          #expect(got.allSatisfy { $0.isFinite }, "\(shapes) at \(level): \(tensor.name) was not written")
          let error = expected.map { abs(Double(got[$0.index]) - $0.slope) }.max()!
          #expect(error < 2e-5 * scale, "\(shapes) at \(level): \(tensor.name)")
        }
      }
    }
  }
}
