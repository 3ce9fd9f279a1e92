// Hand-designed optimizers against recordings of optax and of the baselines of learned_optimization.
import Compute
import Contract
import Learning
import Testing

@Suite("Hand-designed optimizers")
struct HandDesignedTests {
  /// A recorded trajectory and the options it was made with.
  struct Recording: Sendable, CustomTestStringConvertible {
    let trajectory: String
    let settings: OptimizerSettings
    let level: CPULevel
    var testDescription: String { "\(trajectory) at \(level)" }
  }

  static let recordings: [Recording] = [
    ("sgd", .sgd, ["learning_rate": 0.01]),
    ("sgdm", .momentum, ["learning_rate": 0.01, "momentum": 0.9]),
    ("adam", .adam, ["learning_rate": 0.01, "epsilon_root": 1e-8]),
    ("adam_optax", .adam, ["learning_rate": 0.01]),
  ].flatMap { (trajectory: String, name: OptimizerName, options: [String: JSON]) in
    availableLevels.map {
      Recording(trajectory: trajectory, settings: OptimizerSettings(name, options), level: $0)
    }
  }

  @Test("follow the reference at every level", arguments: recordings)
  func follows(_ one: Recording) throws {
    let recorded = try RecordedRun("hand_designed")
    let run = OptimizerRun(
      OptimizerCatalog.make(one.settings, parameters: recorded.parameters, level: one.level),
      totalSteps: recorded.totalSteps)
    #expect(try recorded.replay(run, trajectory: "traj/\(one.trajectory)") < 1)
  }

  @Test("the comparison tells Adam with and without an epsilon below the root apart")
  func recordingIsSensitive() throws {
    let recorded = try RecordedRun("hand_designed")
    let settings = OptimizerSettings(.adam, ["learning_rate": 0.01])
    let run = OptimizerRun(Adam(parameters: recorded.parameters, settings: settings, level: .scalar))
    #expect(try recorded.replay(run, trajectory: "traj/adam") > 10)
  }
}
