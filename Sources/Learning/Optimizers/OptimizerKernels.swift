// OptimizerKernels: the one place of this target that calls C kernels. Optimizers hold one of these values; the rules
// they follow are in their own files, the kernels in CKernels/optimizer_*.
import CKernels
import Compute

/// The optimizers' C kernels at one CPU level.
struct OptimizerKernels: @unchecked Sendable {
  // @unchecked: the table is constant data of the program.
  let table: UnsafePointer<ck_optimizer>

  /// The kernels of `level`; traps where the machine or this build lacks it, which `CPULevel.selected` has refused.
  init(level: CPULevel) {
    guard level <= CPULevel.best, let table = ck_optimizer_table(level.rawLevel) else {
      preconditionFailure("OptimizerKernels: this machine cannot run level \(level)")
    }
    self.table = table
  }

  @inline(__always)
  func flushingDenormals(_ body: () -> Void) {
    let saved = ck_denormals_flush()
    body()
    ck_denormals_restore(saved)
  }

  func sgd(_ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, count: Int, rate: Float) {
    flushingDenormals { table.pointee.sgd(p, g, Int64(count), rate) }
  }

  func momentum(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>, count: Int,
    rate: Float, decay: Float
  ) {
    flushingDenormals { table.pointee.momentum(p, g, m, Int64(count), rate, decay) }
  }

  func adam(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
    _ v: UnsafeMutablePointer<Float>, count: Int, _ configuration: Adam.Configuration, rate: Float, correction: Float
  ) {
    flushingDenormals {
      table.pointee.adam(
        p, g, m, v, Int64(count), configuration.beta1, configuration.beta2, rate, correction, configuration.epsilon,
        configuration.epsilonRoot)
    }
  }

  /// The sum of squares of `count` floats.
  func squares(_ x: UnsafePointer<Float>, count: Int) -> Double { table.pointee.squares(x, Int64(count)) }

  /// Whether none of `count` floats is infinite or not a number.
  func areFinite(_ x: UnsafePointer<Float>, count: Int) -> Bool { table.pointee.are_finite(x, Int64(count)) }

  /// g = clamp(g, -bound, bound), where NaN stays.
  func clamp(_ g: UnsafeMutablePointer<Float>, count: Int, bound: Float) {
    table.pointee.clamp(g, Int64(count), bound)
  }

  /// g = scale * g + share * p.
  func blend(_ g: UnsafeMutablePointer<Float>, _ p: UnsafePointer<Float>, count: Int, scale: Float, share: Float) {
    flushingDenormals { table.pointee.blend(g, p, Int64(count), scale, share) }
  }

  func smallFC(
    _ rule: SmallFCRule, _ tensors: AdafactorTensors, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    iteration: Int
  ) {
    withUnsafePointer(to: rule.rule) { rule in
      tensors.tensors.withUnsafeBufferPointer { tensors in
        flushingDenormals {
          table.pointee.small_fc(
            rule, tensors.baseAddress, Int64(tensors.count), p, g, state, theta, scratch, Int64(iteration))
        }
      }
    }
  }

  func celo(
    _ rule: CeloRule, _ tensors: AdafactorTensors, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    step: OptimizerStep
  ) {
    withUnsafePointer(to: rule.rule) { rule in
      tensors.tensors.withUnsafeBufferPointer { tensors in
        flushingDenormals {
          table.pointee.celo(
            rule, tensors.baseAddress, Int64(tensors.count), p, g, state, theta, scratch, Int64(step.iteration),
            Int64(step.totalSteps), step.loss)
        }
      }
    }
  }
}

/// Where the kernels find each tensor and its accumulators, and the layout of the state that holds them.
struct AdafactorTensors: Sendable {
  fileprivate let tensors: [ck_adafac_tensor]
  /// The accumulators tensor by tensor, then `extra`.
  let state: ParameterLayout

  init(parameters: ParameterLayout, extra: [(name: String, shape: Shape)] = []) {
    let all = parameters.tensors.map(AdafactorSlots.init)
    let state = ParameterLayout(all.flatMap(\.slots) + extra)
    var next = 0
    self.state = state
    tensors = zip(parameters.tensors, all).compactMap { tensor, slots in
      let offsets = (0..<slots.slots.count).map { Int64(state.tensors[next + $0].offset) }
      next += slots.slots.count
      // There is nothing to update, and no mean to take.
      guard tensor.count > 0 else { return nil }
      var out = ck_adafac_tensor()
      out.parameter = Int64(tensor.offset)
      out.count = Int64(tensor.count)
      (out.momentum, out.rms, out.line) = (offsets[0], offsets[1], offsets[2])
      guard let view = slots.view else { return out }
      (out.outer, out.a, out.middle) = (Int64(view.outer), Int64(view.a), Int64(view.middle))
      (out.b, out.inner) = (Int64(view.b), Int64(view.inner))
      out.factored = true
      out.row_is_line = view.rowIsLine
      (out.line, out.lane) = view.rowIsLine ? (offsets[2], offsets[3]) : (offsets[3], offsets[2])
      return out
    }
  }

  /// The scratch memory for a network of `hidden` units, in floats.
  func scratchFloats(hidden: Int) -> Int {
    tensors.withUnsafeBufferPointer { Int(ck_adafac_scratch($0.baseAddress, Int64($0.count), Int32(hidden))) }
  }
}

/// small_fc's constants and the places of its theta.
struct SmallFCRule: Sendable {
  fileprivate let rule: ck_small_fc
  static let hiddenMax = Int(CK_ADAFAC_HIDDEN_MAX)

  init(_ configuration: SmallFC.Configuration, theta: ParameterLayout) {
    func at(_ name: String) -> Int64 { Int64(theta[name]!.offset) }
    rule = ck_small_fc(
      hidden: Int32(configuration.hidden), exp_multiplier: Float(configuration.expMultiplier),
      step_multiplier: Float(configuration.stepMultiplier), momentum_decays: at("momentum_decays"),
      rms_decays: at("rms_decays"), adafactor_decays: at("adafactor_decays"), w0: at("nn/~/w0"), b0: at("nn/~/b0"),
      w1: at("nn/~/w1"), b1: at("nn/~/b1"), w2: at("nn/~/w2"), b2: at("nn/~/b2"))
  }
}

/// Celo's places in theta and in the state.
struct CeloRule: Sendable {
  fileprivate let rule: ck_celo
  static let lossDecays = Int(CK_LOSS_DECAYS)

  init(scheduled: Bool, lstmHidden: Int, theta: ParameterLayout, state: ParameterLayout) {
    func at(_ name: String) -> Int64 { Int64(theta[name]!.offset) }
    func slot(_ name: String) -> Int64 { Int64(state[name]!.offset) }
    var rule = ck_celo()
    rule.scheduler.lstm_hidden = Int32(lstmHidden)
    rule.scheduled = scheduled
    withUnsafeMutableBytes(of: &rule.w0) { w0 in
      let offsets = w0.bindMemory(to: Int64.self)
      for group in offsets.indices { offsets[group] = at("ff_mod_stack/~/w0__\(group)") }
    }
    (rule.b0, rule.w1, rule.b1) = (at("ff_mod_stack/~/b0"), at("ff_mod_stack/~/w1"), at("ff_mod_stack/~/b1"))
    (rule.w2, rule.b2) = (at("ff_mod_stack/~/w2"), at("ff_mod_stack/~/b2"))
    (rule.scheduler.mix_max_w, rule.scheduler.mix_max_b) = (at("rnn_params/linear_1/w"), at("rnn_params/linear_1/b"))
    (rule.scheduler.mix_direct_w, rule.scheduler.mix_direct_b) = (
      at("rnn_params/linear_2/w"), at("rnn_params/linear_2/b")
    )
    (rule.scheduler.gates_w, rule.scheduler.gates_b) = (at("rnn_params/rnn/linear/w"), at("rnn_params/rnn/linear/b"))
    (rule.scheduler.step_size_w, rule.scheduler.step_size_b) = (
      at("rnn_params/step_size/w"), at("rnn_params/step_size/b")
    )
    (rule.scheduler.hidden, rule.scheduler.cell) = (slot("lstm/hidden"), slot("lstm/cell"))
    (rule.scheduler.loss_means, rule.scheduler.loss_minima) = (slot("loss_buffer/means"), slot("loss_buffer/minima"))
    (rule.scheduler.loss_decays, rule.scheduler.loss_count) = (slot("loss_buffer/decays"), slot("loss_buffer/count"))
    self.rule = rule
  }
}
