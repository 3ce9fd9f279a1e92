// ThetaSchema: which meta-parameters each learned architecture has, in what order, and how they start. Theta.swift
// reads and writes their values; SmallFC.swift and Celo.swift use the layout.
import Compute
import Contract

/// An architecture of learned optimizers together with the constants that theta alone does not tell.
public enum ThetaSchema: Sendable, Hashable {
  /// `SmallFC`, AdafacMLP.
  case smallFC(SmallFC.Configuration)
  /// `Celo`.
  case celo

  /// One tensor of theta. Its path keeps the keys apart, since a key may itself hold a slash.
  struct Leaf: Sendable, Hashable {
    enum Start: Sendable, Hashable {
      case zeros
      /// Standard normal resampled to [-2, 2], times the deviation.
      case truncatedNormal(deviation: Float)
    }
    let path: [String]
    let shape: Shape
    let start: Start

    init(_ path: [String], _ shape: Shape, fanIn: Int? = nil) {
      self.path = path
      self.shape = shape
      start = fanIn.map { .truncatedNormal(deviation: 1 / Float($0).squareRoot()) } ?? .zeros
    }

    /// The name in a `ParameterLayout`.
    var name: String { path.joined(separator: "/") }

    /// The name in a file: slashes within a key become colons and `~` becomes `_root`, so that dots part the keys.
    var fileName: String {
      path.map { key in
        String(
          key.flatMap { (character: Character) -> [Character] in
            switch character {
            case "/": return [":"]
            case "~": return Array("_root")
            default: return [character]
            }
          })
      }.joined(separator: ".")
    }
  }

  /// The architecture's name in files: `adafac` or `celo`.
  public var architecture: String {
    switch self {
    case .smallFC: return "adafac"
    case .celo: return "celo"
    }
  }

  /// The name of the optimizer in `OptimizerCatalog`.
  public var optimizerName: String {
    switch self {
    case .smallFC: return "small_fc"
    case .celo: return "celo"
    }
  }

  /// The constants as a JSON object, as stored in files.
  public var configuration: JSON {
    switch self {
    case .smallFC(let constants):
      return [
        "hidden": .integer(constants.hidden), "exp_multiplier": .number(Double("\(constants.expMultiplier)")!),
        "step_multiplier": .number(Double("\(constants.stepMultiplier)")!),
      ]
    case .celo: return ["hidden": 4, "lstm_hidden": .integer(Celo.lstmHidden), "networks": 1]
    }
  }

  /// Reads what `architecture` and `configuration` wrote; nil where they name nothing known.
  init?(architecture: String, configuration: JSON) {
    switch architecture {
    case "adafac":
      guard let hidden = configuration["hidden"]?.integer, (1...SmallFCRule.hiddenMax).contains(hidden),
        let exponent = configuration["exp_multiplier"]?.number, let step = configuration["step_multiplier"]?.number,
        Float(exponent).isFinite, Float(step).isFinite
      else { return nil }
      self = .smallFC(
        SmallFC.Configuration(hidden: hidden, expMultiplier: Float(exponent), stepMultiplier: Float(step)))
    case "celo":
      guard configuration == ThetaSchema.celo.configuration else { return nil }
      self = .celo
    default: return nil
    }
  }

  /// The tensors of theta in canonical order: sorted key by key.
  var leaves: [Leaf] {
    switch self {
    case .smallFC(let constants):
      let h = constants.hidden
      return [
        Leaf(["adafactor_decays"], [3]), Leaf(["momentum_decays"], [3]),
        Leaf(["nn", "~", "b0"], [h]), Leaf(["nn", "~", "b1"], [h]), Leaf(["nn", "~", "b2"], [2]),
        Leaf(["nn", "~", "w0"], [39, h], fanIn: 39), Leaf(["nn", "~", "w1"], [h, h], fanIn: h),
        Leaf(["nn", "~", "w2"], [h, 2], fanIn: h), Leaf(["rms_decays"], [1]),
      ]
    case .celo: return ThetaSchema.celoLeaves
    }
  }

  /// The layout of theta in canonical order, its names the keys joined by `/`.
  public var layout: ParameterLayout { ParameterLayout(leaves.map { (name: $0.name, shape: $0.shape) }) }

  /// Channels of Celo's 14 feature groups.
  private static let celoGroups = [1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3]

  private static var celoLeaves: [Leaf] {
    let h = Celo.lstmHidden
    let inputs = 18
    func linear(_ name: String, _ rows: Int, _ columns: Int) -> [Leaf] {
      [Leaf(["rnn_params", name, "b"], [columns]), Leaf(["rnn_params", name, "w"], [rows, columns], fanIn: rows)]
    }
    func network(_ name: String, _ shape: Shape, fanIn: Int? = nil) -> Leaf {
      Leaf(["ff_mod_stack", "~", name], shape, fanIn: fanIn)
    }
    let first = celoGroups.enumerated().map { network("w0__\($0.offset)", [1, $0.element, 4], fanIn: 30) }
    // `linear` and `rnn_to_controls` have no effect on the update; files of the reference hold them, and ours must.
    let leaves =
      [network("b0", [1, 4]), network("b1", [1, 4]), network("b2", [1, 3])] + first
      + [network("w1", [1, 4, 4], fanIn: 4), network("w2", [1, 4, 3], fanIn: 4)]
      + [Leaf(["lstm_init_state", "cell"], [1, h]), Leaf(["lstm_init_state", "hidden"], [1, h])]
      + linear("linear", inputs, h) + linear("linear_1", inputs, h) + linear("linear_2", inputs, h)
      + linear("rnn/linear", 2 * h, 4 * h) + linear("rnn_to_controls", h, 1) + linear("step_size", h, 1)
    // Key by key: `w0__10` comes before `w0__2`.
    return leaves.sorted { $0.path.lexicographicallyPrecedes($1.path) }
  }

  /// Makes the optimizer of this architecture for `parameters`.
  public func optimizer(parameters: ParameterLayout, level: CPULevel) -> any Optimizer {
    switch self {
    case .smallFC(let configuration):
      return SmallFC(parameters: parameters, configuration: configuration, level: level)
    case .celo: return Celo(parameters: parameters, level: level)
    }
  }
}
