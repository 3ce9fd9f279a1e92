// How theta moves: the outer optimizer, which may be a learned one, and what is done to the averaged gradient before it.
import Foundation

/// The outer optimizer of a phase and what stands before it.
public struct OuterSpec: Sendable, Hashable {
  /// Where a learned outer optimizer's own theta comes from.
  public enum Source: Sendable, Hashable {
    /// A hand-designed optimizer has none.
    case none
    /// The theta under training itself, as it is at each outer step.
    case own
    /// A version of the registry.
    case version(Int)
  }
  /// Its learning rate and schedule run over the phase's outer steps.
  public var optimizer: OptimizerSettings
  public var source: Source
  /// Bound on each coordinate of the averaged gradient; nil for none.
  public var clip: Double?
  /// Bound on its length, applied after the coordinates' one; nil for none.
  public var normClip: Double?
  /// Averaged gradients that are averaged again before the optimizer runs.
  public var accumulate: Int

  public init(
    optimizer: OptimizerSettings = OptimizerSettings(.adam, ["learning_rate": 0.0003]), source: Source = .none,
    clip: Double? = 3, normClip: Double? = nil, accumulate: Int = 1
  ) {
    self.optimizer = optimizer
    self.source = source
    self.clip = clip
    self.normClip = normClip
    self.accumulate = accumulate
  }

  public var json: JSON {
    var members = optimizer.json
    members["name"] = .string(optimizer.name.rawValue)
    switch source {
    case .none: break
    case .own: members["theta"] = "self"
    case .version(let version): members["version"] = .integer(version)
    }
    return [
      "optimizer": .object(members), "clip": clip.map(JSON.number) ?? .null,
      "norm_clip": normClip.map(JSON.number) ?? .null, "accumulate": .integer(accumulate),
    ]
  }

  /// Reads an outer learner of the campaign that trains `trained`.
  static func read(_ json: JSON, path: String, faults: Faults) -> OuterSpec? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    var spec = OuterSpec()
    if let json = fields.value("optimizer"),
      var inner = Fields(json, path: fields.pointer("optimizer"), faults: faults),
      let name = inner.choice("name", of: OptimizerName.self, required: "the outer optimizer")
    {
      let own = inner.string("theta")
      let version = inner.integer("version", in: 1...1_000_000)
      if let own, own != "self" { inner.fault("theta", "expected \"self\", got \"\(own)\"") }
      switch (name.isLearned, own, version) {
      case (false, nil, nil): spec.source = .none
      case (false, _, _): inner.fault("name", "\(name.rawValue) is hand-designed and has no theta or version")
      case (true, .some, nil): spec.source = .own
      case (true, nil, .some(let version)): spec.source = .version(version)
      case (true, _, _):
        inner.fault("name", "a learned outer optimizer needs either \"theta\": \"self\" or a \"version\"")
      }
      if name == .auto { inner.fault("name", "expected an optimizer by its own name, got \"auto\"") }
      if [.mezo, .cge, .adahessian].contains(name) {
        inner.fault("name", "\(name.rawValue) evaluates the loss elsewhere, which an outer step cannot")
      }
      spec.optimizer = OptimizerSettings.read(name, &inner)
      inner.finish()
    }
    // An explicit null means no bound.
    spec.clip = fields.number("clip", in: 1e-9...1e9) ?? (fields.has("clip") ? nil : spec.clip)
    spec.normClip = fields.number("norm_clip", in: 1e-9...1e9)
    spec.accumulate = fields.integer("accumulate", in: 1...10_000) ?? 1
    fields.finish()
    return spec
  }
}
