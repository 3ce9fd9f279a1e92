// M-FAC: natural gradient with the Fisher matrix of the last m gradients, never formed (Frantar et al. 2021, arXiv
// 2107.03356). Keeps m floats for each parameter: for small models.
//
//   g enters the ring of the last m gradients, the rows of G;  F = damping I + G^T G / m
//   u  = F^-1 g = m G^T (damping m I + G G^T)^-1 e           e: the unit vector of g's row
//   u  = u |g|/|u| in the first graftSteps updates
//   v' = momentum v + (1 - momentum) u;  p' = p - rate * v'
//
// The second form of u needs no difference of near numbers: with K = G G^T, G g is K e, and g - G^T (damping m I + K)^-1 K
// e = damping m G^T (damping m I + K)^-1 e.
import Compute
import Contract

/// M-FAC; keeps `gradients` [m, parameters], their `products` [m, m], and with momentum `momentum/…`.
public struct MFAC: Optimizer {
  public let name = "mfac"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  public let scratchFloats: Int
  private let rate: LearningRate
  private let ring: Int
  private let damping: Double
  private let momentum: Float
  private let graftSteps: Int
  private let elements: Int
  /// Floats from one gradient of the ring to the next.
  private let rowFloats: Int
  private let gradientsOffset: Int
  private let productsOffset: Int
  private let momentumOffset: Int
  private let kernels: OptimizerKernels
  private let algebra: MatrixAlgebra

  /// - Parameter settings: `learning_rate`, `schedule`, `gradients`, `damping`, `momentum`, `graft_steps`.
  public init(parameters: ParameterLayout, settings: OptimizerSettings = OptimizerSettings(.mfac), level: CPULevel) {
    self.parameters = parameters
    rate = settings.learningRate
    ring = settings.integer("gradients")
    damping = settings.number("damping")
    momentum = Float(settings.number("momentum"))
    graftSteps = settings.integer("graft_steps")
    kernels = OptimizerKernels(level: level)
    algebra = MatrixAlgebra(level: level, factorizing: true)
    elements = parameters.elements
    rowFloats = ParameterLayout.padded(elements)
    let momenta =
      momentum > 0 ? parameters.tensors.map { (name: "momentum/\($0.name)", shape: $0.shape) } : []
    let state = ParameterLayout([("gradients", [ring, rowFloats]), ("products", [ring, ring])] + momenta)
    self.state = state
    gradientsOffset = state["gradients"]!.offset
    productsOffset = state["products"]!.offset
    momentumOffset = momenta.first.map { state[$0.name]!.offset } ?? 0
    // The direction in both layouts, the weights of the gradients, what the solution wants.
    scratchFloats =
      rowFloats + parameters.floats + ParameterLayout.padded(ring) + MatrixAlgebra.solveScratch(size: ring)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    let row = step.iteration % ring, filled = min(step.iteration + 1, ring)
    let all = state + gradientsOffset, products = state + productsOffset
    let newest = all + row * rowFloats
    var at = 0
    for tensor in self.parameters.tensors {
      (newest + at).update(from: gradients + tensor.offset, count: tensor.count)
      at += tensor.count
    }
    for other in 0..<filled {
      let product = Float(kernels.dot(newest, all + other * rowFloats, count: elements))
      products[row * ring + other] = product
      products[other * ring + row] = product
    }
    let packed = scratch, direction = packed + rowFloats
    let weights = direction + self.parameters.floats, rest = weights + ParameterLayout.padded(ring)
    packed.update(repeating: 0, count: elements)
    if algebra.solve(
      gram: products, rowFloats: ring, damping: damping * Double(ring), size: filled, unit: row, into: weights,
      scratch: rest)
    {
      for other in 0..<filled {
        kernels.step(
          packed, all + other * rowFloats, count: elements, scale: -weights[other] * Float(ring), decay: 0)
      }
    } else {
      // Something in the ring is not finite: the plain gradient, which shows it while it is the newest.
      packed.update(from: newest, count: elements)
    }
    if step.iteration < graftSteps {
      let norm = kernels.squares(packed, count: elements).squareRoot()
      let scale = norm > 0 ? kernels.squares(newest, count: elements).squareRoot() / norm : 1
      for index in 0..<elements { packed[index] *= Float(scale) }
    }
    at = 0
    for tensor in self.parameters.tensors {
      (direction + tensor.offset).update(from: packed + at, count: tensor.count)
      at += tensor.count
    }
    for tensor in self.parameters.tensors where tensor.count > 0 {
      let moving = direction + tensor.offset
      if momentum > 0 {
        kernels.blendMomentum(
          moving, state + momentumOffset + tensor.offset, into: moving, count: tensor.count, decay: momentum,
          share: 1 - momentum, momentumScale: 1, gradientScale: 0)
      }
      kernels.step(
        parameters + tensor.offset, moving, count: tensor.count, scale: Float(rate.at(step)), decay: 0)
    }
  }
}
