// M-FAC against the recursion that builds the inverse Fisher matrix one gradient at a time, in Float64.
import Compute
import Contract
import Learning
import Testing

@Suite("M-FAC")
struct MFACTests {
  private static let parameters = layout(["a": [3, 4], "none": [0], "b": [5], "c": .scalar])

  /// (damping I + sum of g g^T / m)^-1 g over the gradients kept, the newest of which is g.
  private static func direction(_ kept: [[Double]], newest: [Double], m: Int, damping: Double) -> [Double] {
    let n = newest.count
    var h = (1 / damping) * Plain.identity(n)
    for g in kept {
      let hg = h * Plain(n, 1, g)
      let scale = 1 / (Double(m) + zip(g, hg.values).reduce(0) { $0 + $1.0 * $1.1 })
      for i in 0..<n { for j in 0..<n { h[i, j] -= scale * hg.values[i] * hg.values[j] } }
    }
    return (h * Plain(n, 1, newest)).values
  }

  @Test("follows the recursion, before and after the ring is full", arguments: availableLevels)
  func recursion(level: CPULevel) {
    for (momentum, damping) in [(0.0, 1e-2), (0.9, 1e-5)] {
      let settings = OptimizerSettings(
        .mfac, ["gradients": 5, "damping": .number(damping), "learning_rate": 0.1, "momentum": .number(momentum)])
      let run = OptimizerRun(MFAC(parameters: Self.parameters, settings: settings, level: level))
      run.initialize()
      let n = Self.parameters.elements
      var numbers = Numbers(seed: 2)
      var kept: [[Double]] = []
      var p = [Double](repeating: 0, count: n)
      var average = p
      for step in 0..<13 {
        var gradient: [Double] = []
        for tensor in Self.parameters.tensors {
          let values = (0..<tensor.count).map { _ in numbers.next() }
          run.set(tensor.name, to: values, in: run.gradients)
          gradient += values.map(Double.init)
        }
        kept.append(gradient)
        let u = Self.direction(kept.suffix(5), newest: gradient, m: 5, damping: damping)
        for i in 0..<n {
          average[i] = momentum * average[i] + (1 - momentum) * u[i]
          p[i] -= 0.1 * average[i]
        }
        run.update()
        let ours = Self.parameters.tensors.flatMap { run.parameter($0.name) }
        let largest = p.map(abs).max()!
        #expect(Plain(n, 1, p).distance(ours) < 1e-4 * largest, "step \(step), momentum \(momentum)")
      }
    }
  }

  @Test("the first update is as long as the gradients kept over the gradient's length", arguments: availableLevels)
  func firstStep(level: CPULevel) {
    for (graft, expected) in [(0, Float(64)), (1, 1)] {
      let settings = OptimizerSettings(
        .mfac, ["gradients": 64, "damping": 1e-9, "learning_rate": 1, "graft_steps": .integer(graft)])
      let run = OptimizerRun(MFAC(parameters: layout(["w": [2, 2]]), settings: settings, level: level))
      run.initialize()
      run.set("w", to: [0.5, -0.5, 0.5, 0.5], in: run.gradients)
      run.update()
      let wanted = [0.5, -0.5, 0.5, 0.5].map { -expected * Float($0) }
      #expect(zip(run.parameter("w"), wanted).allSatisfy { abs($0 - $1) < 1e-3 * expected })
    }
  }

  @Test("tells of the memory for its gradients before any is taken")
  func memory() {
    let optimizer = MFAC(parameters: Self.parameters, level: .scalar)
    #expect(optimizer.state["gradients"]!.shape == [1024, 32])
    #expect(optimizer.state["products"]!.shape == [1024, 1024])
    #expect(OptimizerSettings(.mfac, ["m": 100]).stateFloatsPerParameter == 100)
    #expect(OptimizerSettings(.mfac, ["m": 100, "momentum": 0.9]).stateFloatsPerParameter == 101)
  }

  @Test("a gradient that is not finite shows, and later ones still move the parameters")
  func poisoned() {
    let settings = OptimizerSettings(.mfac, ["gradients": 4, "learning_rate": 0.1])
    let run = OptimizerRun(MFAC(parameters: layout(["w": [4]]), settings: settings, level: .scalar))
    run.initialize()
    run.set("w", to: [1, .nan, 1, 1], in: run.gradients)
    run.update()
    #expect(run.parameter("w")[1].isNaN && run.parameter("w")[0] == -0.1)
    run.set("w", to: [1, 0, 1, 1], in: run.gradients)
    run.update()
    #expect(run.parameter("w")[0] == -0.2)
  }
}
