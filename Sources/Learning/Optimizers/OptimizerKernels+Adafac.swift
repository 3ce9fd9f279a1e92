// OptimizerKernels+Adafac: the kernels of small_fc, STAR, Celo and VeLO, and what these are told: tensors with their
// accumulators, and where theta and the state have the parts of each rule.
import CKernels
import Compute

extension OptimizerKernels {
  func smallFC(
    _ rule: SmallFCRule, _ tensors: AdafactorTensors, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    iteration: Int
  ) {
    run(rule.rule, tensors) {
      table.pointee.small_fc($0, $1, $2, p, g, state, theta, scratch, Int64(iteration))
    }
  }

  func star(
    _ rule: StarRule, _ tensors: AdafactorTensors, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    iteration: Int
  ) {
    run(rule.rule, tensors) {
      table.pointee.star($0, $1, $2, p, g, state, theta, scratch, Int64(iteration))
    }
  }

  func celo(
    _ rule: CeloRule, _ tensors: AdafactorTensors, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    step: OptimizerStep
  ) {
    run(rule.rule, tensors) {
      table.pointee.celo(
        $0, $1, $2, p, g, state, theta, scratch, Int64(step.iteration), Int64(step.totalSteps), step.loss)
    }
  }

  func velo(
    _ rule: VeloRule, _ tensors: AdafactorTensors, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    step: OptimizerStep
  ) {
    run(rule.rule, tensors) {
      table.pointee.velo(
        $0, $1, $2, p, g, state, theta, scratch, Int64(step.iteration), Int64(step.totalSteps), step.loss)
    }
  }

  @inline(__always)
  private func run<Rule>(
    _ rule: Rule, _ tensors: AdafactorTensors,
    _ kernel: (UnsafePointer<Rule>, UnsafePointer<ck_adafac_tensor>?, Int64) -> Void
  ) {
    withUnsafePointer(to: rule) { rule in
      tensors.tensors.withUnsafeBufferPointer { tensors in
        flushingDenormals { kernel(rule, tensors.baseAddress, Int64(tensors.count)) }
      }
    }
  }
}

/// Where the kernels find each tensor and its accumulators, and the layout of the state that holds them.
struct AdafactorTensors: Sendable {
  /// One for each tensor, those without elements too, which the kernels pass over.
  fileprivate let tensors: [ck_adafac_tensor]
  /// The accumulators tensor by tensor, then `extra`.
  let state: ParameterLayout

  init(parameters: ParameterLayout, extra: [(name: String, shape: Shape)] = []) {
    let all = parameters.tensors.map(AdafactorSlots.init)
    let state = ParameterLayout(all.flatMap(\.slots) + extra)
    var next = 0
    self.state = state
    tensors = zip(parameters.tensors, all).map { tensor, slots in
      let offsets = (0..<slots.slots.count).map { Int64(state.tensors[next + $0].offset) }
      next += slots.slots.count
      var out = ck_adafac_tensor()
      out.parameter = Int64(tensor.offset)
      out.count = Int64(tensor.count)
      out.rank = Int32(tensor.shape.dimensions.filter { $0 > 1 }.count)
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

  /// The scratch memory of Celo, in floats.
  func scratchFloats(_ rule: CeloRule) -> Int {
    withUnsafePointer(to: rule.rule) { rule in
      tensors.withUnsafeBufferPointer { Int(ck_celo_scratch(rule, $0.baseAddress, Int64($0.count))) }
    }
  }

  /// The scratch memory of VeLO, in floats.
  func scratchFloats(_ rule: VeloRule) -> Int {
    withUnsafePointer(to: rule.rule) { rule in
      tensors.withUnsafeBufferPointer { Int(ck_velo_scratch(rule, $0.baseAddress, Int64($0.count))) }
    }
  }
}

/// small_fc's constants and the places of its theta.
struct SmallFCRule: Sendable {
  fileprivate let rule: ck_small_fc
  static let hiddenMax = Int(CK_ADAFAC_HIDDEN_MAX)

  init(hidden: Int, expMultiplier: Double, stepMultiplier: Double, theta: ParameterLayout) {
    func at(_ name: String) -> Int64 { Int64(theta[name]!.offset) }
    rule = ck_small_fc(
      hidden: Int32(hidden), exp_multiplier: Float(expMultiplier), step_multiplier: Float(stepMultiplier),
      momentum_decays: at("momentum_decays"), rms_decays: at("rms_decays"), adafactor_decays: at("adafactor_decays"),
      w0: at("nn/~/w0"), b0: at("nn/~/b0"), w1: at("nn/~/w1"), b1: at("nn/~/b1"), w2: at("nn/~/w2"), b2: at("nn/~/b2"))
  }
}

/// STAR's constants beside those of its network.
struct StarRule: Sendable {
  fileprivate let rule: ck_star

  init(_ configuration: Star.Configuration, theta: ParameterLayout) {
    let multipliers = configuration.expMultipliers.map(Float.init)
    var rule = ck_star()
    rule.network =
      SmallFCRule(
        hidden: configuration.hidden, expMultiplier: configuration.expMultipliers[0],
        stepMultiplier: configuration.stepMultiplier, theta: theta
      ).rule
    (rule.nominal_exp_multiplier, rule.decay_exp_multiplier) = (multipliers[1], multipliers[2])
    rule.nominal_step = Float(configuration.nominalStep)
    rule.weight_decay = Float(configuration.weightDecay)
    switch configuration.nominalEstimator {
    case .sgd: rule.gradient = 1
    case .sgdm: rule.momentum.2 = 1
    case .aggMo: rule.momentum = (1 / 3, 1 / 3, 1 / 3)
    case .adam: rule.normalised.2 = 1
    case .adamAggMo: rule.normalised = (1 / 3, 1 / 3, 1 / 3)
    }
    rule.nominal_controller = configuration.nominalController
    rule.decay_controller = configuration.decayController
    rule.aggregate = (
      configuration.aggregateMagnitude, configuration.aggregateNominal, configuration.aggregateDecay
    )
    rule.normalise = configuration.normaliseStep
    rule.self_normalise = configuration.selfNormaliseStep
    self.rule = rule
  }
}

/// Celo's places in theta and in the state.
struct CeloRule: Sendable {
  fileprivate let rule: ck_celo
  static let lossDecays = Int(CK_LOSS_DECAYS)
  static let lstmHiddenMax = Int(CK_LSTM_HIDDEN_MAX)
  static let networksMax = Int(CK_NETWORKS_MAX)

  init(_ configuration: Celo.Configuration, theta: ParameterLayout, state: ParameterLayout) {
    rule = ck_celo(
      scheduler: ck_celo_scheduler(lstmHidden: configuration.lstmHidden, theta: theta, state: state),
      bank: ck_bank(
        networks: configuration.networks, expMultiplier: configuration.expMultiplier,
        stepMultiplier: configuration.stepMultiplier, theta: theta),
      scheduled: configuration.phase == .full)
  }
}

/// VeLO's places in theta and in the state.
struct VeloRule: Sendable {
  fileprivate let rule: ck_velo

  init(_ configuration: Velo.Configuration, theta: ParameterLayout, state: ParameterLayout) {
    rule = ck_velo(
      scheduler: ck_celo_scheduler(lstmHidden: configuration.lstmHidden, theta: theta, state: state),
      bank: ck_bank(
        networks: configuration.networks, expMultiplier: configuration.expMultiplier,
        stepMultiplier: configuration.stepMultiplier, theta: theta),
      mixing: Float(configuration.mixingScale), short_loss: configuration.buggedLossFeatures,
      fixed_state: configuration.buggedLSTMState)
  }
}

extension ck_celo_scheduler {
  /// The places of an LSTM whose theta and state are named as Celo's.
  init(lstmHidden: Int, theta: ParameterLayout, state: ParameterLayout) {
    func at(_ name: String) -> Int64 { Int64(theta["rnn_params/\(name)"]!.offset) }
    func slot(_ name: String) -> Int64 { Int64(state[name]!.offset) }
    self.init(
      lstm_hidden: Int32(lstmHidden), mix_max_w: at("linear_1/w"), mix_max_b: at("linear_1/b"),
      mix_direct_w: at("linear_2/w"), mix_direct_b: at("linear_2/b"), gates_w: at("rnn/linear/w"),
      gates_b: at("rnn/linear/b"), step_size_w: at("step_size/w"), step_size_b: at("step_size/b"),
      hidden: slot("lstm/hidden"), cell: slot("lstm/cell"), loss_means: slot("loss_buffer/means"),
      loss_minima: slot("loss_buffer/minima"), loss_decays: slot("loss_buffer/decays"),
      loss_count: slot("loss_buffer/count"))
  }
}

extension ck_bank {
  fileprivate init(networks: Int, expMultiplier: Double, stepMultiplier: Double, theta: ParameterLayout) {
    func at(_ name: String) -> Int64 { Int64(theta[name]!.offset) }
    func network(_ name: String) -> Int64 { at("ff_mod_stack/~/\(name)") }
    self.init()
    self.networks = Int32(networks)
    (exp_multiplier, step_multiplier) = (Float(expMultiplier), Float(stepMultiplier))
    withUnsafeMutableBytes(of: &w0) { w0 in
      let offsets = w0.bindMemory(to: Int64.self)
      for group in offsets.indices { offsets[group] = network("w0__\(group)") }
    }
    (b0, w1, b1, w2, b2) = (network("b0"), network("w1"), network("b1"), network("w2"), network("b2"))
    (controls_w, controls_b) = (at("rnn_params/rnn_to_controls/w"), at("rnn_params/rnn_to_controls/b"))
  }
}
