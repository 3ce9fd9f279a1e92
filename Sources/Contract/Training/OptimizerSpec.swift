// Which optimizer trains a job: `auto` (the released learned one), a learned one by name and version, or a
// hand-designed one for comparison, which alone has hyperparameters.
import Foundation

/// The optimizers a job may name.
public enum OptimizerName: String, Sendable, CaseIterable {
  /// The released learned optimizer.
  case auto
  /// Learned: Celo (Moudgil et al. 2025, arXiv 2501.12670).
  case celo
  /// Learned: the 39-feature per-parameter network (Metz et al. 2022, arXiv 2203.11860).
  case smallFC = "small_fc"
  /// Hand-designed, for comparison.
  case adam, sgd, momentum

  public var isLearned: Bool { self == .auto || self == .celo || self == .smallFC }

  /// Floats of state kept for each parameter of a matrix.
  public var stateFloatsPerParameter: Int {
    switch self {
    case .auto, .celo, .smallFC: return 4
    case .adam: return 2
    case .momentum: return 1
    case .sgd: return 0
    }
  }

  /// The learning rate of a hand-designed optimizer that is not told one.
  public var defaultLearningRate: Double? {
    switch self {
    case .adam: return 1e-3
    case .sgd, .momentum: return 1e-2
    case .auto, .celo, .smallFC: return nil
    }
  }
}

/// The `optimizer` member of a job.
public struct OptimizerSpec: Sendable, Hashable {
  public var name: OptimizerName
  /// Version of a learned optimizer; nil takes the newest released one when the job is created.
  public var version: Int?
  /// Only for hand-designed optimizers.
  public var learningRate: Double?

  public init(name: OptimizerName = .auto, version: Int? = nil, learningRate: Double? = nil) {
    self.name = name
    self.version = version
    self.learningRate = learningRate
  }

  public var json: JSON {
    var members: [String: JSON] = ["name": .string(name.rawValue)]
    if let version { members["version"] = .integer(version) }
    if let learningRate { members["learning_rate"] = .number(learningRate) }
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
    if name.isLearned {
      spec.version = fields.integer("version", in: 1...1_000_000)
      if fields.value("learning_rate") != nil { fields.fault("learning_rate", noLearningRate) }
    } else {
      spec.learningRate = fields.number("learning_rate", in: 1e-12...1e6) ?? name.defaultLearningRate
    }
    fields.finish()
    return spec
  }
}
