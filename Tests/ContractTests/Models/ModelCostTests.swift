// What a step is foreseen to take. How well it is foreseen, `trainyard bench train` measures.
import Contract
import Testing

@Suite struct ModelCostTests {
  private let images = DataShape(input: [32, 32, 3], target: .classes(10))
  private let text = DataShape(
    input: [64], elements: .tokens(vocabulary: 256), target: .tokens(vocabulary: 256))
  private let speed = MachineSpeed(productFlopsPerSecond: 2e11, functionsPerSecond: 4e9, bytesPerSecond: 2e10)

  private func seconds(
    _ preset: Preset.Name, _ data: DataShape, batch: Int = 16, optimizer: OptimizerName = .adam, speed: MachineSpeed
  ) throws -> Double {
    try ModelSpec.preset(.standard(preset)).resolved(for: data)
      .secondsPerStep(batchSize: batch, optimizer: optimizer, speed: speed)
  }

  @Test("a core twice as fast takes about half as long")
  func followsSpeed() throws {
    let twice = MachineSpeed(productFlopsPerSecond: 4e11, functionsPerSecond: 8e9, bytesPerSecond: 4e10)
    for (preset, data) in [(Preset.Name.cnn, images), (.transformer, text), (.rnn, text)] {
      let ratio = try seconds(preset, data, speed: speed) / seconds(preset, data, speed: twice)
      #expect(1.9...2 ~= ratio)
    }
  }

  @Test("the time grows with the batch, never below the arithmetic's own")
  func followsWork() throws {
    for (preset, data) in [(Preset.Name.cnn, images), (.transformer, text)] {
      let small = try seconds(preset, data, batch: 16, speed: speed)
      let large = try seconds(preset, data, batch: 64, speed: speed)
      #expect(3...4 ~= large / small)
      let flops = try ModelSpec.preset(.standard(preset)).resolved(for: data).flopsPerStep(batchSize: 64)
      #expect(large > Double(flops) * 2 / 3 / speed.productFlopsPerSecond)
    }
  }

  @Test("who evaluates the batch at other parameters pays for each evaluation")
  func followsEvaluations() throws {
    func cost(_ name: OptimizerName) throws -> Double {
      try seconds(.mlp, images, batch: 256, optimizer: name, speed: speed)
    }
    let plain = try cost(.sgd)
    #expect(2.9...3.3 ~= (try cost(.adahessian)) / plain)
    // Three losses alone, which is what a loss and its gradient take, and the draws.
    #expect(1...1.7 ~= (try cost(.mezo)) / plain)
    // Two losses for each of a thousand coordinates.
    #expect(600...1100 ~= (try cost(.cge)) / plain)
  }

  @Test("learned optimizers cost more than hand-designed ones")
  func followsOptimizer() throws {
    let costs = try [OptimizerName.sgd, .momentum, .adam, .smallFC, .celo].map {
      try seconds(.mlp, images, optimizer: $0, speed: speed)
    }
    #expect(costs == costs.sorted())
    #expect(try seconds(.mlp, images, optimizer: .auto, speed: speed) == costs.last)
  }
}
