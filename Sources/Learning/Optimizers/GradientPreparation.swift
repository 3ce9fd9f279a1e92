// GradientPreparation: what happens to a gradient before an optimizer's rule sees it: bounds on its elements and its
// norm, then weight decay. FiniteGuard stands around it, the rule or GradientAccumulation inside.
//
//   g <- clamp(g, -clipValue, clipValue);   g <- g * min(1, clipNorm / |g|)   |g| over all tensors
//   g <- g + decay * p,   loss <- loss + decay * sum p^2
//
// The gradient's share is decay * p, not twice that: so does the published wrapper of VeLO (Metz et al. 2022, arXiv
// 2211.09760), whose decays mean the same here.
import Compute
import Contract

/// An optimizer that gets prepared gradients.
public struct GradientPreparation: OptimizerWrapper {
  /// Bound on each element; 0 for none.
  public let clipValue: Float
  /// Bound on the norm of the whole gradient; 0 for none.
  public let clipNorm: Float
  /// Weight decay; 0 for none.
  public let decay: Float
  let inner: any Optimizer
  private let kernels: OptimizerKernels
  private let floats: Int

  public init(
    _ inner: any Optimizer, clipValue: Float = 0, clipNorm: Float = 0, decay: Float = 0, level: CPULevel
  ) {
    self.inner = inner
    self.clipValue = clipValue
    self.clipNorm = clipNorm
    self.decay = decay
    kernels = OptimizerKernels(level: level)
    floats = inner.parameters.packedFloats
  }

  /// `inner` with what `settings` ask for, or as it is where they ask for nothing.
  ///
  /// An optimizer whose own rule decays weights does that itself.
  static func around(_ inner: any Optimizer, _ settings: OptimizerSettings, level: CPULevel) -> any Optimizer {
    let clipValue = Float(settings.number("clip_value")), clipNorm = Float(settings.number("clip_norm"))
    let hasOwn = settings.name.traits.options.contains { $0.key == "weight_decay" }
    let decay = hasOwn ? 0 : Float(settings.number("weight_decay"))
    guard clipValue > 0 || clipNorm > 0 || decay > 0 else { return inner }
    return GradientPreparation(inner, clipValue: clipValue, clipNorm: clipNorm, decay: decay, level: level)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    var step = step
    if clipValue > 0 { kernels.clamp(gradients, count: floats, bound: clipValue) }
    var scale: Float = 1
    if clipNorm > 0 {
      let norm = squares(gradients).squareRoot()
      // A norm that is not finite must not turn a gradient into zeros.
      if norm.isFinite, norm >= Double(clipNorm) { scale = Float(Double(clipNorm) / norm) }
    }
    if decay > 0 { step.loss += Float(Double(decay) * squares(parameters)) }
    if scale != 1 || decay > 0 {
      kernels.blend(gradients, parameters, count: floats, scale: scale, share: decay)
    }
    inner.update(parameters: parameters, gradients: gradients, state: state, scratch: scratch, step: step)
  }

  private func squares(_ x: UnsafePointer<Float>) -> Double {
    var sum = 0.0
    for tensor in parameters.tensors { sum += kernels.squares(x + tensor.offset, count: tensor.count) }
    return sum
  }
}
