// The draws that task samplers make: uniform, log-uniform, choices and coins, in order, from one key.
import Compute
import Foundation

/// A sequence of random draws from a key; equal keys give equal sequences on every machine.
public struct Draw {
  private let key: RandomKey
  private var index: UInt32 = 0

  /// Draws from the words of `key`, from the first on.
  public init(_ key: RandomKey) { self.key = key }

  /// A number from `low` to `high`.
  public mutating func uniform(_ low: Double = 0, _ high: Double = 1) -> Double {
    defer { index += 1 }
    return low + (high - low) * RandomKey.uniform(key.words(block: index).0)
  }

  /// exp of a uniform between the logarithms.
  public mutating func logFloat(_ low: Double, _ high: Double) -> Double { exp(uniform(log(low), log(high))) }

  /// The floor of ``logFloat(_:_:)``: from `low` to below `high`, or `low` where both are equal.
  public mutating func logInt(_ low: Int, _ high: Int) -> Int {
    // exp(log(low)) may round to just below low.
    min(max(low, Int(logFloat(Double(low), Double(high)) + 1e-9)), max(low, high - 1))
  }

  /// One of the choices, all equally likely.
  public mutating func choice<Choice>(_ choices: [Choice]) -> Choice {
    choices[min(Int(uniform() * Double(choices.count)), choices.count - 1)]
  }

  /// True with that probability.
  public mutating func coin(_ probability: Double = 0.5) -> Bool { uniform() < probability }
}
