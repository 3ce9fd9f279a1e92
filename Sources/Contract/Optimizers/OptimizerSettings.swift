// The values of an optimizer's options: what a client gave, and defaults for the rest. Optimizers read their constants
// from here; OptimizerTraits says which options there are.
import Foundation

/// An optimizer with its options set.
public struct OptimizerSettings: Sendable, Hashable {
  public let name: OptimizerName
  /// The options given, by their keys; all valid.
  private var given: [String: JSON]

  /// All options at their defaults, but for those given.
  ///
  /// Traps on a key or a value that the optimizer does not take: what comes from outside is read with
  /// ``read(_:_:)``.
  public init(_ name: OptimizerName, _ given: [String: JSON] = [:]) {
    let faults = Faults()
    guard var fields = Fields(.object(given), faults: faults),
      case let read = OptimizerSettings.read(name, &fields)
    else { preconditionFailure("OptimizerSettings: no object") }
    fields.finish()
    precondition(faults.isEmpty, "OptimizerSettings: \(faults.list)")
    self = read
  }

  private init(name: OptimizerName, read: [String: JSON]) {
    self.name = name
    given = read
  }

  /// Reads the options that `name` takes; what is wrong becomes a fault and keeps its default.
  public static func read(_ name: OptimizerName, _ fields: inout Fields) -> OptimizerSettings {
    var given: [String: JSON] = [:]
    for option in name.options { given[option.key] = option.read(&fields) }
    for (key, only) in name.fixedArguments.sorted(by: { $0.key < $1.key }) {
      if let value = fields.value(key), value != only {
        fields.fault(key, "expected \(only.text): it is always so here")
      }
    }
    return OptimizerSettings(name: name, read: given)
  }

  /// The options given, without the name.
  public var json: [String: JSON] { given }

  /// Gives an option its value in what follows; traps as ``init(_:_:)`` does.
  public func with(_ key: String, _ value: JSON) -> OptimizerSettings {
    OptimizerSettings(name, given.merging([key: value]) { $1 })
  }

  /// Whether the optimizer has that option.
  public func has(_ key: String) -> Bool { name.options.contains { $0.key == key } }

  private func option(_ key: String) -> OptimizerOption {
    guard let option = name.options.first(where: { $0.key == key }) else {
      preconditionFailure("OptimizerSettings: \(name.rawValue) has no option \(key)")
    }
    return option
  }

  /// The value of a number; traps on a key that the optimizer does not have, as the others do.
  public func number(_ key: String) -> Double {
    guard case .number(_, let standard) = option(key).kind else { preconditionFailure("\(key) is no number") }
    return given[key]?.number ?? standard
  }

  public func integer(_ key: String) -> Int {
    guard case .integer(_, let standard) = option(key).kind else { preconditionFailure("\(key) is no integer") }
    return given[key]?.integer ?? standard
  }

  public func flag(_ key: String) -> Bool {
    guard case .flag(let standard) = option(key).kind else { preconditionFailure("\(key) is no flag") }
    return given[key]?.bool ?? standard
  }

  /// The value of a choice or a text.
  public func text(_ key: String) -> String {
    switch option(key).kind {
    case .choice(_, let standard), .text(let standard): return given[key]?.string ?? standard
    default: preconditionFailure("\(key) is no text")
    }
  }

  /// The scheduled learning rate.
  public var learningRate: LearningRate { LearningRate(base: number("learning_rate"), schedule: schedule) }

  /// How a rate changes over the run; constant where nothing was given.
  public var schedule: LearningRateSchedule {
    given["schedule"].flatMap { LearningRateSchedule.read($0, path: "", faults: Faults()) } ?? .constant
  }

  /// Floats of state kept for each parameter of a matrix, for estimates.
  public var stateFloatsPerParameter: Int {
    let rule = name.traits.stateFloatsPerParameter(self)
    return rule + (integer("accumulation") > 1 ? 1 : 0)
  }
}

extension OptimizerName {
  /// Its own options, then what every optimizer takes.
  public var options: [OptimizerOption] {
    let own = traits.options
    return own + OptimizerOption.common.filter { common in !own.contains { $0.key == common.key } }
  }

  public var isLearned: Bool { traits.isLearned }

  /// Arguments of published implementations that have one value here; given with it they change nothing.
  var fixedArguments: [String: JSON] {
    switch self {
    case .muon: ["adaptive": false, "ns_coeffs": [3.4445, -4.775, 2.0315]]
    default: [:]
    }
  }
}
