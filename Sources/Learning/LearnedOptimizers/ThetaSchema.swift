// ThetaSchema: a learned architecture with its constants, from which the tensors of theta follow. Theta reads and
// writes their values; each architecture's own file has its leaves.
import Compute
import Contract

/// An architecture of learned optimizers together with the constants that theta alone does not tell.
public struct ThetaSchema: Sendable, Hashable {
  /// Which optimizer this makes.
  public let name: OptimizerName
  /// The architecture's name in files.
  public let architecture: String
  /// All its constants, as stored in files.
  public let configuration: JSON
  /// The tensors of theta in canonical order: sorted key by key.
  let leaves: [ThetaLeaf]
  private let build: @Sendable (ParameterLayout, OptimizerSettings, CPULevel) -> any Optimizer

  /// The schema of an architecture's type with these constants.
  public init<Rule: LearnedOptimizer>(_ type: Rule.Type, _ configuration: Rule.Configuration) {
    name = Rule.optimizer
    architecture = Rule.architecture
    self.configuration = configuration.json
    leaves = Rule.leaves(configuration).sorted { $0.path.lexicographicallyPrecedes($1.path) }
    build = { Rule(parameters: $0, configuration: configuration, settings: $1, level: $2) }
  }

  /// The schema with its published constants but for those that `fields` gives; what is wrong there becomes a fault.
  public init<Rule: LearnedOptimizer>(_ type: Rule.Type, reading fields: inout Fields) {
    var configuration = Rule.Configuration()
    configuration.read(&fields)
    self.init(type, configuration)
  }

  /// The schema of a tree of weights, nil where it is not one of this architecture.
  init?<Rule: LearnedOptimizer>(_ type: Rule.Type, recognising tree: ThetaTree, _ fields: inout Fields) {
    guard var configuration = Rule.recognise(tree) else { return nil }
    configuration.read(&fields)
    self.init(type, configuration)
  }

  /// The schema that these constants make where `self` has the others.
  func reading(_ fields: inout Fields) -> ThetaSchema {
    guard let type = OptimizerCatalog.type(of: name) else { preconditionFailure("ThetaSchema: \(name) is not listed") }
    return ThetaSchema(type, stored: configuration, reading: &fields)
  }

  private init<Rule: LearnedOptimizer>(_ type: Rule.Type, stored: JSON, reading fields: inout Fields) {
    var configuration = Rule.Configuration()
    // What a configuration writes it reads.
    if var own = Fields(stored, faults: Faults()) { configuration.read(&own) }
    configuration.read(&fields)
    self.init(type, configuration)
  }

  public static func == (a: ThetaSchema, b: ThetaSchema) -> Bool {
    a.name == b.name && a.configuration == b.configuration
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(name)
    hasher.combine(configuration)
  }

  /// The layout of theta in canonical order, its names the keys joined by `/`.
  public var layout: ParameterLayout { ParameterLayout(leaves.map { (name: $0.name, shape: $0.shape) }) }

  /// Makes the optimizer of this architecture for `parameters`; ``OptimizerCatalog`` adds what its settings want
  /// around it.
  public func optimizer(
    parameters: ParameterLayout, settings: OptimizerSettings? = nil, level: CPULevel
  ) -> any Optimizer {
    build(parameters, settings ?? OptimizerSettings(name), level)
  }
}
