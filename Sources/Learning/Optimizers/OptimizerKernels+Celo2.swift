// The calls of Celo2's kernel (CKernels/optimizer_celo2.inc.h), and the places of its tensors, theta and state.
import CKernels
import Compute

extension OptimizerKernels {
  func celo2(
    _ rule: Celo2Kernel, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    iteration: Int, stepSize: Float
  ) {
    withUnsafePointer(to: rule.rule) { constants in
      rule.tensors.withUnsafeBufferPointer { tensors in
        flushingDenormals {
          table.pointee.celo2(
            constants, tensors.baseAddress, Int64(tensors.count), p, g, state, theta, scratch, Int64(iteration),
            stepSize)
        }
      }
    }
  }
}

/// What Celo2's kernel is told once: the constants of the rule, and where each tensor's numbers are.
struct Celo2Kernel: Sendable {
  fileprivate let rule: ck_celo2
  fileprivate let tensors: [ck_celo2_tensor]
  let state: ParameterLayout
  let scratchFloats: Int

  /// - Parameters:
  ///   - weightDecay: times the step size, as a share of the parameters.
  ///   - adam: the tensors that Adam updates instead, by name, and what its step is multiplied by.
  init(
    _ constants: Celo2Constants, weightDecay: Float, parameters: ParameterLayout, theta: ParameterLayout,
    adam: Celo2Adam?
  ) {
    func at(_ name: String) -> Int64 { Int64(theta["ff_mod_stack/~/\(name)"]!.offset) }
    var rule = ck_celo2()
    withUnsafeMutableBytes(of: &rule.w0) { w0 in
      let offsets = w0.bindMemory(to: Int64.self)
      for group in offsets.indices { offsets[group] = at("w0__\(group)") }
    }
    (rule.b0, rule.w1, rule.b1, rule.w2, rule.b2) = (at("b0"), at("w1"), at("b1"), at("w2"), at("b2"))
    rule.weight_decay = weightDecay
    rule.exp_multiplier = Float(constants.expMultiplier)
    rule.orthogonalize = constants.orthogonalize
    rule.bias_correction = constants.biasCorrection
    rule.adam_multiplier = adam?.multiplier ?? 1
    (rule.adam_beta1, rule.adam_beta2) = (0.9, adam?.beta2 ?? 0.95)
    self.rule = rule

    let isAdams = parameters.tensors.map { adam?.updates($0) ?? false }
    let slots = zip(parameters.tensors, isAdams).map { tensor, isAdam in
      isAdam
        ? ["first_moment", "second_moment"].map { (name: "\($0)/\(tensor.name)", shape: tensor.shape) }
        : AdafactorSlots(tensor: tensor).slots
    }
    let state = ParameterLayout(slots.flatMap { $0 })
    self.state = state
    var next = 0
    tensors = zip(zip(parameters.tensors, isAdams), slots).compactMap { entry, slots in
      let (tensor, isAdam) = entry
      let offsets = (0..<slots.count).map { Int64(state.tensors[next + $0].offset) }
      next += slots.count
      // There is nothing to update, and no mean to take.
      guard tensor.count > 0 else { return nil }
      return Self.place(tensor, isAdam: isAdam, offsets)
    }
    scratchFloats = tensors.withUnsafeBufferPointer {
      Int(ck_celo2_scratch($0.baseAddress, Int64($0.count), constants.orthogonalize))
    }
  }

  private static func place(
    _ tensor: ParameterLayout.Tensor, isAdam: Bool, _ offsets: [Int64]
  ) -> ck_celo2_tensor {
    var out = ck_celo2_tensor()
    out.slots.parameter = Int64(tensor.offset)
    out.slots.count = Int64(tensor.count)
    (out.slots.momentum, out.slots.rms) = (offsets[0], offsets[1])
    (out.rows, out.columns) = (1, Int64(tensor.count))
    out.adam = isAdam
    guard !isAdam else { return out }
    out.slots.line = offsets[2]
    guard let view = AdafactorSlots(tensor: tensor).view, let axes = FactoredAxes(tensor.shape) else { return out }
    (out.slots.outer, out.slots.a, out.slots.middle) = (Int64(view.outer), Int64(view.a), Int64(view.middle))
    (out.slots.b, out.slots.inner) = (Int64(view.b), Int64(view.inner))
    out.slots.factored = true
    out.slots.row_is_line = view.rowIsLine
    (out.slots.line, out.slots.lane) = view.rowIsLine ? (offsets[2], offsets[3]) : (offsets[3], offsets[2])
    let rank = tensor.shape.rank
    out.aligned = min(axes.largest, axes.second) == rank - 2
    // A column lies in memory as a row does and may have been turned into one.
    (out.rows, out.columns) =
      out.aligned ? (out.slots.a, out.slots.b) : (Int64(tensor.shape[rank - 2]), Int64(tensor.shape[rank - 1]))
    return out
  }
}
