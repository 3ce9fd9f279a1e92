// ModelMemory.swift: what Contract says a run will hold, against what a trainer's plans and buffers take.
import Compute
import Contract
import Testing

@testable import Learning

private let small: [(String, DataShape)] = [
  ("table", DataShape(input: [20], target: .classes(3))), ("grey", DataShape(input: [28, 28], target: .classes(10))),
  ("colour", DataShape(input: [32, 32, 3], target: .classes(10))),
  ("text", DataShape(input: [64], elements: .tokens(vocabulary: 256), target: .tokens(vocabulary: 256))),
  ("documents", DataShape(input: [32], elements: .tokens(vocabulary: 500), target: .classes(4))),
]

@Suite struct ModelMemoryTests {
  @Test("the foreseen memory is at least what a run takes, and at most a third more", arguments: small, [8, 64])
  func foreseen(sample: (name: String, data: DataShape), batch: Int) throws {
    for name in Preset.Name.allCases {
      guard let model = try? ModelSpec.preset(.standard(name)).resolved(for: sample.data) else { continue }
      let plans = try ModelPlans(model, batchSize: batch, level: .best)
      // Parameters, gradients, their sum over accumulated steps, Adam's two moments; two copies of a checkpoint.
      let buffers = 4 * model.parameterCount * (5 + 2 * 4)
      let actual = plans.arenaBytes + buffers
      let foreseen = model.memoryBytes(batchSize: batch, stateFloatsPerParameter: 2)
      let ratio = Double(foreseen) / Double(actual)
      #expect(ratio >= 1 && ratio <= 1.35, "\(name) on \(sample.name): \(foreseen) foreseen, \(actual) taken")
    }
  }
}
