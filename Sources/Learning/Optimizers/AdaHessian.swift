// AdaHessian: Adam with the Hessian's diagonal in place of the squared gradient (Yao et al. 2021, arXiv 2006.00719).
// See Optimizer.swift. The curvature comes from two more gradients of the same batch.
//
//   z  = +-1 for each parameter, from the step's key by iteration
//   h  = (g(p + delta z) - g(p - delta z)) / (2 delta),  delta = 1e-3 max(1, rms(p))       an estimate of H z
//   D  = |h|, its mean over the inputs of a unit: axis 0 of [in, out]; of three and more axes all but the last two, which
//        are a kernel's places
//   m' = b1 m + (1 - b1) g               v' = b2 v + (1 - b2) D^2
//   p' = p - rate (m' / (1 - b1^k) / (sqrt(v' / (1 - b2^k))^power + epsilon) + decay p)    k = t + 1
//
// v holds one number where a mean was taken. decay takes matrices alone unless `decay_vectors` is set.
import Compute
import Contract
import Foundation

/// AdaHessian; keeps two slots, `first_moment` and `hessian_square`.
public struct AdaHessian: Optimizer {
  public let name = "adahessian"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  public let needs: OptimizerNeeds = [.problem]
  private let configuration: Configuration
  private let kernels: OptimizerKernels
  private let tensors: [Piece]
  private let floats: Int

  /// AdaHessian's constants.
  struct Configuration: Sendable {
    let learningRate: LearningRate
    let beta1: Float
    let beta2: Float
    let epsilon: Float
    let power: Float
    let decay: Float
  }

  /// A tensor that has elements: where it and its slots lie, and what is averaged in it.
  private struct Piece: Sendable {
    let offset: Int
    let moment: Int
    let square: Int
    /// Means are taken over the rows.
    let view: (rows: Int, columns: Int)
    let isDecayed: Bool
  }

  /// - Parameter settings: `learning_rate`, `schedule`, `beta1`, `beta2`, `epsilon`, `hessian_power`, `average`,
  ///   `weight_decay`, `decay_vectors`.
  public init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    self.parameters = parameters
    configuration = Configuration(
      learningRate: settings.learningRate, beta1: Float(settings.number("beta1")),
      beta2: Float(settings.number("beta2")), epsilon: Float(settings.number("epsilon")),
      power: Float(settings.number("hessian_power")), decay: Float(settings.number("weight_decay")))
    kernels = OptimizerKernels(level: level)
    floats = parameters.packedFloats
    let averages = settings.flag("average")
    /// The axes that are left after averaging.
    func kept(_ shape: Shape) -> Shape {
      guard averages, shape.rank > 1 else { return shape }
      return Shape(Array(shape.dimensions.suffix(shape.rank == 2 ? 1 : 2)))
    }
    let state = ParameterLayout(
      parameters.tensors.map { ("first_moment/\($0.name)", $0.shape) }
        + parameters.tensors.map { ("hessian_square/\($0.name)", kept($0.shape)) })
    self.state = state
    let takesVectors = settings.flag("decay_vectors")
    tensors = parameters.tensors.filter { $0.count > 0 }.map { tensor in
      let square = state["hessian_square/\(tensor.name)"]!
      return Piece(
        offset: tensor.offset, moment: state["first_moment/\(tensor.name)"]!.offset, square: square.offset,
        view: (tensor.count / square.count, square.count), isDecayed: takesVectors || tensor.shape.rank > 1)
    }
  }

  /// A point, and the gradients there and opposite it.
  public var scratchFloats: Int { 3 * parameters.floats }

  /// Traps where `step` has no problem.
  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let problem = step.problem else {
      preconditionFailure("adahessian: the step has no problem; an optimizer whose needs contain it must be given one")
    }
    let whole = self.parameters.floats
    let (point, above, below) = (scratch, scratch + whole, scratch + 2 * whole)
    let delta = distance(parameters)
    let key = step.key.derive(1, UInt32(truncatingIfNeeded: step.iteration), 0)
    kernels.scatter(point, around: parameters, count: floats, key: key, size: delta)
    _ = problem.evaluate(point, above)
    kernels.scatter(point, around: parameters, count: floats, key: key, size: -delta)
    _ = problem.evaluate(point, below)

    let k = Double(step.iteration + 1)
    // In double: 1 - b^k cancels badly in float while k is small.
    let correction = Float(1 / (1 - pow(Double(configuration.beta2), k)))
    let scheduled = configuration.learningRate.at(step)
    let rate = Float(scheduled / (1 - pow(Double(configuration.beta1), k)))
    let decayed = Float(1 - scheduled * Double(configuration.decay))
    for tensor in tensors {
      kernels.curvature(
        above + tensor.offset, below + tensor.offset, state + tensor.square, tensor.view,
        scale: 0.5 / Double(delta), configuration, correction: correction)
      kernels.dividedStep(
        parameters + tensor.offset, gradients + tensor.offset, state + tensor.moment, above + tensor.offset,
        tensor.view, beta1: configuration.beta1, rate: rate, kept: tensor.isDecayed ? decayed : 1)
    }
  }

  /// How far the two points lie from the parameters along each axis.
  private func distance(_ parameters: UnsafePointer<Float>) -> Float {
    var squares = 0.0
    for tensor in tensors {
      squares += kernels.squares(parameters + tensor.offset, count: tensor.view.rows * tensor.view.columns)
    }
    return Float(1e-3 * max(1, (squares / Double(max(self.parameters.elements, 1))).squareRoot()))
  }
}
