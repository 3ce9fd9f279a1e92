// ONNXWindows: convolutions and pools over images. The file has channels first, ours have them last. ONNXOperators joins
// the tables.
import Compute

extension ONNXOperator {
  static let windows: [ONNXOperator] = [
    ONNXOperator("Conv", "of images (two-dimensional), with groups, dilations, pads and auto_pad", convolution),
    ONNXOperator("MaxPool", "of images, without dilations and Indices", maxPool),
    ONNXOperator("AveragePool", "of images, without dilations", averagePool),
    ONNXOperator("GlobalAveragePool") { translation, site in
      try whole(&translation, site) { graph, x, axes in try graph.mean(x, axes: axes, keepsAxes: true) }
    },
    ONNXOperator("GlobalMaxPool") { translation, site in
      try whole(&translation, site) { graph, x, axes in try graph.maximum(x, axes: axes, keepsAxes: true) }
    },
  ]

  private static func convolution(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let tensor = try site.weight(1)
    guard try site.input(0).dimensions.count == 4, tensor.dimensions.count == 4 else {
      throw ONNXRefusal(
        "only two-dimensional convolutions are supported: expected an input [N, C, H, W] and weights of 4 axes, got "
          + "\(try site.input(0).dimensions) and \(tensor.dimensions)")
    }
    let x = try translation.channelsLast(site.input(0), rank: 4)
    if let shape = try site.integers("kernel_shape"), shape != Array(tensor.dimensions.suffix(2)) {
      throw ONNXRefusal("its kernel_shape \(shape) is not that of its weights \(tensor.dimensions)")
    }
    let dilation = try pair(site, "dilations"), stride = try pair(site, "strides")
    let window = (
      try reach(tensor.dimensions[2], dilation.0), try reach(tensor.dimensions[3], dilation.1)
    )
    let kernel = try translation.parameter(tensor, permuted: [2, 3, 1, 0])
    var result = try translation.graph.convolution(
      x, kernel, stride: stride, dilation: dilation,
      padding: padding(site, x.shape, window: window, stride: stride), groups: site.integer("group", 1))
    if let bias = site.optional(2) { result = try translation.graph.add(result, translation.plain(bias)) }
    return [.value(result, .channelsLast)]
  }

  private static func maxPool(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let (x, window, stride, padding) = try pool(&translation, site, extends: true)
    return [
      .value(try translation.graph.maxPool(x, window: window, stride: stride, padding: padding), .channelsLast)
    ]
  }

  private static func averagePool(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let counts = try site.integer("count_include_pad", 0) != 0
    let (x, window, stride, padding) = try pool(&translation, site, extends: !counts)
    let result = try translation.graph.averagePool(
      x, window: window, stride: stride, padding: padding, countsPadding: counts)
    return [.value(result, .channelsLast)]
  }

  private static func pool(
    _ translation: inout ONNXTranslation, _ site: ONNXSite, extends: Bool
  ) throws -> (x: Value, window: (Int, Int), stride: (Int, Int), padding: Padding) {
    guard try site.input(0).dimensions.count == 4 else {
      throw ONNXRefusal("only pools of images [N, C, H, W] are supported, got \(try site.input(0).dimensions)")
    }
    let dilation = try pair(site, "dilations")
    guard dilation == (1, 1) else { throw ONNXRefusal("dilated pools are not supported") }
    guard let shape = try site.integers("kernel_shape"), shape.count == 2 else {
      throw ONNXRefusal("expected a kernel_shape of two lengths")
    }
    let x = try translation.channelsLast(site.input(0), rank: 4)
    let stride = try pair(site, "strides"), window = (shape[0], shape[1])
    guard min(window.0, window.1) >= 1 else { throw ONNXRefusal("expected a kernel_shape of 1 or more, got \(shape)") }
    var padding = try padding(site, x.shape, window: window, stride: stride)
    if try site.integer("ceil_mode", 0) != 0 {
      padding = try extended(padding, x.shape, window, stride, allowed: extends)
    }
    return (x, window, stride, padding)
  }

  /// Two lengths of 1 or more, 1 where the attribute is missing.
  private static func pair(_ site: ONNXSite, _ name: String) throws -> (Int, Int) {
    guard let values = try site.integers(name) else { return (1, 1) }
    guard values.count == 2, values.allSatisfy({ (1...1 << 16).contains($0) }) else {
      throw ONNXRefusal("expected \(name) of two numbers from 1 to \(1 << 16), got \(values)")
    }
    return (values[0], values[1])
  }

  /// The length that a dilated kernel covers.
  private static func reach(_ kernel: Int, _ dilation: Int) throws -> Int {
    let (product, overflow) = (kernel - 1).multipliedReportingOverflow(by: dilation)
    guard kernel >= 1, !overflow, product < 1 << 32 else { throw ONNXRefusal("a kernel of \(kernel) is too large") }
    return product + 1
  }

  private static func padding(
    _ site: ONNXSite, _ image: Shape, window: (Int, Int), stride: (Int, Int)
  ) throws -> Padding {
    switch try site.string("auto_pad", "NOTSET") {
    case "VALID": return .valid
    case "SAME_UPPER": return .same
    case "SAME_LOWER":
      // As SAME_UPPER, but an odd cell goes before.
      func sides(_ length: Int, _ window: Int, _ stride: Int) -> (before: Int, after: Int) {
        let total = max(((length - 1) / stride) * stride + window - length, 0)
        return (total - total / 2, total / 2)
      }
      let down = sides(image[1], window.0, stride.0), right = sides(image[2], window.1, stride.1)
      return .explicit(top: down.before, bottom: down.after, left: right.before, right: right.after)
    case "NOTSET":
      guard let pads = try site.integers("pads") else { return .valid }
      guard pads.count == 4, pads.allSatisfy({ (0...1 << 16).contains($0) }) else {
        throw ONNXRefusal("expected pads of four numbers from 0 to \(1 << 16), got \(pads)")
      }
      return .explicit(top: pads[0], bottom: pads[2], left: pads[1], right: pads[3])
    case let other: throw ONNXRefusal("auto_pad \"\(other)\" is not supported")
    }
  }

  /// The padding with which results are rounded up to whole windows.
  private static func extended(
    _ padding: Padding, _ image: Shape, _ window: (Int, Int), _ stride: (Int, Int), allowed: Bool
  ) throws -> Padding {
    var sides = (top: 0, bottom: 0, left: 0, right: 0)
    switch padding {
    case .same: return padding
    case .valid: break
    case .explicit(let top, let bottom, let left, let right): sides = (top, bottom, left, right)
    }
    func more(_ length: Int, _ before: Int, _ after: Int, _ window: Int, _ stride: Int) throws -> Int {
      let rest = length + before + after - window
      guard rest > 0, rest % stride != 0 else { return 0 }
      // A window that would begin in the padding after the image is not made.
      guard (rest / stride + 1) * stride < length + before else { return 0 }
      guard allowed else { throw ONNXRefusal("ceil_mode with count_include_pad is not supported") }
      return stride - rest % stride
    }
    let down = try more(image[1], sides.top, sides.bottom, window.0, stride.0)
    let right = try more(image[2], sides.left, sides.right, window.1, stride.1)
    return .explicit(
      top: sides.top, bottom: sides.bottom + down, left: sides.left, right: sides.right + right)
  }

  /// A reduction over all axes of an image, which keep length 1.
  private static func whole(
    _ translation: inout ONNXTranslation, _ site: ONNXSite,
    _ apply: (inout Graph, Value, [Int]) throws -> Value
  ) throws -> [ONNXOperand] {
    let rank = try site.input(0).dimensions.count
    let x = try translation.channelsLast(site.input(0), rank: rank)
    return [.value(try apply(&translation.graph, x, Array(1..<rank - 1)), .channelsLast)]
  }
}
