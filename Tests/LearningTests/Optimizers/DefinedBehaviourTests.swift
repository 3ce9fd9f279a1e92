// What docs/optimizers.md promises of inputs at the edge: losses that turn infinite, models of a single scalar or with
// tensors that are empty, weight decay around any rule.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

@Suite("Defined behaviour")
struct DefinedBehaviourTests {
  static let rules = OptimizerName.allCases.filter { $0 != .auto && $0 != .velo }

  /// A run of an optimizer inside its guard, as Trainer has it.
  private func guarded(
    _ name: OptimizerName, _ parameters: ParameterLayout, options: [String: JSON] = [:], level: CPULevel = .best
  ) throws -> OptimizerRun {
    let theta = try OptimizerCatalog.schema(of: name).map { try livelyTheta($0) }
    let rule = OptimizerCatalog.make(
      OptimizerSettings(name, options), parameters: parameters, theta: theta?.schema, totalSteps: 20, level: level)
    let run = OptimizerRun(FiniteGuard(rule, level: level), theta: theta, totalSteps: 20)
    for tensor in parameters.tensors {
      run.set(tensor.name, to: (0..<tensor.count).map { 0.5 - 0.1 * Float($0 % 7) }, in: run.parameters)
    }
    run.initialize()
    return run
  }

  private func step(_ run: OptimizerRun, _ index: Int, loss: Float) {
    for tensor in run.optimizer.parameters.tensors {
      run.set(
        tensor.name, to: (0..<tensor.count).map { 0.1 * Float((index * 31 + $0 * 7) % 11) - 0.4 }, in: run.gradients)
    }
    run.update(loss: loss)
  }

  private func bits(_ run: OptimizerRun) -> [UInt32] {
    run.optimizer.parameters.tensors.flatMap { run.parameter($0.name) }.map(\.bitPattern)
  }

  private static let small = layout(["w": [6, 5], "b": [5], "s": .scalar])

  @Test("a step whose loss is infinite is as if it had not been, and is counted", arguments: rules)
  func infiniteLoss(name: OptimizerName) throws {
    let plain = try guarded(name, Self.small), disturbed = try guarded(name, Self.small)
    // What evaluates the batch itself has no batch here.
    guard !plain.optimizer.needs.contains(.problem) else { return }
    for index in 0..<6 {
      if index == 3 {
        let before = bits(disturbed)
        step(disturbed, 99, loss: .infinity)
        #expect(bits(disturbed) == before)
        step(disturbed, 98, loss: .nan)
        disturbed.gradients.pointer[0] = .nan
        disturbed.update(loss: 1)
        #expect(bits(disturbed) == before && disturbed.slot("skipped_in_a_row") == [3])
      }
      step(plain, index, loss: 1 / Float(index + 1))
      step(disturbed, index, loss: 1 / Float(index + 1))
    }
    #expect(bits(plain) == bits(disturbed))
    #expect(disturbed.slot("skipped") == [3] && disturbed.slot("skipped_in_a_row") == [0])
  }

  /// Breaks the parameters in its update of one iteration.
  private struct Breaking: Optimizer {
    let name = "breaking"
    let parameters: ParameterLayout
    let state = ParameterLayout([])
    let iteration: Int

    func update(
      parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
      state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
    ) {
      if step.iteration == iteration { parameters.update(repeating: .infinity, count: self.parameters.floats) }
    }
  }

  @Test("a run whose loss is infinite from step 3 on ends as diverged after six such steps")
  func diverged() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("trainyard-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("upload")
    let rows = (0..<60).map { "\($0 % 7),\($0 % 5),\($0 % 3)" }
    try Data(("x,y,target\n" + rows.joined(separator: "\n")).utf8).write(to: file)
    _ = try DatasetBuilder.build(
      file: file, options: DatasetOptions(format: .csv), folder: folder.appendingPathComponent("set"))
    let data = try TrainingData(folder: folder.appendingPathComponent("set"))
    let model = try ModelSpec.mlp(hidden: [4], activation: .relu).resolved(for: data.schema.shape)
    let plans = try ModelPlans(model, batchSize: 8, level: .best)
    let trainer = Trainer(
      plans: plans, data: data, optimizer: Breaking(parameters: plans.layout, iteration: 2), theta: nil,
      configuration: TrainerConfiguration(steps: 50, batchSize: 8, seed: 1))
    var losses: [Float] = []
    while !trainer.isDiverged, trainer.step < 50 { losses.append(trainer.advance()) }
    #expect(losses.prefix(3).allSatisfy(\.isFinite) && losses.dropFirst(3).allSatisfy { !$0.isFinite })
    #expect(trainer.step == 9 && trainer.skippedInARow == 6)
  }

  @Test("a model of one scalar, and one with empty tensors alone, are trained", arguments: rules)
  func degenerate(name: OptimizerName) throws {
    for parameters in [layout(["s": .scalar]), layout(["e": [0, 3], "s": .scalar]), layout(["e": [0]])] {
      let run = try guarded(name, parameters)
      guard !run.optimizer.needs.contains(.problem) else { return }
      for index in 0..<5 { step(run, index, loss: 1 / Float(index + 1)) }
      #expect(run.slot("skipped") == [0])
      #expect(parameters.tensors.allSatisfy { run.parameter($0.name).allSatisfy(\.isFinite) })
      if parameters["s"] != nil { #expect(run.parameter("s") != [0.5], "it does not move") }
    }
  }

  @Test("weight decay is added to the gradient, unless the rule decays weights itself", arguments: rules)
  func weightDecay(name: OptimizerName) throws {
    let own = name.traits.options.contains { $0.key == "weight_decay" }
    let plain = try guarded(name, Self.small), decayed = try guarded(name, Self.small, options: ["weight_decay": 0.25])
    guard !own, !plain.optimizer.needs.contains(.problem) else { return }
    for index in 0..<3 {
      // By hand: the loss sees the decay too.
      var loss: Float = 0.5
      for tensor in Self.small.tensors {
        let values = plain.parameter(tensor.name)
        plain.set(
          tensor.name, to: values.enumerated().map { 0.05 * Float($0.offset % 3 + index) + 0.25 * $0.element },
          in: plain.gradients)
        loss += Float(0.25 * values.reduce(0.0) { $0 + Double($1) * Double($1) })
        decayed.set(
          tensor.name, to: values.indices.map { 0.05 * Float($0 % 3 + index) }, in: decayed.gradients)
      }
      plain.update(loss: loss)
      decayed.update(loss: 0.5)
      for tensor in Self.small.tensors {
        for (a, b) in zip(plain.parameter(tensor.name), decayed.parameter(tensor.name)) {
          #expect(abs(a - b) <= 2e-5 * max(1, abs(a)), "\(tensor.name)")
        }
      }
    }
  }
}
