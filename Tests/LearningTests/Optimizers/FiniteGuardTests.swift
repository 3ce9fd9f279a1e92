// FiniteGuard.swift: steps that are not finite leave no trace but their count, all others pass with the same bits.
import Compute
import Contract
import Foundation
import Testing

@testable import Learning

@Suite("The guard against what is not finite")
struct FiniteGuardTests {
  private static let parameters = layout(["b": [5], "empty": [0, 3], "scale": .scalar, "w": [7, 19]])

  private func numbers(_ seed: UInt64) -> [Float] {
    var numbers = Numbers(seed: seed)
    return (0..<Self.parameters.elements).map { _ in numbers.next() }
  }

  private func run(_ inner: any Optimizer, _ level: CPULevel = .best) -> OptimizerRun {
    let run = OptimizerRun(FiniteGuard(inner, level: level))
    run.setParameters(numbers(1))
    run.initialize()
    return run
  }

  @Test("finds any element of any tensor, and the loss", arguments: availableLevels)
  func anyElement(level: CPULevel) {
    let run = run(Witness(Self.parameters), level)
    let before = run.allParameters
    var skipped: Float = 0
    for bad in [Float.nan, .infinity, -.infinity, -.nan] {
      for place in 0..<Self.parameters.elements {
        var gradient = numbers(2)
        gradient[place] = bad
        run.setGradients(gradient)
        run.update()
        skipped += 1
        #expect(run.number("skipped") == skipped && run.number("updates") == 0, "\(bad) at \(place)")
      }
      run.setGradients(numbers(2))
      run.update(loss: bad)
      skipped += 1
      #expect(run.number("skipped") == skipped)
    }
    #expect(run.allParameters == before && run.number("skipped_in_a_row") == skipped)
  }

  @Test("passes what is huge, tiny or in the padding", arguments: availableLevels)
  func passes(level: CPULevel) {
    let run = run(Witness(Self.parameters), level)
    run.gradients.pointer.update(repeating: .nan, count: run.gradients.floats)
    let gradient = (0..<Self.parameters.elements).map { index -> Float in
      [.greatestFiniteMagnitude, -.greatestFiniteMagnitude, .leastNonzeroMagnitude, -0.0, 0][index % 5]
    }
    run.setGradients(gradient)
    run.update(loss: .greatestFiniteMagnitude)
    #expect(run.number("updates") == 1 && run.number("skipped") == 0)
    #expect(run.seen.map(\.bitPattern) == gradient.map(\.bitPattern))
  }

  @Test("counts: in a row until a good step, in all for good; iterations are those of updates made")
  func counts() {
    let run = run(Witness(Self.parameters))
    var (updates, total, inARow): (Float, Float, Float) = (0, 0, 0)
    for (step, isGood) in [true, false, false, true, true, false, true, false, false, false, true].enumerated() {
      run.setGradients(numbers(UInt64(step + 2)))
      run.update(loss: isGood ? Float(step) : .nan)
      if isGood {
        #expect(run.number("iteration") == updates && run.number("loss") == Float(step))
        updates += 1
        inARow = 0
      } else {
        total += 1
        inARow += 1
      }
      #expect(run.number("updates") == updates && run.number("skipped") == total)
      #expect(run.number("skipped_in_a_row") == inARow)
      let optimizer = run.optimizer as? FiniteGuard
      #expect(optimizer?.skippedInARow(run.state.pointer) == Int(inARow))
    }
    #expect(updates == 5 && total == 6)
  }

  @Test("a run with skipped steps goes where a run without them goes, bit for bit, also from a copy of its state")
  func unaffected() {
    func adam() -> any Optimizer {
      Adam(parameters: Self.parameters, settings: OptimizerSettings(.adam), level: .best)
    }
    let plain = OptimizerRun(adam())
    plain.setParameters(numbers(1))
    plain.initialize()
    var guarded = run(adam())
    for step in 0..<12 {
      let gradient = numbers(UInt64(step + 2))
      if step % 3 == 1 {
        var bad = gradient
        bad[step] = .infinity
        guarded.setGradients(bad)
        guarded.update()
      }
      if step == 7 {
        let resumed = run(adam())
        resumed.parameters.copy(from: guarded.parameters)
        resumed.state.copy(from: guarded.state)
        resumed.iteration = guarded.iteration
        guarded = resumed
      }
      for run in [plain, guarded] {
        run.setGradients(gradient)
        run.update()
      }
      #expect(guarded.allParameters.map(\.bitPattern) == plain.allParameters.map(\.bitPattern), "step \(step)")
      for tensor in plain.optimizer.state.tensors {
        #expect(guarded.slot(tensor.name).map(\.bitPattern) == plain.slot(tensor.name).map(\.bitPattern))
      }
    }
    #expect(guarded.number("skipped") == 4 && guarded.iteration == 16)
  }

  @Test("gathered steps: a skipped one is no part of its group")
  func gathered() {
    let run = run(GradientAccumulation(Witness(Self.parameters), group: 2))
    for (step, loss) in ([1, .nan, 3, .infinity, 5, 7] as [Float]).enumerated() {
      run.setGradients([Float](repeating: Float(step), count: Self.parameters.elements))
      run.update(loss: loss)
    }
    // The updates saw steps 0 and 2, then 4 and 5.
    #expect(run.number("updates") == 2 && run.number("loss") == 6 && run.seen.allSatisfy { $0 == 4.5 })
    #expect(run.number("iteration") == 1)
  }

  @Test("who takes no gradient is not held up by what lies in its memory; its loss still counts")
  func noGradient() {
    let run = run(Witness(Self.parameters, needs: .noGradient))
    run.setGradients([Float](repeating: .nan, count: Self.parameters.elements))
    run.update(loss: 1)
    #expect(run.number("updates") == 1 && run.number("skipped") == 0)
    run.update(loss: .nan)
    #expect(run.number("updates") == 1 && run.number("skipped") == 1)
  }

  @Test("a held-out loss is passed on where it is finite")
  func observes() {
    let run = run(Witness(Self.parameters, needs: .validationLoss))
    #expect(run.optimizer.needs == .validationLoss)
    run.optimizer.observe(validationLoss: 0.5, state: run.state.pointer)
    for bad in [Float.nan, .infinity] { run.optimizer.observe(validationLoss: bad, state: run.state.pointer) }
    #expect(run.number("validation_loss") == 0.5)
  }
}
