// TaskRegistry.swift, TaskFamilies.swift, TaskMixes.swift, CPUDrome.swift, CostModel.swift.
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

@Suite struct TaskRegistryTests {
  @Test("an unknown name is answered with near ones")
  func nearNames() {
    let error = #expect(throws: SpecError.self) { try TaskRegistry.standard.record("quadratik") }
    #expect(error?.faults.first?.reason.contains("Quadratic") == true)
    let builder = #expect(throws: SpecError.self) { try tasks.build(TaskConfig("ImageMPL")) }
    #expect(builder?.faults.first?.reason.contains("did you mean ImageMLP") == true)
  }

  @Test("fixed tasks differ in their ids, and data that was made never has a public name")
  func names() {
    let fixed = TaskRegistry.standard.records.filter { $0.kind == .fixed }
    #expect(Set(fixed.map { $0.config(RandomKey(seed: 0)).id }).count == fixed.count)
    for record in TaskRegistry.standard.records where record.kind == .fixed {
      let isMade = record.config(RandomKey(seed: 0)).canonicalText.contains("synth_")
      #expect(record.name.hasPrefix("synth_") == isMade, "\(record.name)")
    }
  }

  @Test("published sizes are met")
  func parameters() throws {
    let expected = [
      "ImageMLP_FashionMnist8_Relu32": 2410, "ImageMLP_FashionMnist_Relu128x128": 118_282,
      "ImageMLP_Cifar10_128x128x128_Relu": 427_658, "Conv_Cifar10_8_16x32": 5418, "Conv_Cifar10_16_32x64x64": 56_970,
    ]
    for (name, count) in expected {
      let record = try TaskRegistry.standard.record(name).described(level: .best)
      #expect(record["params"] == .integer(count), "\(name)")
      #expect(abs((record["chanceLoss"]?.number ?? 0) - log(10)) < 1e-9, "\(name)")
    }
  }

  @Test(
    "small fixed tasks on made data start near chance and learn",
    arguments: [
      "synth_ImageMLP_FashionMnist8_Relu32", "synth_Conv_Cifar10_8_16x32", "synth_TransformerLM_LM1B_MultiRuntime_2",
      "synth_ESWrapped_1pair_FashionMnist8_Relu32",
    ])
  func learns(name: String) throws {
    let task = try tasks.build(TaskRegistry.standard.record(name).config(RandomKey(seed: 0)))
    let chance = try #require(task.chanceLoss)
    let inner = try InnerTask(task) {
      Adam(parameters: $0, settings: OptimizerSettings(.adam, ["learning_rate": 0.01]), level: .best)
    }
    let curve = InnerRun.curve(inner, theta: nil, steps: 100, seed: 1)
    #expect(abs(Double(curve[0]) - chance) < 0.5 * chance)
    let last = Double(curve.suffix(20).reduce(0, +) / 20)
    #expect(last < Double(curve[0]) - 0.1, "\(name) went from \(curve[0]) to \(last)")
  }
}

@Suite struct TaskFamilyTests {
  @Test(
    "equal keys draw equal configurations, and dynamic keys change no tensor",
    arguments: [
      "synth_ImageMLP", "synth_ImageConv", "synth_ImageMLP-AE", "synth_ImageMLP-VAE", "synth_LM-RNN",
    ])
  func deterministic(name: String) throws {
    guard case .family(let family) = try TaskRegistry.standard.record(name).content else {
      Issue.record("\(name) is no family")
      return
    }
    let key = RandomKey(seed: 12)
    #expect(family.draw(key).canonicalText == family.draw(key).canonicalText)
    #expect(family.draw(key).id != family.draw(RandomKey(seed: 13)).id)
    // Outlines resolve the same parameters without compiling a large plan.
    let counts = try (0..<4).map {
      try TaskOutline.of(family.draw(shapes: key, dynamic: RandomKey(seed: $0))).parameters
    }
    #expect(Set(counts).count == 1)
  }

  @Test("draws stay within their ranges")
  func ranges() throws {
    guard case .family(let family) = try TaskRegistry.standard.record("synth_ImageMLP").content else { return }
    var widths: Set<Int> = []
    var activations: [String: Int] = [:]
    for seed in 0..<2000 {
      let arguments = family.draw(RandomKey(seed: UInt64(seed))).arguments
      let hidden = try #require(arguments["hidden"]?.array).compactMap(\.integer)
      #expect(hidden.count <= 4 && Set(hidden).count <= 1 && hidden.allSatisfy { (8..<128).contains($0) })
      widths.formUnion(hidden)
      let data = try #require(arguments["data"]?["args"])
      #expect((4..<32).contains(data["imageSize"]!.integer!) && (4..<512).contains(data["batch"]!.integer!))
      let scale = try #require(arguments["init"]?["scale"]?.number)
      #expect((0.5...2).contains(scale))
      activations[arguments["activation"]!.string!, default: 0] += 1
    }
    #expect(widths.count > 60)
    // relu and silu stand twice among twelve: 333 of 2000, five deviations of 16.7 allowed; the others once.
    #expect(abs(activations["relu"]! - 333) < 84 && abs(activations["silu"]! - 333) < 84)
    #expect(activations.count == 10 && abs(activations["leaky_relu"]! - 167) < 63)
  }

  @Test("log-int draws have the log-uniform distribution and never their upper end")
  func logInt() {
    var draw = Draw(RandomKey(seed: 3))
    let drawn = (0..<4000).map { _ in draw.logInt(4, 64) }
    #expect(drawn.min() == 4 && drawn.max() == 63)
    #expect(abs(drawn.count { $0 < 16 } - 2000) < 160)
    #expect(draw.logInt(1, 1) == 1)
  }

  @Test("the mix keeps to its cap of arithmetic and wraps at the published rates")
  func mix() throws {
    var draw = Draw(RandomKey(seed: 8))
    var counts: [String: Int] = [:]
    for _ in 0..<1000 {
      var config = TaskMix.augmented(TaskConfig("Quadratic"), &draw)
      while let json = config.arguments["family"] {
        counts[config.object, default: 0] += 1
        config = try TaskConfig.decode(json)
      }
    }
    #expect(abs(counts["ReparamWeights"]! - 714) < 72)
    #expect(abs(counts["ReducedBatch"]! - 200) < 64 && abs(counts["BFloat16"]! - 200) < 64)
    #expect(abs(counts["ESGradient"]! - 80) < 43 && abs(counts["DelayedGradient"]! - 50) < 35)
    let mlp = TaskFamilies.synthetic.all[0].family
    func flops(_ mix: TaskMix, _ seed: UInt64) throws -> Double {
      var config = mix.family.draw(RandomKey(seed: seed))
      #expect(config == mix.family.draw(RandomKey(seed: seed)))
      while let json = config.arguments["family"] { config = try TaskConfig.decode(json) }
      return try TaskOutline.of(config).flopsPerStep
    }
    let capped = TaskMix(families: [mlp], flopsMax: 3e6), free = TaskMix(families: [mlp], flopsMax: .infinity)
    let capped10 = try (0..<10).map { try flops(capped, $0) }, free10 = try (0..<10).map { try flops(free, $0) }
    #expect(capped10.allSatisfy { $0 <= 3e6 } && free10.contains { $0 > 3e6 })
    // No network is this small: the cheapest of the draws is taken.
    let cheapest = try flops(TaskMix(families: [mlp], flopsMax: 1), 3)
    #expect(cheapest > 1 && cheapest < free10.min()!)
  }

  @Test(
    "64 draws of a mix stay under its cap of arithmetic, or say that they do not",
    arguments: ["synth_mix:phase1-cpu", "synth_mix:phase2-cpu"]
  )
  func caps(name: String) throws {
    let mix = try #require(TaskMix.all.first { $0.name == name }).mix
    let record = try TaskRegistry.standard.record(name)
    var fallbacks = 0
    for seed: UInt64 in 0..<64 {
      let draw = record.sample(RandomKey(seed: seed))
      var config = draw.config
      while let json = config.arguments["family"] { config = try TaskConfig.decode(json) }
      // Whole batches are what the cap is for: augmentations stand around what was accepted.
      let flops = try TaskOutline.of(config).flopsPerStep
      #expect((flops > mix.flopsMax) == draw.isFallback, "\(name), seed \(seed): \(flops)")
      fallbacks += draw.isFallback ? 1 : 0
    }
    // Only language models of the published widths are so dear that 512 draws may miss the smaller cap: a ninth of all.
    #expect(fallbacks <= 12, "of 64 draws of \(name)")
  }

  @Test("a sampler whose cap nothing meets says so")
  func fallback() {
    let mix = TaskMix(families: [TaskFamilies.synthetic.all[0].family], flopsMax: 1)
    #expect(mix.family.sample(RandomKey(seed: 3)).isFallback)
  }

  @Test("a campaign trains on analytic tasks, families and configurations alike")
  func campaign() throws {
    let text = """
      {"name": "c", "optimizer": "small_fc", "phases": [{"name": "p", "estimator": {"kind": "pes", "pairs": 2, "window": 5},
       "lengths": [10, 20], "outer_steps": 3, "tasks": [{"task": "Quadratic"}, {"task": "NoisyQuadraticModels", "draws": 2},
       {"config": {"obj": "DelayedGradient", "args": {"delay": 2, "family": {"obj": "TestFunction",
         "args": {"function": "levy", "dimensions": 5}}}}}]}]}
      """
    let campaign = try LocalCampaign(
      CampaignSpec.decode(JSON.parse(text)), data: TaskDataSets([:]), threads: 1, level: .best)
    var steps = 0
    try campaign.run { record in
      steps += 1
      #expect(record.report.meanLoss.isFinite)
      return true
    }
    #expect(steps == 3 && campaign.innerSteps == 3 * 2 * 2 * 5 * 4)
  }
}

@Suite struct CostModelTests {
  @Test("prices are found back from times made with them")
  func fit() {
    let prices = [2e-7, 5e-12, 1e-10]
    var draw = Draw(RandomKey(seed: 1))
    let measured = (0..<12).map { _ in
      let features = [draw.logFloat(5, 200), draw.logFloat(1e3, 1e8), draw.logFloat(1e3, 1e7)]
      return (features: features, seconds: zip(prices, features).reduce(0) { $0 + $1.0 * $1.1 })
    }
    for (found, price) in zip(CostModel.fit(measured), prices) { #expect(abs(found / price - 1) < 1e-3) }
  }

  @Test("all arithmetic of a step is priced once, by the kind of its kernels")
  func features() throws {
    let data: JSON = ["obj": "synth_blobs", "args": ["imageSize": 8, "batch": 4, "rows": 8]]
    let conv = try tasks.build(TaskConfig("ImageConv", ["filters": [8], "data": data]))
    let features = CostModel.features(conv)
    #expect(features[1...3].allSatisfy { $0 > 0 } && features[1...3].reduce(0, +) == Double(conv.plan.flops))
    #expect(features[5] == 0)
    let evolved = try tasks.build(Augmentation.evolved(deviation: 0.1, pairs: 4).config(around: conv.config))
    #expect(CostModel.features(evolved)[2] == 3 * features[2])
    // A pair of directions takes about 46 operations for each parameter.
    #expect(abs(CostModel.features(evolved)[5] - Double(4 * 46 * conv.layout.elements)) < 2)
  }
}
