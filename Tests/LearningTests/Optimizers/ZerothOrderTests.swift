// ZerothOrder.swift, RandomDirections.swift, CoordinateDifferences.swift: estimates of gradients from losses.
import Compute
import Contract
import Testing

@testable import Learning

@Suite("Optimizers that see losses alone")
struct ZerothOrderTests {
  private static let parameters = layout(["b": [3], "none": [0], "w": [4, 2], "scale": .scalar])

  private func start(_ run: OptimizerRun, seed: UInt64 = 3) {
    var numbers = Numbers(seed: seed)
    for tensor in run.optimizer.parameters.tensors {
      run.set(tensor.name, to: (0..<tensor.count).map { _ in numbers.next() }, in: run.parameters)
    }
    run.initialize()
  }

  /// What one update of plain descent took off the parameters, over the rate: the estimated gradient.
  private func estimate(
    _ name: OptimizerName, _ options: [String: JSON], _ quadratic: Quadratic, level: CPULevel,
    key: RandomKey = RandomKey(seed: 5), iteration: Int = 0
  ) -> [Double] {
    let settings = OptimizerSettings(name, options.merging(["learning_rate": 1]) { $1 })
    let run = OptimizerRun(OptimizerCatalog.make(settings, parameters: quadratic.layout, level: level))
    run.problem = quadratic.problem
    run.key = key
    start(run)
    run.iteration = iteration
    let before = quadratic.vector(run.parameters.pointer)
    run.gradients.pointer.update(repeating: .nan, count: run.gradients.floats)
    run.update(loss: Float(quadratic.loss(before)))
    return zip(before, quadratic.vector(run.parameters.pointer)).map { $0 - $1 }
  }

  private var startVector: [Double] {
    let run = OptimizerRun(SGD(parameters: Self.parameters, settings: OptimizerSettings(.sgd), level: .scalar))
    start(run)
    return Self.parameters.tensors.flatMap { run.parameter($0.name).map(Double.init) }
  }

  @Test("random directions are unbiased: their mean over many keys is the gradient", arguments: availableLevels)
  func unbiased(level: CPULevel) {
    let quadratic = Quadratic(Self.parameters, diagonal: 1)
    let gradient = quadratic.gradient(startVector)
    let draws = 1500
    for (samples, options) in [(1, ["epsilon": 0.01]), (3, ["epsilon": 0.1, "q": 3])] as [(Int, [String: JSON])] {
      let estimates = (0..<draws / samples).map {
        estimate(.mezo, options, quadratic, level: level, key: RandomKey(seed: UInt64($0)))
      }
      for place in gradient.indices {
        let values = estimates.map { $0[place] }
        let count = Double(values.count)
        let mean = values.reduce(0, +) / count
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (count - 1)
        #expect(abs(mean - gradient[place]) < 4.5 * (variance / count).squareRoot(), "\(samples), \(place)")
        // Var[c z_i] = |gradient|^2 + gradient_i^2 for one direction on a quadratic.
        let wanted = gradient.reduce(gradient[place] * gradient[place]) { $0 + $1 * $1 } / Double(samples)
        #expect(abs(variance / wanted - 1) < 0.35, "\(samples), \(place): \(variance) for \(wanted)")
      }
    }
  }

  @Test("a direction is that of the step's key, iteration and sample, and its slope the difference's")
  func direction() {
    let quadratic = Quadratic(Self.parameters, diagonal: 1)
    let x = startVector
    let key = RandomKey(seed: 11)
    func wanted(iteration: Int, samples: Int, epsilon: Double, decay: Double) -> [Double] {
      var sum = [Double](repeating: 0, count: x.count)
      for sample in 0..<samples {
        var normals = [Float](repeating: 0, count: Self.parameters.floats)
        key.derive(1, UInt32(iteration), UInt32(sample)).fillNormals(&normals)
        let z = quadratic.places.map { Double(normals[$0]) }
        let above = quadratic.loss(zip(x, z).map { $0 + epsilon * $1 })
        let below = quadratic.loss(zip(x, z).map { $0 - epsilon * $1 })
        for place in x.indices { sum[place] += (above - below) / (2 * epsilon) * z[place] / Double(samples) }
      }
      // "b" and "scale" have fewer than two axes.
      for place in 3..<11 { sum[place] += decay * x[place] }
      return sum
    }
    for level in availableLevels {
      for (iteration, samples, epsilon, decay) in [(0, 1, 0.5, 0.0), (7, 4, 0.5, 0.25)] {
        let got = estimate(
          .mezo,
          ["epsilon": .number(epsilon), "samples": .integer(samples), "weight_decay": .number(decay)], quadratic,
          level: level, key: key, iteration: iteration)
        let want = wanted(iteration: iteration, samples: samples, epsilon: epsilon, decay: decay)
        #expect(zip(got, want).allSatisfy { abs($0 - $1) < 2e-5 }, "\(got) for \(want) at \(level)")
      }
    }
  }

  @Test("central differences give the gradient of a quadratic, one-sided ones that of a line")
  func coordinates() {
    let quadratic = Quadratic(Self.parameters, diagonal: 1)
    let gradient = quadratic.gradient(startVector)
    // A loss near 1 is rounded to 6e-8: 1.2e-6 of a slope over the width 0.1, and 6e-5 over 0.002.
    for (epsilon, tolerance) in [(0.05, 5e-6), (1e-3, 2e-4)] {
      let got = estimate(.cge, ["epsilon": .number(epsilon)], quadratic, level: .best)
      #expect(zip(got, gradient).allSatisfy { abs($0 - $1) < tolerance }, "\(got) for \(gradient)")
    }
    let oneSided = estimate(.cge, ["mu": 0.05, "one_sided": true], quadratic, level: .best)
    let wanted = gradient.indices.map { gradient[$0] + 0.025 * quadratic.hessian[$0][$0] }
    #expect(zip(oneSided, wanted).allSatisfy { abs($0 - $1) < 1e-5 }, "\(oneSided) for \(wanted)")
  }

  @Test("a few coordinates a step: exact ones, one of each stretch, every one in the end")
  func fewCoordinates() {
    let quadratic = Quadratic(Self.parameters, diagonal: 1)
    let gradient = quadratic.gradient(startVector)
    #expect(gradient.allSatisfy { abs($0) > 1e-3 })
    for count in [1, 5, 11, 12] {
      var seen: Set<Int> = []
      for iteration in 0..<(count < 11 ? 90 : 30) {
        let options: [String: JSON] = ["epsilon": 0.05, "coordinates": .integer(count)]
        let got = estimate(.cge, options, quadratic, level: .scalar, iteration: iteration)
        let moved = got.indices.filter { got[$0] != 0 }
        #expect(moved.count == count)
        #expect(moved.allSatisfy { abs(got[$0] - gradient[$0]) < 5e-6 })
        for stretch in 0..<count {
          #expect(moved.filter { stretch * 12 / count..<(stretch + 1) * 12 / count ~= $0 }.count == 1)
        }
        seen.formUnion(moved)
      }
      #expect(seen.count == 12, "\(count)")
    }
  }

  @Test("the parameters that are probed one by one come back with the same bits")
  func restored() {
    let settings = OptimizerSettings(.cge, ["learning_rate": 1e-12, "epsilon": 0.1])
    let run = OptimizerRun(OptimizerCatalog.make(settings, parameters: Self.parameters, level: .best))
    start(run)
    let before = Self.parameters.tensors.map { run.parameter($0.name).map(\.bitPattern) }
    run.problem = BatchProblem(loss: { _ in 0 }, evaluate: { _, _ in 0 })
    run.update()
    #expect(Self.parameters.tensors.map { run.parameter($0.name).map(\.bitPattern) } == before)
  }

  @Test("estimates are clipped, gathered and handed to the rule that was asked for as gradients are")
  func around() throws {
    let quadratic = Quadratic(Self.parameters, diagonal: 3)
    func run(_ options: [String: JSON]) -> OptimizerRun {
      let settings = OptimizerSettings(.cge, options.merging(["learning_rate": 0.1, "epsilon": 0.05]) { $1 })
      let run = OptimizerRun(OptimizerCatalog.make(settings, parameters: Self.parameters, totalSteps: 8, level: .best))
      run.problem = quadratic.problem
      start(run)
      return run
    }
    let clipped = run(["clip_value": 0.125])
    clipped.update()
    let moves = zip(startVector, quadratic.vector(clipped.parameters.pointer)).map { abs($0 - $1) }
    #expect(moves.allSatisfy { $0 < 0.01251 } && moves.contains { $0 > 0.0124 })

    let gathered = run(["accumulation": 4])
    for _ in 0..<3 { gathered.update() }
    #expect(quadratic.vector(gathered.parameters.pointer) == startVector)
    gathered.update()
    #expect(quadratic.vector(gathered.parameters.pointer) != startVector)

    let adam = run(["rule": "adam"])
    #expect(adam.optimizer.name == "cge" && adam.optimizer.state["first_moment/w"] != nil)
    adam.update()
    let steps = zip(startVector, quadratic.vector(adam.parameters.pointer)).map { abs($0 - $1) }
    #expect(steps.allSatisfy { abs($0 - 0.1) < 1e-4 }, "Adam's first step is its rate: \(steps)")
    #expect(OptimizerSettings(.mezo, ["rule": "adam"]).stateFloatsPerParameter == 3)
  }

  @Test("the rate follows its schedule")
  func schedule() {
    let quadratic = Quadratic(Self.parameters, diagonal: 1)
    let options: [String: JSON] = ["epsilon": 0.05, "schedule": ["kind": "linear"]]
    let full = estimate(.cge, options, quadratic, level: .best)
    let half = estimate(.cge, options, quadratic, level: .best, iteration: 50)
    #expect(zip(full, half).allSatisfy { abs($0 - 2 * $1) < 1e-5 })
  }
}
