// GradientPreparation.swift: what an optimizer sees of a gradient and a loss, against the formulas in Float64.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

@Suite("Preparation of gradients")
struct GradientPreparationTests {
  private static let parameters = layout(["b": [5], "empty": [0], "scale": .scalar, "w": [7, 19]])

  private func numbers(_ seed: UInt64, size: Float = 1) -> [Float] {
    var numbers = Numbers(seed: seed)
    return (0..<Self.parameters.elements).map { _ in size * numbers.next() }
  }

  private func run(
    _ level: CPULevel, clipValue: Float = 0, clipNorm: Float = 0, decay: Float = 0
  ) -> OptimizerRun {
    let prepared = GradientPreparation(
      Witness(Self.parameters), clipValue: clipValue, clipNorm: clipNorm, decay: decay, level: level)
    let run = OptimizerRun(prepared)
    run.setParameters(numbers(1))
    run.initialize()
    return run
  }

  /// The gradient and the loss that the rule should see.
  private func reference(
    _ gradient: [Float], _ parameters: [Float], loss: Double, clipValue: Double, clipNorm: Double, decay: Double
  ) -> ([Double], Double) {
    var g = gradient.map(Double.init)
    if clipValue > 0 { g = g.map { min(max($0, -clipValue), clipValue) } }
    let norm = g.reduce(0) { $0 + $1 * $1 }.squareRoot()
    if clipNorm > 0 && norm > clipNorm { g = g.map { $0 * clipNorm / norm } }
    let p = parameters.map(Double.init)
    return (zip(g, p).map { $0 + decay * $1 }, loss + decay * p.reduce(0) { $0 + $1 * $1 })
  }

  @Test("bounds elements, then the norm, then decays weights, in the gradient and the loss", arguments: availableLevels)
  func formula(level: CPULevel) {
    for clipValue in [0, 0.3, 10] as [Float] {
      for clipNorm in [0, 0.5, 1e6] as [Float] {
        for decay in [0, 0.25] as [Float] {
          let run = run(level, clipValue: clipValue, clipNorm: clipNorm, decay: decay)
          let gradient = numbers(2)
          run.setGradients(gradient)
          let (wanted, loss) = reference(
            gradient, run.allParameters, loss: 3, clipValue: Double(clipValue), clipNorm: Double(clipNorm),
            decay: Double(decay))
          run.update(loss: 3)
          let worst = zip(run.seen, wanted).map { abs(Double($0) - $1) }.max()!
          #expect(worst < 2e-7, "\(worst) with \(clipValue), \(clipNorm), \(decay)")
          #expect(abs(Double(run.number("loss")) - loss) < 4e-6)
        }
      }
    }
  }

  @Test("a norm at or below its bound changes no bit, whatever lies in the padding", arguments: availableLevels)
  func untouched(level: CPULevel) {
    let run = run(level, clipValue: 2, clipNorm: 100)
    let gradient = numbers(2)
    run.gradients.pointer.update(repeating: 1e30, count: run.gradients.floats)
    run.setGradients(gradient)
    run.update()
    #expect(run.seen.map(\.bitPattern) == gradient.map(\.bitPattern) && run.number("loss") == 1)
  }

  @Test("a gradient that is huge but finite is brought to its bound, not to zero", arguments: availableLevels)
  func huge(level: CPULevel) {
    for size in [1e19, 1e25, 1e37] as [Float] {
      let run = run(level, clipNorm: 2)
      let gradient = numbers(2, size: size)
      run.setGradients(gradient)
      let (wanted, _) = reference(gradient, run.allParameters, loss: 0, clipValue: 0, clipNorm: 2, decay: 0)
      run.update()
      #expect(zip(run.seen, wanted).allSatisfy { abs(Double($0) - $1) < 1e-6 }, "\(size)")
    }
    let tiny = run(level, clipNorm: 2)
    tiny.setGradients(numbers(2, size: 1e-37))
    tiny.update()
    #expect(tiny.seen == numbers(2, size: 1e-37))
  }

  @Test("what is not finite stays so: neither a bound nor a norm hides it", arguments: availableLevels)
  func notFinite(level: CPULevel) {
    for bad in [Float.nan, .infinity, -.infinity] {
      let run = run(level, clipNorm: 2)
      var gradient = numbers(2)
      gradient[17] = bad
      run.setGradients(gradient)
      run.update()
      #expect(!run.seen[17].isFinite)
      // The others are not made zeros by the norm.
      #expect(run.seen[16] == gradient[16])
    }
    let bounded = run(level, clipValue: 1)
    var gradient = numbers(2)
    (gradient[3], gradient[50], gradient[51]) = (.nan, .infinity, -.infinity)
    bounded.setGradients(gradient)
    bounded.update()
    #expect(bounded.seen[3].isNaN && bounded.seen[50] == 1 && bounded.seen[51] == -1)
  }

  @Test("is made where settings ask for it, and leaves weight decay to rules that have their own")
  func settings() throws {
    let inner = Witness(Self.parameters)
    func around(_ name: OptimizerName, _ options: [String: JSON]) -> GradientPreparation? {
      GradientPreparation.around(inner, OptimizerSettings(name, options), level: .scalar) as? GradientPreparation
    }
    #expect(around(.sgd, [:]) == nil && around(.mezo, ["weight_decay": 0.5]) == nil)
    let made = try #require(around(.sgd, ["clip_value": 3, "clip_norm": 1, "weight_decay": 0.5]))
    #expect(made.clipValue == 3 && made.clipNorm == 1 && made.decay == 0.5)
    #expect(made.name == "witness" && made.state == inner.state)
    for name in OptimizerName.allCases where !name.isLearned {
      let hasOwn = name.traits.options.contains { $0.key == "weight_decay" }
      #expect((around(name, ["weight_decay": 0.5]) == nil) == hasOwn, "\(name)")
    }
  }

  @Test("steps are gathered after preparation: each adds its decay, and the mean loss has it too")
  func order() {
    let settings = OptimizerSettings(
      .sgd, ["learning_rate": 1, "accumulation": 2, "clip_value": 0.25, "weight_decay": 0.5])
    let run = OptimizerRun(OptimizerCatalog.make(settings, parameters: Self.parameters, totalSteps: 4, level: .best))
    run.setParameters(numbers(1))
    run.initialize()
    let before = run.allParameters
    let gradients = [numbers(2), numbers(3)]
    for gradient in gradients {
      run.setGradients(gradient)
      run.update()
    }
    for place in before.indices {
      let mean = gradients.reduce(0) { $0 + min(max(Double($1[place]), -0.25), 0.25) / 2 }
      let wanted = Double(before[place]) - mean - 0.5 * Double(before[place])
      #expect(abs(Double(run.allParameters[place]) - wanted) < 2e-7)
    }
  }
}
