// OptimizerCatalog: the closed list of optimizers by name. What a job or a benchmark names is made here; the rules are
// in the files named like the optimizers.
import Compute

/// Makes optimizers by name.
public enum OptimizerCatalog: String, Sendable, CaseIterable {
  /// `SGD`, rate 0.01.
  case sgd
  /// `Momentum`, rate 0.01, decay 0.9.
  case momentum
  /// `Adam`, rate 0.001.
  case adam
  /// `SmallFC`, 4 hidden units.
  case smallFC = "small_fc"
  /// `Celo`, both phases.
  case celo

  /// Why a name gives no optimizer.
  public struct UnknownName: Error, Sendable, Hashable, CustomStringConvertible {
    /// The name that was asked for.
    public let name: String

    /// Says that `name` is not in the catalog.
    public init(name: String) { self.name = name }

    public var description: String {
      let known = OptimizerCatalog.allCases.map(\.rawValue).joined(separator: ", ")
      return "there is no optimizer \"\(name)\"; known are \(known)"
    }
  }

  /// Finds an optimizer by its name.
  ///
  /// - Throws: ``UnknownName``, whose text lists the known names.
  public init(name: String) throws(UnknownName) {
    guard let known = OptimizerCatalog(rawValue: name) else { throw UnknownName(name: name) }
    self = known
  }

  /// The schema of a learned optimizer's theta; nil for hand-designed ones.
  public var thetaSchema: ThetaSchema? {
    switch self {
    case .sgd, .momentum, .adam: return nil
    case .smallFC: return .smallFC(SmallFC.Configuration())
    case .celo: return .celo
    }
  }

  /// Makes the optimizer for `parameters`.
  ///
  /// - Parameter learningRate: of hand-designed optimizers; nil takes the optimizer's default. Learned ones have none
  ///   and trap on it: a job's spec has refused it before.
  public func make(parameters: ParameterLayout, learningRate: Float? = nil, level: CPULevel) -> any Optimizer {
    switch self {
    case .sgd: return SGD(parameters: parameters, learningRate: learningRate ?? 0.01, level: level)
    case .momentum: return Momentum(parameters: parameters, learningRate: learningRate ?? 0.01, level: level)
    case .adam:
      return Adam(parameters: parameters, configuration: .init(learningRate: learningRate ?? 1e-3), level: level)
    case .smallFC, .celo:
      precondition(learningRate == nil, "OptimizerCatalog: \(rawValue) is learned and has no learning rate")
      return thetaSchema!.optimizer(parameters: parameters, level: level)
    }
  }
}
