// Muon: momentum whose matrices are orthogonalized (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
// networks"). Tensors that are no matrices, embeddings and heads get Adam. Semantics of optax.
//
//   m' = b m + (1 - b) g                                    k = t + 1
//   M  = b m'/(1 - b^(k+1)) + (1 - b) g/(1 - b^k)           without Nesterov: m'/(1 - b^k)
//   O  = NS5(M): X = M/(|M| + epsilon), then five times X = 3.4445 X + (-4.7750 A + 2.0315 A A) X with A = X X^T
//   p' = p - rate * (scale * O + weightDecay * p)           scale = sqrt(max(1, columns/rows)), or r sqrt(max(rows,
//                                                           columns)) where consistentRMS r > 0
//   Adam: m, v as usual, its m taken as M above, p' = p - adamMultiplier * rate * M/(sqrt(v/(1 - b2^k)) + epsilon)
import Compute
import Contract
import Foundation

/// Muon; keeps `momentum/…` for matrices and `first_moment/…`, `second_moment/…` for the tensors that Adam updates.
public struct Muon: Optimizer {
  public let name = "muon"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  public let scratchFloats: Int
  private let places: [Place]
  private let rate: LearningRate
  private let beta: Float
  private let nesterov: Bool
  private let iterations: Int
  private let epsilon: Float
  private let weightDecay: Float
  private let adamBeta1: Float
  private let adamBeta2: Float
  private let adamMultiplier: Double
  private let kernels: OptimizerKernels
  private let algebra: MatrixAlgebra

  /// A tensor with its slots in the state.
  private struct Place {
    let offset: Int
    let count: Int
    let slots: [Int]
    let kind: Kind
  }
  private enum Kind {
    case matrix(rows: Int, columns: Int, scale: Float)
    case adam
  }

  /// - Parameter settings: `learning_rate`, `schedule`, `beta`, `nesterov`, `iterations`, `epsilon`, `weight_decay`,
  ///   `consistent_rms`, `adam_for`, `adam_beta1`, `adam_beta2`, `adam_multiplier`.
  public init(parameters: ParameterLayout, settings: OptimizerSettings = OptimizerSettings(.muon), level: CPULevel) {
    self.parameters = parameters
    rate = settings.learningRate
    beta = Float(settings.number("beta"))
    nesterov = settings.flag("nesterov")
    iterations = settings.integer("iterations")
    epsilon = Float(settings.number("epsilon"))
    weightDecay = Float(settings.number("weight_decay"))
    adamBeta1 = Float(settings.number("adam_beta1"))
    adamBeta2 = Float(settings.number("adam_beta2"))
    adamMultiplier = settings.number("adam_multiplier")
    kernels = OptimizerKernels(level: level)
    algebra = MatrixAlgebra(level: level)

    let words = settings.text("adam_for").split(separator: ",").map(String.init)
    let consistent = settings.number("consistent_rms")
    let kinds = parameters.tensors.map { tensor -> Kind in
      let isAdams = tensor.shape.rank != 2 || words.contains { tensor.name.contains($0) }
      guard !isAdams else { return .adam }
      let (rows, columns) = (tensor.shape[0], tensor.shape[1])
      let shape =
        consistent > 0
        ? consistent * Double(max(rows, columns)).squareRoot()
        : max(
          1, Double(columns) / Double(max(rows, 1))
        ).squareRoot()
      return .matrix(rows: rows, columns: columns, scale: Float(shape))
    }
    let names = kinds.map { kind in if case .adam = kind { ["first_moment", "second_moment"] } else { ["momentum"] } }
    let state = ParameterLayout(
      zip(parameters.tensors, names).flatMap { tensor, names in
        names.map { (name: "\($0)/\(tensor.name)", shape: tensor.shape) }
      })
    self.state = state
    places = zip(parameters.tensors, zip(kinds, names)).map { tensor, entry in
      Place(
        offset: tensor.offset, count: tensor.count, slots: entry.1.map { state["\($0)/\(tensor.name)"]!.offset },
        kind: entry.0)
    }
    scratchFloats =
      zip(places, kinds).map { place, kind in
        guard case .matrix(let rows, let columns, _) = kind else { return 0 }
        return ParameterLayout.padded(place.count) + MatrixAlgebra.orthogonalizeScratch(rows: rows, columns: columns)
      }.max() ?? 0
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    let k = Double(step.iteration + 1)
    let rate = rate.at(step)
    /// The factors of the momentum and of the gradient in M.
    func look(_ beta: Float) -> (momentum: Float, gradient: Float) {
      let beta = Double(beta)
      return nesterov
        ? (Float(beta / (1 - pow(beta, k + 1))), Float((1 - beta) / (1 - pow(beta, k))))
        : (Float(1 / (1 - pow(beta, k))), 0)
    }
    let matrixLook = look(beta)
    let adamLook = look(adamBeta1)
    let rootScale = Float(1 / (1 - pow(Double(adamBeta2), k)))
    for place in places where place.count > 0 {
      let p = parameters + place.offset
      let g = gradients + place.offset
      switch place.kind {
      case .adam:
        kernels.nesterovAdam(
          p, g, state + place.slots[0], state + place.slots[1], count: place.count, beta1: adamBeta1,
          beta2: adamBeta2, momentumScale: adamLook.momentum, gradientScale: adamLook.gradient, rootScale: rootScale,
          epsilon: epsilon, rate: Float(rate * adamMultiplier), decay: 0)
      case .matrix(let rows, let columns, let scale):
        kernels.blendMomentum(
          g, state + place.slots[0], into: scratch, count: place.count, decay: beta, share: 1 - beta,
          momentumScale: matrixLook.momentum, gradientScale: matrixLook.gradient)
        algebra.orthogonalize(
          scratch, rows: rows, columns: columns, iterations: iterations, epsilon: epsilon,
          scratch: scratch + ParameterLayout.padded(place.count))
        kernels.step(
          p, scratch, count: place.count, scale: Float(rate) * scale, decay: Float(rate) * weightDecay)
      }
    }
  }
}
