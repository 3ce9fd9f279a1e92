// The kernel of Celo2 against plain Float64 code, on shapes that reach every path through it: ranks 0 to 4, factored axes
// that are the last two and others, rows that fill vectors and such that do not, more than one block.
import Compute
import Foundation
import Learning
import Testing

@Suite("Celo2 agrees with plain Float64 code")
struct Celo2ReferenceTests {
  static let shapes: [Shape] = [
    .scalar, [1], [7], [530], [1, 1], [9, 1], [1, 9], [1, 80], [16, 32], [3, 70], [32, 10], [10, 37], [12, 12],
    [530, 1], [3, 3, 4, 8], [3, 2, 3, 16], [5, 6, 3], [8, 3, 6], [20, 2, 16], [4, 1, 1, 1], [1, 1, 5, 4], [2, 5, 1],
    [40, 16, 2], [600, 3],
  ]

  struct Variant: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let constants: Celo2Constants
  }
  static let variants: [Variant] = [
    Variant(testDescription: "as published", constants: Celo2Base.Configuration().rule),
    Variant(
      testDescription: "with every option on",
      constants: {
        var constants = Celo2Base.Configuration().rule
        constants.orthogonalize = true
        constants.biasCorrection = true
        constants.expMultiplier = 0.2
        constants.weightDecay = 0.1
        return constants
      }()),
  ]

  @Test("for one rule on all tensors", arguments: variants)
  func base(_ variant: Variant) throws {
    var configuration = Celo2Base.Configuration()
    configuration.rule = variant.constants
    let schema = ThetaSchema(Celo2Base.self, configuration)
    let theta = try livelyTheta(schema)
    let parameters = ParameterLayout(Self.shapes.enumerated().map { ("t\($0.offset)", $0.element) })
    var numbers = Numbers(seed: 3)
    let starts = parameters.tensors.map { tensor in (0..<tensor.count).map { _ in numbers.next() } }
    let runs = availableLevels.map { level in
      let run = OptimizerRun(schema.optimizer(parameters: parameters, level: level), theta: theta)
      for (tensor, start) in zip(parameters.tensors, starts) { run.set(tensor.name, to: start, in: run.parameters) }
      run.initialize()
      return run
    }
    let references = zip(parameters.tensors, starts).map { tensor, start in
      PlainCelo2(variant.constants, theta: theta, shape: tensor.shape.dimensions, start: start)
    }
    for step in 0..<3 {
      for (index, tensor) in parameters.tensors.enumerated() {
        let gradient = (0..<tensor.count).map { element -> Float in
          let size: Float = [1e-3, 0.03, 1, 20][(index + element / 5) % 4]
          return element % 11 == 3 ? 0 : element == 6 && step == 1 ? 5000 : size * numbers.next()
        }
        references[index].update(gradient)
        for run in runs { run.set(tensor.name, to: gradient, in: run.gradients) }
      }
      for (run, level) in zip(runs, availableLevels) {
        run.update()
        for (index, tensor) in parameters.tensors.enumerated() {
          let ours = run.parameter(tensor.name), wanted = references[index].p
          var (moved, off) = (0.0, 0.0)
          for i in ours.indices {
            moved = max(moved, abs(wanted[i] - Double(starts[index][i])))
            let deviation = abs(Double(ours[i]) - wanted[i])
            // A NaN must count as wrong.
            off = deviation <= off ? off : deviation
          }
          #expect(off <= 1e-4 * moved + 2e-7, "\(tensor.shape) at \(level), step \(step): off by \(off)")
        }
      }
    }
  }

  @Test("what the scratch memory holds does not matter, whatever the shape", arguments: availableLevels)
  func scratch(level: CPULevel) throws {
    var configuration = Celo2Base.Configuration()
    configuration.rule.orthogonalize = true
    let schema = ThetaSchema(Celo2Base.self, configuration)
    let theta = try livelyTheta(schema)
    for shape in Self.shapes {
      let updated = [Float.nan, 0].map { garbage in
        let run = OptimizerRun(schema.optimizer(parameters: layout(["t": shape]), level: level), theta: theta)
        run.set("t", to: (0..<shape.count).map { Float($0 % 13) - 6 }, in: run.parameters)
        run.set("t", to: (0..<shape.count).map { Float($0 % 7) - 3 }, in: run.gradients)
        run.initialize()
        run.scratch.pointer.update(repeating: garbage, count: run.scratch.floats)
        run.update()
        return run.parameter("t")
      }
      #expect(updated[0] == updated[1], "\(shape)")
    }
  }
}

/// Celo2's rule on one tensor, as its formulas stand.
private final class PlainCelo2 {
  private(set) var p: [Double]
  private let constants: Celo2Constants
  private let shape: [Int]
  private let weights: [String: [Double]]
  private var m: [[Double]]
  private var v: [Double]
  private var row: [[Double]]
  private var column: [[Double]]
  private var iteration = 0

  init(_ constants: Celo2Constants, theta: Theta, shape: [Int], start: [Float]) {
    self.constants = constants
    self.shape = shape
    p = start.map(Double.init)
    v = [Double](repeating: 0, count: start.count)
    m = [v, v, v]
    row = m
    column = m
    let names = theta.schema.layout.tensors.map(\.name)
    weights = Dictionary(
      uniqueKeysWithValues: names.map { ($0.split(separator: "/").last.map(String.init)!, theta[$0].map(Double.init)) })
  }

  /// The mean of `x` over one axis, written back to every element.
  private func mean(_ x: [Double], over axis: Int) -> [Double] {
    let inner = shape[(axis + 1)...].reduce(1, *)
    let size = shape[axis]
    var sums = [Double](repeating: 0, count: x.count)
    for index in x.indices { sums[index / (inner * size) * inner + index % inner] += x[index] }
    return x.indices.map { sums[$0 / (inner * size) * inner + $0 % inner] / Double(size) }
  }

  func update(_ gradient: [Float]) {
    let n = p.count
    let isMatrix = shape.count >= 2
    let g = gradient.map { min(max(Double($0), -1000), 1000) }
    let decays = [0.9, 0.99, 0.999].map { Double(Float($0)) }
    let rms = Double(Float(0.95))
    iteration += 1
    func correction(_ decay: Double) -> Double {
      constants.biasCorrection ? 1 / (1 - pow(decay, Double(iteration))) : 1
    }
    for i in 0..<n { v[i] = rms * v[i] + (1 - rms) * g[i] * g[i] }
    let second = v.map { $0 * correction(rms) }
    let square = g.map { $0 * $0 + 1e-30 }
    let axes = shape.indices.sorted { (shape[$0], $0) < (shape[$1], $1) }
    var first = m, rows = m, columns = m, factors = m
    for j in 0..<3 {
      let (b, c) = (decays[j], correction(decays[j]))
      for i in 0..<n { m[j][i] = b * m[j][i] + (1 - b) * g[i] }
      first[j] = m[j].map { $0 * c }
      guard isMatrix else {
        for i in 0..<n {
          row[j][i] = b * row[j][i] + (1 - b) * square[i]
          factors[j][i] = 1 / max(row[j][i] + 1e-9, 1e-9).squareRoot()
        }
        continue
      }
      let (d0, d1) = (axes[axes.count - 1], axes[axes.count - 2])
      let (lost0, lost1) = (mean(square, over: d0), mean(square, over: d1))
      for i in 0..<n {
        row[j][i] = b * row[j][i] + (1 - b) * lost0[i]
        column[j][i] = b * column[j][i] + (1 - b) * lost1[i]
      }
      rows[j] = row[j].map { $0 * c }
      columns[j] = column[j].map { $0 * c }
      let means = mean(rows[j], over: d1)
      for i in 0..<n {
        factors[j][i] =
          1 / (max(rows[j][i] / (means[i] + 1e-9), 1e-9).squareRoot() * max(columns[j][i], 1e-9).squareRoot())
      }
    }
    let q = second.map { 1 / ($0 + 1e-8).squareRoot() }
    func product(_ x: [Double], _ y: [Double]) -> [Double] { zip(x, y).map { $0 * $1 } }
    func inverse(_ x: [Double]) -> [Double] { x.map { 1 / ($0 + 1e-8).squareRoot() } }
    var groups: [[[Double]]] = [
      [g], [g.map { min(max($0, -0.1), 0.1) }], [p], first, [second], first.map { product($0, q) }, [q],
      factors.map { product(g, $0) }, [product(g, q)],
    ]
    if isMatrix {
      groups += [
        rows, columns, rows.map(inverse), columns.map(inverse), zip(first, factors).map { product($0, $1) },
      ]
    }
    // Matrices of the last two axes, one after another.
    let size = isMatrix ? shape[shape.count - 2] * shape[shape.count - 1] : n
    func normalised(_ x: [Double]) -> [Double] {
      stride(from: 0, to: n, by: size).flatMap { start -> [Double] in
        let part = x[start..<start + size]
        let scale = 1 / (1e-9 + part.reduce(0) { $0 + $1 * $1 } / Double(size)).squareRoot()
        return part.map { $0 * scale }
      }
    }
    var hidden = [[Double]](repeating: weights["b0"]!, count: n)
    for (group, channels) in groups.enumerated() {
      let w = weights["w0__\(group)"]!
      for (channel, feature) in channels.enumerated() {
        let x = normalised(feature)
        for i in 0..<n { for k in 0..<8 { hidden[i][k] += x[i] * w[channel * 8 + k] } }
      }
    }
    let (w1, b1, w2, b2) = (weights["w1"]!, weights["b1"]!, weights["w2"]!, weights["b2"]!)
    var u = hidden.map { one -> Double in
      var two = b1
      for i in 0..<8 { for k in 0..<8 { two[k] += max(one[i], 0) * w1[i * 8 + k] } }
      var out = b2
      for i in 0..<8 { for k in 0..<3 { out[k] += max(two[i], 0) * w2[i * 3 + k] } }
      return out[0] * exp(out[1] * constants.expMultiplier)
    }
    if constants.orthogonalize, isMatrix {
      u = stride(from: 0, to: n, by: size).flatMap { start in
        Plain(shape[shape.count - 2], shape[shape.count - 1], Array(u[start..<start + size])).orthogonalized().values
      }
    }
    u = normalised(u)
    let rate = constants.stepMultiplier
    for i in 0..<n { p[i] -= rate * u[i] + rate * constants.weightDecay * p[i] }
  }
}
