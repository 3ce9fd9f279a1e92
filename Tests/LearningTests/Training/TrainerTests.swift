// Trainer.swift, ModelPlans.swift, BatchStream.swift, Initializer.swift: whole trainings, and that they can be
// interrupted anywhere without a trace.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

/// A table that a small network can learn: the class is the quadrant of (x, y); the value is a smooth function.
private func table(regression: Bool) throws -> TrainingData {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  let key = RandomKey(seed: 1)
  let rows = (0..<600).map { index -> String in
    let words = key.words(block: UInt32(index))
    let x = 2 * RandomKey.uniform(words.0) - 1
    let y = 2 * RandomKey.uniform(words.1) - 1
    return "\(x),\(y)," + (regression ? "\(x * y + 0.3 * x)" : (x > 0) == (y > 0) ? "same" : "other")
  }
  let file = folder.appendingPathComponent("upload")
  try Data(("x,y,target\n" + rows.joined(separator: "\n")).utf8).write(to: file)
  let place = folder.appendingPathComponent("set")
  _ = try DatasetBuilder.build(file: file, options: DatasetOptions(format: .csv), folder: place)
  return try TrainingData(folder: place)
}

private func trainer(
  _ rule: OptimizerName, data: TrainingData, steps: Int = 300, seed: Int = 0, level: CPULevel = .best,
  learningRate: Double? = nil, options: [String: JSON] = [:]
) throws -> Trainer {
  let model = try ModelSpec.mlp(hidden: [16], activation: .tanh).resolved(for: data.schema.shape)
  let plans = try ModelPlans(model, batchSize: 32, judgedRows: 37, level: level)
  var options = options
  if let learningRate { options["learning_rate"] = .number(learningRate) }
  let settings = OptimizerSettings(rule, options)
  let theta = OptimizerCatalog.schema(of: rule).map { Theta.initial($0, key: RandomKey(seed: 4)).aligned() }
  return Trainer(
    plans: plans, data: data,
    optimizer: OptimizerCatalog.make(settings, parameters: plans.layout, totalSteps: steps, level: level), theta: theta,
    configuration: TrainerConfiguration(steps: steps, batchSize: 32, seed: seed))
}

@Suite struct TrainerTests {
  @Test("Adam learns the quadrants", arguments: CPULevel.allCases.filter { $0 <= .best })
  func classification(level: CPULevel) throws {
    let data = try table(regression: false)
    let trainer = try trainer(.adam, data: data, steps: 800, level: level, learningRate: 0.02)
    let before = trainer.judge(data.heldOut)
    for _ in 0..<800 { _ = trainer.advance() }
    let after = trainer.judge(data.heldOut)
    #expect(abs(before.loss - log(2)) < 0.3)
    #expect(after.loss < 0.2 && after.accuracy! > 0.93, "loss \(after.loss), accuracy \(after.accuracy!)")
  }

  @Test("Adam learns a regression")
  func regression() throws {
    let data = try table(regression: true)
    let trainer = try trainer(.adam, data: data, steps: 1500, learningRate: 0.01)
    for _ in 0..<1500 { _ = trainer.advance() }
    let judgement = trainer.judge(data.heldOut)
    #expect(judgement.loss < 0.05 && judgement.accuracy == nil, "loss \(judgement.loss)")
  }

  @Test(
    "other points of a batch teach it too",
    arguments: [
      (OptimizerName.adahessian, 400, ["learning_rate": 0.05]),
      (.mezo, 1500, ["rule": "adam", "learning_rate": 0.02, "samples": 2]),
      (.cge, 200, ["learning_rate": 0.02, "rule": "adam", "coordinates": 40]),
    ] as [(OptimizerName, Int, [String: JSON])])
  func probing(rule: OptimizerName, steps: Int, options: [String: JSON]) throws {
    let data = try table(regression: false)
    let trainer = try trainer(rule, data: data, steps: steps, options: options)
    let before = trainer.judge(data.heldOut)
    for _ in 0..<steps { _ = trainer.advance() }
    let after = trainer.judge(data.heldOut)
    #expect(after.loss < 0.5 * before.loss && after.accuracy! > 0.85, "\(before.loss) to \(after.loss)")
  }

  @Test(
    "a run that is interrupted anywhere goes on with the same bits",
    arguments: OptimizerName.allCases.filter { $0 != .auto })
  func resume(rule: OptimizerName) throws {
    let data = try table(regression: false)
    let undisturbed = try trainer(rule, data: data, steps: 60)
    let losses = (0..<60).map { _ in undisturbed.advance() }
    for stop in [0, 1, 17, 18, 59] {
      let first = try trainer(rule, data: data, steps: 60)
      var resumed = (0..<stop).map { _ in first.advance() }
      let second = try trainer(rule, data: data, steps: 60)
      try second.restore(first.checkpoint())
      while second.step < 60 { resumed.append(second.advance()) }
      #expect(resumed.map(\.bitPattern) == losses.map(\.bitPattern), "stopped at \(stop)")
      #expect(second.modelFile(metadata: [:]) == undisturbed.modelFile(metadata: [:]))
    }
  }

  @Test(
    "a run that is given more steps goes on in its whole state, in memory as from a checkpoint",
    arguments: OptimizerName.allCases.filter { $0 != .auto })
  func moreSteps(rule: OptimizerName) throws {
    let data = try table(regression: false)
    func longer(_ trainer: Trainer) {
      let made = OptimizerCatalog.make(
        OptimizerSettings(rule), parameters: trainer.plans.layout, totalSteps: 40, level: .best)
      trainer.extend(to: 40, with: made)
    }
    let first = try trainer(rule, data: data, steps: 20)
    var losses = (0..<20).map { _ in first.advance() }
    let end = first.checkpoint()
    longer(first)
    let second = try trainer(rule, data: data, steps: 20)
    try second.restore(end)
    longer(second)
    let rest = (0..<20).map { _ in first.advance() }
    #expect((0..<20).map { _ in second.advance().bitPattern } == rest.map(\.bitPattern))
    #expect(first.modelFile(metadata: [:]) == second.modelFile(metadata: [:]))
    losses += rest
    // Who does not plan does not notice.
    let whole = try trainer(rule, data: data, steps: 40)
    guard !whole.optimizer.needs.contains(.totalSteps) else { return }
    #expect((0..<40).map { _ in whole.advance().bitPattern } == losses.map(\.bitPattern))
  }

  @Test("groups of another size begin empty, and updates count as if they had always been of that size")
  func largerGroups() throws {
    let data = try table(regression: false)
    let trainer = try trainer(.adam, data: data, steps: 20, options: ["accumulation": 2])
    for _ in 0..<20 { _ = trainer.advance() }
    let steps = OptimizerSettings(.adam, ["accumulation": 2, "updates_max": 8])
    let made = OptimizerCatalog.make(steps, parameters: trainer.plans.layout, totalSteps: 40, level: .best)
    trainer.extend(to: 40, with: made)
    #expect(trainer.optimizer.accumulation?.group == 6)
    // Steps 20 to 23 fill what is left of the fourth group.
    var changed: [Int] = []
    var last = trainer.weights()
    for step in 20..<36 {
      _ = trainer.advance()
      let now = trainer.weights()
      // The files differ in the step they name, too: their tensors are compared.
      if try SafetensorsFile(now).floats("params.dense_0/w") != SafetensorsFile(last).floats("params.dense_0/w") {
        changed.append(step)
      }
      last = now
    }
    #expect(changed == [23, 29, 35])
  }

  @Test("a fallback begins where it is told, as in a run of the steps that are left")
  func fallback() throws {
    let data = try table(regression: false)
    func adamw(_ layout: ParameterLayout) -> any Optimizer {
      OptimizerCatalog.make(OptimizerSettings(.adamw), parameters: layout, totalSteps: 60, level: .best)
    }
    // From the initial weights it is the run that had that optimizer from the start.
    let plain = try trainer(.adamw, data: data, steps: 60)
    let losses = (0..<60).map { _ in plain.advance() }
    let wild = try trainer(.celo, data: data, steps: 60)
    for _ in 0..<17 { _ = wild.advance() }
    try wild.fallBack(to: adamw(wild.plans.layout), weights: nil, step: 0)
    #expect((0..<60).map { _ in wild.advance() } == losses)
    // From others it counts anew, and goes on exactly from a checkpoint.
    let later = try trainer(.celo, data: data, steps: 60)
    for _ in 0..<10 { _ = later.advance() }
    let anchor = later.weights()
    for _ in 0..<9 { _ = later.advance() }
    try later.fallBack(to: adamw(later.plans.layout), weights: anchor, step: 10)
    #expect(later.step == 10 && later.weights() == anchor)
    for _ in 0..<5 { _ = later.advance() }
    let file = later.checkpoint(notes: ["mine": "kept"])
    #expect(try Trainer.metadata(of: file)["mine"] == "kept")
    let resumed = Trainer(
      plans: later.plans, data: data, optimizer: adamw(later.plans.layout), theta: nil,
      configuration: TrainerConfiguration(steps: 60, batchSize: 32, seed: 0, optimizerStart: 10))
    try resumed.restore(file)
    #expect((0..<45).map { _ in resumed.advance() } == (0..<45).map { _ in later.advance() })
    #expect(throws: DataFault.self) { try plain.restore(file) }
  }

  @Test("another seed gives another run, the same seed the same one")
  func seeds() throws {
    let data = try table(regression: false)
    let curves = try [1, 1, 2].map { seed in
      let trainer = try trainer(.sgd, data: data, seed: seed)
      return (0..<10).map { _ in trainer.advance() }
    }
    #expect(curves[0] == curves[1] && curves[0] != curves[2])
  }

  @Test("a checkpoint of another run is refused")
  func foreignCheckpoint() throws {
    let data = try table(regression: false)
    let file = try trainer(.adam, data: data).checkpoint()
    #expect(throws: DataFault.self) { try trainer(.adam, data: data, seed: 9).restore(file) }
    #expect(throws: DataFault.self) { try trainer(.sgd, data: data).restore(file) }
    #expect(throws: FormatError.self) { try trainer(.adam, data: data).restore(file.prefix(file.count - 8)) }
  }

  @Test("a loss that is not finite is skipped a few times, then the run counts as diverged")
  func divergence() throws {
    let data = try table(regression: true)
    let trainer = try trainer(.sgd, data: data, learningRate: 1e6)
    var steps = 0
    while !trainer.isDiverged && steps < 100 {
      _ = trainer.advance()
      steps += 1
    }
    #expect(trainer.isDiverged && steps < 100)
  }

  @Test("an epoch shows every row once before any row twice")
  func epochs() {
    var stream = BatchStream(rows: 103, batchSize: 10, key: RandomKey(seed: 3))
    for epoch in 0..<3 {
      var seen: Set<Int> = []
      for step in epoch * 10..<(epoch + 1) * 10 { stream.batch(step: step) { _, row in seen.insert(row) } }
      #expect(seen.count == 100 && seen.allSatisfy((0..<103).contains))
    }
    var again = BatchStream(rows: 103, batchSize: 10, key: RandomKey(seed: 3))
    var late: [Int] = []
    var straight: [Int] = []
    again.batch(step: 27) { _, row in late.append(row) }
    stream.batch(step: 27) { _, row in straight.append(row) }
    #expect(late == straight)
  }
}
