// A layer as clients describe it: its kind with the kind's own fields, a name, and the layers it reads. The fields,
// shapes and costs of each kind are in the ModelLayers files; ModelShapes walks the graph that layers make.
import Foundation

/// The non-linearities of layers.
public enum Activation: String, Sendable, CaseIterable {
  case linear, relu, tanh, sigmoid
  /// The tanh form of the Gaussian error linear unit (arXiv 1606.08415).
  case gelu
  /// The same by the error function.
  case geluExact = "gelu_exact"
  case silu, softplus, relu6, selu, elu
  /// x, or 0.01 x below 0; an activation layer may name another slope.
  case leakyRelu = "leaky_relu"
  case sin, cos
}

/// One layer of a model.
public struct Layer: Sendable, Hashable {
  public var kind: Kind
  /// What other layers and the parameters call it; nil takes the type and the layer's index, such as `dense_3`.
  public var name: String?
  /// The layers it reads, `input` being the data; nil reads the layer before, the first layer the data.
  public var inputs: [String]?

  /// What the data is called among `inputs`.
  public static let dataName = "input"
  /// How many layers one may read.
  public static let inputsMax = 16

  public init(_ kind: Kind, name: String? = nil, inputs: [String]? = nil) {
    self.kind = kind
    self.name = name
    self.inputs = inputs
  }

  /// What a layer does.
  public enum Kind: Sendable, Hashable {
    case dense(Dense)
    case activation(ActivationLayer)
    case flatten(Flatten)
    case reshape(Reshape)
    case dropout(Dropout)
    case conv(Convolution)
    case depthwiseConv(DepthwiseConvolution)
    case maxPool(Pooling)
    case averagePool(Pooling)
    case globalAveragePool(GlobalAveragePool)
    case batchNorm(Normalization)
    case layerNorm(Normalization)
    case rmsNorm(Normalization)
    case groupNorm(Normalization)
    case embedding(Embedding)
    case positionEmbedding(PositionEmbedding)
    case classToken(ClassToken)
    case attention(Attention)
    case rnn(Recurrent)
    case transpose(Transpose)
    case take(Take)
    case mean(Mean)
    case add(Merge)
    case multiply(Merge)
    case concat(Concatenation)
    case latent(Latent)

    /// The kinds' names in JSON.
    public enum Name: String, Sendable, CaseIterable {
      case dense, activation, flatten, reshape, dropout, conv
      case depthwiseConv = "depthwise_conv"
      case maxPool = "max_pool"
      case averagePool = "average_pool"
      case globalAveragePool = "global_average_pool"
      case batchNorm = "batch_norm"
      case layerNorm = "layer_norm"
      case rmsNorm = "rms_norm"
      case groupNorm = "group_norm"
      case embedding
      case positionEmbedding = "position_embedding"
      case classToken = "class_token"
      case attention, rnn, transpose, take, mean, add, multiply, concat, latent
    }

    /// The kind's name and its own fields and rules.
    var facts: (name: Name, rule: any LayerRule) {
      switch self {
      case .dense(let rule): (.dense, rule)
      case .activation(let rule): (.activation, rule)
      case .flatten(let rule): (.flatten, rule)
      case .reshape(let rule): (.reshape, rule)
      case .dropout(let rule): (.dropout, rule)
      case .conv(let rule): (.conv, rule)
      case .depthwiseConv(let rule): (.depthwiseConv, rule)
      case .maxPool(let rule): (.maxPool, rule)
      case .averagePool(let rule): (.averagePool, rule)
      case .globalAveragePool(let rule): (.globalAveragePool, rule)
      case .batchNorm(let rule): (.batchNorm, rule)
      case .layerNorm(let rule): (.layerNorm, rule)
      case .rmsNorm(let rule): (.rmsNorm, rule)
      case .groupNorm(let rule): (.groupNorm, rule)
      case .embedding(let rule): (.embedding, rule)
      case .positionEmbedding(let rule): (.positionEmbedding, rule)
      case .classToken(let rule): (.classToken, rule)
      case .attention(let rule): (.attention, rule)
      case .rnn(let rule): (.rnn, rule)
      case .transpose(let rule): (.transpose, rule)
      case .take(let rule): (.take, rule)
      case .mean(let rule): (.mean, rule)
      case .add(let rule): (.add, rule)
      case .multiply(let rule): (.multiply, rule)
      case .concat(let rule): (.concat, rule)
      case .latent(let rule): (.latent, rule)
      }
    }

    /// Reads the fields of the kind of that name.
    static func read(_ name: Name, _ fields: inout Fields) -> Kind? {
      switch name {
      case .dense: Dense(&fields).map(Kind.dense)
      case .activation: ActivationLayer(&fields).map(Kind.activation)
      case .flatten: .flatten(Flatten())
      case .reshape: Reshape(&fields).map(Kind.reshape)
      case .dropout: Dropout(&fields).map(Kind.dropout)
      case .conv: Convolution(&fields).map(Kind.conv)
      case .depthwiseConv: DepthwiseConvolution(&fields).map(Kind.depthwiseConv)
      case .maxPool: Pooling(&fields).map(Kind.maxPool)
      case .averagePool: Pooling(&fields).map(Kind.averagePool)
      case .globalAveragePool: .globalAveragePool(GlobalAveragePool())
      case .batchNorm: Normalization(.batch, &fields).map(Kind.batchNorm)
      case .layerNorm: Normalization(.layer, &fields).map(Kind.layerNorm)
      case .rmsNorm: Normalization(.rms, &fields).map(Kind.rmsNorm)
      case .groupNorm: Normalization(.group, &fields).map(Kind.groupNorm)
      case .embedding: Embedding(&fields).map(Kind.embedding)
      case .positionEmbedding: PositionEmbedding(&fields).map(Kind.positionEmbedding)
      case .classToken: .classToken(ClassToken())
      case .attention: Attention(&fields).map(Kind.attention)
      case .rnn: Recurrent(&fields).map(Kind.rnn)
      case .transpose: Transpose(&fields).map(Kind.transpose)
      case .take: Take(&fields).map(Kind.take)
      case .mean: Mean(&fields).map(Kind.mean)
      case .add: .add(Merge(.add))
      case .multiply: .multiply(Merge(.multiply))
      case .concat: Concatenation(&fields).map(Kind.concat)
      case .latent: Latent(&fields).map(Kind.latent)
      }
    }
  }
}

/// The own fields of a kind of layer, and what follows from them.
protocol LayerRule: Sendable, Hashable {
  /// The kind's own fields in JSON.
  var members: [String: JSON] { get }

  /// What the layer makes of its inputs.
  ///
  /// - Throws: ``LayerFault`` that says what inputs it needs, what it got, and what to do.
  func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts
}

/// Where a layer stands: what it reads.
struct LayerSite {
  /// Shape of one example of each input.
  let inputs: [[Int]]
  /// The vocabulary, where the (first) input is the data and its elements are tokens.
  let vocabulary: Int?
  /// Whether the (first) input is the data itself.
  let readsData: Bool

  var shape: [Int] { inputs[0] }
}

/// Why a layer cannot stand where it does.
struct LayerFault: Error {
  let reason: String
  init(_ reason: String) { self.reason = reason }
}

/// What a layer comes to for one example.
struct LayerFacts {
  var output: [Int]
  /// The parameters' names within the layer, their shapes and how they start.
  var parameters: [(name: String, dimensions: [Int], initial: Initialization)] = []
  /// Names and shapes of running averages: not trained, but part of the model.
  var statistics: [(name: String, dimensions: [Int])] = []
  /// Floating-point operations of the forward pass; a multiply-add counts two.
  var flops = 0
  /// What its gradient reads of the forward pass.
  var reads = Reads()
  /// Floats within the layer that the forward pass leaves for the backward pass, besides inputs and result.
  var kept = 0
  /// Floats that live only while its gradient runs, besides inputs, result and their gradients.
  var passing = 0
  /// Floats within the layer while a forward pass alone runs it.
  var forward = 0
  /// Floats of the same sort that do not grow with the batch.
  var scratch = 0

  /// What a gradient reads.
  struct Reads: Sendable, Hashable {
    var input = false
    var output = false
  }
}

// MARK: JSON

extension Layer {
  /// The names that `type` may have.
  public static let types = Kind.Name.allCases.map(\.rawValue)

  /// The layer's type in JSON.
  public var type: String { kind.facts.name.rawValue }

  public var json: JSON {
    let facts = kind.facts
    var members = facts.rule.members
    members["type"] = .string(facts.name.rawValue)
    if let name { members["name"] = .string(name) }
    if let inputs { members["inputs"] = .array(inputs.map(JSON.string)) }
    return .object(members)
  }

  static func read(_ json: JSON, path: String, faults: Faults) -> Layer? {
    guard var fields = Fields(json, path: path, faults: faults) else { return nil }
    let before = faults.list.count
    let known = Kind.Name.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
    guard let type = fields.string("type", required: "one of \(known)") else { return nil }
    guard let name = Kind.Name(rawValue: type) else {
      fields.fault("type", "expected one of \(known), got \"\(type)\"")
      return nil
    }
    let kind = Kind.read(name, &fields)
    let label = Layer.label(&fields)
    let inputs = fields.array("inputs", counts: 1...inputsMax) { json, path, faults -> String? in
      if json.string == nil { faults.add(path, "expected the name of a layer, got \(json.kind)") }
      return json.string
    }
    fields.finish()
    guard let kind, faults.list.count == before else { return nil }
    return Layer(kind, name: label, inputs: inputs)
  }

  private static func label(_ fields: inout Fields) -> String? {
    guard let label = fields.string("name", lengths: 1...64) else { return nil }
    let allowed = label.unicodeScalars.allSatisfy { scalar in
      scalar.isASCII
        && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || "_.-".unicodeScalars.contains(scalar))
    }
    guard allowed, label != dataName else {
      fields.fault("name", "expected letters, digits, \"_\", \".\" and \"-\", and not \"input\", got \"\(label)\"")
      return nil
    }
    return label
  }
}

extension Fields {
  /// A number from 1 to `max` for both sides, or a list of two.
  mutating func sides(_ key: String, max: Int) -> Sides? {
    guard let value = value(key) else { return nil }
    let numbers = value.array?.map(\.integer) ?? [value.integer, value.integer]
    guard numbers.count == 2, let height = numbers[0], let width = numbers[1], (1...max).contains(height),
      (1...max).contains(width)
    else {
      fault(key, "expected an integer from 1 to \(max), or a list of two: height and width; got \(value.kind)")
      return nil
    }
    return Sides(height, width)
  }

  /// How weights start.
  mutating func initialization(_ key: String = "init") -> Initialization? {
    value(key).flatMap { Initialization.read($0, path: pointer(key), faults: faults) }
  }
}

/// A height and a width.
public struct Sides: Sendable, Hashable {
  public var height: Int
  public var width: Int

  public init(_ height: Int, _ width: Int) {
    self.height = height
    self.width = width
  }

  public init(_ side: Int) { self.init(side, side) }

  var json: JSON { height == width ? .integer(height) : [.integer(height), .integer(width)] }
}
