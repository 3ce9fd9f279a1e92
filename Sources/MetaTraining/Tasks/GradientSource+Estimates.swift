// The links that change the gradient's estimate: evolution strategies, subspaces, normalisation, noise, sparsity.
import Compute
import Foundation

/// Directions of the size of all parameters, without the padding between tensors.
private final class DirectionMemory {
  let values: UnsafeMutableBufferPointer<Float>
  private let spans: [Range<Int>]
  private let level: CPULevel

  init(_ layout: ParameterLayout, level: CPULevel) {
    spans = layout.spans
    self.level = level
    values = .allocate(capacity: max(4, layout.elements))
    values.initialize(repeating: 0)
  }

  deinit { values.deallocate() }

  // The level was checked when the task's plan was made.
  func draw(_ key: RandomKey) { try! key.fillNormals(values, level: level) }

  /// out = x + factor · direction.
  func add(_ x: UnsafePointer<Float>, factor: Float, to out: UnsafeMutablePointer<Float>) {
    var index = 0
    for number in spans.indices {
      let span = spans[number]
      let target = out + span.lowerBound, source = x + span.lowerBound
      for place in 0..<span.count { target[place] = source[place] + factor * values[index + place] }
      index += span.count
    }
  }

  /// The direction's squared norm and its product with x.
  func products(_ x: UnsafePointer<Float>) -> (square: Double, dot: Double) {
    var square = 0.0, dot = 0.0
    var index = 0
    for number in spans.indices {
      let span = spans[number]
      let source = x + span.lowerBound
      for place in 0..<span.count {
        let value = Double(values[index + place])
        square += value * value
        dot += value * Double(source[place])
      }
      index += span.count
    }
    return (square, dot)
  }
}

/// The mean over antithetic pairs of e (loss(p + e) - loss(p - e)) / (2 deviation²), e ~ N(0, deviation²); the loss
/// reported is the one at p.
final class EvolvedSource: GradientSource {
  private let inner: any GradientSource
  private let layout: ParameterLayout
  private let deviation: Float
  private let pairs: Int
  private let position: UInt32
  private let direction: DirectionMemory
  private let moved: AlignedBuffer

  init(
    _ inner: any GradientSource, layout: ParameterLayout, deviation: Float, pairs: Int, position: UInt32,
    level: CPULevel
  ) {
    self.inner = inner
    self.layout = layout
    self.deviation = deviation
    self.pairs = pairs
    self.position = position
    direction = DirectionMemory(layout, level: level)
    moved = AlignedBuffer(floats: layout.floats)
  }

  var memoryFloats: Int { inner.memoryFloats }

  func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey
  ) { inner.begin(parameters, memory: memory, initial: initial, episode: episode) }

  func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float {
    if let gradients {
      gradients.update(repeating: 0, count: layout.floats)
      for pair in 0..<pairs {
        direction.draw(step.key.derive(13, position, UInt32(pair)))
        direction.add(parameters, factor: deviation, to: moved.pointer)
        let plus = inner.evaluate(moved.pointer, gradients: nil, memory: memory, step: step)
        direction.add(parameters, factor: -deviation, to: moved.pointer)
        let minus = inner.evaluate(moved.pointer, gradients: nil, memory: memory, step: step)
        // e = deviation · direction, so one deviation cancels.
        let weight = (plus - minus) / (2 * deviation * Float(pairs))
        direction.add(gradients, factor: weight, to: gradients)
      }
    }
    return inner.evaluate(parameters, gradients: nil, memory: memory, step: step)
  }

  func settle(_ parameters: UnsafeMutablePointer<Float>) { inner.settle(parameters) }
}

/// The sum over random unit vectors u of u (g · u), or of u sign(g · u).
final class SubspaceSource: GradientSource {
  private let inner: any GradientSource
  private let layout: ParameterLayout
  private let directions: Int
  private let usesSign: Bool
  private let position: UInt32
  private let direction: DirectionMemory
  private let gradient: AlignedBuffer

  init(
    _ inner: any GradientSource, layout: ParameterLayout, directions: Int, usesSign: Bool, position: UInt32,
    level: CPULevel
  ) {
    self.inner = inner
    self.layout = layout
    self.directions = directions
    self.usesSign = usesSign
    self.position = position
    direction = DirectionMemory(layout, level: level)
    gradient = AlignedBuffer(floats: layout.floats)
  }

  var memoryFloats: Int { inner.memoryFloats }

  func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey
  ) { inner.begin(parameters, memory: memory, initial: initial, episode: episode) }

  func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float {
    guard let gradients else { return inner.evaluate(parameters, gradients: nil, memory: memory, step: step) }
    let loss = inner.evaluate(parameters, gradients: gradient.pointer, memory: memory, step: step)
    gradients.update(repeating: 0, count: layout.floats)
    for number in 0..<directions {
      direction.draw(step.key.derive(14, position, UInt32(number)))
      let (square, dot) = direction.products(gradient.pointer)
      guard square > 0 else { continue }
      let sign: Double = dot > 0 ? 1 : dot < 0 ? -1 : dot
      direction.add(gradients, factor: Float(usesSign ? sign / square.squareRoot() : dot / square), to: gradients)
    }
    return loss
  }

  func settle(_ parameters: UnsafeMutablePointer<Float>) { inner.settle(parameters) }
}

/// A link that changes nothing but the gradient, element by element.
class GradientMap: GradientSource {
  private let inner: any GradientSource
  /// The places of the tensors.
  let spans: [Range<Int>]

  init(_ inner: any GradientSource, layout: ParameterLayout) {
    self.inner = inner
    spans = layout.spans
  }

  final var memoryFloats: Int { inner.memoryFloats }

  final func begin(
    _ parameters: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, initial: RandomKey,
    episode: RandomKey
  ) { inner.begin(parameters, memory: memory, initial: initial, episode: episode) }

  final func evaluate(
    _ parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?, memory: UnsafeMutablePointer<Float>,
    step: EvaluationStep
  ) -> Float {
    let loss = inner.evaluate(parameters, gradients: gradients, memory: memory, step: step)
    if let gradients { change(gradients, loss: loss, step: step) }
    return loss
  }

  final func settle(_ parameters: UnsafeMutablePointer<Float>) { inner.settle(parameters) }

  /// Changes the gradient in place.
  func change(_ gradients: UnsafeMutablePointer<Float>, loss: Float, step: EvaluationStep) {}

  final func scale(_ gradients: UnsafeMutablePointer<Float>, by factor: Float) {
    for number in spans.indices {
      let span = spans[number]
      for place in span { gradients[place] *= factor }
    }
  }
}

/// g over its norm; a zero gradient stays.
final class NormalisedSource: GradientMap {
  override func change(_ gradients: UnsafeMutablePointer<Float>, loss: Float, step: EvaluationStep) {
    var square = 0.0
    for number in spans.indices {
      let span = spans[number]
      for place in span {
        square += Double(gradients[place]) * Double(gradients[place])
      }
    }
    if square != 0 { scale(gradients, by: Float(1 / square.squareRoot())) }
  }
}

/// The gradient of the normalised loss.
final class NormalisedLossSource: GradientMap {
  private let normaliser: LossNormaliser

  init(_ inner: any GradientSource, layout: ParameterLayout, normaliser: LossNormaliser) {
    self.normaliser = normaliser
    super.init(inner, layout: layout)
  }

  override func change(_ gradients: UnsafeMutablePointer<Float>, loss: Float, step: EvaluationStep) {
    scale(gradients, by: normaliser.derivative(at: loss))
  }
}

/// g + N(0, deviation²).
final class NoisySource: GradientMap {
  private let deviation: Float
  private let position: UInt32
  private let direction: DirectionMemory

  init(_ inner: any GradientSource, layout: ParameterLayout, deviation: Float, position: UInt32, level: CPULevel) {
    self.deviation = deviation
    self.position = position
    direction = DirectionMemory(layout, level: level)
    super.init(inner, layout: layout)
  }

  override func change(_ gradients: UnsafeMutablePointer<Float>, loss: Float, step: EvaluationStep) {
    direction.draw(step.key.derive(15, position, 0))
    direction.add(gradients, factor: deviation, to: gradients)
  }
}

/// A share of the coordinates; the others are zero.
final class SparseSource: GradientMap {
  private let threshold: UInt32
  private let position: UInt32

  init(_ inner: any GradientSource, layout: ParameterLayout, share: Double, position: UInt32) {
    threshold = UInt32(min(share * 0x1p32, 0x1p32 - 1))
    self.position = position
    super.init(inner, layout: layout)
  }

  override func change(_ gradients: UnsafeMutablePointer<Float>, loss: Float, step: EvaluationStep) {
    let key = step.key.derive(16, position, 0)
    for number in spans.indices {
      let span = spans[number]
      for place in span
      where key.words(block: UInt32(place)).0 > threshold {
        gradients[place] = 0
      }
    }
  }
}
