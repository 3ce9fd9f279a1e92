// SOAP: Adam in the slowly turning eigenbasis of Shampoo's statistics (Vyas et al. 2024, arXiv 2409.11321).
//
//   update 0:  L_a = (1 - b) G_a G_a^T for every axis a of the tensor, b = shampooBeta; Q_a its eigenvectors; p stays
//   update k = 1, 2, ...:  m' = b1 m + (1 - b1) g;  h = g rotated by Q_a^T along every axis;  v' = b2 v + (1 - b2) h^2
//   u  = (rotated m')/(sqrt(v') + epsilon), rotated back
//   p  = p - rate * sqrt(1 - b2^k)/(1 - b1^k) * u;  p' = p - rate * weightDecay * p
//   L_a' = b L_a + (1 - b) G_a G_a^T; every refreshSteps updates the axes' bases follow: columns sorted by q^T L q, v with
//          them, then Q_a' = the orthonormal factor of L_a' Q_a
// Axes beyond sizeMax, and all of tensors of at most one axis, stay as they are: those get Adam.
import Compute
import Contract
import Foundation

/// SOAP; keeps `first_moment/…`, `second_moment/…` and of each rotated axis `statistic/a/…` and `basis/a/…`, whose rows
/// are the basis vectors.
public struct SOAP: Optimizer {
  public let name = "soap"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  public let scratchFloats: Int
  private let tensors: [Tensor]
  private let rate: LearningRate
  private let beta1: Float
  private let beta2: Float
  private let shampooBeta: Float
  private let epsilon: Float
  private let weightDecay: Double
  private let refreshSteps: Int
  private let wholeFloats: Int
  private let kernels: OptimizerKernels
  private let algebra: MatrixAlgebra

  /// A tensor with its slots in the state.
  private struct Tensor {
    let offset: Int
    let count: Int
    let firstMoment: Int
    let secondMoment: Int
    let axes: [Axis]
  }
  private struct Axis {
    let axis: MatrixAlgebra.Axis
    let statistic: Int
    let basis: Int
  }

  /// - Parameter settings: `learning_rate`, `schedule`, `beta1`, `beta2`, `shampoo_beta`, `epsilon`, `weight_decay`,
  ///   `refresh_steps`, `size_max`, `rotate_vectors`.
  public init(parameters: ParameterLayout, settings: OptimizerSettings = OptimizerSettings(.soap), level: CPULevel) {
    self.parameters = parameters
    rate = settings.learningRate
    beta1 = Float(settings.number("beta1"))
    beta2 = Float(settings.number("beta2"))
    let shampooBeta = settings.number("shampoo_beta")
    self.shampooBeta = shampooBeta < 0 ? beta2 : Float(shampooBeta)
    epsilon = Float(settings.number("epsilon"))
    weightDecay = settings.number("weight_decay")
    refreshSteps = settings.integer("refresh_steps")
    kernels = OptimizerKernels(level: level)
    algebra = MatrixAlgebra(level: level, factorizing: true)

    let sizeMax = settings.integer("size_max")
    let rotatesVectors = settings.flag("rotate_vectors")
    let rotated = parameters.tensors.map { tensor -> [Int] in
      let dimensions = tensor.shape.dimensions
      guard tensor.count > 0, dimensions.count > 1 || rotatesVectors else { return [] }
      // A rotation of one element is none.
      return dimensions.indices.filter { dimensions[$0] > 1 && dimensions[$0] <= sizeMax }
    }
    let state = ParameterLayout(
      zip(parameters.tensors, rotated).flatMap { tensor, axes -> [(name: String, shape: Shape)] in
        ["first_moment", "second_moment"].map { ("\($0)/\(tensor.name)", tensor.shape) }
          + axes.flatMap { axis in
            ["statistic", "basis"].map { ("\($0)/\(axis)/\(tensor.name)", [tensor.shape[axis], tensor.shape[axis]]) }
          }
      })
    self.state = state
    tensors = zip(parameters.tensors, rotated).map { tensor, axes in
      func at(_ slot: String) -> Int { state["\(slot)/\(tensor.name)"]!.offset }
      return Tensor(
        offset: tensor.offset, count: tensor.count, firstMoment: at("first_moment"), secondMoment: at("second_moment"),
        axes: axes.map {
          Axis(
            axis: MatrixAlgebra.Axis($0, of: tensor.shape.dimensions), statistic: at("statistic/\($0)"),
            basis: at("basis/\($0)"))
        })
    }
    wholeFloats = tensors.map { ParameterLayout.padded($0.count) }.max() ?? 0
    // Three copies of the largest tensor, then what the algebra wants.
    let work = tensors.flatMap(\.axes).map { axis in
      let size = axis.axis.size
      return max(
        axis.axis.scratchFloats, MatrixAlgebra.eigenScratch(size: size),
        ParameterLayout.padded(size * size) + 2 * ParameterLayout.padded(size)
          + MatrixAlgebra.orthonormalizeScratch(size: size))
    }
    scratchFloats = 3 * wholeFloats + (work.max() ?? 0)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    let isFirst = step.iteration == 0
    let k = Double(step.iteration)
    let rate = rate.at(step)
    let correction = (1 - pow(Double(beta2), k)).squareRoot() / (1 - pow(Double(beta1), k))
    for tensor in tensors where tensor.count > 0 {
      let g = UnsafePointer(gradients + tensor.offset)
      let work = scratch + 3 * wholeFloats
      if !isFirst {
        let direction = move(tensor, g, state: state, scratch: scratch)
        let p = parameters + tensor.offset
        // Decay acts on what the step left.
        let decay = rate * weightDecay
        kernels.step(
          p, direction, count: tensor.count, scale: Float(rate * correction * (1 - decay)), decay: Float(decay))
      }
      for axis in tensor.axes {
        algebra.accumulateGram(
          of: g, along: axis.axis, into: state + axis.statistic, keep: shampooBeta, share: 1 - shampooBeta,
          scratch: work)
      }
      if isFirst {
        for axis in tensor.axes {
          let size = axis.axis.size
          let done = algebra.eigenbasis(of: state + axis.statistic, size: size, into: state + axis.basis, scratch: work)
          guard !done else { continue }
          for index in 0..<size { state[axis.basis + index * (size + 1)] = 1 }
        }
        if !kernels.areFinite(g, count: tensor.count) {
          showFailure(parameters + tensor.offset, g, count: tensor.count)
        }
      } else if step.iteration % refreshSteps == 0 {
        for axis in tensor.axes { refresh(axis, of: tensor, state: state, copy: scratch, work: work) }
      }
    }
  }

  /// A first gradient that is not finite moves nothing by the rule; it must show all the same.
  private func showFailure(_ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, count: Int) {
    for index in 0..<count where !g[index].isFinite { p[index] = .nan }
  }

  /// Takes the gradient into both moments and returns the direction, which lies in the scratch memory.
  private func move(
    _ tensor: Tensor, _ g: UnsafePointer<Float>, state: UnsafeMutablePointer<Float>,
    scratch: UnsafeMutablePointer<Float>
  ) -> UnsafeMutablePointer<Float> {
    let momentum = scratch + 2 * wholeFloats
    kernels.blendMomentum(
      g, state + tensor.firstMoment, into: momentum, count: tensor.count, decay: beta1, share: 1 - beta1,
      momentumScale: 1, gradientScale: 0)
    var parts = (scratch, scratch + wholeFloats, momentum)
    // The gradient, rotated, in the first part.
    parts.0.update(from: g, count: tensor.count)
    rotate(tensor, &parts.0, &parts.1, back: false, state: state, work: scratch + 3 * wholeFloats)
    rotate(tensor, &parts.2, &parts.1, back: false, state: state, work: scratch + 3 * wholeFloats)
    kernels.rotatedAdam(
      parts.0, state + tensor.secondMoment, parts.2, count: tensor.count, decay: beta2, share: 1 - beta2,
      epsilon: epsilon)
    rotate(tensor, &parts.2, &parts.1, back: true, state: state, work: scratch + 3 * wholeFloats)
    return parts.2
  }

  /// Multiplies x along every axis with its basis; x and `other` may change places.
  private func rotate(
    _ tensor: Tensor, _ x: inout UnsafeMutablePointer<Float>, _ other: inout UnsafeMutablePointer<Float>, back: Bool,
    state: UnsafeMutablePointer<Float>, work: UnsafeMutablePointer<Float>
  ) {
    for axis in tensor.axes {
      algebra.multiply(x, along: axis.axis, by: state + axis.basis, transposed: back, into: other, scratch: work)
      swap(&x, &other)
    }
  }

  /// One step of the power iteration that keeps a basis near the statistic's eigenvectors.
  private func refresh(
    _ axis: Axis, of tensor: Tensor, state: UnsafeMutablePointer<Float>, copy: UnsafeMutablePointer<Float>,
    work: UnsafeMutablePointer<Float>
  ) {
    let size = axis.axis.size
    let basis = state + axis.basis
    let turned = work, values = turned + ParameterLayout.padded(size * size),
      order = values + ParameterLayout.padded(size)
    let rest = order + ParameterLayout.padded(size)
    // Row i: q_i L, for the symmetric L its image; then q_i L q_i.
    let rows = MatrixAlgebra.Axis(0, of: [size, size])
    algebra.multiply(state + axis.statistic, along: rows, by: basis, transposed: false, into: turned, scratch: rest)
    for index in 0..<size {
      values[index] = Float(kernels.dot(turned + index * size, basis + index * size, count: size))
      order[index] = Float(index)
    }
    sort(order, by: values, count: size)
    // Both by the new order: the images to the basis, the second moment along this axis.
    let secondMoment = state + tensor.secondMoment
    copy.update(from: secondMoment, count: tensor.count)
    let inner = axis.axis.inner
    for index in 0..<size {
      let old = Int(order[index])
      (basis + index * size).update(from: turned + old * size, count: size)
      for outer in 0..<axis.axis.outer {
        (secondMoment + (outer * size + index) * inner).update(from: copy + (outer * size + old) * inner, count: inner)
      }
    }
    _ = algebra.orthonormalize(basis, size: size, scratch: rest)
  }

  /// Sorts indices by descending values, equal ones in order: bases hardly change order, so insertion takes few steps.
  private func sort(_ order: UnsafeMutablePointer<Float>, by values: UnsafePointer<Float>, count: Int) {
    for index in 1..<max(count, 1) {
      let moving = order[index]
      var place = index
      while place > 0, values[Int(order[place - 1])] < values[Int(moving)] {
        order[place] = order[place - 1]
        place -= 1
      }
      order[place] = moving
    }
  }
}
