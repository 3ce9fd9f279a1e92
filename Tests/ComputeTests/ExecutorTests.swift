// Runs of a plan: no allocation, shared inputs, forward runs without gradients, values that are not finite.
import AllocationCounter
import Testing

@testable import Compute

@Suite("Executor")
struct ExecutorTests {
  /// A transformer block and a recurrence over tokens, as models have them.
  private static func tokenModel(recurrent: Bool) throws -> Experiment {
    var graph = Graph()
    let tokens = try graph.input("tokens", [2, 9], .int32)
    let labels = try graph.input("labels", [2, 9], .int32)
    var x = try graph.embedding(graph.parameter("table", [11, 12]), tokens)
    let one = try graph.parameter("one", [12])
    if recurrent {
      x = try graph.lstm(
        graph.matmul(x, graph.parameter("input", [12, 48])), hidden: graph.parameter("hidden", [12, 48]))
    } else {
      let h = try graph.layerNorm(x, scale: one, offset: graph.parameter("zero", [12]))
      let qkv = try graph.matmul(h, graph.parameter("qkv", [12, 36]))
      x = try graph.add(x, graph.attention(packed: qkv, heads: 3, causal: true))
      let wide = try graph.gelu(graph.matmul(graph.rmsNorm(x, scale: one), graph.parameter("up", [12, 20])))
      x = try graph.add(x, graph.matmul(wide, graph.parameter("down", [20, 12])))
    }
    let logits = try graph.matmul(x, graph.parameter("head", [12, 11]))
    let loss = try graph.softmaxCrossEntropy(logits, labels: labels)
    graph.output("loss", loss)
    return Experiment(graph, loss: loss, classes: 11)
  }

  /// Convolutions of all kinds, pooling and batch normalization, as models of images have them.
  private static func imageModel() throws -> Experiment {
    var graph = Graph()
    let images = try graph.input("images", [3, 13, 9, 3])
    let labels = try graph.input("labels", [3], .int32)
    let first = try graph.convolution(images, graph.parameter("first", [3, 3, 3, 8]), stride: (2, 2))
    var x = try graph.relu(graph.add(first, graph.parameter("bias", [8])))
    x = try graph.maxPool(x, window: (3, 3), stride: (2, 2))
    x = try graph.convolution(x, graph.parameter("depthwise", [3, 3, 1, 8]), groups: 8)
    x = try graph.batchNorm(x, scale: graph.parameter("scale", [8]), offset: graph.parameter("offset", [8]))
    x = try graph.convolution(x, graph.parameter("pointwise", [1, 1, 8, 12]))
    x = try graph.averagePool(x, window: (2, 2), stride: (1, 1))
    x = try graph.convolution(x, graph.parameter("grouped", [3, 3, 4, 6]), groups: 3)
    let logits = try graph.matmul(graph.globalAveragePool(x), graph.parameter("head", [6, 11]))
    let loss = try graph.softmaxCrossEntropy(logits, labels: labels)
    graph.output("loss", loss)
    return Experiment(graph, loss: loss, classes: 11)
  }

  @Test(
    "a step allocates nothing", .enabled(if: allocation_count() >= 0),
    arguments: ["mlp", "transformer", "lstm", "cnn"])
  func allocations(_ model: String) throws {
    let experiment =
      switch model {
      case "mlp": try classifier()
      case "cnn": try Self.imageModel()
      default: try Self.tokenModel(recurrent: model == "lstm")
      }
    let plan = try Plan(experiment.graph, differentiating: experiment.loss)
    let (executor, parameters) = experiment.prepare(plan)
    let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
    let other = AlignedBuffer(floats: plan.parameterLayout.floats)
    // The counter sees what Swift allocates.
    let unmoved = allocation_count()
    let array = [Int](repeating: gradients.floats, count: 1000)
    #expect(allocation_count() > unmoved && array.count == 1000)

    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    let before = allocation_count()
    for step in 0..<100 {
      executor.run(parameters: step % 2 == 0 ? parameters.pointer : other.pointer, gradients: gradients.pointer)
      executor.run(parameters: parameters.pointer)
    }
    #expect(allocation_count() == before)
  }

  @Test("executors bound to one batch read it where it lies")
  func binding() throws {
    let experiment = try classifier()
    let plan = try Plan(experiment.graph, differentiating: experiment.loss)
    let (first, parameters) = experiment.prepare(plan)
    let second = Executor(plan)
    second.bind("inputs", to: UnsafePointer(first.floats("inputs").baseAddress!))
    second.bind("labels", to: UnsafePointer(first.int32("labels").baseAddress!))
    first.run(parameters: parameters.pointer)
    second.run(parameters: parameters.pointer)
    #expect(first.output("loss")[0] == second.output("loss")[0])
    first.floats("inputs")[0] += 1
    second.run(parameters: parameters.pointer)
    #expect(first.output("loss")[0] != second.output("loss")[0])
  }

  @Test("numbers of the graph stand at every run and meet the inputs")
  func numbers() throws {
    var graph = Graph()
    let x = try graph.input("x", [2, 3])
    let row = try graph.constant([10, 20, 30], [3])
    graph.output("y", try graph.multiply(x, row))
    graph.output("row", row)
    let executor = Executor(try Plan(graph))
    let parameters = AlignedBuffer(floats: 16)
    for run in 1...3 {
      for index in 0..<6 { executor.floats("x")[index] = Float(index * run) }
      executor.run(parameters: parameters.pointer)
      #expect(Array(executor.output("y")) == [0, 20, 60, 30, 80, 150].map { Float(run) * $0 })
      #expect(Array(executor.output("row")) == [10, 20, 30])
    }
  }

  @Test("a run without gradients gives the same outputs and leaves gradients alone")
  func forwardOnly() throws {
    let experiment = try classifier()
    let plan = try Plan(experiment.graph, differentiating: experiment.loss)
    let (executor, parameters) = experiment.prepare(plan)
    executor.run(parameters: parameters.pointer)
    let outputs = Array(executor.output("logits")) + Array(executor.output("loss"))
    let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    #expect(Array(executor.output("logits")) + Array(executor.output("loss")) == outputs)
    #expect(gradients.buffer.contains { $0 != 0 })
  }

  @Test("gradient descent on the reverse pass lowers the loss")
  func descent() throws {
    let experiment = try classifier()
    let plan = try Plan(experiment.graph, differentiating: experiment.loss)
    let (executor, parameters) = experiment.prepare(plan)
    let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
    executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    let start = executor.output("loss")[0]
    for _ in 0..<2000 {
      for i in 0..<parameters.floats { parameters.pointer[i] -= 0.5 * gradients.pointer[i] }
      executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
    }
    #expect(executor.output("loss")[0] < 0.2 * start)
  }

  @Test("a NaN parameter and a label outside of the classes make the loss NaN", arguments: CPULevel.supported)
  func notFinite(_ level: CPULevel) throws {
    for classes in [10, 23] {
      let experiment = try classifier(classes: classes)
      let plan = try Plan(experiment.graph, differentiating: experiment.loss, level: level)
      let (executor, parameters) = experiment.prepare(plan)
      let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
      let kept = parameters.pointer[40]
      parameters.pointer[40] = .nan
      executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
      #expect(executor.output("loss")[0].isNaN)
      parameters.pointer[40] = kept
      for label in [Int32(classes), -1, .max, .min] {
        executor.int32("labels")[17] = label
        executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
        #expect(executor.output("loss")[0].isNaN)
      }
      executor.int32("labels")[17] = 0
      executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
      #expect(executor.output("loss")[0].isFinite && gradients.buffer.allSatisfy { $0.isFinite })
    }
  }
}
