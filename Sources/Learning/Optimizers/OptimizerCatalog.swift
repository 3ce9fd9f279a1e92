// OptimizerCatalog: makes optimizers from their settings: the rule itself, and around it what every optimizer can be
// given. The rules are in the files named like the optimizers; Contract has their names and options.
import Compute
import Contract

/// Makes optimizers.
public enum OptimizerCatalog {
  /// The learned ones. Weights that do not say what they are get the first that recognises them.
  static let learned: [any LearnedOptimizer.Type] = [
    Celo.self, SmallFC.self, Celo2.self, Celo2Base.self, Velo.self, Star.self,
    MLPLOpt.self, NNAdam.self, CeloAdam.self, RNNMLP.self, Optimus.self, LearnedSGDM.self,
  ]

  /// The type of a learned optimizer; nil for hand-designed ones and `auto`.
  static func type(of name: OptimizerName) -> (any LearnedOptimizer.Type)? { learned.first { $0.optimizer == name } }

  /// The schema of a learned optimizer's theta at its published constants; nil for hand-designed ones and `auto`.
  public static func schema(of name: OptimizerName) -> ThetaSchema? {
    var none = Fields([:], faults: Faults())!
    return schema(of: name, reading: &none)
  }

  /// The schema with the constants that `fields` gives.
  public static func schema(of name: OptimizerName, reading fields: inout Fields) -> ThetaSchema? {
    type(of: name).map { ThetaSchema($0, reading: &fields) }
  }

  /// Makes an optimizer of `parameters`.
  ///
  /// - Parameters:
  ///   - theta: the schema of a learned optimizer's weights; nil takes the published constants.
  ///   - horizonSteps: how many updates a learned optimizer was trained for at most; longer runs are made of
  ///     fewer, larger updates. nil for no bound.
  ///   - totalSteps: the planned steps of the run.
  public static func make(
    _ settings: OptimizerSettings, parameters: ParameterLayout, theta: ThetaSchema? = nil, horizonSteps: Int? = nil,
    totalSteps: Int = 1, level: CPULevel
  ) -> any Optimizer {
    let rule = rule(settings, parameters: parameters, theta: theta, level: level)
    let own = settings.integer("accumulation")
    let bounds = [settings.integer("updates_max"), horizonSteps ?? 0].filter { $0 > 0 }
    // A bound on updates makes groups of the groups that were asked for.
    let groups = bounds.min().map { (max(totalSteps / own, 1) - 1) / $0 + 1 } ?? 1
    let accumulated = own * groups > 1 ? GradientAccumulation(rule, group: own * groups) : rule
    let prepared = GradientPreparation.around(accumulated, settings, level: level)
    return ZerothOrder.around(prepared, settings, level: level)
  }

  /// Refuses a model of more parameters than an optimizer trains, for which ``make(_:parameters:theta:horizonSteps:totalSteps:level:)``
  /// traps.
  public static func checkSize(of parameters: ParameterLayout, for name: OptimizerName) throws(SpecError) {
    guard let most = name.traits.parametersMax, parameters.elements > most else { return }
    throw SpecError([
      Fault(
        path: "", reason: "\(name.rawValue) trains at most \(most) parameters, here are \(parameters.elements)")
    ])
  }

  /// The rule alone.
  private static func rule(
    _ settings: OptimizerSettings, parameters: ParameterLayout, theta: ThetaSchema?, level: CPULevel
  ) -> any Optimizer {
    switch settings.name {
    case .auto, .celo, .celo2, .celo2Base, .smallFC, .velo, .star,
      .mlpLOpt, .nnAdam, .celoAdam, .rnnMLP, .optimus, .learnedSGDM:
      guard let schema = theta ?? schema(of: settings.name) else {
        preconditionFailure("OptimizerCatalog: \(settings.name.rawValue) names no architecture; its theta does")
      }
      // `auto` has the options that all have; what its theta is may have more, which stay at their defaults.
      return schema.optimizer(
        parameters: parameters, settings: settings.name == schema.name ? settings : nil, level: level)
    case .sgd: return SGD(parameters: parameters, settings: settings, level: level)
    case .momentum: return Momentum(parameters: parameters, settings: settings, level: level)
    case .adam: return Adam(parameters: parameters, settings: settings, level: level)
    case .adahessian: return AdaHessian(parameters: parameters, settings: settings, level: level)
    case .muon: return Muon(parameters: parameters, settings: settings, level: level)
    case .shampoo: return Shampoo(parameters: parameters, settings: settings, level: level)
    case .soap: return SOAP(parameters: parameters, settings: settings, level: level)
    case .mfac: return MFAC(parameters: parameters, settings: settings, level: level)
    case .mezo, .cge:
      return rule(ZerothOrder.rule(settings), parameters: parameters, theta: theta, level: level)
    case .nesterov: return Nesterov(parameters: parameters, settings: settings, level: level)
    case .adagrad: return AdaGrad(parameters: parameters, settings: settings, level: level)
    case .adadelta: return Adadelta(parameters: parameters, settings: settings, level: level)
    case .rmsprop: return RMSProp(parameters: parameters, settings: settings, level: level)
    case .adamw: return AdamW(parameters: parameters, settings: settings, level: level)
    case .nadam: return NAdam(parameters: parameters, settings: settings, level: level)
    case .nadamw: return NAdamW(parameters: parameters, settings: settings, level: level)
    case .amsgrad: return AMSGrad(parameters: parameters, settings: settings, level: level)
    case .radam: return RAdam(parameters: parameters, settings: settings, level: level)
    case .adabelief: return AdaBelief(parameters: parameters, settings: settings, level: level)
    case .yogi: return Yogi(parameters: parameters, settings: settings, level: level)
    case .lamb: return LAMB(parameters: parameters, settings: settings, level: level)
    case .lars: return LARS(parameters: parameters, settings: settings, level: level)
    case .fromage: return Fromage(parameters: parameters, settings: settings, level: level)
    case .sm3: return SM3(parameters: parameters, settings: settings, level: level)
    case .adafactor: return Adafactor(parameters: parameters, settings: settings, level: level)
    case .adamax: return AdaMax(parameters: parameters, settings: settings, level: level)
    case .adan: return Adan(parameters: parameters, settings: settings, level: level)
    case .ademamix: return AdEMAMix(parameters: parameters, settings: settings, level: level)
    case .novograd: return NovoGrad(parameters: parameters, settings: settings, level: level)
    case .lion: return Lion(parameters: parameters, settings: settings, level: level)
    case .signSGD: return SignSGD(parameters: parameters, settings: settings, level: level)
    case .prodigy: return Prodigy(parameters: parameters, settings: settings, level: level)
    case .dadaptAdamW: return DAdaptAdamW(parameters: parameters, settings: settings, level: level)
    case .scheduleFreeAdamW: return ScheduleFreeAdamW(parameters: parameters, settings: settings, level: level)
    case .optlist: return OptList(parameters: parameters, settings: settings, level: level)
    }
  }
}
