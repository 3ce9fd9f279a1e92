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
    #expect(losses.prefix(3).allSatisfy { $0.isFinite } && losses.dropFirst(3).allSatisfy { !$0.isFinite })
    #expect(trainer.step == 9 && trainer.skippedInARow == 6)
  }

  @Test("a model of one scalar, and one with empty tensors alone, are trained", arguments: rules)
  func degenerate(name: OptimizerName) throws {
    for parameters in [layout(["s": .scalar]), layout(["e": [0, 3], "s": .scalar]), layout(["e": [0]])] {
      let run = try guarded(name, parameters)
      guard !run.optimizer.needs.contains(.problem) else { return }
      for index in 0..<5 { step(run, index, loss: 1 / Float(index + 1)) }
      #expect(run.slot("skipped") == [0])
      #expect(parameters.tensors.allSatisfy { run.parameter($0.name).allSatisfy { $0.isFinite } })
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

  @Test("shares and decays at both ends of their ranges leave all finite", arguments: rules.filter { !$0.isLearned })
  func ends(name: OptimizerName) throws {
    let quadratic = Quadratic(Self.small, diagonal: 1)
    for option in name.options {
      guard case .number(let range, _) = option.kind, range.upperBound <= 1 else { continue }
      for value in [range.lowerBound, range.upperBound] {
        let run = try guarded(name, Self.small, options: [option.key: .number(value)])
        run.problem = quadratic.problem
        for index in 0..<5 { step(run, index, loss: 1) }
        #expect(run.allParameters.allSatisfy { $0.isFinite }, "\(option.key) = \(value)")
        #expect(run.slot("skipped") == [0], "\(option.key) = \(value)")
      }
    }
  }

  @Test("AdEMAMix's slow mean may forget at once while it warms up, Fromage may have no least norm")
  func zeros() throws {
    let slow = try guarded(.ademamix, Self.small, options: ["beta3": 0, "slow_warmup_steps": 4])
    for index in 0..<6 { step(slow, index, loss: 1) }
    #expect(slow.allParameters.allSatisfy { $0.isFinite })
    let still = try guarded(.fromage, Self.small, options: ["min_norm": 0])
    still.setGradients([Float](repeating: 0, count: Self.small.elements))
    still.update(loss: 1)
    #expect(still.allParameters.allSatisfy { $0.isFinite })
  }

  @Test("a parameter that epsilon is lost in has no slope to see: cge leaves it")
  func lostEpsilon() throws {
    let run = try guarded(.cge, Self.small, options: ["epsilon": 1e-6, "learning_rate": 1e-3])
    run.problem = Quadratic(Self.small, diagonal: 1).problem
    run.set("s", to: [1e6], in: run.parameters)
    run.update(loss: 1)
    #expect(run.parameter("s") == [1e6])
    #expect(run.allParameters.allSatisfy { $0.isFinite })
  }

  @Test("a job is told of at least the floats of state that Shampoo and SOAP keep, and hardly of more")
  func foreseenState() {
    let shapes: [[[Int]]] = [
      [[4096]], [[4000, 2], [2]], [[3, 3, 4, 8], [8]], [[784, 128], [128], [128, 10], [10]], [[], [1, 1], [0, 5]],
      [[5000, 40]], [[300, 300, 3]],
    ]
    for (name, options) in [
      (.shampoo, [:]), (.shampoo, ["block_size": 1024, "merge_max": 1_000_000, "size_max": 100_000]),
      (.shampoo, ["merge_axes": false, "graft": "adagrad"]), (.soap, [:]),
      (.soap, ["size_max": 10_000, "rotate_vectors": true]),
    ] as [(OptimizerName, [String: JSON])] {
      let settings = OptimizerSettings(name, options)
      for dimensions in shapes {
        let parameters = ParameterLayout(dimensions.enumerated().map { ("t\($0.offset)", Shape($0.element)) })
        let told = settings.stateFloatsPerParameter(of: dimensions)
        let kept = OptimizerCatalog.make(settings, parameters: parameters, level: .scalar).state.elements
        let count = parameters.elements
        #expect(told * count >= kept, "\(name.rawValue) \(options), \(dimensions)")
        #expect(told * count <= kept + 7 * count, "\(name.rawValue) \(options), \(dimensions)")
      }
    }
  }
}
