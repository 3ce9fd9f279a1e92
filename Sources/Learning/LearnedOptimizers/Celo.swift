// Celo: a per-parameter network on Adafactor features and an LSTM that schedules its learning rate from the loss and
// the share of the run that is done (Moudgil et al. 2025, "Celo: Training Versatile Learned Optimizers on a Compute
// Diet", arXiv 2501.12670). Theta.swift holds its meta-parameters; the arithmetic is in
// CKernels/optimizer_celo.inc.h.
//
//   g clipped to +-1000; M, V, R, C (or D) as in SmallFC.swift with the fixed decays 0.9, 0.99, 0.999 and 0.999
//   x = small_fc's features without the time, and g clipped to +-0.1 and g/sqrt(V + 1e-6); normalised alike
//   (d, a) = W2' relu(W1' relu(W0' x + b0) + b1) + b2                  30 -> 4 -> 4 -> 3, the third output unused
//   p' = p - multiplier * d * sqrt(mean p^2 + 1e-9) * exp(0.001 a) * 0.001
//   multiplier = 0.1 exp(h W + b), h the LSTM's output on [tanh(10 (t/n - c)), 9 features of 10 averages of the loss]
//
// All tensors give the LSTM the same inputs and start from the same state, so one row stands for all of them.
import Compute

/// The learned optimizer Celo: needs the loss and the number of planned updates, 37,089 meta-parameters.
public struct Celo: Optimizer {
  public let name = "celo"
  public let parameters: ParameterLayout
  public let thetaLayout: ParameterLayout?
  public let scratchFloats: Int
  /// Which part of the rule acts.
  public let phase: Phase
  private let rule: CeloRule
  private let tensors: AdafactorTensors
  private let kernels: OptimizerKernels

  /// Units of the scheduler's LSTM.
  static let lstmHidden = 64

  /// Which part of the rule acts; meta-training has one phase for each.
  public enum Phase: String, Sendable, CaseIterable {
    /// The per-parameter network alone: the scheduler runs, but its multiplier is taken as 1.
    case updateRule = "update_rule"
    /// The whole optimizer.
    case full
  }

  /// The state's layout: the accumulators of each tensor as in `SmallFC`, the LSTM's `lstm/hidden` and `lstm/cell`,
  /// and the averages of the loss under `loss_buffer/`. `loss_buffer/decays` is zero until the first update writes
  /// them from the planned number of updates; `loss_buffer/count` counts updates and stays exact up to 2^24.
  public var state: ParameterLayout { tensors.state }

  /// An optimizer of `parameters`.
  public init(parameters: ParameterLayout, phase: Phase = .full, level: CPULevel) {
    let theta = ThetaSchema.celo.layout
    let averages: Shape = [CeloRule.lossDecays]
    self.parameters = parameters
    self.phase = phase
    thetaLayout = theta
    tensors = AdafactorTensors(
      parameters: parameters,
      extra: [
        ("lstm/hidden", [Celo.lstmHidden]), ("lstm/cell", [Celo.lstmHidden]), ("loss_buffer/means", averages),
        ("loss_buffer/minima", averages), ("loss_buffer/decays", averages), ("loss_buffer/count", .scalar),
      ])
    rule = CeloRule(scheduled: phase == .full, lstmHidden: Celo.lstmHidden, theta: theta, state: tensors.state)
    scratchFloats = tensors.scratchFloats(hidden: 4)
    kernels = OptimizerKernels(level: level)
  }

  public func initialize(
    state: UnsafeMutablePointer<Float>, parameters: UnsafePointer<Float>, theta: UnsafePointer<Float>?
  ) {
    guard let theta, let layout = thetaLayout else {
      preconditionFailure("Celo: a learned optimizer needs its theta")
    }
    state.update(repeating: 0, count: self.state.floats)
    for part in ["hidden", "cell"] {
      let from = layout["lstm_init_state/\(part)"]!
      let to = self.state["lstm/\(part)"]!
      (state + to.offset).update(from: theta + from.offset, count: from.count)
    }
    let minima = self.state["loss_buffer/minima"]!
    (state + minima.offset).update(repeating: 1e12, count: minima.count)
  }

  public func update(
    parameters: UnsafeMutablePointer<Float>, gradients: UnsafeMutablePointer<Float>,
    state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>, step: OptimizerStep
  ) {
    guard let theta = step.theta else { preconditionFailure("Celo: a learned optimizer needs its theta") }
    kernels.celo(rule, tensors, parameters, gradients, state: state, theta: theta, scratch: scratch, step: step)
  }
}
