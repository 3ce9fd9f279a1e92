// Plain runs of inner tasks: with every hand-designed optimizer, and beyond the horizon that the optimizer plans for.
import Compute
import Contract
import Learning
import Testing

@testable import MetaTraining

struct InnerRunTests {
  private func task(_ name: OptimizerName) throws -> InnerTask {
    let config = try TaskRegistry.standard.record("Quadratic").config(RandomKey(seed: 1))
    let task = try TaskBuilder(data: TaskDataSets([:]), level: .best).build(config)
    return try InnerTask(task) {
      OptimizerCatalog.make(OptimizerSettings(name), parameters: $0, totalSteps: 20, level: .best)
    }
  }

  @Test(
    "every hand-designed optimizer runs a task, those that evaluate the batch elsewhere too",
    arguments: OptimizerName.allCases.filter { !$0.isLearned })
  func rules(name: OptimizerName) throws {
    let curve = try InnerRun.curve(task(name), theta: nil, steps: 20, seed: 1)
    #expect(curve.allSatisfy(\.isFinite) && Set(curve).count > 1, "\(curve)")
    #expect(try curve == InnerRun.curve(task(name), theta: nil, steps: 20, seed: 1))
  }

  @Test("a reset makes the optimizer's state anew and keeps the parameters")
  func reset() throws {
    let task = try task(.momentum)
    func curve(_ horizon: Horizon?) -> [Float] {
      InnerRun.curve(task, theta: nil, steps: 20, seed: 1, horizon: horizon)
    }
    let plain = curve(nil)
    let reset = curve(Horizon(steps: 20, planned: 10, continuation: .reset))
    // Momentum does not look at the time, so the other ways change nothing.
    #expect(curve(Horizon(steps: 20, planned: 10, continuation: .naive)) == plain)
    #expect(curve(Horizon(steps: 20, planned: 10, continuation: .increase)) == plain)
    // The tenth update is the last with the old momentum; its loss is seen one step later.
    #expect(reset.prefix(11) == plain.prefix(11) && reset.dropFirst(11) != plain.dropFirst(11))
  }
}
