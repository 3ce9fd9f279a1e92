// SGD, momentum and Adam against recordings of optax.
import Compute
import Learning
import Testing

@Suite("Hand-designed optimizers")
struct HandDesignedTests {
  @Test("SGD follows the reference at every level", arguments: availableLevels)
  func sgd(level: CPULevel) throws {
    let recorded = try RecordedRun("hand_designed")
    let run = OptimizerRun(SGD(parameters: recorded.parameters, level: level))
    #expect(try recorded.replay(run, trajectory: "traj/sgd") < 1)
  }

  @Test("momentum follows the reference at every level", arguments: availableLevels)
  func momentum(level: CPULevel) throws {
    let recorded = try RecordedRun("hand_designed")
    let run = OptimizerRun(Momentum(parameters: recorded.parameters, level: level))
    #expect(try recorded.replay(run, trajectory: "traj/sgdm") < 1)
  }

  @Test("Adam follows the reference at every level", arguments: availableLevels)
  func adam(level: CPULevel) throws {
    let recorded = try RecordedRun("hand_designed")
    let plain = OptimizerRun(
      Adam(parameters: recorded.parameters, configuration: .init(learningRate: 0.01), level: level))
    #expect(try recorded.replay(plain, trajectory: "traj/adam_optax") < 1)

    var rooted = Adam.Configuration(learningRate: 0.01)
    rooted.epsilonRoot = 1e-8
    let run = OptimizerRun(Adam(parameters: recorded.parameters, configuration: rooted, level: level))
    #expect(try recorded.replay(run, trajectory: "traj/adam") < 1)
  }

  @Test("the comparison tells Adam with and without an epsilon below the root apart")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("hand_designed")
    let run = OptimizerRun(
      Adam(parameters: recorded.parameters, configuration: .init(learningRate: 0.01), level: .scalar))
    #expect(try recorded.replay(run, trajectory: "traj/adam") > 10)
  }
}
