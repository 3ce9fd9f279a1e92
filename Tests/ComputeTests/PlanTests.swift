// What a plan fuses, how it places memory, and that its bits depend on values alone.
import Foundation
import Testing

@testable import Compute

/// A classifier with one hidden layer of 32, loss and logits as outputs.
func classifier(batch: Int = 64, hidden: Int = 32, classes: Int = 10) throws -> Experiment {
  var graph = Graph()
  let x = try graph.input("inputs", [batch, 64])
  let labels = try graph.input("labels", [batch], .int32)
  let w0 = try graph.parameter("dense_0/w", [64, hidden])
  let b0 = try graph.parameter("dense_0/b", [hidden])
  let w1 = try graph.parameter("dense_1/w", [hidden, classes])
  let b1 = try graph.parameter("dense_1/b", [classes])
  let h = try graph.relu(graph.add(graph.matmul(x, w0), b0))
  let logits = try graph.add(graph.matmul(h, w1), b1)
  let loss = try graph.softmaxCrossEntropy(logits, labels: labels)
  graph.output("loss", loss)
  graph.output("logits", logits)
  return Experiment(graph, loss: loss, classes: classes) { $0 * 0.2 }
}

@Suite("Plan")
struct PlanTests {
  @Test("a classifier's forward and reverse pass take eight fused steps")
  func fusion() throws {
    let experiment = try classifier()
    let plan = try Plan(experiment.graph, differentiating: experiment.loss)
    #expect(
      plan.steps == [
        "product [64, 64] x [64, 32] + bias, relu", "product [64, 32] x [32, 10] + bias",
        "cross-entropy [64, 10], loss, gradient", "sum [10]", "product [32, 64]' x [64, 10]",
        "product [64, 10] x [10, 32]', relu gradient", "sum [32]", "product [64, 64]' x [64, 32]",
      ])
    #expect(plan.forwardCount == 3)
    #expect(plan.parameterLayout.tensors.map(\.name) == ["dense_0/w", "dense_0/b", "dense_1/w", "dense_1/b"])
    let products = 2 * (2 * 64 * 64 * 32 + 3 * 64 * 32 * 10)
    #expect(plan.flops > products && plan.flops < products + products / 50)
  }

  @Test("a chain of elementwise operations is one step and keeps nothing in memory")
  func chain() throws {
    var graph = Graph()
    let x = try graph.input("x", [1000])
    let y = try graph.gelu(graph.scale(graph.tanh(graph.affine(x, scale: 2, shift: 1)), by: 3))
    graph.output("y", y)
    let plan = try Plan(graph)
    #expect(plan.steps == ["map [1, 1000] affine, tanh, affine, gelu"])
    #expect(plan.arenaBytes == (1008 + 1008 + 16) * 4)
  }

  @Test("elementwise operations wait for each other past steps that do not read them")
  func deferral() throws {
    var graph = Graph()
    let x = try graph.input("x", [8, 16])
    let w = try graph.parameter("w", [16, 16])
    let doubled = try graph.scale(x, by: 2)
    let row = try graph.mean(x, over: .leading)
    let product = try graph.matmul(x, w)
    let joined = try graph.tanh(graph.add(product, doubled))
    let other = try graph.exp(row)
    graph.output("joined", try graph.add(joined, x))
    graph.output("other", try graph.sqrt(other))
    #expect(
      try Plan(graph).steps == [
        "sum [16]", "product [8, 16] x [16, 16]", "map [1, 128] affine, add, tanh, add", "map [1, 16] exp, sqrt",
      ])
  }

  @Test("values that do not live at the same time share memory")
  func memory() throws {
    var graph = Graph()
    var x = try graph.input("x", [64, 64])
    let w = try graph.parameter("w", [64, 64])
    for _ in 0..<20 { x = try graph.matmul(x, w) }
    graph.output("y", x)
    // The input, the output, and two values in turn of which the last is the output.
    #expect(try Plan(graph).arenaBytes <= (4 * 64 * 64 + 16) * 4)
  }

  @Test("nodes that nothing needs are not computed")
  func deadCode() throws {
    var graph = Graph()
    let x = try graph.parameter("x", [8])
    _ = try graph.exp(x)
    graph.output("y", try graph.relu(x))
    #expect(try Plan(graph).steps == ["map [1, 8] relu"])
  }

  @Test("the same values give the same bits on any thread, executor and address")
  func bits() async throws {
    let experiment = try classifier(batch: 37, hidden: 29, classes: 17)
    for level in CPULevel.supported {
      let plan = try Plan(experiment.graph, differentiating: experiment.loss, level: level)
      func gradients(shiftedBy shift: Int) -> [UInt32] {
        let (executor, parameters) = experiment.prepare(plan)
        let floats = plan.parameterLayout.floats
        let moved = AlignedBuffer(floats: floats + 16), result = AlignedBuffer(floats: floats + 16)
        let inputs = AlignedBuffer(floats: 37 * 64 + 16)
        for i in 0..<floats { moved.pointer[shift + i] = parameters.pointer[i] }
        for (i, value) in executor.floats("inputs").enumerated() { inputs.pointer[shift + i] = value }
        executor.bind("inputs", to: UnsafePointer(inputs.pointer + shift))
        for _ in 0..<3 { executor.run(parameters: moved.pointer + shift, gradients: result.pointer + shift) }
        return (0..<floats).map { result.pointer[shift + $0].bitPattern }
      }
      let first = gradients(shiftedBy: 0)
      #expect(gradients(shiftedBy: 3) == first)
      await withTaskGroup(of: [UInt32].self) { group in
        for shift in 0..<4 { group.addTask { gradients(shiftedBy: shift) } }
        for await other in group { #expect(other == first) }
      }
    }
  }

  @Test("parameters that the loss misses get zeros, and a shared gradient is copied")
  func gradientPlaces() throws {
    var graph = Graph()
    let a = try graph.parameter("a", [5])
    let b = try graph.parameter("b", [5])
    _ = try graph.parameter("unused", [7])
    let alone = try graph.parameter("alone", .scalar)
    let loss = try graph.add(graph.sum(graph.exp(graph.add(a, b))), alone)
    graph.output("loss", loss)
    let plan = try Plan(graph, differentiating: loss)
    let executor = Executor(plan)
    let parameters = AlignedBuffer(floats: plan.parameterLayout.floats)
    let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
    for i in 0..<gradients.floats { gradients.pointer[i] = 9 }
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    let values = plan.parameterLayout.tensors.map { tensor in
      (0..<tensor.count).map { gradients.pointer[tensor.offset + $0] }
    }
    #expect(values == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0], [1]])
    #expect(gradients.pointer[5] == 9, "padding is left alone")
  }

  @Test("inputs, parameters and reshaped values can be outputs")
  func outputs() throws {
    var graph = Graph()
    let x = try graph.input("x", [2, 3])
    let w = try graph.parameter("w", [3])
    graph.output("x", x)
    graph.output("w", w)
    graph.output("flat", try graph.reshape(graph.scale(x, by: 2), to: [6]))
    graph.output("one", try graph.constant(1))
    let plan = try Plan(graph)
    let executor = Executor(plan)
    _ = executor.floats("x").update(fromContentsOf: [1, 2, 3, 4, 5, 6])
    let parameters = AlignedBuffer(floats: plan.parameterLayout.floats)
    for i in 0..<3 { parameters.pointer[i] = Float(i) }
    executor.run(parameters: parameters.pointer)
    #expect(Array(executor.output("x")) == [1, 2, 3, 4, 5, 6])
    #expect(Array(executor.output("w")) == [0, 1, 2])
    #expect(Array(executor.output("flat")) == [2, 4, 6, 8, 10, 12])
    #expect(Array(executor.output("one")) == [1])
    #expect(plan.outputs.map(\.shape) == [[2, 3], [3], [6], []])
  }
}
