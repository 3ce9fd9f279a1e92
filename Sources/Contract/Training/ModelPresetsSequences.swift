// Families for sequences: rnn and transformer; and the residual blocks that they share with the patch families of
// ModelPresetsImages. ModelPreset lists all families.
import Foundation

/// Writes down pre-norm residual blocks, layer by layer.
struct BlockBuilder {
  private(set) var layers: [Layer] = []
  let dropout: Double
  let epsilon: Double

  init(dropout: Double, epsilon: Double = 1e-5) {
    self.dropout = dropout
    self.epsilon = epsilon
  }

  mutating func append(_ kind: Layer.Kind, _ name: String, from inputs: [String]? = nil) {
    layers.append(Layer(kind, name: name, inputs: inputs))
  }

  mutating func dense(_ units: Int, _ activation: Activation, _ name: String, _ initial: Initialization? = nil) {
    append(.dense(Layer.Dense(units: units, activation: activation, initial: initial)), name)
  }

  mutating func norm(_ name: String) { append(.layerNorm(Layer.Normalization(.layer, epsilon: epsilon)), name) }

  mutating func drop(_ name: String) {
    if dropout > 0 { append(.dropout(Layer.Dropout(rate: dropout)), name) }
  }

  /// x + dropout(branch(norm(x))).
  mutating func residual(_ name: String, _ branch: (inout BlockBuilder, String) -> Void) {
    let start = layers.last!.name!
    norm("\(name).norm")
    branch(&self, name)
    drop("\(name).dropout")
    append(.add(Layer.Merge(.add)), "\(name).add", from: [start, layers.last!.name!])
  }

  /// The image's patches as a sequence [positions, width]; returns how many there are.
  @discardableResult
  mutating func patches(_ data: DataShape, patch: Int, width: Int) -> Int {
    let positions = (data.input[0] / patch) * (data.input[1] / patch)
    append(
      .conv(Layer.Convolution(filters: width, kernel: Sides(patch), stride: Sides(patch), padding: .valid)), "patches")
    append(.reshape(Layer.Reshape([positions, width])), "sequence")
    return positions
  }
}

extension Preset {
  /// Embedding, recurrent layers, and a linear layer to the target: at every position for a language model, after the
  /// last position otherwise.
  public struct RNN: PresetRule {
    public var cell: Layer.Recurrent.Cell
    public var units: Int
    /// The width of the tokens' vectors.
    public var embedding: Int
    public var layers: Int

    public init(cell: Layer.Recurrent.Cell = .lstm, units: Int = 128, embedding: Int = 128, layers: Int = 1) {
      self.cell = cell
      self.units = units
      self.embedding = embedding
      self.layers = layers
    }

    init(_ fields: inout Fields) {
      self.init(
        cell: fields.choice("cell", of: Layer.Recurrent.Cell.self) ?? .lstm,
        units: fields.integer("units", in: 1...8192) ?? 128,
        embedding: fields.integer("embedding", in: 1...ModelSpec.unitsMax) ?? 128,
        layers: fields.integer("layers", in: 1...16) ?? 1)
    }

    var members: [String: JSON] {
      [
        "cell": .string(cell.rawValue), "units": .integer(units), "embedding": .integer(embedding),
        "layers": .integer(layers),
      ]
    }

    func misfit(_ data: DataShape) -> String? {
      data.isTokens || data.input.count == 2 ? nil : "needs tokens, or numbers [positions, width]"
    }

    func layers(for data: DataShape) -> [Layer] {
      var model = BlockBuilder(dropout: 0)
      if data.isTokens {
        model.append(
          .embedding(Layer.Embedding(units: embedding, initial: .normal(deviation: 0.02))), "embedding")
      }
      for index in 0..<layers {
        let returns: Layer.Recurrent.Returns = data.isLanguage || index < layers - 1 ? .sequence : .last
        model.append(.rnn(Layer.Recurrent(cell: cell, units: units, returns: returns)), "rnn\(index)")
      }
      model.dense(data.target.outputs, .linear, "head")
      return model.layers
    }
  }

  /// A transformer over tokens with pre-norm blocks: causal and with a head at every position for a language model;
  /// otherwise seeing both ways, with a head on the mean over positions.
  public struct Transformer: PresetRule {
    public enum Positions: String, Sendable, CaseIterable { case learned, none }

    public var layers: Int
    public var width: Int
    public var heads: Int
    /// The hidden width of the blocks' dense layers; nil is four times the width.
    public var mlp: Int?
    public var positions: Positions
    public var dropout: Double

    public init(
      layers: Int = 2, width: Int = 128, heads: Int = 4, mlp: Int? = nil, positions: Positions = .learned,
      dropout: Double = 0
    ) {
      self.layers = layers
      self.width = width
      self.heads = heads
      self.mlp = mlp
      self.positions = positions
      self.dropout = dropout
    }

    init(_ fields: inout Fields) {
      self.init(
        layers: fields.integer("layers", in: 1...24) ?? 2, width: fields.integer("width", in: 1...8192) ?? 128,
        heads: fields.integer("heads", in: 1...256) ?? 4, mlp: fields.integer("mlp", in: 1...ModelSpec.unitsMax),
        positions: fields.choice("positions", of: Positions.self) ?? .learned,
        dropout: fields.number("dropout", in: 0...0.95) ?? 0)
      if width % heads != 0 { fields.fault("heads", "expected a divisor of the width \(width), got \(heads)") }
    }

    var members: [String: JSON] {
      var members: [String: JSON] = [
        "layers": .integer(layers), "width": .integer(width), "heads": .integer(heads),
        "positions": .string(positions.rawValue), "dropout": .number(dropout),
      ]
      if let mlp { members["mlp"] = .integer(mlp) }
      return members
    }

    func misfit(_ data: DataShape) -> String? { data.isTokens ? nil : "needs tokens" }

    func layers(for data: DataShape) -> [Layer] {
      var model = BlockBuilder(dropout: dropout)
      model.append(.embedding(Layer.Embedding(units: width, initial: .normal(deviation: 0.02))), "embedding")
      if positions == .learned { model.append(.positionEmbedding(Layer.PositionEmbedding()), "positions") }
      model.drop("dropout")
      for index in 0..<layers {
        model.residual("block\(index).attention") { model, name in
          model.append(.attention(Layer.Attention(heads: heads, causal: data.isLanguage)), name)
        }
        model.residual("block\(index).mlp") { model, name in
          model.dense(mlp ?? 4 * width, .gelu, "\(name).up")
          model.dense(width, .linear, "\(name).down")
        }
      }
      model.norm("norm")
      if !data.isLanguage { model.append(.mean(Layer.Mean([0])), "pool") }
      model.dense(data.target.outputs, .linear, "head")
      return model.layers
    }
  }
}
