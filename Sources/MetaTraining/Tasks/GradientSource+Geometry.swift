// The links that change what parameters mean: reparametrisation, bfloat16, delay.
import Compute
import Foundation

/// loss'(p) = loss(c p), so the gradient is c times the inner one; parameters start at 1/c of the inner ones.
final class ReparametrisedSource: GradientSource {
  private let inner: any GradientSource
  private let layout: ParameterLayout
  private let spans: [Range<Int>]
  private let level: Augmentation.ReparametrisationLevel
  private let range: ClosedRange<Double>
  private let position: UInt32
  private let scaled: AlignedBuffer
  private let offset: Int
  let memoryFloats: Int

  init(
    _ inner: any GradientSource, layout: ParameterLayout, level: Augmentation.ReparametrisationLevel,
    range: ClosedRange<Double>, position: UInt32
  ) {
    self.inner = inner
    self.layout = layout
    spans = layout.spans
    self.level = level
    self.range = range
    self.position = position
    scaled = AlignedBuffer(floats: layout.floats)
    offset = inner.memoryFloats
    memoryFloats = offset + (level == .parameter ? layout.floats : (layout.tensors.count + 15) / 16 * 16)
  }

  func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey
  ) {
    inner.begin(parameters, memory: memory, initial: initial, episode: episode)
    let key = position == 0 ? episode : episode.derive(12, position, 0)
    let scales = memory + offset
    let low = log(range.lowerBound), high = log(range.upperBound)
    func scale(_ block: Int) -> Float {
      Float(exp(low + RandomKey.uniform(key.words(block: UInt32(block)).0) * (high - low)))
    }
    for (index, tensor) in layout.tensors.enumerated() {
      let values = parameters + tensor.offset
      if level == .parameter {
        for place in 0..<tensor.count {
          // Block 0 is not used; blocks above hold one scale each.
          let factor = scale(1 + tensor.offset + place)
          scales[tensor.offset + place] = factor
          values[place] *= 1 / factor
        }
      } else {
        scales[index] = scale(level == .global ? 1 : index + 1)
        let factor = 1 / scales[index]
        for place in 0..<tensor.count { values[place] = factor * values[place] }
      }
    }
  }

  func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float {
    scale(scaled.pointer, parameters, memory + offset)
    let loss = inner.evaluate(scaled.pointer, gradients: gradients, memory: memory, step: step)
    if let gradients { scale(gradients, gradients, memory + offset) }
    return loss
  }

  private func scale(
    _ out: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ scales: UnsafePointer<Float>
  ) {
    var index = 0
    for number in spans.indices {
      let span = spans[number]
      let target = out + span.lowerBound, source = x + span.lowerBound
      if level == .parameter {
        let factors = scales + span.lowerBound
        for place in 0..<span.count { target[place] = factors[place] * source[place] }
      } else {
        let factor = scales[index]
        for place in 0..<span.count { target[place] = factor * source[place] }
      }
      index += 1
    }
  }

  // Inner links that round parameters would have to round scaled ones: they see them at the next evaluation.
  func settle(_ parameters: UnsafeMutablePointer<Float>) {}
}

/// Parameters and gradients are bfloat16 numbers.
final class BFloat16Source: GradientSource {
  private let inner: any GradientSource
  private let spans: [Range<Int>]

  init(_ inner: any GradientSource, layout: ParameterLayout) {
    self.inner = inner
    spans = layout.spans
  }

  var memoryFloats: Int { inner.memoryFloats }

  func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey
  ) {
    inner.begin(parameters, memory: memory, initial: initial, episode: episode)
    round(parameters)
  }

  func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float {
    let loss = inner.evaluate(parameters, gradients: gradients, memory: memory, step: step)
    if let gradients { round(gradients) }
    return loss
  }

  func settle(_ parameters: UnsafeMutablePointer<Float>) {
    inner.settle(parameters)
    round(parameters)
  }

  private func round(_ values: UnsafeMutablePointer<Float>) {
    for number in spans.indices {
      let span = spans[number]
      for place in span { values[place] = values[place].roundedToBFloat16 }
    }
  }
}

/// Loss and gradient of the parameters of some steps ago; of the first ones while there are no older.
final class DelayedSource: GradientSource {
  private let inner: any GradientSource
  private let layout: ParameterLayout
  private let steps: Int
  private let offset: Int

  init(_ inner: any GradientSource, layout: ParameterLayout, steps: Int) {
    self.inner = inner
    self.layout = layout
    self.steps = steps
    offset = inner.memoryFloats
  }

  var memoryFloats: Int { offset + steps * layout.floats }

  func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey
  ) {
    inner.begin(parameters, memory: memory, initial: initial, episode: episode)
    for slot in 0..<steps {
      (memory + offset + slot * layout.floats).update(from: parameters, count: layout.floats)
    }
  }

  func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float {
    // The slot holds what was current `steps` steps ago, and from now on what is current.
    let slot = memory + offset + step.iteration % steps * layout.floats
    let loss = inner.evaluate(slot, gradients: gradients, memory: memory, step: step)
    slot.update(from: parameters, count: layout.floats)
    return loss
  }

  func settle(_ parameters: UnsafeMutablePointer<Float>) { inner.settle(parameters) }
}
