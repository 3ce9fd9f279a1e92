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
    ("nesterov", .nesterov, ["learning_rate": 0.01, "momentum": 0.9, "nesterov": true]),
    ("sgdm", .nesterov, ["learning_rate": 0.01, "momentum": 0.9, "nesterov": false]),
    ("adagrad", .adagrad, ["learning_rate": 0.01, "initial_accumulator_value": 0.1, "eps": 1e-7]),
    ("adadelta", .adadelta, ["learning_rate": 1, "rho": 0.9, "eps": 1e-6]),
    ("rmsprop", .rmsprop, ["learning_rate": 0.001, "decay": 0.9, "epsilon": 1e-8, "momentum": 0]),
    ("rmsprop_momentum", .rmsprop, ["learning_rate": 0.001, "decay": 0.9, "epsilon": 1e-8, "momentum": 0.9]),
    (
      "rmsprop_centered", .rmsprop,
      ["learning_rate": 0.001, "decay": 0.9, "eps": 1e-8, "centered": true, "momentum": 0.9, "nesterov": true]
    ),
    ("adam", .adam, ["learning_rate": 0.01, "epsilon_root": 1e-8]),
    ("adam_optax", .adam, ["learning_rate": 0.01, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0]),
    ("adamw", .adamw, ["learning_rate": 0.01, "weight_decay": 0.01, "decay_vectors": true]),
    ("nadam_optax", .nadam, ["learning_rate": 0.01]),
    (
      "nadamw", .nadamw,
      [
        "learning_rate": 0.01, "adamw_weight_decay": 0.01, "l2_weight_decay": 0, "use_nesterov": true,
        "decay_vectors": true,
      ]
    ),
    (
      "nadamw_l2", .nadamw,
      [
        "learning_rate": 0.01, "beta1": 0.95, "beta2": 0.99, "epsilon": 1e-6, "adamw_weight_decay": 1e-3,
        "l2_weight_decay": 1e-2, "l2_subtracts": true, "use_nesterov": false, "decay_vectors": true,
      ]
    ),
    ("amsgrad", .amsgrad, ["learning_rate": 0.01]),
    ("radam", .radam, ["learning_rate": 0.01, "threshold": 5]),
    ("adabelief", .adabelief, ["learning_rate": 0.01, "eps": 1e-16, "eps_root": 1e-16]),
    ("yogi", .yogi, ["learning_rate": 0.01, "eps": 1e-3]),
    ("lamb", .lamb, ["learning_rate": 0.01, "eps": 1e-6, "weight_decay": 0.01, "decay_vectors": true]),
    (
      "lars", .lars,
      [
        "learning_rate": 1, "weight_decay": 0.01, "weight_decay_mask": true, "trust_coefficient": 0.001, "eps": 0,
        "momentum": 0.9, "nesterov": false,
      ]
    ),
    ("fromage", .fromage, ["learning_rate": 0.01, "min_norm": 1e-6]),
    ("sm3", .sm3, ["learning_rate": 0.01, "momentum": 0.9, "b2": 1]),
    ("adafactor", .adafactor, ["learning_rate": 0.01]),
    (
      "adafactor_factored", .adafactor,
      [
        "learning_rate": 0.01, "min_dim_size_to_factor": 4, "momentum": 0.9, "weight_decay_rate": 1e-3,
        "decay_vectors": true,
      ]
    ),
    ("adamax", .adamax, ["learning_rate": 0.01]),
    ("adan", .adan, ["learning_rate": 0.01, "eps_root": 1e-8]),
    ("ademamix", .ademamix, ["learning_rate": 0.01]),
    ("novograd", .novograd, ["learning_rate": 0.01]),
    ("lion", .lion, ["learning_rate": 0.001, "weight_decay": 0.01, "decay_vectors": true]),
    ("sign_sgd", .signSGD, ["learning_rate": 0.001]),
    ("prodigy", .prodigy, ["learning_rate": 1]),
    ("schedule_free_adamw", .scheduleFreeAdamW, ["learning_rate": 0.01, "warmup_steps": 4]),
  ].flatMap { (trajectory: String, name: OptimizerName, options: [String: JSON]) in
    availableLevels.map {
      Recording(trajectory: trajectory, settings: OptimizerSettings(name, options), level: $0)
    }
  }

  /// Rules that measure tensors are recorded with all of them, the others with the small ones.
  private static func file(of trajectory: String) throws -> RecordedRun {
    let measured = ["lamb", "lars", "fromage", "sm3", "adafactor", "adafactor_factored", "novograd", "prodigy"]
    return try RecordedRun(measured.contains(trajectory) ? "hand_designed_tensors" : "hand_designed")
  }

  @Test("follow the reference at every level", arguments: recordings)
  func follows(_ one: Recording) throws {
    let recorded = try Self.file(of: one.trajectory)
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
