// GradientAccumulation.swift: groups of steps make the update that their mean would make.
import Compute
import Contract
import Testing

@testable import Learning

@Suite struct GradientAccumulationTests {
  private let layout = ParameterLayout([("b", [5]), ("w", [3, 5])])

  private func buffer(_ seed: UInt64) -> AlignedBuffer {
    let buffer = AlignedBuffer(floats: layout.floats)
    var values = [Float](repeating: 0, count: layout.floats)
    RandomKey(seed: seed).fillNormals(&values)
    for tensor in layout.tensors {
      for index in tensor.offset..<tensor.offset + tensor.count { buffer.pointer[index] = values[index] }
    }
    return buffer
  }

  @Test("three groups of four steps are three updates with the groups' mean gradient and mean loss")
  func groups() throws {
    let theta = Theta.initial(OptimizerCatalog.schema(of: .celo)!, key: RandomKey(seed: 3)).aligned()
    let inner = Celo(parameters: layout, level: .best)
    let wrapped = GradientAccumulation(inner, group: 4)
    let (ours, reference) = (buffer(1), buffer(1))
    let state = AlignedBuffer(floats: wrapped.state.floats)
    let innerState = AlignedBuffer(floats: inner.state.floats)
    let scratch = AlignedBuffer(floats: max(16, inner.scratchFloats))
    wrapped.initialize(state: state.pointer, parameters: ours.pointer, theta: theta.pointer)
    inner.initialize(state: innerState.pointer, parameters: reference.pointer, theta: theta.pointer)
    let mean = AlignedBuffer(floats: layout.floats)
    for step in 0..<12 {
      let gradient = buffer(100 + UInt64(step))
      // A power of two steps in a group: the mean of these sums is exact in either order.
      for index in 0..<layout.floats { mean.pointer[index] += gradient.pointer[index] }
      let before = Array(UnsafeBufferPointer(start: ours.pointer, count: layout.floats))
      wrapped.update(
        parameters: ours.pointer, gradients: gradient.pointer, state: state.pointer, scratch: scratch.pointer,
        step: OptimizerStep(iteration: step, totalSteps: 14, loss: Float(step), theta: theta.pointer))
      guard step % 4 == 3 else {
        #expect(before == Array(UnsafeBufferPointer(start: ours.pointer, count: layout.floats)))
        continue
      }
      for index in 0..<layout.floats { mean.pointer[index] *= 0.25 }
      inner.update(
        parameters: reference.pointer, gradients: mean.pointer, state: innerState.pointer, scratch: scratch.pointer,
        step: OptimizerStep(iteration: step / 4, totalSteps: 3, loss: Float(step) - 1.5, theta: theta.pointer))
      mean.zero()
      #expect(
        Array(UnsafeBufferPointer(start: ours.pointer, count: layout.floats))
          == Array(UnsafeBufferPointer(start: reference.pointer, count: layout.floats)), "update after step \(step)")
    }
  }

  @Test("runs within the horizon are left as they are, longer ones get the smallest group that fits")
  func horizon() {
    func group(_ horizon: Int?, _ steps: Int, _ options: [String: JSON] = [:]) -> Int? {
      let made = OptimizerCatalog.make(
        OptimizerSettings(.adam, options), parameters: layout, horizonSteps: horizon, totalSteps: steps, level: .best)
      return (made as? GradientAccumulation)?.group
    }
    #expect(group(nil, 1_000_000) == nil && group(5000, 5000) == nil)
    #expect(group(5000, 5001) == 2 && group(5000, 60_000) == 12)
    #expect(group(.max, 1000) == nil && group(999, 1000) == 2 && group(1000, 1000) == nil)
    #expect(group(nil, 1000, ["updates_max": 150]) == 7 && group(100, 1000, ["updates_max": 150]) == 10)
    #expect(group(nil, 100, ["accumulation": 4]) == 4 && group(10, 100, ["accumulation": 4]) == 12)
  }
}
