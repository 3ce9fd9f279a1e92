// The C kernels of MLPLOpt, NN-Adam, RNN-MLP and Celo-Adam, and what they are told of each: places of tensors, slots
// and leaves of theta. OptimizerKernels.swift has the table; the rules are in LearnedOptimizers.
import CKernels
import Compute
import Foundation

extension OptimizerKernels {
  func mlpLOpt(
    _ rule: MLPLOptRule, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, iteration: Int
  ) {
    withUnsafePointer(to: rule.rule) { places in
      rule.tensors.withUnsafeBufferPointer { tensors in
        flushingDenormals {
          table.pointee.mlp_lopt(
            places, tensors.baseAddress, Int64(tensors.count), p, g, state, theta, Int64(iteration))
        }
      }
    }
  }

  func nnAdam(
    _ rule: NNAdamRule, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>
  ) {
    withUnsafePointer(to: rule.rule) { places in
      rule.tensors.withUnsafeBufferPointer { tensors in
        flushingDenormals {
          table.pointee.nn_adam(
            places, tensors.baseAddress, Int64(tensors.count), p, g, state, theta, scratch)
        }
      }
    }
  }

  /// - Parameters:
  ///   - iteration: updates and losses on held-out data so far.
  ///   - train: the loss as a feature, and `valid` that on held-out data.
  func rnnMLP(
    _ rule: RNNMLPRule, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    iteration: Float, train: Float, valid: Float
  ) {
    withUnsafePointer(to: rule.rule) { places in
      rule.tensors.withUnsafeBufferPointer { tensors in
        flushingDenormals {
          table.pointee.rnn_mlp(
            places, tensors.baseAddress, Int64(tensors.count), p, g, state, theta, scratch, iteration, train, valid)
        }
      }
    }
  }

  /// - Parameter corrections: 1/(1 - decay^k) of the moments `m` and `v`.
  func celoAdam(
    _ rule: CeloAdamRule, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    _ m: UnsafeMutablePointer<Float>, _ v: UnsafeMutablePointer<Float>, count: Int,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, step: OptimizerStep,
    corrections: (m: Float, v: Float)
  ) {
    withUnsafePointer(to: rule.scheduler) { places in
      flushingDenormals {
        table.pointee.celo_adam(
          places, p, g, m, v, Int64(count), state, theta, Int64(step.iteration), Int64(step.totalSteps), step.loss,
          corrections.m, corrections.v)
      }
    }
  }
}

/// MLPLOpt's constants and places. Empty tensors are left out: there is nothing to update, and no mean to take.
struct MLPLOptRule: Sendable {
  static let decays = Int(CK_MLP_DECAYS)
  fileprivate let rule: ck_mlp_lopt
  fileprivate let tensors: [ck_mlp_tensor]

  init(
    _ configuration: MLPLOpt.Configuration, parameters: ParameterLayout, state: ParameterLayout,
    theta: ParameterLayout
  ) {
    func at(_ layer: Int, _ part: String) -> Int64 { Int64(theta["mlp/~/linear_\(layer)/\(part)"]!.offset) }
    rule = ck_mlp_lopt(
      hidden: Int32(configuration.hidden), exp_multiplier: Float(configuration.expMultiplier),
      step_multiplier: Float(configuration.stepMultiplier), w0: at(0, "w"), b0: at(0, "b"), w1: at(1, "w"),
      b1: at(1, "b"), w2: at(2, "w"), b2: at(2, "b"))
    tensors = parameters.tensors.filter { $0.count > 0 }.map {
      ck_mlp_tensor(
        parameter: Int64($0.offset), count: Int64($0.count), momentum: Int64(state["momentum/\($0.name)"]!.offset))
    }
  }
}

/// Celo-Adam's places in theta and in the state.
struct CeloAdamRule: Sendable {
  fileprivate let scheduler: ck_celo_scheduler

  init(lstmHidden: Int, theta: ParameterLayout, state: ParameterLayout) {
    scheduler = ck_celo_scheduler(lstmHidden: lstmHidden, theta: theta, state: state)
  }
}

/// NN-Adam's constants and places; empty tensors are left out.
struct NNAdamRule: Sendable {
  /// What the LSTM is told of a tensor.
  static let features = 19
  static let lstmHiddenMax = Int(CK_LSTM_HIDDEN_MAX)
  /// The slots of Adam's constants and the leaves that they start from, in the kernel's order.
  static let codes: [(slot: String, leaf: String)] = [
    ("learning_rate", "per_layer_lr"), ("beta1", "per_layer_beta1"), ("beta2", "per_layer_beta2"),
    ("epsilon", "per_layer_epsilon"),
  ]
  fileprivate let rule: ck_nn_adam
  fileprivate let tensors: [ck_nn_adam_tensor]

  var scratchFloats: Int { tensors.count * (Self.features + 4 * Int(rule.lstm_hidden)) }

  init(
    _ configuration: NNAdam.Configuration, parameters: ParameterLayout, state: ParameterLayout, theta: ParameterLayout
  ) {
    func at(_ name: String) -> Int64 { Int64(theta[name]!.offset) }
    func slot(_ name: String) -> Int64 { Int64(state[name]!.offset) }
    let codes = Self.codes
    rule = ck_nn_adam(
      lstm_hidden: Int32(configuration.lstmHidden), output_scale: Float(configuration.outputScale),
      decay_strength: Float(configuration.decayStrength),
      initial: (at(codes[0].leaf), at(codes[1].leaf), at(codes[2].leaf), at(codes[3].leaf)),
      gates_w: at("rnn_params/rnn/linear/w"), gates_b: at("rnn_params/rnn/linear/b"),
      controls_w: at("rnn_to_controls_params/rnn_to_controls/w"),
      controls_b: at("rnn_to_controls_params/rnn_to_controls/b"),
      slots: (slot(codes[0].slot), slot(codes[1].slot), slot(codes[2].slot), slot(codes[3].slot)),
      hidden: slot("lstm/hidden"), cell: slot("lstm/cell"))
    tensors = parameters.tensors.filter { $0.count > 0 }.map {
      ck_nn_adam_tensor(
        parameter: Int64($0.offset), count: Int64($0.count), momentum: slot("momentum/\($0.name)"),
        rms: slot("rms/\($0.name)"), rank: Int32($0.shape.rank))
    }
  }
}

/// RNN-MLP's constants and places; empty tensors are left out.
struct RNNMLPRule: Sendable {
  static let decays = Int(CK_RNN_DECAYS)
  /// What the LSTM is told of a tensor, messages aside.
  static let statistics = Int(CK_RNN_STATISTICS)
  static let messageMax = Int(CK_RNN_MESSAGE_MAX)
  fileprivate let rule: ck_rnn_mlp
  fileprivate let tensors: [ck_rnn_mlp_tensor]
  let scratchFloats: Int

  init(
    _ configuration: RNNMLP.Configuration, parameters: ParameterLayout, state: ParameterLayout, theta: ParameterLayout
  ) {
    func at(_ name: String) -> Int64 { Int64(theta[name]!.offset) }
    func slot(_ name: String) -> Int64 { Int64(state[name]!.offset) }
    let network = "ffmod_params/mlp/~/linear_"
    rule = ck_rnn_mlp(
      hidden: Int32(configuration.hidden), lstm_hidden: Int32(configuration.lstmHidden),
      from_mlp_size: Int32(configuration.fromMLP), from_lstm_size: Int32(configuration.fromLSTM),
      to_mlp_size: Int32(configuration.toMLP), exp_multiplier: Float(configuration.expMultiplier),
      step_multiplier: Float(configuration.stepMultiplier), w0: at(network + "0/w"), b0: at(network + "0/b"),
      w1: at(network + "1/w"), b1: at(network + "1/b"), w2: at(network + "2/w"), b2: at(network + "2/b"),
      gates_w: at("rnn_params/rnn/linear/w"), gates_b: at("rnn_params/rnn/linear/b"),
      to_mlp_w: at("rnn_to_ff_params/rnn_to_ff/w"), to_mlp_b: at("rnn_to_ff_params/rnn_to_ff/b"),
      to_all_w: at("rnn_to_in_params/rnn_to_in/w"), to_all_b: at("rnn_to_in_params/rnn_to_in/b"),
      from_lstm: slot("from_lstm"), clip_value: slot("clip/value"), clip_count: slot("clip/count"),
      from_mlp: slot("from_mlp"), hidden_rows: slot("lstm/hidden"), cell_rows: slot("lstm/cell"))
    tensors = parameters.tensors.filter { $0.count > 0 }.map {
      var tensor = ck_rnn_mlp_tensor()
      tensor.parameter = Int64($0.offset)
      tensor.count = Int64($0.count)
      tensor.momentum = slot("momentum/\($0.name)")
      tensor.rms = slot("rms/\($0.name)")
      let sizes = $0.shape.dimensions.prefix(4).map { logf(Float($0)) } + [0, 0, 0, 0]
      tensor.log_sizes = (sizes[0], sizes[1], sizes[2], sizes[3])
      tensor.log_count = logf(Float($0.count))
      tensor.is_scalar = $0.shape.rank == 0
      return tensor
    }
    scratchFloats = tensors.count * (configuration.lstmInputs + 4 * configuration.lstmHidden + Int(CK_RNN_ROW_FLOATS))
  }
}
