// Families for images: cnn, resnet, vit, mixer. ModelPreset lists all families.
import Foundation

extension PresetRule {
  fileprivate func imageMisfit(_ data: DataShape) -> String? {
    data.isImage ? nil : "needs images [height, width] or [height, width, channels]"
  }

  fileprivate func patchMisfit(_ data: DataShape, _ patch: Int) -> String? {
    if let misfit = imageMisfit(data) { return misfit }
    return min(data.input[0], data.input[1]) < patch ? "needs images of at least \(patch) by \(patch)" : nil
  }
}

extension Preset {
  /// What follows each convolution of a `cnn`.
  public enum Norm: String, Sendable, CaseIterable { case none, batch, layer }

  /// Convolutions that halve the image, the mean over what is left, and a linear layer to the target.
  public struct CNN: PresetRule {
    /// Channels of each convolution, 1 to 16 of them.
    public var filters: [Int]
    /// The stride of each; nil halves the image each time, by stride or by pool.
    public var strides: [Int]?
    public var kernel: Int
    public var norm: Norm
    /// Whether a 2 by 2 maximum follows each convolution.
    public var pool: Bool
    public var activation: Activation

    public init(
      filters: [Int] = [32, 64, 64], strides: [Int]? = nil, kernel: Int = 3, norm: Norm = .none, pool: Bool = false,
      activation: Activation = .relu
    ) {
      self.filters = filters
      self.strides = strides
      self.kernel = kernel
      self.norm = norm
      self.pool = pool
      self.activation = activation
    }

    init(_ fields: inout Fields) {
      self.init(
        filters: fields.widths("filters", counts: 1...16) ?? [32, 64, 64],
        strides: fields.widths("strides", counts: 1...16), kernel: fields.integer("kernel", in: 1...64) ?? 3,
        norm: fields.choice("norm", of: Norm.self) ?? .none, pool: fields.bool("pool") ?? false,
        activation: fields.choice("activation", of: Activation.self) ?? .relu)
      if let strides, strides.count != filters.count {
        fields.fault("strides", "expected as many as filters, \(filters.count), got \(strides.count)")
      }
    }

    var members: [String: JSON] {
      var members: [String: JSON] = [
        "filters": .integers(filters), "kernel": .integer(kernel), "norm": .string(norm.rawValue), "pool": .bool(pool),
        "activation": .string(activation.rawValue),
      ]
      if let strides { members["strides"] = .integers(strides) }
      return members
    }

    func misfit(_ data: DataShape) -> String? { imageMisfit(data) }

    func layers(for data: DataShape) -> [Layer] {
      var layers: [Layer] = []
      for (index, filters) in filters.enumerated() {
        let stride = strides?[index] ?? (pool ? 1 : 2)
        layers.append(
          Layer(
            .conv(
              Layer.Convolution(
                filters: filters, kernel: Sides(kernel), stride: Sides(stride),
                activation: norm == .none ? activation : .linear, bias: norm != .batch))))
        switch norm {
        case .none: break
        case .batch: layers += [Layer(.batchNorm(Layer.Normalization(.batch))), .activation(activation)]
        case .layer: layers += [Layer(.layerNorm(Layer.Normalization(.layer))), .activation(activation)]
        }
        if pool { layers.append(Layer(.maxPool(Layer.Pooling(padding: .same)))) }
      }
      return layers + [Layer(.globalAveragePool(Layer.GlobalAveragePool())), .dense(units: data.target.outputs)]
    }
  }

  /// A residual network: version 2 has its normalisation before each convolution (arXiv 1603.05027), version 1 after it
  /// (arXiv 1512.03385).
  public struct ResNet: PresetRule {
    /// Blocks of each group; every group but the first halves the image.
    public var blocks: [Int]
    /// Channels of each group's blocks.
    public var channels: [Int]
    public var version: Int
    /// Whether blocks are 1x1, 3x3, 1x1 with a quarter of the channels in the middle, instead of two 3x3.
    public var bottleneck: Bool
    public var stemKernel: Int
    public var stemStride: Int
    /// Channels of the stem; nil takes those of the first group.
    public var stemChannels: Int?
    /// Whether a 3 by 3 maximum of stride 2 follows the stem.
    public var pool: Bool

    public init(
      blocks: [Int] = [2, 2, 2], channels: [Int] = [16, 32, 64], version: Int = 2, bottleneck: Bool = false,
      stemKernel: Int = 3, stemStride: Int = 1, stemChannels: Int? = nil, pool: Bool = false
    ) {
      self.blocks = blocks
      self.channels = channels
      self.version = version
      self.bottleneck = bottleneck
      self.stemKernel = stemKernel
      self.stemStride = stemStride
      self.stemChannels = stemChannels
      self.pool = pool
    }

    init(_ fields: inout Fields) {
      self.init(
        blocks: fields.widths("blocks", counts: 1...8) ?? [2, 2, 2],
        channels: fields.widths("channels", counts: 1...8) ?? [16, 32, 64],
        version: fields.integer("version", in: 1...2) ?? 2, bottleneck: fields.bool("bottleneck") ?? false,
        stemKernel: fields.integer("stem_kernel", in: 1...64) ?? 3,
        stemStride: fields.integer("stem_stride", in: 1...64) ?? 1,
        stemChannels: fields.integer("stem_channels", in: 1...ModelSpec.unitsMax),
        pool: fields.bool("pool") ?? false)
      if blocks.count != channels.count {
        fields.fault("channels", "expected as many as blocks, \(blocks.count), got \(channels.count)")
      }
      if blocks.contains(where: { $0 > 64 }) { fields.fault("blocks", "expected at most 64 blocks in a group") }
      if bottleneck, channels.contains(where: { $0 % 4 != 0 }) {
        fields.fault("channels", "expected multiples of 4 for bottleneck blocks")
      }
    }

    var members: [String: JSON] {
      var members: [String: JSON] = [
        "blocks": .integers(blocks), "channels": .integers(channels), "version": .integer(version),
        "bottleneck": .bool(bottleneck), "stem_kernel": .integer(stemKernel), "stem_stride": .integer(stemStride),
        "pool": .bool(pool),
      ]
      if let stemChannels { members["stem_channels"] = .integer(stemChannels) }
      return members
    }

    func misfit(_ data: DataShape) -> String? { imageMisfit(data) }

    func layers(for data: DataShape) -> [Layer] {
      var layers: [Layer] = []
      func convolve(_ name: String, _ filters: Int, _ kernel: Int, _ stride: Int = 1, from: String? = nil) {
        layers.append(
          Layer(
            .conv(Layer.Convolution(filters: filters, kernel: Sides(kernel), stride: Sides(stride), bias: false)),
            name: name, inputs: from.map { [$0] }))
      }
      func norm(_ name: String, from: String? = nil, initial: Initialization? = nil) {
        layers.append(
          Layer(
            .batchNorm(Layer.Normalization(.batch, initial: initial)), name: name, inputs: from.map { [$0] }))
      }
      func relu(_ name: String) { layers.append(Layer(.activation(Layer.ActivationLayer(.relu)), name: name)) }

      convolve("stem", stemChannels ?? channels[0], stemKernel, stemStride)
      if version == 1 {
        norm("stem.norm")
        relu("stem.relu")
      }
      if pool {
        layers.append(
          Layer(.maxPool(Layer.Pooling(window: Sides(3), stride: Sides(2), padding: .same)), name: "stem.pool"))
      }
      var last = layers.last!.name!
      for (group, count) in blocks.enumerated() {
        for index in 0..<count {
          let name = "group\(group).block\(index)"
          let width = channels[group], inner = bottleneck ? width / 4 : width
          let stride = index == 0 && group > 0 ? 2 : 1
          let maps: [(filters: Int, kernel: Int, stride: Int)] =
            bottleneck ? [(inner, 1, 1), (inner, 3, stride), (width, 1, 1)] : [(inner, 3, stride), (width, 3, 1)]
          var shortcut = last, start = last
          if version == 2 {
            norm("\(name).norm0", from: last)
            relu("\(name).relu0")
            start = "\(name).relu0"
          }
          if index == 0 {
            convolve("\(name).shortcut", width, 1, stride, from: start)
            shortcut = "\(name).shortcut"
            if version == 1 {
              norm("\(name).shortcut.norm")
              shortcut = "\(name).shortcut.norm"
            }
          }
          for (place, map) in maps.enumerated() {
            let isLast = place == maps.count - 1
            convolve("\(name).conv\(place)", map.filters, map.kernel, map.stride, from: place == 0 ? start : nil)
            if version == 1 { norm("\(name).norm\(place)", initial: isLast ? .zeros : nil) }
            if version == 2, !isLast { norm("\(name).norm\(place + 1)") }
            if !isLast { relu("\(name).relu\(version == 1 ? place : place + 1)") }
          }
          let branch = layers.last!.name!
          layers.append(Layer(.add(Layer.Merge(.add)), name: "\(name).add", inputs: [branch, shortcut]))
          if version == 1 { relu("\(name).out") }
          last = layers.last!.name!
        }
      }
      if version == 2 {
        norm("norm")
        relu("relu")
      }
      layers.append(Layer(.globalAveragePool(Layer.GlobalAveragePool()), name: "pool"))
      layers.append(Layer(.dense(Layer.Dense(units: data.target.outputs, initial: .zeros)), name: "head"))
      return layers
    }
  }

  /// A vision transformer (Dosovitskiy et al. 2021): patches as a sequence, a class token, pre-norm blocks.
  public struct ViT: PresetRule {
    public var patch: Int
    public var layers: Int
    public var width: Int
    public var heads: Int
    /// The hidden width of the blocks' dense layers.
    public var mlp: Int
    public var dropout: Double

    public init(
      patch: Int = 4, layers: Int = 4, width: Int = 64, heads: Int = 4, mlp: Int = 128, dropout: Double = 0
    ) {
      self.patch = patch
      self.layers = layers
      self.width = width
      self.heads = heads
      self.mlp = mlp
      self.dropout = dropout
    }

    init(_ fields: inout Fields) {
      self.init(
        patch: fields.integer("patch", in: 1...256) ?? 4, layers: fields.integer("layers", in: 1...24) ?? 4,
        width: fields.integer("width", in: 1...8192) ?? 64, heads: fields.integer("heads", in: 1...256) ?? 4,
        mlp: fields.integer("mlp", in: 1...ModelSpec.unitsMax) ?? 128,
        dropout: fields.number("dropout", in: 0...0.95) ?? 0)
      if width % heads != 0 { fields.fault("heads", "expected a divisor of the width \(width), got \(heads)") }
    }

    var members: [String: JSON] {
      [
        "patch": .integer(patch), "layers": .integer(layers), "width": .integer(width), "heads": .integer(heads),
        "mlp": .integer(mlp), "dropout": .number(dropout),
      ]
    }

    func misfit(_ data: DataShape) -> String? { patchMisfit(data, patch) }

    func layers(for data: DataShape) -> [Layer] {
      var model = BlockBuilder(dropout: dropout, epsilon: 1e-6)
      model.patches(data, patch: patch, width: width)
      model.append(.classToken(Layer.ClassToken()), "class_token")
      model.append(.positionEmbedding(Layer.PositionEmbedding()), "positions")
      model.drop("dropout")
      for index in 0..<layers {
        model.residual("block\(index).attention") { model, name in
          model.append(.attention(Layer.Attention(heads: heads, initial: .xavierUniform)), name)
        }
        model.residual("block\(index).mlp") { model, name in
          model.dense(mlp, .gelu, "\(name).up", .xavierUniform)
          model.drop("\(name).up.dropout")
          model.dense(width, .linear, "\(name).down", .xavierUniform)
        }
      }
      model.norm("norm")
      model.append(.take(Layer.Take(index: 0)), "class")
      model.dense(data.target.outputs, .linear, "head", .zeros)
      return model.layers
    }
  }

  /// An MLP-Mixer (Tolstikhin et al. 2021): dense layers over the patches and over the channels in turn.
  public struct Mixer: PresetRule {
    public var patch: Int
    public var layers: Int
    public var width: Int
    /// The hidden width of the dense layers over patches.
    public var tokens: Int
    /// The hidden width of those over channels.
    public var mlp: Int

    public init(patch: Int = 4, layers: Int = 4, width: Int = 64, tokens: Int = 32, mlp: Int = 128) {
      self.patch = patch
      self.layers = layers
      self.width = width
      self.tokens = tokens
      self.mlp = mlp
    }

    init(_ fields: inout Fields) {
      self.init(
        patch: fields.integer("patch", in: 1...256) ?? 4, layers: fields.integer("layers", in: 1...20) ?? 4,
        width: fields.integer("width", in: 1...8192) ?? 64,
        tokens: fields.integer("tokens", in: 1...ModelSpec.unitsMax) ?? 32,
        mlp: fields.integer("mlp", in: 1...ModelSpec.unitsMax) ?? 128)
    }

    var members: [String: JSON] {
      [
        "patch": .integer(patch), "layers": .integer(layers), "width": .integer(width), "tokens": .integer(tokens),
        "mlp": .integer(mlp),
      ]
    }

    func misfit(_ data: DataShape) -> String? { patchMisfit(data, patch) }

    func layers(for data: DataShape) -> [Layer] {
      let lecun = Initialization.varianceScaling(scale: 1)
      var model = BlockBuilder(dropout: 0, epsilon: 1e-6)
      let positions = model.patches(data, patch: patch, width: width)
      for index in 0..<layers {
        model.residual("block\(index).tokens") { model, name in
          model.append(.transpose(Layer.Transpose([1, 0])), "\(name).transpose")
          model.dense(tokens, .gelu, "\(name).up", lecun)
          model.dense(positions, .linear, "\(name).down", lecun)
          model.append(.transpose(Layer.Transpose([1, 0])), "\(name).back")
        }
        model.residual("block\(index).channels") { model, name in
          model.dense(mlp, .gelu, "\(name).up", lecun)
          model.dense(width, .linear, "\(name).down", lecun)
        }
      }
      model.norm("norm")
      model.append(.mean(Layer.Mean([0])), "pool")
      model.dense(data.target.outputs, .linear, "head", .zeros)
      return model.layers
    }
  }
}
