// What an evaluation compares: one optimizer, or the best of many settings of one. EvaluationSpec holds them.
import Foundation

/// An optimizer under evaluation, together with the trials it is allowed.
public struct EvaluatedOptimizer: Sendable, Hashable {
  /// Where the optimizer comes from.
  public enum Source: Sendable, Hashable {
    /// One setting: hand-designed, or a learned optimizer of the registry, its newest release where no version is named.
    case setting(OptimizerSpec)
    /// The best of several settings, chosen for each task.
    case tuned(OptimizerSpec, Tuning)
    /// A campaign's theta after so many outer steps.
    case campaign(String, version: Int)
    /// A file of weights; only where the evaluation is run by the command line itself.
    case file(String)
  }

  /// How the settings of a tuned optimizer come about.
  public enum Tuning: Sendable, Hashable {
    /// ``learningRates``, all else as given.
    case rates
    /// NAdamW's constants and schedule drawn at random (Metz et al. 2022, arXiv 2211.09760).
    case search(trials: Int)
    /// The first entries of OptList (Metz et al. 2020, arXiv 2002.11887).
    case list(trials: Int)
  }

  /// The rates that are tried: the grid of VeLO's baselines.
  public static let learningRates = [
    1e-7, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1,
  ]
  /// How many settings a search may draw.
  public static let trialsMax = 1000

  /// The name in tables and plots; unique in an evaluation.
  public var label: String
  public var source: Source
  /// Whether a learned optimizer makes no more updates than it was trained for, as in jobs: longer runs then make
  /// updates of several steps' mean gradients. By default its rule is applied at every step.
  public var keepsHorizon: Bool

  /// - Parameter label: nil for the name.
  public init(_ source: Source, label: String? = nil, keepsHorizon: Bool = false) {
    self.source = source
    self.keepsHorizon = keepsHorizon
    self.label = label ?? Self.label(source)
  }

  /// Adam at the best of ``learningRates``.
  public static let tunedAdam = EvaluatedOptimizer(.tuned(OptimizerSpec(name: .adam), .rates))

  /// How many settings are tried for each task.
  public var trials: Int {
    switch source {
    case .setting, .campaign, .file: 1
    case .tuned(_, .rates): Self.learningRates.count
    case .tuned(_, .search(let trials)), .tuned(_, .list(let trials)): trials
    }
  }

  /// Whether the training depends on how many steps were planned; the others' short runs are beginnings of long ones.
  public var plansAhead: Bool {
    switch source {
    case .campaign, .file: true
    case .tuned(_, .search), .tuned(_, .list): true
    case .setting(let spec), .tuned(let spec, .rates):
      spec.name.isLearned || spec.name == .optlist || spec.settings.integer("updates_max") > 0
        || (spec.settings.json["schedule"] != nil && spec.settings.schedule != .constant)
    }
  }

  private static func label(_ source: Source) -> String {
    switch source {
    case .setting(let spec):
      if spec.name.isLearned { return spec.name.rawValue + (spec.version.map { " \($0)" } ?? "") }
      return spec.settings.json["learning_rate"]?.number.map { "\(spec.name.rawValue) \($0)" } ?? spec.name.rawValue
    case .tuned(let spec, .rates): return "\(spec.name.rawValue) tuned"
    case .tuned(let spec, .search(let trials)), .tuned(let spec, .list(let trials)):
      return "\(spec.name.rawValue) best of \(trials)"
    case .campaign(let id, let version): return "\(id.suffix(8)) at \(version)"
    case .file(let path):
      let name = path.split(separator: "/").last.map(String.init) ?? path
      return name.hasSuffix(".safetensors") ? String(name.dropLast(12)) : name
    }
  }

  // MARK: JSON

  public var json: JSON {
    var members: [String: JSON] = [:]
    switch source {
    case .setting(let spec), .tuned(let spec, _):
      if case .object(let own) = spec.json { members = own }
    case .campaign(let id, let version): members = ["campaign": .string(id), "version": .integer(version)]
    case .file(let path): members = ["theta": .string(path)]
    }
    switch source {
    case .tuned(_, .rates): members["tune"] = "rates"
    case .tuned(_, .search(let trials)): members.merge(["tune": "search", "trials": .integer(trials)]) { $1 }
    case .tuned(_, .list(let trials)): members.merge(["tune": "list", "trials": .integer(trials)]) { $1 }
    case .setting, .campaign, .file: break
    }
    members["label"] = .string(label)
    if keepsHorizon { members["keep_horizon"] = true }
    return .object(members)
  }

  /// The members that are not the optimizer's own.
  private static let members: Set<String> = ["label", "tune", "trials", "keep_horizon"]
  private enum Tune: String, CaseIterable { case rates, search, list }

  /// Reads one, given as an object or as a word: `adam_lr` (any name with `_lr`: tuned over the rates),
  /// `nadamw_search`, `optlist_10`, or a name alone.
  static func read(_ json: JSON, path: String, faults: Faults) -> EvaluatedOptimizer? {
    if let word = json.string { return read(word: word, path: path, faults: faults) }
    guard case .object(let all) = json, var fields = Fields(json, path: path, faults: faults) else {
      faults.add(
        path, "expected an object such as {\"name\": \"celo\"} or a word such as \"adam_lr\", got \(json.kind)")
      return nil
    }
    let label = fields.string("label", lengths: 1...60)
    let keepsHorizon = fields.bool("keep_horizon") ?? false
    let tune = fields.choice("tune", of: Tune.self)
    let trials = fields.integer("trials", in: 1...trialsMax)
    if fields.has("theta") || fields.has("campaign") {
      if let tune { fields.fault("tune", "a theta has no settings to tune, got \"\(tune.rawValue)\"") }
      if trials != nil { fields.fault("trials", "a theta has no settings to try") }
      let source: Source?
      if fields.has("theta") {
        source = fields.string("theta", lengths: 1...4096, required: "a file of weights").map(Source.file)
      } else {
        let id = fields.identifier("campaign", .campaign, required: "the campaign's id")
        let version = fields.integer(
          "version", in: 0...1_000_000_000, required: "the campaign's theta, counted in outer steps")
        source = id.flatMap { id in version.map { .campaign(id, version: $0) } }
      }
      fields.finish()
      return source.map { EvaluatedOptimizer($0, label: label, keepsHorizon: keepsHorizon) }
    }
    let own = JSON.object(all.filter { !members.contains($0.key) })
    guard let spec = OptimizerSpec.read(own, path: path, faults: faults) else { return nil }
    if keepsHorizon, !spec.name.isLearned { fields.fault("keep_horizon", "only learned optimizers have a horizon") }
    guard let tune else {
      if trials != nil { fields.fault("trials", "is for tuned optimizers: give \"tune\" as well") }
      return EvaluatedOptimizer(.setting(spec), label: label, keepsHorizon: keepsHorizon)
    }
    let tuning = tuning(tune, spec, isRateGiven: ["learning_rate", "lr"].contains { all[$0] != nil }, trials, fields)
    return tuning.map { EvaluatedOptimizer(.tuned(tuned(spec, $0), $0), label: label) }
  }

  private static func tuning(
    _ tune: Tune, _ spec: OptimizerSpec, isRateGiven: Bool, _ trials: Int?, _ fields: Fields
  ) -> Tuning? {
    switch tune {
    case .rates:
      if spec.name.isLearned || !spec.settings.has("learning_rate") {
        fields.fault("tune", "\(spec.name.rawValue) has no learning rate to tune")
      }
      if isRateGiven { fields.fault("learning_rate", "is what is tuned; leave it out") }
      if trials != nil { fields.fault("trials", "the rates are always the same \(learningRates.count)") }
      return .rates
    case .search:
      if spec.name != .nadamw || !optionsGiven(spec).isEmpty {
        fields.fault("tune", "a search draws all constants of nadamw; expected {\"name\": \"nadamw\"} alone")
      }
      return .search(trials: trials ?? 100)
    case .list:
      if spec.name != .optlist || !optionsGiven(spec).isEmpty {
        fields.fault("tune", "expected {\"name\": \"optlist\"} alone, the list has all constants")
      }
      if let trials, trials > 10 { fields.fault("trials", "expected an integer from 1 to 10, got \(trials)") }
      return .list(trials: min(trials ?? 10, 10))
    }
  }

  private static func optionsGiven(_ spec: OptimizerSpec) -> [String] {
    // A rate is filled in where none was given.
    spec.settings.json.keys.filter { $0 != "learning_rate" }
  }

  /// The spec without the rate that reading put there.
  private static func tuned(_ spec: OptimizerSpec, _ tuning: Tuning) -> OptimizerSpec {
    var options = spec.settings.json
    options["learning_rate"] = nil
    return OptimizerSpec(name: spec.name, version: nil, options: options)
  }

  private static func read(word: String, path: String, faults: Faults) -> EvaluatedOptimizer? {
    func object(_ members: [String: JSON]) -> EvaluatedOptimizer? { read(.object(members), path: path, faults: faults) }
    if word == "nadamw_search" { return object(["name": "nadamw", "tune": "search"]) }
    if word == "optlist_10" { return object(["name": "optlist", "tune": "list"]) }
    if word.hasSuffix("_lr") { return object(["name": .string(String(word.dropLast(3))), "tune": "rates"]) }
    return object(["name": .string(word)])
  }
}
