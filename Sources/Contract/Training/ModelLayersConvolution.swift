// Layers for images [height, width, channels]: convolutions and pools. ModelLayer lists all kinds.
import Foundation

extension Layer {
  /// What lies around the edge of an image.
  public enum Padding: String, Sendable, CaseIterable {
    /// Zeros, so that the result is the input's size divided by the stride, rounded up.
    case same
    /// Nothing: windows lie wholly within the image.
    case valid

    /// The positions of a window along one side; nil where none fits.
    func positions(side: Int, window: Int, stride: Int, dilation: Int = 1) -> Int? {
      switch self {
      case .same: return (side + stride - 1) / stride
      case .valid:
        let reach = (window - 1) * dilation + 1
        return side < reach ? nil : (side - reach) / stride + 1
      }
    }

    /// The positions along both sides.
    func positions(
      _ image: (height: Int, width: Int, channels: Int), window: Sides, stride: Sides, dilation: Sides = Sides(1)
    ) throws(LayerFault) -> (height: Int, width: Int) {
      guard
        let height = positions(
          side: image.height, window: window.height, stride: stride.height, dilation: dilation.height),
        let width = positions(side: image.width, window: window.width, stride: stride.width, dilation: dilation.width)
      else {
        throw LayerFault(
          "its window [\(window.height), \(window.width)] is larger than the image [\(image.height), \(image.width)]; "
            + "take a smaller one, or \"padding\": \"same\"")
      }
      return (height, width)
    }
  }
}

extension Layer {
  /// How large windows and strides may be.
  static let windowMax = 1024

  /// `activation(x * W + b)`; `w` is [kernel height, kernel width, channels / groups, filters].
  public struct Convolution: LayerRule {
    public var filters: Int
    public var kernel: Sides
    public var stride: Sides
    public var padding: Padding
    public var dilation: Sides
    public var groups: Int
    public var activation: Activation
    public var bias: Bool
    /// How `w` starts; nil takes truncated normals of deviation 1/sqrt(fan-in).
    public var initial: Initialization?

    public init(
      filters: Int, kernel: Sides = Sides(3), stride: Sides = Sides(1), padding: Padding = .same,
      dilation: Sides = Sides(1), groups: Int = 1, activation: Activation = .linear, bias: Bool = true,
      initial: Initialization? = nil
    ) {
      self.filters = filters
      self.kernel = kernel
      self.stride = stride
      self.padding = padding
      self.dilation = dilation
      self.groups = groups
      self.activation = activation
      self.bias = bias
      self.initial = initial
    }

    init?(_ fields: inout Fields) {
      let filters = fields.integer("filters", in: 1...ModelSpec.unitsMax, required: "the number of output channels")
      let kernel = fields.sides("kernel", max: windowMax) ?? Sides(3)
      let stride = fields.sides("stride", max: windowMax) ?? Sides(1)
      let padding = fields.choice("padding", of: Padding.self) ?? .same
      let dilation = fields.sides("dilation", max: windowMax) ?? Sides(1)
      let groups = fields.integer("groups", in: 1...ModelSpec.unitsMax) ?? 1
      let activation = fields.choice("activation", of: Activation.self) ?? .linear
      let bias = fields.bool("bias") ?? true
      let initial = fields.initialization()
      guard let filters else { return nil }
      self.init(
        filters: filters, kernel: kernel, stride: stride, padding: padding, dilation: dilation, groups: groups,
        activation: activation, bias: bias, initial: initial)
    }

    var members: [String: JSON] {
      var members: [String: JSON] = [
        "filters": .integer(filters), "kernel": kernel.json, "stride": stride.json,
        "padding": .string(padding.rawValue), "activation": .string(activation.rawValue),
      ]
      if dilation != Sides(1) { members["dilation"] = dilation.json }
      if groups != 1 { members["groups"] = .integer(groups) }
      if !bias { members["bias"] = false }
      if let initial { members["init"] = initial.json }
      return members
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      let image = try site.image()
      guard image.channels % groups == 0, filters % groups == 0 else {
        throw LayerFault(
          "needs channels and filters that its \(groups) groups divide, got \(image.channels) and \(filters)")
      }
      return try LayerFacts(
        convolving: image, kernel: kernel, stride: stride, padding: padding, dilation: dilation,
        inner: image.channels / groups, filters: filters, activation: activation, bias: bias, initial: initial)
    }
  }

  /// A convolution of each channel by itself, with `multiplier` filters each; `w` is
  /// [kernel height, kernel width, 1, channels · multiplier].
  public struct DepthwiseConvolution: LayerRule {
    public var multiplier: Int
    public var kernel: Sides
    public var stride: Sides
    public var padding: Padding
    public var dilation: Sides
    public var activation: Activation
    public var bias: Bool
    public var initial: Initialization?

    public init(
      multiplier: Int = 1, kernel: Sides = Sides(3), stride: Sides = Sides(1), padding: Padding = .same,
      dilation: Sides = Sides(1), activation: Activation = .linear, bias: Bool = true, initial: Initialization? = nil
    ) {
      self.multiplier = multiplier
      self.kernel = kernel
      self.stride = stride
      self.padding = padding
      self.dilation = dilation
      self.activation = activation
      self.bias = bias
      self.initial = initial
    }

    init?(_ fields: inout Fields) {
      self.init(
        multiplier: fields.integer("multiplier", in: 1...256) ?? 1,
        kernel: fields.sides("kernel", max: windowMax) ?? Sides(3),
        stride: fields.sides("stride", max: windowMax) ?? Sides(1),
        padding: fields.choice("padding", of: Padding.self) ?? .same,
        dilation: fields.sides("dilation", max: windowMax) ?? Sides(1),
        activation: fields.choice("activation", of: Activation.self) ?? .linear,
        bias: fields.bool("bias") ?? true, initial: fields.initialization())
    }

    var members: [String: JSON] {
      var members: [String: JSON] = [
        "multiplier": .integer(multiplier), "kernel": kernel.json, "stride": stride.json,
        "padding": .string(padding.rawValue), "activation": .string(activation.rawValue),
      ]
      if dilation != Sides(1) { members["dilation"] = dilation.json }
      if !bias { members["bias"] = false }
      if let initial { members["init"] = initial.json }
      return members
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      let image = try site.image()
      return try LayerFacts(
        convolving: image, kernel: kernel, stride: stride, padding: padding, dilation: dilation, inner: 1,
        filters: Size.product([image.channels, multiplier]), activation: activation, bias: bias, initial: initial)
    }
  }

  /// The maximum or the mean of each window.
  public struct Pooling: LayerRule {
    public var window: Sides
    public var stride: Sides
    public var padding: Padding

    public init(window: Sides = Sides(2), stride: Sides? = nil, padding: Padding = .valid) {
      self.window = window
      self.stride = stride ?? window
      self.padding = padding
    }

    init?(_ fields: inout Fields) {
      self.init(
        window: fields.sides("window", max: windowMax) ?? Sides(2), stride: fields.sides("stride", max: windowMax),
        padding: fields.choice("padding", of: Padding.self) ?? .valid)
    }

    var members: [String: JSON] {
      ["window": window.json, "stride": stride.json, "padding": .string(padding.rawValue)]
    }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      let image = try site.image()
      let (height, width) = try padding.positions(image, window: window, stride: stride)
      let count = Size.product([height, width, image.channels])
      return LayerFacts(
        output: [height, width, image.channels], flops: Size.product([count, window.height, window.width]),
        reads: .init(input: true, output: true))
    }
  }

  /// The mean over height and width: [channels].
  public struct GlobalAveragePool: LayerRule {
    public init() {}
    var members: [String: JSON] { [:] }

    func resolve(_ site: LayerSite) throws(LayerFault) -> LayerFacts {
      let image = try site.image()
      return LayerFacts(output: [image.channels], flops: Size.product(site.shape))
    }
  }
}

extension LayerFacts {
  fileprivate init(
    convolving image: (height: Int, width: Int, channels: Int), kernel: Sides, stride: Sides, padding: Layer.Padding,
    dilation: Sides, inner: Int, filters: Int, activation: Activation, bias: Bool, initial: Initialization?
  ) throws(LayerFault) {
    let (height, width) = try padding.positions(image, window: kernel, stride: stride, dilation: dilation)
    let weights = [kernel.height, kernel.width, inner, filters]
    let count = Size.product([height, width, filters])
    self.init(output: [height, width, filters])
    if bias { parameters = [("b", [filters], .zeros)] }
    parameters.append(("w", weights, initial ?? .truncatedNormal()))
    flops = Size.sum(Size.product([2, height, width] + weights), bias ? count : 0)
    reads = .init(input: true, output: activation.readsOutput)
    kept = activation.readsOperand ? count : 0
  }
}
