// Which optimizer trains a job: `auto` (the released learned one), a learned one by name and version, or a
// hand-designed one for comparison, which has a learning rate. OptimizerTraits knows their options.
import Foundation

/// The optimizers a job may name.
public enum OptimizerName: String, Sendable, CaseIterable {
  /// The released learned optimizer.
  case auto
  /// Learned: Celo (Moudgil et al. 2025, arXiv 2501.12670).
  case celo
  /// Learned: Celo2 with its harness, and its rule alone (Moudgil et al. 2026, arXiv 2602.19142).
  case celo2
  case celo2Base = "celo2_base"
  /// Learned: the 39-feature per-parameter network (Metz et al. 2022, arXiv 2203.11860).
  case smallFC = "small_fc"
  /// Learned: VeLO (Metz et al. 2022, arXiv 2211.09760).
  case velo
  /// Learned: STAR (Harrison et al. 2022, arXiv 2209.11208).
  case star
  /// Learned: a per-parameter network on momenta (Metz et al. 2019, arXiv 1810.10180).
  case mlpLOpt = "mlp_lopt"
  /// Learned: an LSTM that sets Adam's constants (Metz et al. 2022, arXiv 2203.11860).
  case nnAdam = "nn_adam"
  /// Learned: Celo's scheduler before Adam (Moudgil et al. 2025, arXiv 2501.12670).
  case celoAdam = "celo_adam"
  /// Learned: a per-parameter network and an LSTM for each tensor (Metz et al. 2020, arXiv 2009.11243).
  case rnnMLP = "rnn_mlp"
  /// Learned: a transformer that builds a preconditioner, for few parameters (Gärtner et al. 2022, arXiv 2212.01055).
  case optimus
  /// Learned: momentum with the best two constants (Maclaurin et al. 2015, arXiv 1502.03492).
  case learnedSGDM = "learned_sgdm"
  /// Hand-designed, for comparison.
  case adam, sgd, momentum
  /// Hand-designed, on matrices: Jordan et al. 2024; Anil et al. 2020, arXiv 2002.09018; Vyas et al. 2024, arXiv
  /// 2409.11321; Frantar et al. 2021, arXiv 2107.03356.
  case muon, shampoo, soap, mfac
  /// They see losses alone: random directions (MeZO) and coordinate-wise differences (DeepZero).
  case mezo, cge
  /// It measures the curvature too (Yao et al. 2021, arXiv 2006.00719).
  case adahessian
  case nesterov, adagrad, adadelta, rmsprop, adamw, nadam, nadamw, amsgrad, radam, adabelief, yogi, lamb, lars, fromage
  case sm3, adafactor, adamax, adan, ademamix, novograd, lion, prodigy, optlist
  case signSGD = "sign_sgd"
  case dadaptAdamW = "dadapt_adamw"
  case scheduleFreeAdamW = "schedule_free_adamw"

  /// The optimizer that a name means, in any of the spellings that published implementations use.
  public init?(spelled name: String) {
    let plain = name.lowercased().filter { $0 != "_" && $0 != "-" }
    let found = Self.spellings[plain] ?? Self.allCases.first { $0.rawValue.filter { $0 != "_" } == plain }
    guard let found else { return nil }
    self = found
  }

  /// Class names of published implementations, without case and dashes.
  private static let spellings: [String: OptimizerName] = [
    "adafacmlplopt": .smallFC, "smallfclopt": .smallFC, "adafacmlp": .smallFC, "hyperv2": .velo, "mlpnomlopt": .star,
    "sgdm": .momentum, "distributedshampoo": .shampoo, "zosgd": .mezo, "spsa": .mezo, "deepzero": .cge,
    "adamaxw": .adamax, "rnnmlplopt": .rnnMLP,
  ]
}

/// The `optimizer` member of a job.
public struct OptimizerSpec: Sendable, Hashable {
  /// Which it is, with its options.
  public var settings: OptimizerSettings
  /// Version of a learned optimizer; nil takes the newest released one when the job is created.
  public var version: Int?

  public var name: OptimizerName { settings.name }

  /// - Parameter options: see ``OptimizerSettings/init(_:_:)``, which traps on wrong ones.
  public init(name: OptimizerName = .auto, version: Int? = nil, options: [String: JSON] = [:]) {
    settings = OptimizerSettings(name, options)
    self.version = version
  }

  /// A hand-designed optimizer at a learning rate.
  public init(name: OptimizerName, learningRate: Double) {
    self.init(name: name, options: ["learning_rate": .number(learningRate)])
  }

  public var json: JSON {
    var members = settings.json
    members["name"] = .string(name.rawValue)
    if let version { members["version"] = .integer(version) }
    return .object(members)
  }

  /// Why jobs have no learning rate, as clients read it.
  public static let noLearningRate =
    "there is no learning rate to choose: the learned optimizer sets every step from the gradients, the loss and the "
    + "step budget. Leave the field out. To compare with a hand-designed optimizer, name it: "
    + "\"optimizer\": {\"name\": \"adam\", \"learning_rate\": 0.001}"

  public static func read(_ json: JSON, path: String, faults: Faults) -> OptimizerSpec? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    guard let name = fields.choice("name", of: OptimizerName.self, required: "the optimizer's name") else { return nil }
    var spec = OptimizerSpec(name: name)
    if name.isLearned { spec.version = fields.integer("version", in: 1...1_000_000) }
    spec.settings = OptimizerSettings.read(name, &fields)
    if spec.settings.has("learning_rate") {
      // Stored with the job, so that it stays what it was.
      spec.settings = spec.settings.with("learning_rate", .number(spec.settings.number("learning_rate")))
    } else if fields.value("learning_rate") != nil {
      fields.fault("learning_rate", noLearningRate)
    }
    fields.finish()
    return spec
  }
}
