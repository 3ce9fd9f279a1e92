// Initializer.swift: each rule against the moments and bounds that define it.
import Compute
import Contract
import Testing

@testable import Learning

private func draw(_ initial: Initialization, _ shape: [Int], seed: UInt64 = 5) -> [Float] {
  var tensor = [Float](repeating: .nan, count: shape.reduce(1, *))
  tensor.withUnsafeMutableBufferPointer {
    Initializer.fill($0, shape: shape, initial, key: RandomKey(seed: seed))
  }
  return tensor
}

private func moments(_ values: [Float]) -> (mean: Double, deviation: Double, largest: Double) {
  let numbers = values.map(Double.init)
  let mean = numbers.reduce(0, +) / Double(numbers.count)
  let square = numbers.reduce(0) { $0 + $1 * $1 } / Double(numbers.count)
  return (mean, (square - mean * mean).squareRoot(), numbers.map(abs).max()!)
}

@Suite struct InitializerTests {
  /// The deviation of a standard normal cut at two.
  static let cut = 0.879_625_661

  @Test(
    "random rules have the deviation and the bound that they say, with a fan-in of 50",
    arguments: [
      (.truncatedNormal(), cut / 50.0.squareRoot(), 2 / 50.0.squareRoot()),
      (.truncatedNormal(deviation: 1), cut, 2),
      (.varianceScaling(scale: 2), (2 / 50.0).squareRoot(), 2 * (2 / 50.0).squareRoot() / cut),
      (.normal(deviation: 0.02), 0.02, 0.02 * 6.8),
      (.normalScaling(scale: 0.5), 0.1, 0.1 * 6.8),
      (.uniformScaling(scale: 0.5), 0.1, 0.1 * 3.0.squareRoot()),
      (.xavierUniform, (2 / 250.0).squareRoot(), (6 / 250.0).squareRoot()),
    ] as [(Initialization, Double, Double)])
  func random(rule: Initialization, deviation: Double, bound: Double) {
    // Five by ten makes the fan-in; the last axis has 200.
    let found = moments(draw(rule, [5, 10, 200]))
    #expect(abs(found.mean) < 0.03 * deviation)
    #expect(abs(found.deviation / deviation - 1) < 0.02, "\(found.deviation), not \(deviation)")
    #expect(found.largest <= bound * 1.0001 && found.largest > 0.7 * min(bound, 4 * deviation))
    #expect(draw(rule, [4, 4]) == draw(rule, [4, 4]) && draw(rule, [4, 4]) != draw(rule, [4, 4], seed: 6))
  }

  @Test(
    "orthogonal matrices have orthogonal rows or columns of the gain's length",
    arguments: [[7, 5], [5, 7], [2, 3, 4]])
  func orthogonal(shape: [Int]) {
    let columns = shape.last!, rows = shape.dropLast().reduce(1, *)
    let values = draw(.orthogonal(gain: 1.5), shape)
    let count = min(rows, columns)
    for a in 0..<count {
      for b in 0..<count {
        var product: Float = 0
        for place in 0..<max(rows, columns) {
          product +=
            rows <= columns
            ? values[a * columns + place] * values[b * columns + place]
            : values[place * columns + a] * values[place * columns + b]
        }
        #expect(abs(product - (a == b ? 2.25 : 0)) < 1e-5)
      }
    }
  }

  @Test("constant rules are constant")
  func constant() {
    #expect(draw(.zeros, [3]) == [0, 0, 0] && draw(.ones, [3]) == [1, 1, 1])
    #expect(draw(.identity, [2, 2]) == [1, 0, 0, 1] && draw(.identity, [2, 3]) == [1, 0, 0, 0, 1, 0])
  }
}
