// The elementwise passes of the optimizers that work with matrices (CKernels/optimizer_matrix_rules.inc.h, which has the
// formulas); the algebra itself is MatrixAlgebra's.
import CKernels
import Compute

extension OptimizerKernels {
  /// m = decay m + share g; x = momentumScale m + gradientScale g.
  func blendMomentum(
    _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>, into x: UnsafeMutablePointer<Float>, count: Int,
    decay: Float, share: Float, momentumScale: Float, gradientScale: Float
  ) {
    flushingDenormals {
      table.pointee.blend_momentum(g, m, x, Int64(count), decay, share, momentumScale, gradientScale)
    }
  }

  /// p -= scale x + decay p.
  func step(
    _ p: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, count: Int, scale: Float, decay: Float
  ) {
    flushingDenormals { table.pointee.step_decayed(p, x, Int64(count), scale, decay) }
  }

  /// Adam whose step takes momentumScale m + gradientScale g over the root of rootScale v.
  func nesterovAdam(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
    _ v: UnsafeMutablePointer<Float>, count: Int, beta1: Float, beta2: Float, momentumScale: Float,
    gradientScale: Float, rootScale: Float, epsilon: Float, rate: Float, decay: Float
  ) {
    flushingDenormals {
      table.pointee.nesterov_adam(
        p, g, m, v, Int64(count), beta1, beta2, momentumScale, gradientScale, rootScale, epsilon, rate, decay)
    }
  }

  /// v = decay v + share g^2; x = x / (sqrt(v) + epsilon).
  func rotatedAdam(
    _ g: UnsafePointer<Float>, _ v: UnsafeMutablePointer<Float>, _ x: UnsafeMutablePointer<Float>, count: Int,
    decay: Float, share: Float, epsilon: Float
  ) {
    flushingDenormals { table.pointee.rotated_adam(g, v, x, Int64(count), decay, share, epsilon) }
  }

  /// How Shampoo makes the gradient a magnitude.
  enum Graft {
    case plain
    case sign
    /// d = keep d + share (scale g)^2; f = scale g / (sqrt(d) + epsilon).
    case diagonal(scale: Float, keep: Float, share: Float, epsilon: Float)
  }

  /// Writes the grafting update of `g` to `f` and returns the sum of its squares; only diagonal kinds touch `d`.
  func graft(
    _ kind: Graft, _ g: UnsafePointer<Float>, _ d: UnsafeMutablePointer<Float>, into f: UnsafeMutablePointer<Float>,
    count: Int
  ) -> Double {
    var graft = ck_graft()
    switch kind {
    case .plain: graft.kind = Int32(CK_GRAFT_PLAIN)
    case .sign: graft.kind = Int32(CK_GRAFT_SIGN)
    case .diagonal(let scale, let keep, let share, let epsilon):
      graft = ck_graft(kind: Int32(CK_GRAFT_DIAGONAL), scale: scale, keep: keep, share: share, epsilon: epsilon)
    }
    var total = 0.0
    flushingDenormals { total = table.pointee.graft(&graft, g, d, f, Int64(count)) }
    return total
  }

  /// Shampoo's last pass over a tensor.
  struct ShampooStep {
    /// Whether Shampoo's momentum leads, or still the graft's.
    var preconditioned: Bool
    var shampooScale: Float
    var graftScale: Float
    var weightDecay: Float
    /// momentum = decay momentum + share update
    var decay: Float
    var share: Float
    /// p -= rate (leadScale update + momentumScale momentum)
    var leadScale: Float
    var momentumScale: Float
    var rate: Float
  }

  /// - Parameters:
  ///   - s: Shampoo's direction, whose momentum is `a`.
  ///   - f: the grafting update, whose momentum is `b`.
  func shampooStep(
    _ step: ShampooStep, _ p: UnsafeMutablePointer<Float>, _ s: UnsafePointer<Float>, _ f: UnsafePointer<Float>,
    _ a: UnsafeMutablePointer<Float>, _ b: UnsafeMutablePointer<Float>, count: Int
  ) {
    var constants = ck_shampoo_step(
      preconditioned: step.preconditioned, shampoo_scale: step.shampooScale, graft_scale: step.graftScale,
      weight_decay: step.weightDecay, decay: step.decay, share: step.share, lead_scale: step.leadScale,
      momentum_scale: step.momentumScale, rate: step.rate)
    flushingDenormals { table.pointee.shampoo_step(&constants, p, s, f, a, b, Int64(count)) }
  }

  /// The sum of x y.
  func dot(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, count: Int) -> Double {
    var total = 0.0
    flushingDenormals { total = table.pointee.dot(x, y, Int64(count)) }
    return total
  }
}
