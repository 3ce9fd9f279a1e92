// The families of models that expand to layers for whatever data they fit. Each family's fields and layers are in one
// of the ModelPresets files.
import Foundation

/// A family of models with its sizes.
public enum Preset: Sendable, Hashable {
  case mlp(MLP)
  case softmaxRegression(SoftmaxRegression)
  case cnn(CNN)
  case resnet(ResNet)
  case rnn(RNN)
  case transformer(Transformer)
  case vit(ViT)
  case mixer(Mixer)
  case autoencoder(Autoencoder)
  case vae(VAE)

  /// The families' names in JSON.
  public enum Name: String, Sendable, CaseIterable {
    case mlp
    case softmaxRegression = "softmax_regression"
    case cnn, resnet, rnn, transformer, vit, mixer, autoencoder, vae

    /// The families that fit some data.
    static func fitting(_ data: DataShape) -> [Name] {
      allCases.filter { Preset.standard($0).facts.rule.misfit(data) == nil }
    }
  }

  var facts: (name: Name, rule: any PresetRule) {
    switch self {
    case .mlp(let rule): (.mlp, rule)
    case .softmaxRegression(let rule): (.softmaxRegression, rule)
    case .cnn(let rule): (.cnn, rule)
    case .resnet(let rule): (.resnet, rule)
    case .rnn(let rule): (.rnn, rule)
    case .transformer(let rule): (.transformer, rule)
    case .vit(let rule): (.vit, rule)
    case .mixer(let rule): (.mixer, rule)
    case .autoencoder(let rule): (.autoencoder, rule)
    case .vae(let rule): (.vae, rule)
    }
  }

  /// The preset of that name with its default sizes.
  public static func standard(_ name: Name) -> Preset {
    switch name {
    case .mlp: .mlp(MLP())
    case .softmaxRegression: .softmaxRegression(SoftmaxRegression())
    case .cnn: .cnn(CNN())
    case .resnet: .resnet(ResNet())
    case .rnn: .rnn(RNN())
    case .transformer: .transformer(Transformer())
    case .vit: .vit(ViT())
    case .mixer: .mixer(Mixer())
    case .autoencoder: .autoencoder(Autoencoder())
    case .vae: .vae(VAE())
    }
  }

  /// Reads the fields of the preset of that name.
  static func read(_ name: Name, _ fields: inout Fields) -> Preset? {
    let before = fields.faults.list.count
    let preset: Preset =
      switch name {
      case .mlp: .mlp(MLP(&fields))
      case .softmaxRegression: .softmaxRegression(SoftmaxRegression())
      case .cnn: .cnn(CNN(&fields))
      case .resnet: .resnet(ResNet(&fields))
      case .rnn: .rnn(RNN(&fields))
      case .transformer: .transformer(Transformer(&fields))
      case .vit: .vit(ViT(&fields))
      case .mixer: .mixer(Mixer(&fields))
      case .autoencoder: .autoencoder(Autoencoder(&fields))
      case .vae: .vae(VAE(&fields))
      }
    return fields.faults.list.count == before ? preset : nil
  }
}

/// The own fields of a family, and the layers that follow from them.
protocol PresetRule: Sendable, Hashable {
  /// The family's own fields in JSON.
  var members: [String: JSON] { get }
  /// What data the family needs, where these are others; nil where they fit.
  func misfit(_ data: DataShape) -> String?
  /// The layers for data that fit.
  func layers(for data: DataShape) -> [Layer]
  /// What the layers are trained for.
  func objective(for data: DataShape) -> Objective
}

extension PresetRule {
  func objective(for data: DataShape) -> Objective { .target }
}

extension DataShape {
  var isTokens: Bool { if case .tokens = elements { true } else { false } }
  var isLanguage: Bool { if case .tokens = target { true } else { false } }
  /// Whether an example can be seen as [height, width] or [height, width, channels].
  var isImage: Bool { !isTokens && (input.count == 2 || input.count == 3) }
}

extension Fields {
  /// Widths of layers.
  mutating func widths(_ key: String, counts: ClosedRange<Int>) -> [Int]? {
    array(key, counts: counts) { json, path, faults -> Int? in
      guard let width = json.integer, (1...ModelSpec.unitsMax).contains(width) else {
        faults.add(path, "expected an integer from 1 to \(ModelSpec.unitsMax), got \(json.kind)")
        return nil
      }
      return width
    }
  }
}

extension JSON {
  static func integers(_ numbers: [Int]) -> JSON { .array(numbers.map(JSON.integer)) }
}
