// NetworkBank: what Celo and VeLO have in common besides their kernels: the tensors of theta, and the part of the state
// that belongs to the LSTM and to the averages of the loss.
import Compute

/// An LSTM that blends a bank of small per-parameter networks.
struct NetworkBank {
  /// Features that the LSTM sees.
  let inputs: Int
  /// Units of the LSTM.
  let hidden: Int
  /// Networks in the bank.
  let networks: Int

  /// Units of an LSTM that the kernels take.
  static let hiddenRange = 1...CeloRule.lstmHiddenMax
  /// Sizes of a bank that the kernels take.
  static let networksRange = 1...CeloRule.networksMax
  /// Channels of the 14 groups of features.
  private static let groups = [1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3]

  var isWithinLimits: Bool { Self.hiddenRange.contains(hidden) && Self.networksRange.contains(networks) }

  /// The tensors of theta, in any order. `linear` has no effect on the update, and neither has `rnn_to_controls` in
  /// Celo with a single network; files of the reference hold them, and ours must.
  var leaves: [ThetaLeaf] {
    func network(_ name: String, _ shape: Shape, fanIn: Int? = nil) -> ThetaLeaf {
      ThetaLeaf(["ff_mod_stack", "~", name], shape, fanIn: fanIn)
    }
    let layers = [
      ("linear", inputs, hidden), ("linear_1", inputs, hidden), ("linear_2", inputs, hidden),
      ("rnn/linear", 2 * hidden, 4 * hidden), ("rnn_to_controls", hidden, networks), ("step_size", hidden, 1),
    ]
    return [network("b0", [networks, 4]), network("b1", [networks, 4]), network("b2", [networks, 3])]
      + Self.groups.enumerated().map { network("w0__\($0.offset)", [networks, $0.element, 4], fanIn: 30) }
      + [network("w1", [networks, 4, 4], fanIn: 4), network("w2", [networks, 4, 3], fanIn: 4)]
      + ["cell", "hidden"].map { ThetaLeaf(["lstm_init_state", $0], [1, hidden]) }
      + layers.flatMap { ThetaLeaf.linear(["rnn_params", $0], $1, $2) }
  }

  /// The bank of a tree of weights whose LSTM sees `inputs` features; nil for other weights and sizes beyond the limits.
  init?(_ tree: ThetaTree, inputs: Int) {
    guard let bank = tree.shape(["ff_mod_stack", "~", "b0"]), bank.count == 2, bank[1] == 4,
      let mixing = tree.shape(["rnn_params", "linear", "w"]), mixing.count == 2, mixing[0] == inputs,
      Self.networksRange.contains(bank[0]), Self.hiddenRange.contains(mixing[1])
    else { return nil }
    self.init(inputs: inputs, hidden: mixing[1], networks: bank[0])
  }

  init(inputs: Int, hidden: Int, networks: Int) {
    self.inputs = inputs
    self.hidden = hidden
    self.networks = networks
  }

  /// The slots of the LSTM, of `shape` each, and of the averages of the loss.
  static func slots(lstm shape: Shape) -> [(name: String, shape: Shape)] {
    let averages: Shape = [CeloRule.lossDecays]
    return [
      ("lstm/hidden", shape), ("lstm/cell", shape), ("loss_buffer/means", averages), ("loss_buffer/minima", averages),
      ("loss_buffer/decays", averages), ("loss_buffer/count", .scalar),
    ]
  }

  /// Writes a state of no updates: each row of the LSTM as theta says, everything else zero but the minima.
  static func initialize(
    _ state: UnsafeMutablePointer<Float>, _ layout: ParameterLayout, theta: UnsafePointer<Float>,
    _ leaves: ParameterLayout
  ) {
    state.update(repeating: 0, count: layout.floats)
    for part in ["hidden", "cell"] {
      let from = leaves["lstm_init_state/\(part)"]!
      let to = layout["lstm/\(part)"]!
      for row in 0..<to.count / from.count {
        (state + to.offset + row * from.count).update(from: theta + from.offset, count: from.count)
      }
    }
    let minima = layout["loss_buffer/minima"]!
    (state + minima.offset).update(repeating: 1e12, count: minima.count)
  }
}
