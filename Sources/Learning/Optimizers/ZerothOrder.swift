// ZerothOrder: optimizers that see losses alone. They estimate the gradient from the batch's loss at other parameters
// and hand it to a rule that takes gradients, with the preparation that every optimizer can be given around it.
// RandomDirections (mezo) and CoordinateDifferences (cge) are the estimates.
import Compute
import Contract

/// An optimizer whose gradients are estimated from losses; the gradients that it is given are ignored.
public struct ZerothOrder: OptimizerWrapper {
  public let name: String
  public let needs: OptimizerNeeds
  private let estimate: Estimate
  let inner: any Optimizer

  enum Estimate: Sendable {
    case directions(RandomDirections)
    case coordinates(CoordinateDifferences)
  }

  /// `inner` fed with the estimate that `settings` name, or as it is where they name none.
  static func around(_ inner: any Optimizer, _ settings: OptimizerSettings, level: CPULevel) -> any Optimizer {
    let estimate: Estimate
    switch settings.name {
    case .mezo: estimate = .directions(RandomDirections(inner.parameters, settings, level: level))
    case .cge: estimate = .coordinates(CoordinateDifferences(inner.parameters, settings))
    default: return inner
    }
    return ZerothOrder(
      name: settings.name.rawValue, needs: inner.needs.union([.problem, .noGradient]), estimate: estimate,
      inner: inner)
  }

  /// The rule that takes the estimates: its own constants at their defaults, the rate and its schedule as given.
  static func rule(_ settings: OptimizerSettings) -> OptimizerSettings {
    guard let name = OptimizerName(rawValue: settings.text("rule")) else {
      preconditionFailure("ZerothOrder: \(settings.text("rule")) is no optimizer")
    }
    var given: [String: JSON] = ["learning_rate": .number(settings.number("learning_rate"))]
    given["schedule"] = settings.json["schedule"]
    return OptimizerSettings(name, given)
  }

  /// The estimate is done with its memory when the rule begins.
  public var scratchFloats: Int {
    switch estimate {
    case .directions(let directions): max(directions.scratchFloats, inner.scratchFloats)
    case .coordinates: inner.scratchFloats
    }
  }

  /// Traps where `step` has no problem.
  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let problem = step.problem else {
      preconditionFailure("\(name): the step has no problem; an optimizer whose needs contain it must be given one")
    }
    switch estimate {
    case .directions(let directions):
      directions.write(into: gradients, at: parameters, problem, step: step, scratch: scratch)
    case .coordinates(let coordinates): coordinates.write(into: gradients, at: parameters, problem, step: step)
    }
    inner.update(parameters: parameters, gradients: gradients, state: state, scratch: scratch, step: step)
  }
}
