// Families made of dense layers: mlp, softmax_regression, autoencoder, vae. ModelPreset lists all families.
import Foundation

extension Preset {
  /// Flatten, hidden dense layers, and a linear layer to the target.
  public struct MLP: PresetRule {
    /// The widths of the hidden layers, 0 to 16 of them.
    public var hidden: [Int]
    public var activation: Activation

    public init(hidden: [Int] = [128, 128], activation: Activation = .relu) {
      self.hidden = hidden
      self.activation = activation
    }

    init(_ fields: inout Fields) {
      self.init(
        hidden: fields.widths("hidden", counts: 0...16) ?? [128, 128],
        activation: fields.choice("activation", of: Activation.self) ?? .relu)
    }

    var members: [String: JSON] { ["hidden": .integers(hidden), "activation": .string(activation.rawValue)] }

    func misfit(_ data: DataShape) -> String? { data.isTokens ? "needs numbers" : nil }

    func layers(for data: DataShape) -> [Layer] {
      flattened(data) + hidden.map { .dense(units: $0, activation: activation) } + [.dense(units: data.target.outputs)]
    }
  }

  /// One linear layer to the classes.
  public struct SoftmaxRegression: PresetRule {
    public init() {}
    var members: [String: JSON] { [:] }

    func misfit(_ data: DataShape) -> String? {
      if case .classes = data.target, !data.isTokens { nil } else { "needs numbers and a target of classes" }
    }

    func layers(for data: DataShape) -> [Layer] { flattened(data) + [.dense(units: data.target.outputs)] }
  }

  /// Dense layers that give back their input through a narrow middle.
  public struct Autoencoder: PresetRule {
    /// The widths of the hidden layers, 1 to 16 of them.
    public var hidden: [Int]
    public var activation: Activation
    public var loss: Objective.Reconstruction

    public init(
      hidden: [Int] = [128, 32, 128], activation: Activation = .relu, loss: Objective.Reconstruction = .mse
    ) {
      self.hidden = hidden
      self.activation = activation
      self.loss = loss
    }

    init(_ fields: inout Fields) {
      self.init(
        hidden: fields.widths("hidden", counts: 1...16) ?? [128, 32, 128],
        activation: fields.choice("activation", of: Activation.self) ?? .relu,
        loss: fields.choice("loss", of: Objective.Reconstruction.self) ?? .mse)
    }

    var members: [String: JSON] {
      [
        "hidden": .integers(hidden), "activation": .string(activation.rawValue), "loss": .string(loss.rawValue),
      ]
    }

    func misfit(_ data: DataShape) -> String? { data.isTokens ? "needs numbers" : nil }

    func layers(for data: DataShape) -> [Layer] {
      // Images lie between 0 and 1; log-odds and the standardised columns of tables anywhere.
      let last: Activation = data.isImage && loss == .mse ? .sigmoid : .linear
      return flattened(data) + hidden.map { .dense(units: $0, activation: activation) }
        + [.dense(units: Size.product(data.input), activation: last)]
    }

    func objective(for data: DataShape) -> Objective { .reconstruct(loss) }
  }

  /// A variational autoencoder of dense layers; the decoder's widths are the encoder's backwards.
  public struct VAE: PresetRule {
    /// The widths of the encoder's hidden layers, 0 to 8 of them.
    public var hidden: [Int]
    /// The size of the sample.
    public var latent: Int
    public var activation: Activation
    /// nil takes `bernoulli` for images and `mse` for tables.
    public var loss: Objective.Reconstruction?

    public init(
      hidden: [Int] = [256], latent: Int = 16, activation: Activation = .relu, loss: Objective.Reconstruction? = nil
    ) {
      self.hidden = hidden
      self.latent = latent
      self.activation = activation
      self.loss = loss
    }

    init(_ fields: inout Fields) {
      self.init(
        hidden: fields.widths("hidden", counts: 0...8) ?? [256],
        latent: fields.integer("latent", in: 1...ModelSpec.unitsMax / 2) ?? 16,
        activation: fields.choice("activation", of: Activation.self) ?? .relu,
        loss: fields.choice("loss", of: Objective.Reconstruction.self))
    }

    var members: [String: JSON] {
      var members: [String: JSON] = [
        "hidden": .integers(hidden), "latent": .integer(latent), "activation": .string(activation.rawValue),
      ]
      if let loss { members["loss"] = .string(loss.rawValue) }
      return members
    }

    func misfit(_ data: DataShape) -> String? { data.isTokens ? "needs numbers" : nil }

    func layers(for data: DataShape) -> [Layer] {
      flattened(data) + hidden.map { .dense(units: $0, activation: activation) }
        + [.dense(units: 2 * latent), Layer(.latent(Layer.Latent(size: latent)))]
        + hidden.reversed().map { .dense(units: $0, activation: activation) }
        + [.dense(units: Size.product(data.input))]
    }

    func objective(for data: DataShape) -> Objective { .reconstruct(loss ?? (data.isImage ? .bernoulli : .mse)) }
  }
}

extension PresetRule {
  fileprivate func flattened(_ data: DataShape) -> [Layer] { data.input.count > 1 ? [.flatten] : [] }
}
