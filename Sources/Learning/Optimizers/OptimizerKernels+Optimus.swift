// The C kernels of Optimus and what they are told of it. OptimizerKernels.swift has the table.
import CKernels
import Compute

extension OptimizerKernels {
  func optimus(
    _ rule: OptimusRule, _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>,
    state: UnsafeMutablePointer<Float>, theta: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>,
    iteration: Int
  ) {
    withUnsafePointer(to: rule.rule) { places in
      rule.tensors.withUnsafeBufferPointer { tensors in
        rule.blocks.withUnsafeBufferPointer { blocks in
          flushingDenormals {
            table.pointee.optimus(
              places, tensors.baseAddress, Int64(tensors.count), blocks.baseAddress, Int64(blocks.count), p, g, state,
              theta, scratch, Int64(iteration))
          }
        }
      }
    }
  }
}

/// Optimus' constants and places.
struct OptimusRule: Sendable {
  static let features = 41
  static let width = Int(CK_OPTIMUS_WIDTH)
  static let encoders = Int(CK_OPTIMUS_ENCODERS)
  static let branch = Int(CK_OPTIMUS_BRANCH)
  fileprivate let rule: ck_optimus
  fileprivate let tensors: [ck_optimus_tensor]
  fileprivate let blocks: [ck_optimus_block]

  var scratchFloats: Int { Int(ck_optimus_scratch(rule.count, blocks.map(\.count).max() ?? 0)) }

  /// - Parameter sizes: of the blocks, in order.
  init(
    _ configuration: Optimus.Configuration, parameters: ParameterLayout, blocks sizes: [Int], state: ParameterLayout,
    theta: ParameterLayout
  ) {
    func at(_ name: String) -> Int64 { Int64(theta[name]!.offset) }
    func slot(_ name: String) -> Int64 { Int64(state[name]!.offset) }
    func encoder(_ layer: Int) -> ck_optimus_encoder {
      func at(_ name: String) -> Int64 { Int64(theta["encoder_\(layer)/\(name)"]!.offset) }
      return ck_optimus_encoder(
        attention_scale: at("attention_norm/scale"), attention_offset: at("attention_norm/offset"),
        mix_in_w: at("attention_in/w"), mix_in_b: at("attention_in/b"), mix_out_w: at("attention_out/w"),
        mix_out_b: at("attention_out/b"), network_scale: at("linear_norm/scale"),
        network_offset: at("linear_norm/offset"), w0: at("linear_0/w"), b0: at("linear_0/b"), w1: at("linear_1/w"),
        b1: at("linear_1/b"), update_scale: at("update_norm/scale"), update_offset: at("update_norm/offset"),
        update_w: at("update/w"), update_b: at("update/b"))
    }
    rule = ck_optimus(
      count: Int64(parameters.elements), exp_multiplier: Float(configuration.expMultiplier),
      step_multiplier: Float(configuration.stepMultiplier), embedding_w: at("embedding/w"),
      embedding_b: at("embedding/b"), encoders: (encoder(0), encoder(1), encoder(2)), w0: at("branch/linear_0/w"),
      b0: at("branch/linear_0/b"), w1: at("branch/linear_1/w"), b1: at("branch/linear_1/b"),
      w2: at("branch/linear_2/w"), b2: at("branch/linear_2/b"), momentum: slot("momentum"), rms: slot("rms"),
      diagonal: slot("diagonal"), gradient: slot("gradient"), move: slot("move"))
    tensors = parameters.tensors.map { ck_optimus_tensor(parameter: Int64($0.offset), count: Int64($0.count)) }
    var from = 0
    blocks = sizes.enumerated().map { index, size in
      defer { from += size }
      return ck_optimus_block(
        from: Int64(from), count: Int64(size), preconditioner: slot("preconditioner_\(index)"))
    }
  }
}
