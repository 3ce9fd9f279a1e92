// OptimizerRecipe: an optimizer as a user describes it in one object: its options and, for a learned one, the constants
// of its architecture, together with its weights. OptimizerCatalog makes the optimizer; OptimizerReplay runs it.
import Contract
import Foundation

/// What an optimizer is made from.
public struct OptimizerRecipe: Sendable {
  public let settings: OptimizerSettings
  /// A learned optimizer's weights with its constants; nil for hand-designed ones.
  public let theta: Theta?

  /// Reads options and constants out of one object.
  ///
  /// - Parameters:
  ///   - name: which optimizer; `auto` takes what the weights are of.
  ///   - config: an object of options and constants under any of their names.
  ///   - theta: a learned optimizer's weights, whose own constants hold where `config` gives none.
  /// - Throws: ``SpecError`` with every fault of `config`, unknown keys among them, and where weights are missing or
  ///   given for nothing; ``FormatError`` where the constants do not fit the weights.
  public init(_ name: OptimizerName, config: JSON = [:], theta: Theta? = nil) throws {
    let name = name == .auto ? theta?.schema.name ?? name : name
    if let theta, !name.isLearned {
      throw SpecError([
        Fault(
          path: "", reason: "\(name.rawValue) is hand-designed: it takes no weights of \(theta.schema.name.rawValue)")
      ])
    }
    if let theta, theta.schema.name != name {
      throw SpecError([
        Fault(path: "", reason: "expected weights of \(name.rawValue), got those of \(theta.schema.name.rawValue)")
      ])
    }
    if name.isLearned, theta == nil {
      throw SpecError([Fault(path: "", reason: "\(name.rawValue) is a learned optimizer: its weights are needed")])
    }
    let (settings, schema) = try Self.read(name, config, theta?.schema)
    self.settings = settings
    if let theta, let schema { self.theta = try theta.with(schema) } else { self.theta = nil }
  }

  /// With the defaults of published implementations where nothing was given, for comparing with theirs.
  func asPublished() -> OptimizerRecipe {
    let settings = settings.name.publishedDefaults.reduce(settings) { settings, option in
      settings.json[option.key] == nil ? settings.with(option.key, option.value) : settings
    }
    return OptimizerRecipe(settings: settings, theta: theta)
  }

  private init(settings: OptimizerSettings, theta: Theta?) {
    self.settings = settings
    self.theta = theta
  }

  /// The options and the schema that an object gives.
  private static func read(
    _ name: OptimizerName, _ config: JSON, _ stored: ThetaSchema?
  ) throws(SpecError) -> (OptimizerSettings, ThetaSchema?) {
    try Faults.collect { faults in
      guard var fields = Fields(config, faults: faults) else { return nil }
      let schema = stored?.reading(&fields)
      var settings = OptimizerSettings.read(name, &fields)
      if !settings.has("learning_rate"), name.isLearned, fields.has("learning_rate") {
        fields.consume("learning_rate")
        fields.fault("learning_rate", OptimizerSpec.noLearningRate)
      }
      fields.finish()
      guard faults.isEmpty else { return nil }
      // A constant of the architecture that is called as an option is the architecture's, and counts once.
      settings = OptimizerSettings(name, settings.json.filter { schema?.configuration[$0.key] == nil })
      return (settings, schema)
    }
  }

  /// All that was given or recognised, as ``init(_:config:theta:)`` takes it.
  public var config: JSON {
    var members = settings.json
    if case .object(let constants)? = theta?.schema.configuration { members.merge(constants) { $1 } }
    return .object(members)
  }
}
