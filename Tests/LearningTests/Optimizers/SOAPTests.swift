// SOAP: nothing public records it, so its rule in plain Float64, what it must be on vectors, and what a rotation of the
// problem must do to it.
import Compute
import Contract
import Foundation
import Learning
import Testing

@Suite("SOAP")
struct SOAPTests {
  private func gradients(_ count: Int, steps: Int) -> [[Float]] {
    var numbers = Numbers(seed: 21)
    // Directions of very different sizes, so that eigenvalues are apart.
    return (0..<steps).map { _ in (0..<count).map { numbers.next() * pow(0.8, Float($0 % 5)) } }
  }

  private func run(_ shape: Shape, _ options: [String: JSON], _ level: CPULevel, _ gradients: [[Float]]) -> [[Float]] {
    let run = OptimizerRun(
      SOAP(parameters: layout(["w": shape]), settings: OptimizerSettings(.soap, options), level: level))
    run.set("w", to: (0..<shape.count).map { Float($0 % 7) - 3 }, in: run.parameters)
    run.initialize()
    return gradients.map { gradient in
      run.set("w", to: gradient, in: run.gradients)
      run.update()
      return run.parameter("w")
    }
  }

  @Test("is Adam after an update that only looks, for vectors and scalars", arguments: availableLevels)
  func vectors(level: CPULevel) {
    for shape: Shape in [[23], .scalar] {
      let all = gradients(shape.count, steps: 12)
      let ours = run(shape, ["learning_rate": 0.01, "weight_decay": 0, "epsilon": 0], level, all)
      #expect(ours[0] == (0..<shape.count).map { Float($0 % 7) - 3 })
      let adam = OptimizerRun(
        Adam(
          parameters: layout(["w": shape]),
          settings: OptimizerSettings(.adam, ["learning_rate": 0.01, "beta1": 0.95, "beta2": 0.95, "epsilon": 0]),
          level: level))
      adam.set("w", to: ours[0], in: adam.parameters)
      adam.initialize()
      for (gradient, expected) in zip(all, ours).dropFirst() {
        adam.set("w", to: gradient, in: adam.gradients)
        adam.update()
        #expect(zip(adam.parameter("w"), expected).allSatisfy { abs($0 - $1) < 2e-6 })
      }
    }
  }

  @Test("follows its rule in plain Float64 code, turns of the bases included", arguments: availableLevels)
  func rule(level: CPULevel) {
    for (rows, columns) in [(4, 4), (3, 5), (6, 2)] {
      // As many gradients enter the first bases as one has; more columns than rows leave a part to choose.
      let all = gradients(rows * columns, steps: 14)
      let ours = run(
        [rows, columns], ["learning_rate": 0.01, "weight_decay": 0.1, "refresh_steps": 4], level, all)
      let plain = PlainSOAP(rows: rows, columns: columns, refreshSteps: 4, start: ours[0])
      for (step, gradient) in all.enumerated() {
        plain.update(Plain(rows, columns, gradient))
        let moved = zip(ours[step], ours[0]).reduce(0) { max($0, abs(Double($1.0 - $1.1))) }
        #expect(plain.p.distance(ours[step]) < 1e-3 * moved + 1e-6, "\(rows) x \(columns), step \(step)")
      }
    }
  }

  @Test("rotating the problem rotates the run", arguments: availableLevels)
  func equivariance(level: CPULevel) {
    let (n, angle) = (4, 0.6)
    // A rotation in two planes.
    var turn = Plain.identity(n)
    for (i, j) in [(0, 2), (1, 3)] {
      (turn[i, i], turn[j, j], turn[i, j], turn[j, i]) = (cos(angle), cos(angle), -sin(angle), sin(angle))
    }
    let all = gradients(n * n, steps: 12)
    let options: [String: JSON] = ["learning_rate": 0.01, "weight_decay": 0, "refresh_steps": 5]
    func displacements(_ gradients: [[Float]]) -> [Plain] {
      let points = run([n, n], options, level, gradients)
      return points.map { Plain(n, n, zip($0, points[0]).map { Double($0) - Double($1) }) }
    }
    let plain = displacements(all)
    let turned = displacements(all.map { (turn * Plain(n, n, $0)).values.map(Float.init) })
    for (a, b) in zip(plain, turned) { #expect((turn * a).distance(b.values.map(Float.init)) < 2e-4) }
    // Adam, which has axes of its own, is another matter.
    func adam(_ gradients: [[Float]]) -> Plain {
      let run = OptimizerRun(Adam(parameters: layout(["w": [n, n]]), level: level))
      run.initialize()
      for gradient in gradients {
        run.set("w", to: gradient, in: run.gradients)
        run.update()
      }
      return Plain(n, n, run.parameter("w"))
    }
    let straight = turn * adam(all)
    #expect(
      straight.distance(adam(all.map { (turn * Plain(n, n, $0)).values.map(Float.init) }).values.map(Float.init)) > 1e-3
    )
  }

  @Test("keeps matrices of the axes that it rotates alone")
  func state() {
    let parameters = layout(["w": [30, 4], "b": [9], "s": .scalar, "c": [3, 1, 5]])
    func slots(_ options: [String: JSON]) -> [String] {
      SOAP(parameters: parameters, settings: OptimizerSettings(.soap, options), level: .scalar).state.tensors
        .map(\.name).filter { $0.hasPrefix("basis") }
    }
    #expect(slots([:]) == ["basis/0/w", "basis/1/w", "basis/0/c", "basis/2/c"])
    #expect(slots(["max_precond_dim": 20]) == ["basis/1/w", "basis/0/c", "basis/2/c"])
    #expect(slots(["precondition_1d": true]).contains("basis/0/b"))
  }
}

/// SOAP on one matrix, as its formulas stand.
private final class PlainSOAP {
  private(set) var p: Plain
  private var m: Plain
  private var v: Plain
  private var left: Plain
  private var right: Plain
  /// Columns are the basis vectors.
  private var q: [Plain] = []
  private var iteration = 0
  private let refreshSteps: Int
  private let beta = Double(Float(0.95))

  init(rows: Int, columns: Int, refreshSteps: Int, start: [Float]) {
    p = Plain(rows, columns, start)
    m = Plain(rows, columns, [Double](repeating: 0, count: rows * columns))
    v = m
    left = Plain(rows, rows, [Double](repeating: 0, count: rows * rows))
    right = Plain(columns, columns, [Double](repeating: 0, count: columns * columns))
    self.refreshSteps = refreshSteps
  }

  func update(_ g: Plain) {
    if iteration > 0 {
      let k = Double(iteration)
      m = beta * m + (1 - beta) * g
      let turned = q[0].transposed * g * q[1]
      for i in v.values.indices { v.values[i] = beta * v.values[i] + (1 - beta) * turned.values[i] * turned.values[i] }
      var u = q[0].transposed * m * q[1]
      for i in u.values.indices { u.values[i] /= v.values[i].squareRoot() + 1e-8 }
      let step = 0.01 * (1 - pow(beta, k)).squareRoot() / (1 - pow(beta, k))
      p = (1 - 0.01 * 0.1) * (p + -step * (q[0] * u * q[1].transposed))
    }
    left = beta * left + (1 - beta) * (g * g.transposed)
    right = beta * right + (1 - beta) * (g.transposed * g)
    if iteration == 0 {
      q = [eigenvectors(left), eigenvectors(right)]
    } else if iteration % refreshSteps == 0 {
      for axis in 0..<2 {
        let statistic = axis == 0 ? left : right
        let n = statistic.rows
        let estimate = q[axis].transposed * statistic * q[axis]
        let order = (0..<n).sorted { estimate[$0, $0] > estimate[$1, $1] }
        let sorted = Plain(n, n, (0..<n * n).map { q[axis][$0 / n, order[$0 % n]] })
        let old = v
        for i in 0..<v.rows {
          for j in 0..<v.columns { v[i, j] = axis == 0 ? old[order[i], j] : old[i, order[j]] }
        }
        q[axis] = orthonormalColumns(statistic * sorted)
      }
    }
    iteration += 1
  }

  /// The null space is covered by what is longest of the unit vectors in it.
  private func eigenvectors(_ statistic: Plain) -> Plain {
    let n = statistic.rows
    let (values, vectors) = statistic.eigen
    var columns = (0..<n).map { k in (0..<n).map { vectors[$0, k] } }
    let rank = values.filter { $0 > 1e-6 * values[0] }.count
    let null = columns[rank...]
    var chosen: [[Double]] = []
    for _ in null {
      let candidates = (0..<n).map { unit -> [Double] in
        var x = (0..<n).map { i in null.reduce(0) { $0 + $1[unit] * $1[i] } }
        for other in chosen {
          let dot = zip(x, other).reduce(0) { $0 + $1.0 * $1.1 }
          x = zip(x, other).map { $0 - dot * $1 }
        }
        return x
      }
      let lengths = candidates.map { $0.reduce(0) { $0 + $1 * $1 }.squareRoot() }
      let best = lengths.indices.reduce(0) { lengths[$1] > lengths[$0] * (1 + 1e-6) ? $1 : $0 }
      chosen.append(candidates[best].map { $0 / lengths[best] })
    }
    // Ours come from the last vector on.
    for (k, vector) in chosen.enumerated() { columns[n - 1 - k] = vector }
    return Plain(n, n, (0..<n * n).map { columns[$0 % n][$0 / n] })
  }

  private func orthonormalColumns(_ x: Plain) -> Plain {
    var out = x
    for j in 0..<x.columns {
      for _ in 0..<2 {
        for k in 0..<j {
          let dot = (0..<x.rows).reduce(0) { $0 + out[$1, k] * out[$1, j] }
          for i in 0..<x.rows { out[i, j] -= dot * out[i, k] }
        }
      }
      let length = (0..<x.rows).reduce(0) { $0 + out[$1, j] * out[$1, j] }.squareRoot()
      for i in 0..<x.rows { out[i, j] /= length }
    }
    return out
  }
}
