// CPUDrome.swift and OptimizerTask.swift: the published list, and each of its tasks run on made data.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

// One after another, so that each set of data is made once.
@Suite(.serialized) struct CPUDromeTests {
  /// The list, in the spelling of the published archive of training curves where it has the task.
  static let names = [
    "ImageMLP_FashionMnist8_Relu32", "ImageMLP_FashionMnist16_Relu32", "ImageMLP_Cifar10BW8_Relu32",
    "ImageMLP_Cifar10_8_Relu32", "ImageMLP_FashionMnist_Relu128x128", "ImageMLP_Mnist_128x128x128_Relu",
    "ImageMLP_Cifar10_128x128x128_Relu", "ImageMLP_Cifar10_128x128x128_Tanh_bs64",
    "ImageMLP_Cifar10_128x128x128_LayerNorm_Relu", "ImageMLP_Cifar10_128x128x128_BatchNorm_Relu",
    "ImageMLP_Cifar10_128x128x128_Relu_MSE", "ImageMLP_Cifar10_128x128_Dropout05_Relu_MSE",
    "ImageMLPAE_Mnist_128x32x128_bs128", "ImageMLPAE_FashionMnist_128x32x128_bs128",
    "ImageMLPAE_Cifar10_32x32x32_bs128", "Conv_Cifar10_8_16x32", "Conv_Cifar10_16_32x64x64",
    "ESWrapped_1pair_FashionMnist8_Relu32", "ESWrapped_8pair_Mnist_128x128x128",
    "RNNLM_lm1bbytes_Patch32_LSTM128_Embed64", "RNNLM_lm1bbytes_Patch32_GRU128_Embed64",
    "RNNLM_lm1bbytes_Patch32_VanillaRNN128_Embed64", "TransformerLM_LM1B_MultiRuntime_2",
    "TransformerLM_LM1B_MultiRuntime_5", "LOpt_LearnableAdam_Cifar10_8_50",
  ]

  @Test("the registry has exactly these under the tag, and all of them on made data")
  func list() {
    func tagged(_ tag: String) -> Set<String> {
      Set(TaskRegistry.standard.records.filter { $0.tags.contains(tag) }.map(\.name))
    }
    #expect(tagged("cpu-drome") == Set(Self.names))
    #expect(tagged("synth-drome") == Set(Self.names.map { "synth_\($0)" }))
  }

  @Test("each of its tasks builds and takes 20 steps of Adam with finite losses", arguments: names)
  func runs(name: String) throws {
    let record = try TaskRegistry.standard.record("synth_\(name)")
    var config = small(record.config(RandomKey(seed: 0)))
    // 450 inner steps make one of these; a tenth of them goes the same way.
    if config.object == "LOpt" {
      config = TaskConfig("LOpt", config.arguments.merging(["steps": 5]) { $1 })
    } else if config.object == "ESGradient" {
      config = TaskConfig("ESGradient", config.arguments.merging(["pairs": 1]) { $1 })
    }
    let inner = try InnerTask(drome.build(config)) { Adam(parameters: $0, level: .best) }
    let losses = InnerRun.curve(inner, theta: nil, steps: 20, seed: 0)
    #expect(losses.count == 20 && losses.allSatisfy(\.isFinite), "\(name): \(losses)")
    #expect(Set(losses).count > 1, "\(name) stands still at \(losses[0])")
  }
}

/// The task on 256 images where it is one on images: making thousands takes longer than all steps.
private func small(_ config: TaskConfig) -> TaskConfig {
  var arguments = config.arguments
  if let inner = arguments["family"].flatMap({ try? TaskConfig.decode($0) }) { arguments["family"] = small(inner).json }
  if case .object(var data)? = arguments["data"], case .object(var members)? = data["args"],
    members["imageSize"] != nil
  {
    members["rows"] = 256
    data["args"] = .object(members)
    arguments["data"] = .object(data)
  }
  return TaskConfig(config.object, arguments)
}

/// One cache of images for all cases.
private let drome = TaskBuilder(data: TaskDataSets([:]), level: .best)

@Suite struct OptimizerTaskTests {
  private static let network = TaskConfig(
    "ImageMLP",
    ["hidden": [8], "data": ["obj": "synth_blobs", "args": ["imageSize": 4, "batch": 16, "rows": 256]]])

  private func task(pairs: Int = 4, steps: Int = 10, inner: TaskConfig = network) throws -> TrainingTask {
    try drome.build(
      TaskConfig(
        "LOpt",
        ["optimizer": "LearnableAdam", "steps": .integer(steps), "pairs": .integer(pairs), "family": inner.json]))
  }

  @Test("its loss is the mean loss of a training by Adam with the constants that the parameters stand for")
  func loss() throws {
    let task = try task()
    let source = UnrolledSource(try #require(task.unroll))
    let key = RandomKey(seed: 5)
    let parameters = AlignedBuffer(floats: task.layout.floats), none = AlignedBuffer(floats: 16)
    source.begin(parameters.pointer, memory: none.pointer, initial: key, episode: key)
    let logarithms = task.layout.tensors.map { (task.layout[$0.name]!.offset, $0.name) }
    let rates: [String: Double] = [
      "log_lr": 0.02, "one_minus_beta1": 0.2, "one_minus_beta2": 0.01, "log_epsilon": 1e-6,
    ]
    for (offset, name) in logarithms { parameters.pointer[offset] = Float(log(rates[name]!)) }
    source.drawBatch(key)
    let got = source.evaluate(
      parameters.pointer, gradients: nil, memory: none.pointer, step: .init(iteration: 0, key: key))

    // The same training, step by step, with Adam in Float64.
    let inner = try #require(task.unroll).inner
    let chain = inner.gradientSource()
    let p = AlignedBuffer(floats: inner.layout.floats), g = AlignedBuffer(floats: inner.layout.floats)
    chain.outermost.begin(
      p.pointer, memory: none.pointer, initial: key.derive(17, 0, 0), episode: key.derive(18, 0, 0))
    var m = [Double](repeating: 0, count: p.floats), v = m
    var sum = 0.0
    for iteration in 0..<10 {
      let stepKey = key.derive(19, UInt32(iteration), 0)
      chain.innermost.drawBatch(stepKey)
      sum += Double(
        chain.outermost.evaluate(
          p.pointer, gradients: g.pointer, memory: none.pointer, step: .init(iteration: iteration, key: stepKey)))
      for place in inner.layout.tensors.flatMap({ $0.offset..<$0.offset + $0.count }) {
        let gradient = Double(g.pointer[place])
        m[place] = 0.8 * m[place] + 0.2 * gradient
        v[place] = 0.99 * v[place] + 0.01 * gradient * gradient
        let k = Double(iteration + 1)
        let moment = m[place] / (1 - pow(0.8, k)), square = v[place] / (1 - pow(0.99, k))
        p.pointer[place] -= Float(0.02 * moment / ((square + 1e-8).squareRoot() + 1e-6))
      }
    }
    #expect(abs(Double(got) - sum / 10) < 1e-4)
    #expect(abs(sum / 10 - log(10)) > 0.02, "the training does something")
  }

  @Test("starts at Adam's usual constants and learns a better learning rate")
  func learns() throws {
    let inner = try InnerTask(task(pairs: 2)) {
      Adam(parameters: $0, settings: OptimizerSettings(.adam, ["learning_rate": 0.15]), level: .best)
    }
    let curve = InnerRun.curve(inner, theta: nil, steps: 60, seed: 1)
    let first = curve.prefix(10).reduce(0, +) / 10, last = curve.suffix(10).reduce(0, +) / 10
    #expect(last < first - 0.05, "from \(first) to \(last)")
  }

  @Test("its cost is that of all trainings behind a gradient, also in outlines and inside augmentations")
  func cost() throws {
    let task = try task(pairs: 3, steps: 7)
    let inner = try #require(task.unroll).inner
    #expect(task.flopsPerStep == 7 * 7 * inner.flopsPerStep)
    #expect(task.layout.elements == 4)
    #expect(try TaskOutline.of(task.config).flopsPerStep == task.flopsPerStep)
    let wrapped = Augmentation.delayed(steps: 2).config(around: task.config)
    #expect(try TaskOutline.of(wrapped).flopsPerStep == drome.build(wrapped).flopsPerStep)
    let error = #expect(throws: SpecError.self) {
      try drome.build(TaskConfig("LOpt", ["optimizer": "LearnableAda", "steps": 5]))
    }
    #expect(error?.faults.map(\.path).contains("/args/optimizer") == true)
    #expect(error?.faults.map(\.path).contains("/args/family") == true)
  }
}
