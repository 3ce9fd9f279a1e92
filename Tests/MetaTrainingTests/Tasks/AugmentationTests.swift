// Augmentation.swift and the links of GradientSource: each against its definition.
import AllocationCounter
import Compute
import Contract
import Foundation
import Learning
import Testing

@testable import MetaTraining

private let bowl = TaskConfig("FixedDimQuadratic", ["dimensions": 6, "seed": 5])

/// A task with augmentations around it, from the innermost.
private func wrapped(_ augmentations: [Augmentation], _ config: TaskConfig = bowl) throws -> TrainingTask {
  try tasks.build(augmentations.reduce(config) { $1.config(around: $0) })
}

private let point: [Double] = [0.5, -1, 2, 0.25, -0.75, 1.5]

@Suite struct AugmentationTests {
  @Test(
    "gradient descent on a reparametrised quadratic goes by the closed form",
    arguments: [
      Augmentation.ReparametrisationLevel.global, .tensor, .parameter,
    ])
  func reparametrised(level: Augmentation.ReparametrisationLevel) throws {
    let task = try wrapped([.reparametrised(level, 0.5...2)])
    let chain = task.gradientSource(), plain = try wrapped([]).gradientSource()
    let key = RandomKey(seed: 4), episode = RandomKey(seed: 9)
    let floats = task.layout.floats
    let p = AlignedBuffer(floats: floats), g = AlignedBuffer(floats: floats), q = AlignedBuffer(floats: floats)
    let memory = AlignedBuffer(floats: chain.outermost.memoryFloats)
    chain.outermost.begin(p.pointer, memory: memory.pointer, initial: key, episode: episode)
    plain.outermost.begin(q.pointer, memory: memory.pointer, initial: key, episode: episode)
    // c p is the plain start; the scales are what the starts differ by.
    let scales = (0..<6).map { Double(q.pointer[$0]) / Double(p.pointer[$0]) }
    #expect(scales.allSatisfy { (0.49...2.01).contains($0) })
    #expect((Set(scales.map { ($0 * 1e4).rounded() }).count > 1) == (level == .parameter))
    // loss(c p) = sum (m - c p)²: p' = p - rate 2 c (c p - m), so c p - m shrinks by 1 - 2 rate c² a step.
    let centre = evaluate(try wrapped([]), at: [Double](repeating: 0, count: 6)).gradient.map { -$0 / 2 }
    let gaps = (0..<6).map { scales[$0] * Double(p.pointer[$0]) - centre[$0] }
    let rate = 0.05
    for iteration in 0..<10 {
      _ = chain.outermost.evaluate(
        p.pointer, gradients: g.pointer, memory: memory.pointer, step: .init(iteration: iteration, key: key))
      for place in 0..<6 { p.pointer[place] -= Float(rate) * g.pointer[place] }
    }
    for place in 0..<6 {
      let expected = gaps[place] * pow(1 - 2 * rate * scales[place] * scales[place], 10)
      #expect(abs(scales[place] * Double(p.pointer[place]) - centre[place] - expected) < 1e-4)
    }
  }

  @Test("a delayed gradient is exactly that of the parameters some steps ago", arguments: [1, 2, 5])
  func delayed(steps: Int) throws {
    let task = try wrapped([.delayed(steps: steps)])
    let plain = try wrapped([])
    let chain = task.gradientSource()
    let p = AlignedBuffer(floats: task.layout.floats), g = AlignedBuffer(floats: task.layout.floats)
    let memory = AlignedBuffer(floats: chain.outermost.memoryFloats)
    let key = RandomKey(seed: 4)
    chain.outermost.begin(p.pointer, memory: memory.pointer, initial: key, episode: key)
    var history: [[Double]] = []
    for iteration in 0..<12 {
      history.append((0..<6).map { Double(p.pointer[$0]) })
      let loss = chain.outermost.evaluate(
        p.pointer, gradients: g.pointer, memory: memory.pointer, step: .init(iteration: iteration, key: key))
      let expected = evaluate(plain, at: history[max(0, iteration - steps)])
      #expect(Double(loss) == expected.loss)
      #expect((0..<6).map { Double(g.pointer[$0]) } == expected.gradient)
      for place in 0..<6 { p.pointer[place] -= 0.02 * g.pointer[place] }
    }
  }

  @Test("the subspace gradient's expectation is K/P of the gradient", arguments: [1, 4])
  func subspace(directions: Int) throws {
    let task = try wrapped([.subspace(directions: directions, usesSign: false)])
    let gradient = evaluate(try wrapped([]), at: point).gradient
    let draws = 4000
    var sum = [Double](repeating: 0, count: 6), squares = sum
    for seed in 0..<draws {
      let got = evaluate(task, at: point, key: RandomKey(seed: UInt64(seed))).gradient
      for place in 0..<6 {
        sum[place] += got[place]
        squares[place] += got[place] * got[place]
      }
    }
    for place in 0..<6 {
      let mean = sum[place] / Double(draws)
      let deviation = ((squares[place] / Double(draws) - mean * mean) / Double(draws)).squareRoot()
      #expect(abs(mean - gradient[place] * Double(directions) / 6) < 5 * deviation + 1e-6)
    }
  }

  @Test("with signs, one direction gives a gradient of length one that descends")
  func subspaceSign() throws {
    let task = try wrapped([.subspace(directions: 1, usesSign: true)])
    let gradient = evaluate(try wrapped([]), at: point).gradient
    for seed in 0..<20 {
      let got = evaluate(task, at: point, key: RandomKey(seed: UInt64(seed))).gradient
      #expect(abs(got.reduce(0) { $0 + $1 * $1 } - 1) < 1e-5)
      #expect((0..<6).reduce(0.0) { $0 + got[$1] * gradient[$1] } > 0)
    }
  }

  @Test(
    "the evolved gradient is unbiased on a quadratic, and its loss is the one at the parameters", arguments: [1, 8])
  func evolved(pairs: Int) throws {
    let task = try wrapped([.evolved(deviation: 0.1, pairs: pairs)])
    let expected = evaluate(try wrapped([]), at: point)
    let draws = 4000 / pairs
    var sum = [Double](repeating: 0, count: 6), squares = sum
    for seed in 0..<draws {
      let got = evaluate(task, at: point, key: RandomKey(seed: UInt64(seed)))
      #expect(got.loss == expected.loss)
      for place in 0..<6 {
        sum[place] += got.gradient[place]
        squares[place] += got.gradient[place] * got.gradient[place]
      }
    }
    for place in 0..<6 {
      let mean = sum[place] / Double(draws)
      let deviation = ((squares[place] / Double(draws) - mean * mean) / Double(draws)).squareRoot()
      #expect(abs(mean - expected.gradient[place]) < 5 * deviation + 1e-3)
    }
  }

  @Test("a normalised gradient has length one and its direction; zero stays zero")
  func normalised() throws {
    let task = try wrapped([.normalised])
    let gradient = evaluate(try wrapped([]), at: point).gradient
    let length = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let got = evaluate(task, at: point).gradient
    for place in 0..<6 { #expect(abs(got[place] - gradient[place] / length) < 1e-6) }
    let flat = try wrapped([.normalised], TaskConfig("Quadratic", ["dimensions": 3]))
    #expect(evaluate(flat, at: [0, 0, 0]).gradient == [0, 0, 0])
  }

  @Test("bfloat16 keeps eight bits of each number, ties to even")
  func bfloat16() throws {
    #expect(Float(1.00390625).roundedToBFloat16 == 1)
    #expect(Float(1.01171875).roundedToBFloat16 == 1.015625)
    #expect(Float(-3.14159).roundedToBFloat16 == -3.140625)
    #expect(Float.infinity.roundedToBFloat16 == .infinity && Float.nan.roundedToBFloat16.isNaN)
    let task = try wrapped([.bfloat16])
    let chain = task.gradientSource()
    let p = AlignedBuffer(floats: task.layout.floats), memory = AlignedBuffer(floats: 16)
    chain.outermost.begin(p.pointer, memory: memory.pointer, initial: RandomKey(seed: 1), episode: RandomKey(seed: 2))
    #expect((0..<6).allSatisfy { p.pointer[$0].bitPattern & 0xFFFF == 0 && p.pointer[$0] != 0 })
    p.pointer[0] = 0.1
    chain.outermost.settle(p.pointer)
    #expect(p.pointer[0] == Float(0.1).roundedToBFloat16 && p.pointer[0] != 0.1)
    #expect(evaluate(task, at: point).gradient.allSatisfy { Float($0).bitPattern & 0xFFFF == 0 })
  }

  @Test("a sparse gradient keeps its share of coordinates as they are")
  func sparse() throws {
    let config = TaskConfig("FixedDimQuadratic", ["dimensions": 4000])
    let start = [Double](repeating: 10, count: 4000)
    let gradient = evaluate(try tasks.build(config), at: start).gradient
    let got = evaluate(try wrapped([.sparse(share: 0.1)], config), at: start).gradient
    let kept = got.indices.filter { got[$0] != 0 }
    #expect(kept.allSatisfy { got[$0] == gradient[$0] })
    // Five deviations of a binomial of 4000 at 0.1.
    #expect(abs(kept.count - 400) < 95)
  }

  @Test("the normalised loss passes its slope to the gradient")
  func normalisedLoss() throws {
    let config = TaskConfig("SoftmaxRegression", ["dimensions": 2, "classes": 2, "batch": 4, "rows": 20, "decay": 0])
    // The cut lets losses below 1.5 ln 2 pass unchanged and stops those above.
    let calm = [Double](repeating: 0, count: 6), wild: [Double] = [0, 0, 50, -50, -50, 50]
    let task = try wrapped([.normalisedLoss], config)
    #expect(evaluate(task, at: calm).gradient == evaluate(try tasks.build(config), at: calm).gradient)
    for sign in [1.0, -1] {
      let far = wild.map { sign * $0 }
      let got = evaluate(task, at: far)
      if got.loss > 1.5 * log(2) { #expect(got.gradient.allSatisfy { $0 == 0 }) }
    }
  }

  @Test("a reduced batch keeps the first examples of the whole one")
  func reducedBatch() throws {
    let config = TaskConfig(
      "ImageMLP", ["data": ["obj": "synth_blobs", "args": ["imageSize": 4, "batch": 10, "rows": 50]]])
    let whole = try tasks.build(config)
    let reduced = try tasks.build(TaskConfig("ReducedBatch", ["fraction": 0.37, "family": config.json]))
    #expect(reduced.batchSize == 3 && whole.batchSize == 10)
    let key = RandomKey(seed: 6)
    func labels(_ task: TrainingTask) -> [Int32] {
      let executor = Executor(task.plan)
      let places = BatchPlaces(task.source.inputs, of: executor)
      defer { places.deallocate() }
      task.source.draw(key, into: places)
      return (0..<task.batchSize).map { places.int32(1)[$0] }
    }
    #expect(labels(reduced) == Array(labels(whole).prefix(3)))
  }

  @Test("all augmentations compose in the published order, run inside a training, and survive JSON")
  func composition() throws {
    let chain: [Augmentation] = [
      .reparametrised(.tensor, 0.1...10), .evolved(deviation: 0.01, pairs: 2), .bfloat16, .normalised,
      .subspace(directions: 3, usesSign: false), .delayed(steps: 2),
    ]
    let task = try wrapped(
      chain,
      TaskConfig("ImageMLP", ["data": ["obj": "synth_blobs", "args": ["imageSize": 4, "batch": 8, "rows": 64]]]))
    #expect(task.augmentations == chain)
    #expect(task.flopsPerStep > Double(task.plan.flops))
    let inner = try InnerTask(task) { Adam(parameters: $0, level: .best) }
    let one = InnerRun.curve(inner, theta: nil, steps: 20, seed: 1)
    #expect(one.allSatisfy(\.isFinite) && Set(one).count > 1)
    #expect(one == InnerRun.curve(inner, theta: nil, steps: 20, seed: 1))
    #expect(try TaskConfig.decode(JSON.parse(task.config.canonicalText)) == task.config)
  }

  @Test(
    "an inner step allocates nothing, whatever is around it", .enabled(if: allocation_count() >= 0),
    arguments: [
      [], [Augmentation.reparametrised(.parameter, 0.1...10)], [.evolved(deviation: 0.01, pairs: 2)], [.bfloat16],
      [.normalised], [.subspace(directions: 3, usesSign: true)], [.delayed(steps: 3)], [.normalisedLoss],
      [.noise(deviation: 0.1)], [.sparse(share: 0.5)],
      [
        .reparametrised(.tensor, 0.1...10), .evolved(deviation: 0.01, pairs: 2), .bfloat16, .normalised,
        .subspace(directions: 3, usesSign: false), .delayed(steps: 2),
      ],
    ])
  func allocations(_ chain: [Augmentation]) throws {
    let task = try wrapped(
      chain,
      TaskConfig(
        "ImageMLP",
        ["dropout": 0.1, "data": ["obj": "synth_blobs", "args": ["imageSize": 4, "batch": 8, "rows": 64]]]))
    let lane = InnerLane(try InnerTask(task) { Adam(parameters: $0, level: .best) })
    let member = Member(lane)
    let key = RandomKey(seed: 1)
    lane.reset(member, initial: key, episode: key, theta: nil)
    func step(_ iteration: Int) -> Float {
      lane.drawBatch(key.derive(8, UInt32(iteration), 0))
      return lane.step(member, theta: nil, iteration: iteration, totalSteps: 100)
    }
    var sum = step(0)
    let before = allocation_count()
    for iteration in 1..<50 { sum += step(iteration) }
    let allocations = allocation_count() - before
    #expect(allocations == 0)
    #expect(sum.isFinite)
  }

  @Test("scales outside rounding are refused, and so are unknown arguments, by path")
  func faults() {
    let inside = Augmentation.bfloat16.config(around: bowl)
    #expect(throws: SpecError.self) { try wrapped([.reparametrised(.global, 0.1...10)], inside) }
    let config = TaskConfig(
      "ReparamWeights", ["range": [2, 1], "family": TaskConfig("Quadratic", ["dimension": 3]).json])
    let error = #expect(throws: SpecError.self) { try tasks.build(config) }
    #expect(Set(error?.faults.map(\.path) ?? []) == ["/args/range", "/args/family/args/dimension"])
  }
}
