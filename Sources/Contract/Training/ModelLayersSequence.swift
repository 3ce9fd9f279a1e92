// Layers for sequences [positions, width]: embeddings, attention, recurrent cells. ModelLayer lists all kinds.
import Foundation

extension Layer {
  /// A vector for each token: [positions] tokens to [positions, units]. `w` is [vocabulary, units].
  public struct Embedding: LayerRule {
    public var units: Int
    /// How `w` starts; nil takes truncated normals of deviation 1.
    public var initial: Initialization?

    public init(units: Int, initial: Initialization? = nil) {
      self.units = units
      self.initial = initial
    }

    init?(_ fields: inout Fields) {
      let units = fields.integer("units", in: 1...ModelSpec.unitsMax, required: "the width of the vectors")
      let initial = fields.initialization()
      guard let units else { return nil }
      self.init(units: units, initial: initial)
    }

    var members: [String: JSON] {
      var members: [String: JSON] = ["units": .integer(units)]
      if let initial { members["init"] = initial.json }
      return members
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      guard let vocabulary = site.vocabulary else {
        throw LayerFault(
          "needs tokens, so it can only read the data of a text dataset; for numbers take a dense layer instead")
      }
      return LayerFacts(
        output: site.shape + [units],
        parameters: [("w", [vocabulary, units], initial ?? .truncatedNormal(deviation: 1))])
    }
  }

  /// Adds a learned vector for each position; `w` is [positions, width].
  public struct PositionEmbedding: LayerRule {
    /// How `w` starts; nil takes normals of deviation 0.02.
    public var initial: Initialization?

    public init(initial: Initialization? = nil) { self.initial = initial }

    init?(_ fields: inout Fields) { self.init(initial: fields.initialization()) }

    var members: [String: JSON] { initial.map { ["init": $0.json] } ?? [:] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      let (positions, width) = try site.sequence()
      return LayerFacts(
        output: site.shape, parameters: [("w", [positions, width], initial ?? .normal(deviation: 0.02))],
        flops: Size.product([positions, width]))
    }
  }

  /// Puts a learned position before the others, for a classifier to read; `w` is [1, width], zeros at first.
  public struct ClassToken: LayerRule {
    public init() {}
    var members: [String: JSON] { [:] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      let (positions, width) = try site.sequence()
      return LayerFacts(
        output: [positions + 1, width], parameters: [("w", [1, width], .zeros)], passing: width, forward: width)
    }
  }

  /// Multi-head scaled dot-product attention (Vaswani et al. 2017) of a sequence to itself.
  ///
  /// One map with bias makes queries, keys and values: `qkv/w` is [width, 3 · heads · key size], all queries first, then
  /// keys, then values, head by head; `out/w` is [heads · key size, width].
  public struct Attention: LayerRule {
    public var heads: Int
    /// Whether a position sees only itself and those before.
    public var causal: Bool
    /// Width of a head; nil is width / heads.
    public var keySize: Int?
    /// How both maps start; nil takes truncated normals of deviation 1/sqrt(inputs).
    public var initial: Initialization?

    public init(heads: Int, causal: Bool = false, keySize: Int? = nil, initial: Initialization? = nil) {
      self.heads = heads
      self.causal = causal
      self.keySize = keySize
      self.initial = initial
    }

    init?(_ fields: inout Fields) {
      let heads = fields.integer("heads", in: 1...256, required: "the number of heads")
      let causal = fields.bool("causal") ?? false
      let keySize = fields.integer("key_size", in: 1...4096)
      let initial = fields.initialization()
      guard let heads else { return nil }
      self.init(heads: heads, causal: causal, keySize: keySize, initial: initial)
    }

    var members: [String: JSON] {
      var members: [String: JSON] = ["heads": .integer(heads), "causal": .bool(causal)]
      if let keySize { members["key_size"] = .integer(keySize) }
      if let initial { members["init"] = initial.json }
      return members
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      let (positions, width) = try site.sequence()
      guard keySize != nil || width % heads == 0 else {
        throw LayerFault(
          "needs a width that its \(heads) heads divide, got \(width); take another number of heads, or name a key_size"
        )
      }
      let inner = heads * (keySize ?? width / heads)
      let start = initial ?? .truncatedNormal()
      var facts = LayerFacts(output: site.shape)
      facts.parameters = [
        ("out/b", [width], .zeros), ("out/w", [inner, width], start), ("qkv/b", [3 * inner], .zeros),
        ("qkv/w", [width, 3 * inner], start),
      ]
      let maps = Size.product([8, positions, width, inner])
      facts.flops = Size.sum(maps, Size.product([4, positions, positions, inner]))
      // The packed queries, keys and values, what was attended to, the softmax's normalisers; their gradients.
      facts.reads.input = true
      facts.kept = Size.sum(Size.product([positions, 4 * inner]), Size.product([2, heads, positions]))
      facts.passing = Size.product([positions, 4 * inner])
      facts.forward = facts.kept
      facts.scratch = Size.product([3, width, inner])
      return facts
    }
  }

  /// A recurrent cell run over the positions.
  public struct Recurrent: LayerRule {
    public enum Cell: String, Sendable, CaseIterable {
      /// relu(x W + h U + b).
      case vanilla
      /// The same with `u` starting as the identity (Le et al. 2015).
      case irnn
      /// Cho et al. 2014, with the reset gate before the hidden map.
      case gru
      /// Hochreiter and Schmidhuber 1997, with 1 added to the forget gate.
      case lstm

      /// How many maps of the input a cell takes.
      public var gates: Int {
        switch self {
        case .vanilla, .irnn: 1
        case .gru: 3
        case .lstm: 4
        }
      }
    }
    public enum Returns: String, Sendable, CaseIterable {
      /// The hidden state at every position: [positions, units].
      case sequence
      /// That of the last position: [units].
      case last
    }
    public var cell: Cell
    public var units: Int
    public var returns: Returns
    /// Whether the state before the first position is a parameter (zeros at first) instead of zeros.
    public var learnsInitialState: Bool

    public init(cell: Cell = .lstm, units: Int, returns: Returns = .sequence, learnsInitialState: Bool = false) {
      self.cell = cell
      self.units = units
      self.returns = returns
      self.learnsInitialState = learnsInitialState
    }

    init?(_ fields: inout Fields) {
      let cell = fields.choice("cell", of: Cell.self) ?? .lstm
      let units = fields.integer("units", in: 1...8192, required: "the width of the hidden state")
      let returns = fields.choice("returns", of: Returns.self) ?? .sequence
      let learns = fields.bool("learns_initial_state") ?? false
      guard let units else { return nil }
      self.init(cell: cell, units: units, returns: returns, learnsInitialState: learns)
    }

    var members: [String: JSON] {
      var members: [String: JSON] = [
        "cell": .string(cell.rawValue), "units": .integer(units), "returns": .string(returns.rawValue),
      ]
      if learnsInitialState { members["learns_initial_state"] = true }
      return members
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      let (positions, width) = try site.sequence()
      let gates = cell.gates
      var facts = LayerFacts(output: returns == .sequence ? [positions, units] : [units])
      facts.parameters = [("b", [gates * units], .zeros)]
      if learnsInitialState {
        if cell == .lstm { facts.parameters.append(("initial_cell", [units], .zeros)) }
        facts.parameters.append(("initial_hidden", [units], .zeros))
      }
      switch cell {
      case .vanilla: facts.parameters.append(("u", [units, units], .truncatedNormal()))
      case .irnn: facts.parameters.append(("u", [units, units], .identity))
      case .lstm: facts.parameters.append(("u", [units, 4 * units], .truncatedNormal()))
      case .gru:
        facts.parameters.append(("u", [units, 2 * units], .varianceScaling(scale: 1)))
        facts.parameters.append(("u_candidate", [units, units], .varianceScaling(scale: 1)))
      }
      let inner = Size.product([gates, units])
      facts.parameters.append(
        ("w", [width, inner], cell == .gru ? .varianceScaling(scale: 1) : .truncatedNormal()))
      facts.flops = Size.sum(
        Size.product([2, positions, width, inner]), Size.product([2, positions, units, inner]),
        Size.product([10, positions, inner]))
      // What each step computed and started from; the mapped input or its gradient, and all states where one counts.
      facts.reads = .init(input: true, output: returns == .sequence && gates == 1)
      let saved = cell == .lstm ? 7 : cell == .gru ? 5 : returns == .last ? 2 : 1
      facts.kept = Size.product([positions, saved, units])
      facts.passing = Size.product([positions, gates + (returns == .last ? 1 : 0), units])
      facts.forward = Size.sum(facts.kept, facts.passing)
      facts.scratch = Size.product([units, inner])
      return facts
    }
  }
}
