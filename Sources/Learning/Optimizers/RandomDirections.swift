// RandomDirections: the gradient estimate of MeZO (Malladi et al. 2023, arXiv 2305.17333), which is SPSA (Spall 1992):
// differences of the loss along random directions. ZerothOrder.swift hands it to a rule.
//
//   c_j = (L(p + epsilon z_j) - L(p - epsilon z_j)) / (2 epsilon)        z_j ~ N(0, I), j < samples
//   g   = 1/samples sum_j c_j z_j + decay p                              decay for matrices alone
//
// E[g] is the gradient of L smoothed by a normal of deviation epsilon: that of L itself where L is quadratic. The
// directions follow from the step's key by iteration, sample and place, so that none is kept; beside the gradients
// there is one copy of the parameters. MeZO's own rule for g is plain descent.
import Compute
import Contract

/// Estimates gradients along random directions; each takes two evaluations of the loss.
struct RandomDirections: Sendable {
  private let epsilon: Float
  private let samples: Int
  private let decay: Float
  private let decayed: [ParameterLayout.Tensor]
  private let kernels: OptimizerKernels
  private let level: CPULevel
  private let floats: Int

  /// - Parameter settings: `epsilon`, `samples`, `weight_decay`, `decay_vectors`.
  init(_ parameters: ParameterLayout, _ settings: OptimizerSettings, level: CPULevel) {
    epsilon = Float(settings.number("epsilon"))
    samples = settings.integer("samples")
    decay = Float(settings.number("weight_decay"))
    let takesVectors = settings.flag("decay_vectors")
    decayed = parameters.tensors.filter { takesVectors || $0.shape.rank > 1 }
    kernels = OptimizerKernels(level: level)
    self.level = level
    floats = parameters.packedFloats
    scratchFloats = parameters.floats
  }

  /// A point in the layout of the parameters.
  let scratchFloats: Int

  func write(
    into gradients: UnsafeMutablePointer<Float>, at parameters: UnsafePointer<Float>, _ problem: BatchProblem,
    step: OptimizerStep, scratch point: UnsafeMutablePointer<Float>
  ) {
    for sample in 0..<samples {
      let key = step.key.derive(1, UInt32(truncatingIfNeeded: step.iteration), UInt32(sample))
      // The first direction waits in the gradients for its factor; later ones are made again.
      if sample == 0 {
        draw(key, into: gradients)
        point.update(from: gradients, count: floats)
      } else {
        draw(key, into: point)
      }
      kernels.blend(point, parameters, count: floats, scale: epsilon, share: 1)
      let above = problem.loss(point)
      // 2p - (p + epsilon z): the two points lie opposite each other even where the sum was rounded.
      kernels.blend(point, parameters, count: floats, scale: -1, share: 2)
      let below = problem.loss(point)
      let slope = Float((Double(above) - Double(below)) / (2 * Double(epsilon) * Double(samples)))
      if sample == 0 {
        kernels.blend(gradients, point, count: floats, scale: slope, share: 0)
      } else {
        draw(key, into: point)
        kernels.blend(gradients, point, count: floats, scale: 1, share: slope)
      }
    }
    guard decay > 0 else { return }
    for tensor in decayed {
      kernels.blend(
        gradients + tensor.offset, parameters + tensor.offset, count: tensor.count, scale: 1, share: decay)
    }
  }

  private func draw(_ key: RandomKey, into memory: UnsafeMutablePointer<Float>) {
    do {
      try key.fillNormals(UnsafeMutableBufferPointer(start: memory, count: floats), level: level)
    } catch { preconditionFailure("RandomDirections: \(error)") }
  }
}
