// AdaHessian.swift against its rule in Float64 on quadratics, whose Hessian is known.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

@Suite("AdaHessian")
struct AdaHessianTests {
  private static let parameters = layout([
    "b": [3], "conv": [2, 2, 3, 4], "empty": [0, 4], "lines": [2, 2, 3], "scale": .scalar, "volume": [2, 1, 2, 2, 3],
    "w": [5, 3],
  ])

  private func start(_ settings: OptimizerSettings, _ quadratic: Quadratic, level: CPULevel) -> OptimizerRun {
    let run = OptimizerRun(
      OptimizerCatalog.make(settings, parameters: quadratic.layout, totalSteps: 20, level: level), totalSteps: 20)
    run.problem = quadratic.problem
    run.key = RandomKey(seed: 8)
    var numbers = Numbers(seed: 3)
    for tensor in quadratic.layout.tensors {
      run.set(tensor.name, to: (0..<tensor.count).map { _ in numbers.next() }, in: run.parameters)
    }
    run.initialize()
    return run
  }

  /// One update with the true gradient.
  private func update(_ run: OptimizerRun, _ quadratic: Quadratic) {
    _ = quadratic.problem.evaluate(run.parameters.pointer, run.gradients.pointer)
    run.update()
  }

  /// The signs of an update, in the order of memory.
  private func signs(_ layout: ParameterLayout, iteration: Int) -> [Double] {
    let key = RandomKey(seed: 8).derive(1, UInt32(iteration), 0)
    let bits = (0..<layout.floats).map { place -> Double in
      let block = key.words(block: UInt32(place / 128))
      let word = [block.0, block.1, block.2, block.3][place / 32 % 4]
      return word >> UInt32(place % 32) & 1 == 0 ? 1 : -1
    }
    return layout.tensors.flatMap { tensor in bits[tensor.offset..<tensor.offset + tensor.count] }
  }

  /// The rule as the paper writes it: everything in the order of elements, means broadcast back.
  private struct Reference {
    let layout: ParameterLayout
    let settings: OptimizerSettings
    var x: [Double]
    var m: [Double]
    var v: [Double]

    init(_ layout: ParameterLayout, _ settings: OptimizerSettings, x: [Double]) {
      (self.layout, self.settings, self.x) = (layout, settings, x)
      m = x.map { _ in 0 }
      v = m
    }

    /// |h|, averaged over the axes before the last (of two) or before the last two (of more).
    func averaged(_ h: [Double]) -> [Double] {
      guard settings.flag("average") else { return h.map(abs) }
      var out: [Double] = []
      var first = 0
      for tensor in layout.tensors {
        let own = h[first..<first + tensor.count].map(abs)
        first += tensor.count
        let dimensions = tensor.shape.dimensions
        let columns = dimensions.count < 2 ? own.count : dimensions.suffix(dimensions.count == 2 ? 1 : 2).reduce(1, *)
        let rows = columns == 0 ? 0 : own.count / columns
        out += own.indices.map { place in
          (0..<rows).reduce(0) { $0 + own[$1 * columns + place % columns] } / Double(rows)
        }
      }
      return out
    }

    mutating func update(gradient: [Double], h: [Double], iteration: Int) {
      let (b1, b2) = (settings.number("beta1"), settings.number("beta2"))
      let rate = settings.learningRate.at(iteration, of: 20)
      let d = averaged(h)
      let k = Double(iteration + 1)
      let isMatrix = layout.tensors.flatMap { tensor in
        [Bool](repeating: settings.flag("decay_vectors") || tensor.shape.rank > 1, count: tensor.count)
      }
      for i in x.indices {
        m[i] = b1 * m[i] + (1 - b1) * gradient[i]
        v[i] = b2 * v[i] + (1 - b2) * d[i] * d[i]
        let divisor =
          pow((v[i] / (1 - pow(b2, k))).squareRoot(), settings.number("hessian_power")) + settings.number("epsilon")
        let decay = isMatrix[i] ? settings.number("weight_decay") : 0
        x[i] -= rate * (m[i] / (1 - pow(b1, k)) / divisor + decay * x[i])
      }
    }
  }

  @Test(
    "follows its rule in Float64",
    arguments: [
      [:], ["average": false, "b1": 0.5, "b2": 0.9], ["hessian_power": 0.5, "weight_decay": 0.3, "eps": 0.01],
      ["weight_decay": 0.2, "decay_vectors": true, "lr": 0.05, "schedule": ["kind": "cosine"]],
    ] as [[String: JSON]])
  func rule(options: [String: JSON]) {
    let settings = OptimizerSettings(.adahessian, options)
    // Its diagonal outweighs the rest, so that no sum of a row is near zero, where a step would be all rounding.
    let quadratic = Quadratic(Self.parameters, diagonal: 8)
    for level in availableLevels {
      let run = start(settings, quadratic, level: level)
      var reference = Reference(Self.parameters, settings, x: quadratic.vector(run.parameters.pointer))
      for iteration in 0..<12 {
        update(run, quadratic)
        let z = signs(Self.parameters, iteration: iteration)
        // On a quadratic the difference of gradients is H z.
        let h = zip(quadratic.gradient(z), quadratic.slope).map { $0 - $1 }
        reference.update(gradient: quadratic.gradient(reference.x), h: h, iteration: iteration)
        let ours = quadratic.vector(run.parameters.pointer)
        let worst = zip(ours, reference.x).map { abs($0 - $1) }.max()!
        // A gradient near 8 is rounded to 5e-7, which the width 0.002 makes 2e-4 of a curvature near 8.
        #expect(worst < 2e-4, "\(worst) after update \(iteration) at \(level)")
      }
    }
  }

  @Test("measures |H z|, whose mean over its own axes is what is kept", arguments: availableLevels)
  func curvature(level: CPULevel) {
    let quadratic = Quadratic(Self.parameters, diagonal: 2)
    for averages in [false, true] {
      let settings = OptimizerSettings(.adahessian, ["b2": 0, "average": .bool(averages)])
      let run = start(settings, quadratic, level: level)
      update(run, quadratic)
      let z = signs(Self.parameters, iteration: 0)
      let h = zip(quadratic.gradient(z), quadratic.slope).map { $0 - $1 }
      let wanted = Reference(Self.parameters, settings, x: z).averaged(h)
      var first = 0
      for tensor in Self.parameters.tensors where tensor.count > 0 {
        let kept = run.slot("hessian_square/\(tensor.name)").map { Double($0).squareRoot() }
        #expect(kept.count < tensor.count || !averages || tensor.shape.rank < 2)
        for place in 0..<tensor.count {
          let difference = abs(kept[place % kept.count] - wanted[first + place])
          #expect(difference < 3e-4, "\(tensor.name) \(place): \(kept[place % kept.count])")
        }
        first += tensor.count
      }
    }
  }

  @Test("a diagonal Hessian is measured without noise: every step is Newton's", arguments: availableLevels)
  func newton(level: CPULevel) {
    let parameters = layout(["x": [40]])
    let curvatures = (0..<40).map { 0.25 + Double($0) }
    let problem = BatchProblem(
      loss: { _ in 0 },
      evaluate: { point, gradients in
        for i in 0..<40 { gradients[i] = Float(curvatures[i] * (Double(point[i]) - 1)) }
        return 0
      })
    let settings = OptimizerSettings(.adahessian, ["lr": 1, "b1": 0, "eps": 0])
    let run = OptimizerRun(OptimizerCatalog.make(settings, parameters: parameters, level: level))
    run.problem = problem
    run.set("x", to: (0..<40).map { Float($0) / 16 - 1 }, in: run.parameters)
    run.initialize()
    _ = problem.evaluate(run.parameters.pointer, run.gradients.pointer)
    run.update()
    #expect(run.parameter("x").allSatisfy { abs($0 - 1) < 2e-3 }, "\(run.parameter("x"))")
  }
}
