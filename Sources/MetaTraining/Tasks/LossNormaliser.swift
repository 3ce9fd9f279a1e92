// How the outer problem sees a task's loss: on a bounded scale that tasks of one kind share, and defined for losses that
// are not finite.
import Contract
import Foundation

/// A map from raw to normalised losses.
public enum LossNormaliser: Sendable, Hashable {
  /// The loss itself.
  case identity
  /// The loss cut to a range; NaN becomes `nan`, or passes where that is nil.
  case clip(low: Double, high: Double, nan: Double?)
  /// Classification in sampled families: (clip(x, 0, ln 2C) - ln(C/5)) 10 / ln C, with what is not finite at ln 2C.
  case scaledEntropy(classes: Int)
  /// Residual networks and transformers on images: clip(10 x / ln 2C, 0, 10), NaN at 10.
  case tenths(classes: Int)
  /// Auto-encoders of sampled families: clip(ln(x + 1e-8), -12, 1) / 2 + 10, of a loss that may be a logarithm already.
  case reconstruction(isLogarithm: Bool)
  /// Variational auto-encoders: clip(x / divisor, 0, 10), NaN at 10.
  case evidence(divisor: Double)
  /// Squared errors: 10 min(x, 1), NaN at 10.
  case squaredError

  /// The usual cut of fixed classification tasks: from 0 to 1.5 times the loss of guessing, where NaN lands as well.
  public static func entropy(classes: Int) -> LossNormaliser {
    let ceiling = 1.5 * log(Double(classes))
    return .clip(low: 0, high: ceiling, nan: ceiling)
  }

  /// The normalised loss.
  public func callAsFunction(_ loss: Float) -> Float {
    switch self {
    case .identity: return loss
    case .clip(let low, let high, let nan):
      if loss.isNaN { return nan.map { Float($0) } ?? loss }
      return min(max(loss, Float(low)), Float(high))
    default: return Float(normalised(Double(loss)))
    }
  }

  private func normalised(_ loss: Double) -> Double {
    switch self {
    case .identity, .clip: return loss
    case .scaledEntropy(let classes):
      let c = Double(classes)
      let bounded = loss.isFinite ? min(max(loss, 0), log(2 * c)) : log(2 * c)
      return (bounded - log(c / 5)) * 10 / log(c)
    case .tenths(let classes):
      return loss.isNaN ? 10 : min(max(10 * loss / log(2 * Double(classes)), 0), 10)
    case .reconstruction(let isLogarithm):
      let u = isLogarithm ? loss : log(loss + 1e-8)
      return (u.isNaN ? 1 : min(max(u, -12), 1)) * 0.5 + 10
    case .evidence(let divisor):
      return loss.isNaN ? 10 : min(max(loss / divisor, 0), 10)
    case .squaredError: return loss.isNaN ? 10 : 10 * min(loss, 1)
    }
  }

  /// The derivative of the normalised by the raw loss; 0 where the loss is cut.
  public func derivative(at loss: Float) -> Float {
    let x = Double(loss)
    func inside(_ low: Double, _ high: Double, _ slope: Double) -> Float { x > low && x < high ? Float(slope) : 0 }
    switch self {
    case .identity: return 1
    case .clip(let low, let high, _): return inside(low, high, 1)
    case .scaledEntropy(let classes): return inside(0, log(2 * Double(classes)), 10 / log(Double(classes)))
    case .tenths(let classes):
      let slope = 10 / log(2 * Double(classes))
      return inside(0, 10 / slope, slope)
    case .reconstruction(let isLogarithm):
      let u = isLogarithm ? x : log(x + 1e-8)
      return u > -12 && u < 1 ? Float(isLogarithm ? 0.5 : 0.5 / (x + 1e-8)) : 0
    case .evidence(let divisor): return inside(0, 10 * divisor, 1 / divisor)
    case .squaredError: return x < 1 ? 10 : 0
    }
  }

  /// The form in registry records.
  public var json: JSON {
    switch self {
    case .identity: return ["kind": "identity"]
    case .clip(let low, let high, let nan):
      return [
        "kind": "clip", "low": .number(low), "high": .finite(high), "nan": nan.map { JSON.number($0) } ?? .null,
      ]
    case .scaledEntropy(let classes): return ["kind": "scaledEntropy", "classes": .integer(classes)]
    case .tenths(let classes): return ["kind": "tenths", "classes": .integer(classes)]
    case .reconstruction(let isLogarithm): return ["kind": "reconstruction", "logarithm": .bool(isLogarithm)]
    case .evidence(let divisor): return ["kind": "evidence", "divisor": .number(divisor)]
    case .squaredError: return ["kind": "squaredError"]
    }
  }
}
