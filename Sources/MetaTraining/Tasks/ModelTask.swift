// Tasks that train a model on data: the objects that name a model, from arguments to layers. ModelTask+Losses builds what
// is not a plain objective; TaskFamilies draws the arguments.
import Compute
import Contract
import Foundation
import Learning

/// The model tasks.
enum ModelTask: String, CaseIterable {
  /// Dense layers on flattened images.
  case imageMLP = "ImageMLP"
  /// Convolutions, the mean over what is left, and a linear layer.
  case imageConv = "ImageConv"
  /// Dense layers that give back their input.
  case autoencoder = "ImageMLP-AE"
  /// The same through a random middle, with a Gaussian of its own for each pixel.
  case variational = "ImageMLP-VAE"
  case resnet = "ImageResNet"
  case vit = "ViT"
  /// A recurrent language model.
  case rnn = "LM-RNN"
  case transformer = "LM-transformer"

  func build(
    _ config: TaskConfig, _ fields: inout Fields, _ site: TaskSite, _ builder: TaskBuilder
  ) throws -> TrainingTask? {
    switch self {
    case .rnn, .transformer: return try language(config, &fields, site, builder)
    case .autoencoder, .variational: return try reconstruction(config, &fields, site, builder)
    default: return try classifier(config, &fields, site, builder)
    }
  }

  // MARK: Images

  private func classifier(
    _ config: TaskConfig, _ fields: inout Fields, _ site: TaskSite, _ builder: TaskBuilder
  ) throws -> TrainingTask? {
    guard let data = ImageData.read(&fields, site) else { return nil }
    let isSquared = fields.bool("mse") ?? false
    let isFamily = fields.bool("familyNormalizer") ?? false
    let initial = TaskInitial.read(&fields)
    let recipe: Recipe?
    switch self {
    case .imageConv: recipe = convolutional(&fields)
    case .resnet: recipe = residual(&fields)
    case .vit: recipe = transformer(&fields)
    default: recipe = dense(&fields)
    }
    fields.finish()
    guard fields.faults.isEmpty, let recipe,
      let images = try builder.data.images(data.request, path: data.path, faults: site.faults)
    else { return nil }
    let batch = site.batch(data.batch)
    let size = images.size
    let shape = DataShape(
      input: self == .imageMLP ? [images.width] : [size, size, images.channels],
      target: isSquared ? .values(images.classes) : .classes(images.classes))
    let plan = try plan(recipe.model(shape), shape, batch: batch, site, builder)
    let classes = images.classes
    // Without knowledge a squared error is least at 1/C everywhere.
    let share = 1 / Double(classes)
    let chance = isSquared ? share * (1 - share) : log(Double(classes))
    let normaliser: LossNormaliser
    if isSquared {
      normaliser = .squaredError
    } else if self == .resnet || self == .vit {
      normaliser = .tenths(classes: classes)
    } else {
      // The published convolutional tasks let NaN pass.
      normaliser =
        isFamily
        ? .scaledEntropy(classes: classes)
        : self == .imageConv
          ? .clip(low: 0, high: 1.5 * log(Double(classes)), nan: nil) : .entropy(classes: classes)
    }
    return plan.map { plan in
      TrainingTask(
        config: config, plan: plan.training,
        start: .model(initial.map { $0.rules(plan, except: recipe.keepsStart) } ?? plan.initializations),
        source: ImageBatches(images, batchSize: batch, target: isSquared ? .oneHot : .labels),
        normaliser: normaliser, chanceLoss: chance,
        batchSize: batch, tags: ["image", "classification", recipe.tag])
    }
  }

  /// What the arguments of a classifier come to.
  private struct Recipe {
    var tag: String
    /// Names of layers whose start the family leaves alone.
    var keepsStart: Set<String> = []
    var model: (DataShape) -> ModelSpec
  }

  private func dense(_ fields: inout Fields) -> Recipe? {
    let hidden = fields.widths("hidden") ?? [32]
    let activation = TaskActivation.read(&fields)
    let norm = fields.choice("norm", of: Preset.Norm.self) ?? .none
    let dropout = fields.number("dropout", in: 0...0.95) ?? 0
    return Recipe(tag: "mlp") { shape in
      var layers: [Layer] = []
      for width in hidden {
        if norm == .none, dropout == 0, activation.slope == nil {
          layers.append(.dense(units: width, activation: activation.name))
          continue
        }
        layers.append(.dense(units: width))
        if dropout > 0 { layers.append(Layer(.dropout(Layer.Dropout(rate: dropout)))) }
        if norm == .layer { layers.append(Layer(.layerNorm(Layer.Normalization(.layer)))) }
        if norm == .batch { layers.append(Layer(.batchNorm(Layer.Normalization(.batch)))) }
        layers.append(activation.layer)
      }
      return .layers(layers + [.dense(units: shape.target.outputs)])
    }
  }

  private func convolutional(_ fields: inout Fields) -> Recipe? {
    let filters = fields.widths("filters") ?? [32, 64, 64]
    let strides = fields.widths("strides") ?? []
    let activation = TaskActivation.read(&fields)
    let norm = fields.choice("norm", of: Preset.Norm.self) ?? .none
    return Recipe(tag: "conv", keepsStart: ["head"]) { shape in
      var layers: [Layer] = []
      for (index, count) in filters.enumerated() {
        let stride = index < strides.count ? strides[index] : 1
        layers.append(Layer(.conv(Layer.Convolution(filters: count, stride: Sides(stride)))))
        layers.append(activation.layer)
        // These tasks normalise what has been activated.
        if norm == .layer { layers.append(Layer(.layerNorm(Layer.Normalization(.layer)))) }
        if norm == .batch { layers.append(Layer(.batchNorm(Layer.Normalization(.batch)))) }
      }
      layers.append(Layer(.globalAveragePool(Layer.GlobalAveragePool())))
      return .layers(layers + [Layer(.dense(Layer.Dense(units: shape.target.outputs)), name: "head")])
    }
  }

  private func residual(_ fields: inout Fields) -> Recipe? {
    let blocks = fields.widths("blocks") ?? [1, 1, 1, 1]
    let channels = fields.widths("channels") ?? [8, 16, 16, 16]
    let preset = Preset.ResNet(
      blocks: blocks, channels: channels, version: fields.integer("version", in: 1...2) ?? 2,
      bottleneck: fields.bool("bottleneck") ?? true, stemKernel: fields.integer("stemKernel", in: 1...7) ?? 3,
      stemStride: fields.integer("stemStride", in: 1...2) ?? 2,
      stemChannels: fields.integer("stemChannels", in: 1...4096), pool: fields.bool("pool") ?? true)
    let activation = TaskActivation.read(&fields)
    if blocks.count != channels.count { fields.fault("channels", "expected as many as blocks, \(blocks.count)") }
    return Recipe(tag: "resnet") { shape in
      var layers = ModelSpec.preset(.resnet(preset)).expanded(for: shape).layers
      // Only the stem has another activation; the blocks keep relu.
      if let stem = layers.firstIndex(where: { $0.name == "stem.relu" }) {
        layers[stem].kind = activation.layer.kind
      }
      return .layers(layers)
    }
  }

  private func transformer(_ fields: inout Fields) -> Recipe? {
    let preset = Preset.ViT(
      patch: fields.integer("patch", in: 1...64) ?? 16, layers: fields.integer("layers", in: 1...24) ?? 6,
      width: fields.integer("width", in: 1...4096) ?? 384, heads: fields.integer("heads", in: 1...64) ?? 6,
      mlp: fields.integer("mlp", in: 1...16_384) ?? 1536, dropout: fields.number("dropout", in: 0...0.95) ?? 0)
    return Recipe(tag: "vit") { _ in .preset(.vit(preset)) }
  }

  // MARK: Text

  private func language(
    _ config: TaskConfig, _ fields: inout Fields, _ site: TaskSite, _ builder: TaskBuilder
  ) throws -> TrainingTask? {
    guard let data = TextData.read(&fields, site) else { return nil }
    let isFamily = fields.bool("familyNormalizer") ?? false
    let initial = TaskInitial.read(&fields)
    let model: (DataShape) -> ModelSpec
    if self == .rnn {
      let preset = Preset.RNN(
        cell: fields.choice("cell", of: Layer.Recurrent.Cell.self) ?? .lstm,
        units: fields.integer("units", in: 1...4096) ?? 128,
        embedding: fields.integer("embedding", in: 1...4096) ?? 64, layers: 1)
      model = { shape in
        // The state before the first token is learned; embeddings start at deviation 1.
        .layers(
          ModelSpec.preset(.rnn(preset)).expanded(for: shape).layers.map { layer in
            var layer = layer
            if case .rnn(var rule) = layer.kind {
              rule.learnsInitialState = true
              layer.kind = .rnn(rule)
            }
            if case .embedding(var rule) = layer.kind {
              rule.initial = nil
              layer.kind = .embedding(rule)
            }
            return layer
          })
      }
    } else {
      let layers = fields.integer("layers", in: 1...24) ?? 2
      let preset = Preset.Transformer(
        layers: layers, width: fields.integer("width", in: 1...8192) ?? 32,
        heads: fields.integer("heads", in: 1...256) ?? 4, positions: .none,
        dropout: fields.number("dropout", in: 0...0.95) ?? 0)
      let keySize = fields.integer("keySize", in: 1...1024) ?? 32
      let start = Initialization.varianceScaling(scale: 2 / Double(layers))
      model = { shape in
        .layers(
          ModelSpec.preset(.transformer(preset)).expanded(for: shape).layers.map { layer in
            var layer = layer
            if case .attention(var rule) = layer.kind {
              (rule.keySize, rule.initial) = (keySize, start)
              layer.kind = .attention(rule)
            }
            if case .dense(var rule) = layer.kind, layer.name != "head" {
              rule.initial = start
              layer.kind = .dense(rule)
            }
            if case .embedding(var rule) = layer.kind {
              rule.initial = nil
              layer.kind = .embedding(rule)
            }
            return layer
          })
      }
    }
    fields.finish()
    guard fields.faults.isEmpty, let text = try builder.data.text(data, faults: site.faults) else { return nil }
    let batch = site.batch(data.batch)
    let shape = DataShape(
      input: [data.length], elements: .tokens(vocabulary: text.vocabulary), target: .tokens(vocabulary: text.vocabulary)
    )
    let classes = text.vocabulary
    return try plan(model(shape), shape, batch: batch, site, builder).map { plan in
      TrainingTask(
        config: config, plan: plan.training,
        start: .model(initial.map { $0.rules(plan, except: []) } ?? plan.initializations),
        source: TextBatches(text, length: data.length, batchSize: batch),
        normaliser: isFamily ? .scaledEntropy(classes: classes) : .identity, chanceLoss: log(Double(classes)),
        batchSize: batch, tags: ["text", "language-model", self == .rnn ? "rnn" : "transformer"])
    }
  }

  /// The plan of a model; nil with faults where its layers do not fit the data.
  private func plan(
    _ model: ModelSpec, _ shape: DataShape, batch: Int, _ site: TaskSite, _ builder: TaskBuilder
  ) throws -> ModelPlans? {
    guard let resolved = model.resolve(for: shape, path: site.path, faults: site.faults) else { return nil }
    try site.guardSize(resolved, batch: batch)
    guard !site.leaves(resolved, batch: batch) else { return nil }
    return try ModelPlans(resolved, batchSize: batch, judgedRows: 1, level: builder.level)
  }
}

/// The activation of a task: a name and, for `leaky_relu`, a slope.
struct TaskActivation {
  var name: Activation
  var slope: Double?

  static func read(_ fields: inout Fields) -> TaskActivation {
    TaskActivation(
      name: fields.choice("activation", of: Activation.self) ?? .relu, slope: fields.number("slope", in: -10...10))
  }

  var layer: Layer { .activation(name, slope: slope) }
}

/// The start of all weights that a family draws: `{"rule": "orthogonal", "scale": 1.2}`.
struct TaskInitial {
  enum Rule: String, CaseIterable {
    case orthogonal
    /// Uniform on ±scale sqrt(3/fan-in).
    case uniform
    /// Normal of variance scale/fan-in.
    case normal
    /// Uniform on ±sqrt(3 scale/fan-in).
    case uniformVariance = "uniform_variance"
  }
  var rule: Rule
  var scale: Double

  static func read(_ fields: inout Fields) -> TaskInitial? {
    guard let json = fields.value("init"),
      var inner = Fields(json, path: fields.pointer("init"), faults: fields.faults)
    else { return nil }
    let rule = inner.choice("rule", of: Rule.self, required: "how weights start")
    let scale = inner.number("scale", in: 1e-3...1e3) ?? 1
    inner.finish()
    return rule.map { TaskInitial(rule: $0, scale: scale) }
  }

  /// The rule for one tensor: this one from rank 2 on, the usual one below.
  func rule(for shape: Shape, usual: Initialization) -> Initialization {
    guard shape.rank >= 2 else { return usual }
    return switch rule {
    case .orthogonal: .orthogonal(gain: scale)
    case .uniform: .uniformScaling(scale: scale * scale)
    case .normal: .normalScaling(scale: scale)
    case .uniformVariance: .uniformScaling(scale: scale)
    }
  }

  /// The rules of a model's tensors, but those of some layers.
  func rules(_ plans: ModelPlans, except layers: Set<String>) -> [Initialization] {
    zip(plans.layout.tensors, plans.initializations).map { tensor, usual in
      let layer = tensor.name.split(separator: "/").first.map(String.init) ?? ""
      return layers.contains(layer) ? usual : rule(for: tensor.shape, usual: usual)
    }
  }
}

extension TaskSite {
  /// Leaves the model where an outline is wanted; true where it was.
  func leaves(_ model: ResolvedModel, batch: Int) -> Bool {
    guard let outline else { return false }
    (outline.model, outline.batch) = (model, batch)
    return true
  }

  /// Refuses models that would need more than 4 GiB before anything is allocated.
  func guardSize(_ model: ResolvedModel, batch: Int) throws {
    let bytes = model.memoryBytes(batchSize: batch, stateFloatsPerParameter: 4)
    guard bytes <= 4 << 30 else {
      throw SpecError([
        Fault(path: path, reason: "the task would need \(bytes >> 20) MiB, more than the \(4 << 10) MiB allowed")
      ])
    }
  }
}

extension Fields {
  /// Widths of layers.
  mutating func widths(_ key: String) -> [Int]? {
    array(key, counts: 0...16) { json, path, faults in
      if let width = json.integer, (1...65_536).contains(width) { return width }
      faults.add(path, "expected an integer from 1 to 65536, got \(json.kind)")
      return nil
    }
  }
}
