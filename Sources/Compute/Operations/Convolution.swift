// Convolution: two-dimensional convolutions in NHWC with kernels in HWIO, and their gradients. Padding says how far the
// image is continued by zeros, ConvolutionGeometry resolves it; Pooling uses both.
import CKernels

/// How far an image is continued beyond its edges, for convolutions and pooling.
public enum Padding: Sendable, Hashable {
  /// As many cells as make the result ceil(length / stride) long; of an odd number the extra cell is at the end (the rule
  /// of TensorFlow and XLA).
  case same
  /// None: the window stays within the image.
  case valid
  /// These many cells on each side, each 0 or more.
  case explicit(top: Int, bottom: Int, left: Int, right: Int)

  /// The result's length and the cells before the start, along one axis of an image.
  ///
  /// `window` is the length that a window covers. Throws where not one window fits.
  func resolve(_ op: String, _ axis: Axis, length: Int, window: Int, stride: Int) throws -> (length: Int, before: Int) {
    let result: Int
    let before: Int
    switch self {
    case .same:
      result = (length - 1) / stride + 1
      before = max((result - 1) * stride + window - length, 0) / 2
    case .valid, .explicit:
      var after = 0
      (before, after) =
        if case .explicit(let top, let bottom, let left, let right) = self {
          axis == .down ? (top, bottom) : (left, right)
        } else { (0, 0) }
      let limit = ConvolutionGeometry.lengthMax
      guard (0...limit).contains(before), (0...limit).contains(after) else {
        throw ComputeError(op: op, expected: "a padding of 0 to \(limit)", got: "\(before) and \(after)")
      }
      guard window <= length + before + after else {
        throw ComputeError(
          op: op, expected: "a window of at most \(length + before + after), the padded image's \(axis.length)",
          got: "\(window)")
      }
      result = (length + before + after - window) / stride + 1
    }
    return (result, before)
  }

  /// An axis of an image.
  enum Axis {
    case down, right
    var length: String { self == .down ? "height" : "width" }
  }
}

/// The sizes of one convolution, in the order its kernels read them.
package struct ConvolutionGeometry: Sendable {
  /// The longest window, stride, dilation and padding: above any use, and far from overflow.
  static let lengthMax = 1 << 16
  /// The floats of a band of rows that a kernel pads at once, where one output row lets it. A band shares L2 with the
  /// kernel and the results; where the kernel alone fills L2, a larger band reads it less often.
  private var bandFloats: Int { kernelCount <= 64 * 1024 ? 32 * 1024 : 256 * 1024 }

  package let batch, height, width, channels: Int
  package let kernelHeight, kernelWidth, filters, groups: Int
  package let outHeight, outWidth: Int
  package let stride, dilation: (Int, Int)
  package let top, left: Int

  /// One filter for each channel.
  package var isDepthwise: Bool { groups == channels && filters == channels && groups > 1 }
  package var kernelCount: Int { kernelHeight * kernelWidth * channels / groups * filters }
  package var flops: Int { 2 * batch * outHeight * outWidth * kernelCount }

  /// A band: how many images, or how many rows of one, are worked on at once, and the floats they take.
  private struct Band {
    let images: Int
    let rows: Int
    let floats: Int

    /// Of `rows` rows that each bring `fresh` rows of `rowFloats` floats beside `shared` rows.
    init(floats bandFloats: Int, batch: Int, rows: Int, fresh: Int, shared: Int, rowFloats: Int) {
      let whole = ((rows - 1) * fresh + shared) * rowFloats
      if whole <= bandFloats {
        images = min(batch, bandFloats / whole)
        self.rows = rows
        floats = images * whole
      } else {
        images = 1
        self.rows = min(rows, max(1, (bandFloats / rowFloats - shared) / fresh + 1))
        floats = ((self.rows - 1) * fresh + shared) * rowFloats
      }
    }
  }

  /// The band of the input under output rows.
  private var inputBand: Band {
    Band(
      floats: bandFloats, batch: batch, rows: outHeight, fresh: stride.0, shared: (kernelHeight - 1) * dilation.0 + 1,
      rowFloats: ((outWidth - 1) * stride.1 + (kernelWidth - 1) * dilation.1 + 1) * channels)
  }

  /// The band of the result's gradient under input rows, counted in strides.
  private var resultBand: Band {
    let reach = ((kernelHeight - 1) * dilation.0 / stride.0, (kernelWidth - 1) * dilation.1 / stride.1)
    let rows = (height - 1 + top) / stride.0 + 1 - top / stride.0
    let columns = (width - 1 + left) / stride.1 + 1 - left / stride.1
    return Band(
      floats: bandFloats, batch: batch, rows: rows, fresh: 1, shared: reach.0 + 1,
      rowFloats: (columns + reach.1) * filters)
  }

  private func lengths(_ band: Band) -> [Int] {
    [
      batch, height, width, channels, kernelHeight, kernelWidth, filters, groups, outHeight, outWidth, stride.0,
      stride.1,
      dilation.0, dilation.1, top, left, band.images, band.rows,
    ]
  }

  /// The floats of scratch memory that the largest of the three kernels needs.
  package var scratchFloats: Int { max(inputBand.floats, resultBand.floats + kernelCount) }

  func forward(_ kernels: Kernels) -> KernelWork {
    let table = kernels.table.pointee
    return KernelWork(
      kernel: isDepthwise ? table.depthwise : table.convolution, lengths: lengths(inputBand),
      scratchFloats: isDepthwise ? 0 : inputBand.floats, flops: flops)
  }

  func kernelGradient(_ kernels: Kernels) -> KernelWork {
    let table = kernels.table.pointee
    return KernelWork(
      kernel: isDepthwise ? table.depthwise_kernel_gradient : table.convolution_kernel_gradient,
      lengths: lengths(inputBand), scratchFloats: isDepthwise ? 0 : inputBand.floats, flops: flops)
  }

  func inputGradient(_ kernels: Kernels) -> KernelWork {
    let table = kernels.table.pointee
    return KernelWork(
      kernel: isDepthwise ? table.depthwise_input_gradient : table.convolution_input_gradient,
      lengths: lengths(resultBand), scratchFloats: isDepthwise ? 0 : resultBand.floats + kernelCount, flops: flops)
  }
}

/// (x [B, H, W, C], kernel [kh, kw, C / groups, O]).
package struct Convolution: KernelOperation {
  package let geometry: ConvolutionGeometry

  package var name: String { "convolution" }
  package var takesEpilogue: Bool { true }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork { geometry.forward(kernels) }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], kernel = operands[1]
    var amounts: [(Int, Value)] = []
    if wants(x) {
      let operation = ConvolutionInputGradient(geometry: geometry)
      amounts.append((x.id, try graph.append(operation, [dy, kernel], x.shape)))
    }
    if wants(kernel) {
      let operation = ConvolutionKernelGradient(geometry: geometry)
      amounts.append((kernel.id, try graph.append(operation, [x, dy], kernel.shape)))
    }
    return amounts
  }
}

/// (dy, kernel): the gradient of the input.
struct ConvolutionInputGradient: KernelOperation {
  let geometry: ConvolutionGeometry

  var name: String { "convolution input gradient" }
  var takesEpilogue: Bool { true }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork { geometry.inputGradient(kernels) }
}

/// (x, dy): the gradient of the kernel.
struct ConvolutionKernelGradient: KernelOperation {
  let geometry: ConvolutionGeometry

  var name: String { "convolution kernel gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork { geometry.kernelGradient(kernels) }
}

extension Graph {
  /// The convolution of images `x` [B, H, W, C] with `kernel` [kh, kw, C / groups, O]: [B, H', W', O].
  ///
  /// The kernel is not flipped (cross-correlation, as in all frameworks). `stride` and `dilation` are (down, right), each
  /// 1 to 65536; a dilation of d leaves d - 1 cells between taps. With `groups` each O / groups filters see C / groups
  /// channels; `groups` = C is a depthwise convolution. Beyond the edges the image is zero. Throws where a length does
  /// not fit another, and where not one window fits a padding that is not `.same`.
  public mutating func convolution(
    _ x: Value, _ kernel: Value, stride: (Int, Int) = (1, 1), dilation: (Int, Int) = (1, 1), padding: Padding = .same,
    groups: Int = 1
  ) throws -> Value {
    let op = "convolution"
    try floats(op, [x, kernel])
    guard x.shape.rank == 4 else { throw ComputeError(op: op, expected: "images [B, H, W, C]", got: "\(x.shape)") }
    let channels = x.shape[3], limit = ConvolutionGeometry.lengthMax
    guard groups >= 1, channels % groups == 0 else {
      throw ComputeError(op: op, expected: "a number of groups that divides the \(channels) channels", got: "\(groups)")
    }
    guard kernel.shape.rank == 4, kernel.shape[2] == channels / groups, kernel.shape[3] % groups == 0 else {
      throw ComputeError(
        op: op,
        expected: "a kernel [kh, kw, \(channels / groups), O]" + (groups > 1 ? " with O a multiple of \(groups)" : ""),
        got: "\(kernel.shape)")
    }
    for (length, what) in [
      (stride.0, "stride"), (stride.1, "stride"), (dilation.0, "dilation"), (dilation.1, "dilation"),
      (kernel.shape[0], "kernel's height"), (kernel.shape[1], "kernel's width"),
    ] where !(1...limit).contains(length) {
      throw ComputeError(op: op, expected: "a \(what) of 1 to \(limit)", got: "\(length)")
    }
    let window = ((kernel.shape[0] - 1) * dilation.0 + 1, (kernel.shape[1] - 1) * dilation.1 + 1)
    guard max(window.0, window.1) <= limit else {
      throw ComputeError(
        op: op, expected: "a dilated kernel of at most \(limit) on each side", got: "\(window.0) x \(window.1)")
    }
    let (outHeight, top) = try padding.resolve(op, .down, length: x.shape[1], window: window.0, stride: stride.0)
    let (outWidth, left) = try padding.resolve(op, .right, length: x.shape[2], window: window.1, stride: stride.1)
    let filters = kernel.shape[3]
    let result: Shape = [x.shape[0], outHeight, outWidth, filters]

    // A product where each output cell sees one input cell, or all of them.
    if groups == 1, result.count == x.shape.rows * filters, kernel.shape.rows == channels, stride == (1, 1),
      outHeight == x.shape[1]
    {
      return try matmul(x, reshape(kernel, to: [channels, filters]))
    }
    if groups == 1, (top, left, outHeight, outWidth) == (0, 0, 1, 1), window == (x.shape[1], x.shape[2]),
      dilation == (1, 1)
    {
      let patch = kernel.shape.rows
      let product = try matmul(
        reshape(x, to: [x.shape[0], patch]), reshape(kernel, to: [patch, filters]))
      return try reshape(product, to: result)
    }
    let geometry = ConvolutionGeometry(
      batch: x.shape[0], height: x.shape[1], width: x.shape[2], channels: channels, kernelHeight: kernel.shape[0],
      kernelWidth: kernel.shape[1], filters: filters, groups: groups, outHeight: outHeight, outWidth: outWidth,
      stride: stride, dilation: dilation, top: top, left: left)
    // Rows of a padded image are bounded as tensors are; their lengths cannot overflow below the limits above, but the
    // number of operations could.
    guard result.count <= Self.elementsMax, Shape([2, result.count, geometry.kernelCount]).count < .max,
      geometry.scratchFloats <= Self.elementsMax
    else {
      throw ComputeError(
        op: op, expected: "a result and padded rows of at most \(Self.elementsMax) elements", got: "\(result)")
    }
    return try append(Convolution(geometry: geometry), [x, kernel], result)
  }
}
