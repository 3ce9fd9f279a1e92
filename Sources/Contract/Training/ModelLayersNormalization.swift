// Normalising layers: batch, layer, root-mean-square and group. ModelLayer lists all kinds.
import Foundation

extension Layer {
  /// Numbers less their mean, divided by their deviation (but RMS subtracts no mean), times `scale`, plus `offset`.
  ///
  /// Batch normalisation takes mean and variance over the batch and all axes but the last while training, and running
  /// averages of both when the model is judged or used. Layer and RMS normalisation run over the last axis of each
  /// position, group normalisation over positions and the channels of a group.
  public struct Normalization: LayerRule {
    public enum Over: String, Sendable { case batch, layer, rms, group }

    public var over: Over
    /// Added to the variance; 1e-5 without it.
    public var epsilon: Double
    /// Groups of channels, for group normalisation.
    public var groups: Int
    /// How `scale` starts; nil takes ones. Zeros at the end of a residual branch make it start as the identity.
    public var initial: Initialization?

    /// The share of a running average that each step keeps.
    public static let runningDecay: Float = 0.9

    public init(_ over: Over, epsilon: Double = 1e-5, groups: Int = 1, initial: Initialization? = nil) {
      self.over = over
      self.initial = initial
      self.epsilon = epsilon
      self.groups = groups
    }

    init?(_ over: Over, _ fields: inout Fields) {
      let epsilon = fields.number("epsilon", in: 1e-12...1) ?? 1e-5
      var groups: Int? = 1
      if over == .group {
        groups = fields.integer("groups", in: 1...ModelSpec.unitsMax, required: "into how many groups channels go")
      }
      let initial = fields.initialization()
      guard let groups else { return nil }
      self.init(over, epsilon: epsilon, groups: groups, initial: initial)
    }

    var members: [String: JSON] {
      var members: [String: JSON] = ["epsilon": .number(epsilon)]
      if over == .group { members["groups"] = .integer(groups) }
      if let initial { members["init"] = initial.json }
      return members
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      try site.needsNumbers()
      guard let channels = site.shape.last else {
        throw LayerFault("needs an input of at least one axis, got a single number")
      }
      guard over != .group || channels % groups == 0 else {
        throw LayerFault("needs channels that its \(groups) groups divide, got \(channels)")
      }
      let count = Size.product(site.shape)
      var facts = LayerFacts(output: site.shape, flops: Size.product([8, count]))
      if over != .rms { facts.parameters = [("offset", [channels], .zeros)] }
      facts.parameters.append(("scale", [channels], initial ?? .ones))
      if over == .batch { facts.statistics = [("mean", [channels]), ("variance", [channels])] }
      switch over {
      case .batch:
        // What was normalised, before scale and offset; the squares of the variance.
        facts.kept = count
        facts.passing = count
      // Mean and deviation of each normalised stretch.
      case .layer, .rms:
        facts.reads.input = true
        facts.kept = 2 * (count / channels)
      case .group:
        facts.reads.input = true
        facts.kept = 2 * groups
      }
      return facts
    }
  }
}
