// What the service knows of each optimizer without its numerics: its options, the memory of its state and the price of
// an update. One line for each of OptimizerName; the rules are in Learning.
import Foundation

/// What is known of an optimizer beside its rule.
public struct OptimizerTraits: Sendable {
  public let isLearned: Bool
  /// Its own options; ``OptimizerName/options`` adds what all have.
  public let options: [OptimizerOption]
  /// Floats of state for each parameter of a matrix.
  let stateFloatsPerParameter: @Sendable (OptimizerSettings) -> Int
  /// What an update costs for each parameter and each tensor, in operations at the speed of a product, as measured.
  let updateFlops: (perParameter: Double, perTensor: Double)
  /// How many losses alone, and how many with their gradients, a step evaluates of a model of so many parameters.
  var evaluations: @Sendable (OptimizerSettings, _ parameters: Int) -> (losses: Double, gradients: Double) = { _, _ in
    (0, 1)
  }
  /// How many parameters it can train at most; nil for any number.
  public let parametersMax: Int?

  /// A hand-designed optimizer.
  static func rule(_ options: [OptimizerOption], state: Int, flops: Double, perTensor: Double = 0) -> OptimizerTraits {
    OptimizerTraits(
      isLearned: false, options: options, stateFloatsPerParameter: { _ in state }, updateFlops: (flops, perTensor),
      parametersMax: nil)
  }

  /// A learned optimizer.
  static func learned(
    _ options: [OptimizerOption] = [], state: Int, flops: Double, perTensor: Double, parametersMax: Int? = nil
  ) -> OptimizerTraits {
    OptimizerTraits(
      isLearned: true, options: options, stateFloatsPerParameter: { _ in state }, updateFlops: (flops, perTensor),
      parametersMax: parametersMax)
  }
}

extension OptimizerName {
  /// What is known of it.
  public var traits: OptimizerTraits {
    typealias Option = OptimizerOption
    switch self {
    case .auto, .celo: return .learned(state: 4, flops: 480, perTensor: 250_000)
    case .smallFC: return .learned(state: 4, flops: 480, perTensor: 60_000)
    case .celo2, .celo2Base:
      return .learned(
        [
          Option("schedule", kind: .schedule, "how the step size changes over the run"),
          .amount("weight_decay", 0, "pull of the weights towards zero, times the step size"),
        ], state: 4, flops: self == .celo2 ? 10_000 : 900, perTensor: 60_000)
    case .velo: return .learned(state: 4, flops: 720, perTensor: 5_500_000)
    case .star: return .learned(state: 4, flops: 520, perTensor: 60_000)
    case .mlpLOpt: return .learned(state: 6, flops: 3000, perTensor: 10_000)
    case .nnAdam: return .learned(state: 2, flops: 40, perTensor: 60_000)
    case .celoAdam: return .learned(state: 2, flops: 40, perTensor: 30_000)
    case .rnnMLP: return .learned(state: 10, flops: 4600, perTensor: 150_000)
    // Its preconditioners have 1,024 floats for each parameter.
    case .optimus: return .learned(state: 1033, flops: 2_400_000, perTensor: 0, parametersMax: 16_384)
    case .learnedSGDM: return .learned(state: 1, flops: 25, perTensor: 0)
    case .sgd: return .rule(Option.rate(0.01), state: 0, flops: 15)
    case .momentum:
      return .rule(
        Option.rate(0.01) + [.share("decay", 0.9, aliases: ["momentum"], "share of the last step that is kept")],
        state: 1, flops: 25)
    case .adam:
      return .rule(
        Option.rate(1e-3) + Option.betas(0.9, 0.999) + [
          .epsilon(1e-8), .amount("epsilon_root", 0, aliases: ["eps_root"], "added below the root"),
        ], state: 2, flops: 40)
    case .muon: return .muon
    case .shampoo: return .shampoo
    case .soap: return .soap
    case .mfac: return .mfac
    case .mezo: return .mezo
    case .cge: return .cge
    case .adahessian: return .adahessian
    case .nesterov: return .nesterov
    case .adagrad: return .adagrad
    case .adadelta: return .adadelta
    case .rmsprop: return .rmsprop
    case .adamw: return .adamw
    case .nadam: return .nadam
    case .nadamw: return .nadamw
    case .amsgrad: return .amsgrad
    case .radam: return .radam
    case .adabelief: return .adabelief
    case .yogi: return .yogi
    case .lamb: return .lamb
    case .lars: return .lars
    case .fromage: return .fromage
    case .sm3: return .sm3
    case .adafactor: return .adafactor
    case .adamax: return .adamax
    case .adan: return .adan
    case .ademamix: return .ademamix
    case .novograd: return .novograd
    case .lion: return .lion
    case .signSGD: return .signSGD
    case .prodigy: return .prodigy
    case .dadaptAdamW: return .dadaptAdamW
    case .scheduleFreeAdamW: return .scheduleFreeAdamW
    case .optlist: return .optList
    }
  }
}
