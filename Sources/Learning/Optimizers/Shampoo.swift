// Shampoo in its distributed form (Gupta et al. 2018, arXiv 1802.09568; Anil et al. 2020, arXiv 2002.09018): each axis of
// a tensor's blocks is preconditioned by an inverse root of its gradients' second moments; the length of a step is grafted
// from a diagonal method. Inverse roots are taken from eigenvalues, in double, where the published implementation iterates.
//
//   blocks: axes merged while their product is at most mergeMax, then cut at blockSize; r merged axes
//   L_a' = b2 L_a + (1 - b2) G_a G_a^T, starting at matrixEpsilon I; with b2 = 1 a sum. G_a: the block unfolded along a
//   P_a  = (L_a' + matrixEpsilon max(largest eigenvalue, 1e-6) I)^(-1/(2r))
//   S    = g multiplied along every axis of every block with P_a
//   F    = g (sgd), sign(g) (sqrt_n), or h/(sqrt(D') + diagonalEpsilon) with D' = D + h^2 (adagrad) or b2 D + (1 - b2) h^2
//          (rmsprop) and h = g, or g/(|g| + 1e-16) for the normalized kinds
//   S    = S |F| / (|S| + 1e-16);  both S and F + weightDecay * p
//   a'   = b1 a + S, c' = b1 c + F, or averages;  (u, m) = (S, a') from update startStep on, before (F, c')
//   p'   = p - rate * (u + b1 m), without Nesterov m alone
// Tensors without axes, or with one beyond sizeMax, have S = F.
import Compute
import Contract

/// Shampoo; keeps `momentum/…`, `graft_momentum/…`, for some grafts `diagonal/…`, and of preconditioned tensors
/// `statistics/…` and `preconditioners/…`: their blocks' matrices one after another.
public struct Shampoo: Optimizer {
  public let name = "shampoo"
  public let parameters: ParameterLayout
  public let state: ParameterLayout
  public let scratchFloats: Int
  private let tensors: [Tensor]
  private let rate: LearningRate
  private let constants: Constants
  private let kernels: OptimizerKernels
  private let algebra: MatrixAlgebra

  private enum Grafting: String {
    case sgd, adagrad, rmsprop
    case adagradNormalized = "adagrad_normalized"
    case rmspropNormalized = "rmsprop_normalized"
    case squareRoot = "sqrt_n"

    var hasDiagonal: Bool { self != .sgd && self != .squareRoot }
    var isNormalized: Bool { self == .adagradNormalized || self == .rmspropNormalized }
  }

  private struct Constants {
    let beta1: Float
    let beta2: Float
    let diagonalEpsilon: Float
    let matrixEpsilon: Double
    let weightDecay: Float
    let startStep: Int
    let statisticsSteps: Int
    let refreshSteps: Int
    let graft: Grafting
    let graftClip: Double
    let nesterov: Bool
    let averages: Bool
    let exponent: Int
    /// What a new second moment counts.
    var share: Float { beta2 == 1 ? 1 : 1 - beta2 }
  }

  /// A tensor with its slots in the state.
  private struct Tensor {
    let offset: Int
    let count: Int
    let momentum: Int
    let graftMomentum: Int
    /// Where it has none, anything.
    let diagonal: Int
    let layout: TensorBlocks
    let blocks: [Block]
  }
  private struct Block {
    let block: TensorBlocks.Block
    let count: Int
    let axes: [Axis]
  }
  private struct Axis {
    let axis: MatrixAlgebra.Axis
    let statistic: Int
    let preconditioner: Int
  }

  /// - Parameter settings: `learning_rate`, `schedule` and the options of ``OptimizerName/shampoo``.
  public init(
    parameters: ParameterLayout, settings: OptimizerSettings = OptimizerSettings(.shampoo), level: CPULevel
  ) {
    self.parameters = parameters
    rate = settings.learningRate
    let graft = Grafting(rawValue: settings.text("graft"))!
    constants = Constants(
      beta1: Float(settings.number("beta1")), beta2: Float(settings.number("beta2")),
      diagonalEpsilon: Float(settings.number("diagonal_epsilon")), matrixEpsilon: settings.number("matrix_epsilon"),
      weightDecay: Float(settings.number("weight_decay")), startStep: settings.integer("start_step"),
      statisticsSteps: settings.integer("statistics_steps"), refreshSteps: settings.integer("refresh_steps"),
      graft: graft, graftClip: settings.number("graft_clip"), nesterov: settings.flag("nesterov"),
      averages: settings.flag("average_momentum"), exponent: settings.integer("exponent"))
    kernels = OptimizerKernels(level: level)
    algebra = MatrixAlgebra(level: level, factorizing: true)

    let sizeMax = settings.integer("size_max")
    let mergeMax = settings.flag("merge_axes") ? settings.integer("merge_max") : 0
    let layouts = parameters.tensors.map { tensor in
      TensorBlocks(
        tensor.shape.dimensions.allSatisfy { $0 <= sizeMax } ? tensor.shape : .scalar, mergeMax: mergeMax,
        blockMax: settings.integer("block_size"))
    }
    let slots = zip(parameters.tensors, layouts).map { tensor, layout -> [(name: String, shape: Shape)] in
      let squares = layout.blocks.reduce(0) { $0 + $1.dimensions.reduce(0) { $0 + ParameterLayout.padded($1 * $1) } }
      let diagonals = graft.hasDiagonal ? ["diagonal"] : []
      let matrices = squares > 0 ? ["statistics", "preconditioners"] : []
      return (["momentum", "graft_momentum"] + diagonals).map { ("\($0)/\(tensor.name)", tensor.shape) }
        + matrices.map { ("\($0)/\(tensor.name)", [squares]) }
    }
    let state = ParameterLayout(slots.flatMap { $0 })
    self.state = state
    tensors = zip(parameters.tensors, layouts).map { tensor, layout in
      func at(_ slot: String) -> Int { state["\(slot)/\(tensor.name)"]?.offset ?? 0 }
      var (statistic, preconditioner) = (at("statistics"), at("preconditioners"))
      let blocks = layout.blocks.map { block in
        let axes = block.dimensions.indices.map { axis in
          let size = block.dimensions[axis]
          defer {
            statistic += ParameterLayout.padded(size * size)
            preconditioner += ParameterLayout.padded(size * size)
          }
          return Axis(
            axis: MatrixAlgebra.Axis(axis, of: block.dimensions), statistic: statistic, preconditioner: preconditioner)
        }
        return Block(block: block, count: block.count, axes: axes)
      }
      return Tensor(
        offset: tensor.offset, count: tensor.count, momentum: at("momentum"), graftMomentum: at("graft_momentum"),
        diagonal: at("diagonal"), layout: layout, blocks: blocks)
    }
    // Two updates of the largest tensor, then two copies of a block and what the algebra wants.
    let whole = parameters.tensors.map { ParameterLayout.padded($0.count) }.max() ?? 0
    let blocks = tensors.flatMap(\.blocks)
    let work = blocks.flatMap(\.axes).map { axis in
      max(axis.axis.scratchFloats, MatrixAlgebra.eigenScratch(size: axis.axis.size))
    }
    blockFloats = blocks.map { ParameterLayout.padded($0.count) }.max() ?? 0
    wholeFloats = whole
    scratchFloats = 2 * whole + 2 * blockFloats + (work.max() ?? 0)
  }
  private let wholeFloats: Int
  private let blockFloats: Int

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    state.update(repeating: 0, count: self.state.floats)
    for axis in tensors.flatMap(\.blocks).flatMap(\.axes) {
      let size = axis.axis.size
      for index in 0..<size {
        state[axis.statistic + index * (size + 1)] = Float(constants.matrixEpsilon)
        state[axis.preconditioner + index * (size + 1)] = 1
      }
    }
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    let direction = scratch, grafted = scratch + wholeFloats, work = grafted + wholeFloats
    let share = constants.averages ? 1 - constants.beta1 : 1
    var last = OptimizerKernels.ShampooStep(
      preconditioned: step.iteration >= constants.startStep, shampooScale: 1, graftScale: 1,
      weightDecay: constants.weightDecay, decay: constants.beta1, share: share,
      leadScale: constants.nesterov ? share : 0, momentumScale: constants.nesterov ? constants.beta1 : 1,
      rate: Float(rate.at(step)))
    for tensor in tensors where tensor.count > 0 {
      let g = UnsafePointer(gradients + tensor.offset)
      var graftNorm = kernels.graft(
        graft(of: g, count: tensor.count), g, state + tensor.diagonal, into: grafted, count: tensor.count
      ).squareRoot()
      last.graftScale = 1
      if constants.graftClip > 0, constants.graft == .rmsprop || constants.graft == .rmspropNormalized {
        let size = graftNorm / Double(tensor.count).squareRoot()
        last.graftScale = Float(1 / max(1, size / constants.graftClip))
        graftNorm *= Double(last.graftScale)
      }
      if tensor.blocks.isEmpty {
        direction.update(from: grafted, count: tensor.count)
        last.shampooScale = last.graftScale
      } else {
        for block in tensor.blocks {
          precondition(block, of: tensor, g, state: state, into: direction, work: work, iteration: step.iteration)
        }
        let norm = kernels.squares(direction, count: tensor.count).squareRoot()
        last.shampooScale = Float(graftNorm / (norm + 1e-16))
      }
      kernels.shampooStep(
        last, parameters + tensor.offset, direction, grafted, state + tensor.momentum, state + tensor.graftMomentum,
        count: tensor.count)
    }
  }

  private func graft(of g: UnsafePointer<Float>, count: Int) -> OptimizerKernels.Graft {
    guard constants.graft.hasDiagonal else { return constants.graft == .sgd ? .plain : .sign }
    let isSum = constants.graft == .adagrad || constants.graft == .adagradNormalized
    let norm = constants.graft.isNormalized ? kernels.squares(g, count: count).squareRoot() + 1e-16 : 1
    return .diagonal(
      scale: Float(1 / norm), keep: isSum ? 1 : constants.beta2, share: isSum ? 1 : constants.share,
      epsilon: constants.diagonalEpsilon)
  }

  /// Takes a block of the gradient into its statistics, renews their roots, and writes its part of the direction.
  private func precondition(
    _ block: Block, of tensor: Tensor, _ g: UnsafePointer<Float>, state: UnsafeMutablePointer<Float>,
    into direction: UnsafeMutablePointer<Float>, work: UnsafeMutablePointer<Float>, iteration: Int
  ) {
    var elements = work, other = work + blockFloats
    let rest = other + blockFloats
    tensor.layout.gather(block.block, from: g, into: elements)
    if iteration % constants.statisticsSteps == 0 {
      for axis in block.axes {
        algebra.accumulateGram(
          of: elements, along: axis.axis, into: state + axis.statistic, keep: constants.beta2, share: constants.share,
          scratch: rest)
      }
    }
    if iteration % constants.refreshSteps == 0 {
      let root = constants.exponent > 0 ? constants.exponent : 2 * block.axes.count
      for axis in block.axes {
        // A statistic that is not finite leaves the old root: the graft shows what is wrong.
        _ = algebra.inverseRoot(
          of: state + axis.statistic, size: axis.axis.size, root: Double(root), ridge: constants.matrixEpsilon,
          floor: 1e-6, into: state + axis.preconditioner, scratch: rest)
      }
    }
    for axis in block.axes {
      algebra.multiply(
        elements, along: axis.axis, by: state + axis.preconditioner, transposed: true, into: other, scratch: rest)
      swap(&elements, &other)
    }
    tensor.layout.scatter(block.block, from: elements, into: direction)
  }
}
