// Adafactor: second moments of a matrix as an outer product, steps relative to the weights (Shazeer & Stern 2018,
// arXiv 1804.04235). See RulePass.swift; FactoredAxes says which axes are factored.
//
//   q  = 1 - (t - offset + 1)^-decay                                       0 at the first step
//   v' = q v + (1 - q)(g^2 + epsilon)                                      tensors that are not factored
//   R' = q R + (1 - q) mean(g^2 + epsilon) over the largest axis, C' likewise over the second largest
//   u  = g / sqrt(v'), factored: g * (R' / mean(R'))^-1/2 * C'^-1/2, mean(R') over the second largest axis
//   s  = rate / max(1, RMS(u) / clip) * max(RMS(p), 1e-3)                  the last factor with `multiply_by_parameter_scale`
//   m' = b m + (1 - b) s u with momentum b > 0, else m' = s u
//   p' = p - m' - lambda p
//
// A tensor is factored if its second largest axis has at least `min_dim_size_to_factor` entries.
import Compute
import Contract
import Foundation

/// Adafactor; keeps `second_moment`, or `row` and `column` of factored tensors, and with momentum `momentum`.
struct Adafactor: RuleOptimizer {
  let name = "adafactor"
  let pass: RulePass
  let scratchFloats: Int
  private let learningRate: LearningRate
  private let decay, clip, momentum, weightDecay, epsilon: Double
  private let offset: Int
  private let scalesByParameters: Bool
  private let moments: [Moments]
  private static let sizeMin = 1e-3

  private enum Moments: Sendable {
    case whole(at: Int)
    case factored(FactoredTensor)
  }

  init(parameters: ParameterLayout, settings: OptimizerSettings, level: CPULevel) {
    learningRate = settings.learningRate
    decay = settings.number("decay")
    offset = settings.integer("decay_offset")
    clip = settings.number("clipping_threshold")
    momentum = settings.number("momentum")
    weightDecay = settings.number("weight_decay")
    epsilon = settings.number("epsilon")
    scalesByParameters = settings.flag("multiply_by_parameter_scale")
    let sizeMin = settings.integer("min_dim_size_to_factor")
    var slots: [(name: String, shape: Shape)] = []
    let axes = parameters.tensors.map { tensor -> FactoredAxes? in
      guard let axes = FactoredAxes(tensor.shape), tensor.count > 0, tensor.shape[axes.second] >= sizeMin else {
        slots.append(("second_moment/\(tensor.name)", tensor.shape))
        return nil
      }
      func without(_ axis: Int) -> Shape {
        Shape(tensor.shape.dimensions.indices.filter { $0 != axis }.map { tensor.shape[$0] })
      }
      slots.append(("row/\(tensor.name)", without(axes.largest)))
      slots.append(("column/\(tensor.name)", without(axes.second)))
      return axes
    }
    let pass = RulePass(
      parameters, momentum > 0 ? ["momentum"] : [], extra: slots, settings: settings, level: level)
    moments = zip(parameters.tensors, axes).map { tensor, axes in
      func at(_ slot: String) -> Int { pass.state["\(slot)/\(tensor.name)"]!.offset }
      guard axes != nil, let view = AdafactorSlots(tensor: tensor).view else {
        return .whole(at: at("second_moment"))
      }
      return .factored(FactoredTensor(view, row: at("row"), column: at("column")))
    }
    scratchFloats =
      moments.map { if case .factored(let tensor) = $0 { tensor.scratchFloats } else { 0 } }.max() ?? 0
    self.pass = pass
  }

  func update(_ memory: UpdateMemory, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep) {
    let rate = learningRate.at(step)
    let rest = pow(Double(max(step.iteration - offset, 0) + 1), -decay)
    var measure = RuleConstants()
    (measure.beta2, measure.rest2) = (Float(1 - rest), Float(rest))
    measure.epsilon = Float(epsilon)
    var rule = RuleConstants()
    rule.decay = Float(weightDecay)
    rule.beta1 = Float(momentum)
    for (index, tensor) in parameters.tensors.enumerated() where tensor.count > 0 {
      let (p, g) = (memory.parameters + tensor.offset, memory.gradients + tensor.offset)
      var sums = TensorSums()
      switch moments[index] {
      case .whole(let at):
        pass.kernels.measure(.adafactor, p, g, memory.state + at, stride: 0, count: tensor.count, measure, &sums)
      case .factored(let factored):
        sums = pass.kernels.adafactor(factored, p, g, state: memory.state, scratch: scratch, measure)
      }
      let size = (sums.first / Double(tensor.count)).squareRoot()
      let length = (sums.second / Double(tensor.count)).squareRoot()
      var scale = rate / (clip > 0 ? max(1, length / clip) : 1)
      if scalesByParameters { scale *= max(size, Self.sizeMin) }
      if momentum > 0 {
        (rule.rate, rule.own) = (1, Float((1 - momentum) * scale))
        pass.run(.momentum, rule, memory, tensor: index)
      } else {
        rule.rate = Float(scale)
        pass.run(.descend, rule, memory, tensor: index)
      }
    }
  }
}
