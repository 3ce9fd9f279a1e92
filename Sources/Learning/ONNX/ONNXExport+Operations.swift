// Operations with kernels of their own in ONNX's operators: layout, reductions, normalisations, products. ONNXExport has
// the driver, ONNXExport+Sequences attention and recurrences.
import Compute
import Foundation

extension ONNXExporter {
  mutating func addKernel(_ operation: any KernelOperation, _ id: Int) throws {
    let node = graph.nodes[id]
    let x = node.operands[0]
    switch operation {
    case let sum as Sum:
      let isMean = sum.length > 1 && sum.scale == 1 / Float(sum.length)
      let result = try reduced(isMean ? "ReduceMean" : "ReduceSum", id, outer: sum.outer, length: sum.length)
      record(isMean || sum.scale == 1 ? result : emit("Mul", [result, number(sum.scale)]), id)
    case let extreme as Extreme:
      record(
        try reduced(extreme.largest ? "ReduceMax" : "ReduceMin", id, outer: extreme.outer, length: extreme.length), id)
    case let softmax as Softmax:
      record(emit(softmax.logarithmic ? "LogSoftmax" : "Softmax", [try plain(x)], ["axis": .integer(-1)]), id)
    case let transpose as Transpose:
      record(emit("Transpose", [try plain(x)], ["perm": .integers(transpose.permutation)]), id)
    case let concatenate as Concatenate:
      record(emit("Concat", try node.operands.map { try plain($0) }, ["axis": .integer(concatenate.axis)]), id)
    case let slice as Slice:
      let end = slice.from + node.shape[slice.axis]
      guard case .fixed = try lengths(id)[slice.axis] else { throw unfit("slices along the batch") }
      record(
        emit("Slice", [try plain(x), integers([slice.from]), integers([end]), integers([slice.axis])]), id)
    case let gather as Gather:
      record(emit("Gather", [try plain(x), integers(gather.indices)], ["axis": .integer(gather.axis)]), id)
    case let pad as Pad:
      let after = node.shape.dimensions.indices.map { node.shape[$0] - pad.before[$0] - graph.nodes[x].shape[$0] }
      record(emit("Pad", [try plain(x), integers(pad.before + after), number(pad.value)]), id)
    case is Broadcast: record(emit("Expand", [try plain(x), try shape(lengths(id))]), id)
    case is Embedding: record(emit("Gather", [try plain(x), try plain(node.operands[1])], ["axis": .integer(0)]), id)
    case let product as BatchedProduct:
      let left = try stack(x, turned: product.transposeLeft)
      let right = try stack(node.operands[1], turned: product.transposeRight)
      record(emit("MatMul", [left, right]), id)
    case let norm as LayerNorm:
      let names = try node.operands.prefix(3).map { try plain($0) }
      record(emit("LayerNormalization", names, ["axis": .integer(-1), "epsilon": .float(norm.epsilon)]), id)
    case let norm as RMSNorm:
      let name = try plain(x)
      let mean = emit("ReduceMean", [emit("Mul", [name, name])], ["axes": .integers([-1]), "keepdims": .integer(1)])
      let deviation = emit("Sqrt", [emit("Add", [mean, number(norm.epsilon)])])
      record(emit("Mul", [emit("Div", [name, deviation]), try plain(node.operands[1])]), id)
    case let norm as GroupNorm: try addGroupNorm(norm, id)
    case let attention as Attention: try addAttention(attention.shape, id)
    case let attention as PackedAttention: try addPackedAttention(attention.shape, id)
    case let convolution as Convolution: try addConvolution(convolution.geometry, id)
    case let pooling as Pooling: try addPooling(pooling, id)
    // A latent layer's noise is left out, as dropout is: what is exported gives means.
    case is Normal: record(emit("Expand", [number(0), try shape(lengths(id))]), id)
    case is Dropout: record(try plain(x), id)
    case let lstm as LSTM: try addLSTM(lstm.shape, id)
    case let gru as GRU: try addGRU(gru.shape, id)
    case let rnn as VanillaRNN: try addRNN(rnn, id)
    default: throw unfit(operation.name)
    }
  }

  func unfit(_ what: String) -> ComputeError {
    ComputeError(op: "export", expected: "operations that ONNX has a form for", got: what)
  }

  /// A reduction over a run of axes: those before it have `outer` elements, itself `length`.
  private mutating func reduced(_ op: String, _ id: Int, outer: Int, length: Int) throws -> String {
    let x = graph.nodes[id].operands[0]
    let dimensions = graph.nodes[x].shape.dimensions
    var start = 0
    var before = 1
    while before < outer, start < dimensions.count {
      before *= dimensions[start]
      start += 1
    }
    // Axes of length 1 ahead of the run stay.
    while start < dimensions.count, dimensions[start] == 1, length > 1 { start += 1 }
    var end = start
    var inside = 1
    while inside < length, end < dimensions.count {
      inside *= dimensions[end]
      end += 1
    }
    guard before == outer, inside == length else { throw unfit("a sum over parts of axes") }
    let axes = Array(start..<end)
    let name = try plain(x)
    if axes.isEmpty { return try reshaped(name, lengths(id)) }
    let result =
      op == "ReduceSum"
      ? emit(op, [name, integers(axes)], ["keepdims": .integer(0)])
      : emit(op, [name], ["axes": .integers(axes), "keepdims": .integer(0)])
    let left = try lengths(x).enumerated().filter { !axes.contains($0.offset) }.map(\.element)
    return try left == lengths(id) ? result : reshaped(result, lengths(id))
  }

  /// A stack of matrices, the other way round where `turned`.
  private mutating func stack(_ id: Int, turned: Bool) throws -> String {
    guard turned else { return try plain(id) }
    var axes = Array(graph.nodes[id].shape.dimensions.indices)
    axes.swapAt(axes.count - 1, axes.count - 2)
    return emit("Transpose", [try plain(id)], ["perm": .integers(axes)])
  }

  /// Groups as the channels of an instance normalisation, then scale and offset of each channel.
  private mutating func addGroupNorm(_ norm: GroupNorm, _ id: Int) throws {
    let node = graph.nodes[id]
    let x = node.operands[0], rank = node.shape.rank
    let channels = node.shape.last
    guard let rows = try lengths(id).first else { throw unfit("groupNorm of \(node.shape)") }
    var names = try node.operands[1...2].map { try plain($0) }
    if rank > 2 {
      let ones = [Length](repeating: .fixed(1), count: rank - 2)
      names = try names.map { try reshaped($0, [.fixed(channels)] + ones) }
    }
    let positions = node.shape.count / node.shape[0] / norm.groups
    let first = rank > 2 ? try self.first(x) : try plain(x)
    let flat = try reshaped(first, [rows, .fixed(norm.groups), .fixed(positions)])
    let ones = initializer(fresh(), [norm.groups], [Float](repeating: 1, count: norm.groups))
    let zeros = initializer(fresh(), [norm.groups], [Float](repeating: 0, count: norm.groups))
    let normal = emit("InstanceNormalization", [flat, ones, zeros], ["epsilon": .float(norm.epsilon)])
    let places = ONNXLayout.channelsLast.places(rank: rank)
    let lengths = try lengths(id)
    let back = try reshaped(normal, rank > 2 ? places.map { lengths[$0] } : lengths)
    record(emit("Add", [emit("Mul", [back, names[0]]), names[1]]), id, channelsFirst: rank > 2)
  }

  // MARK: Windows

  private mutating func addConvolution(_ geometry: ConvolutionGeometry, _ id: Int) throws {
    let node = graph.nodes[id]
    let kernel = node.operands[1]
    let weights: String
    if isConverted(kernel, by: id), case .parameter(let name) = graph.nodes[kernel].op {
      let dimensions = graph.nodes[kernel].shape.dimensions, axes = [3, 2, 0, 1]
      weights = initializer(
        name, axes.map { dimensions[$0] }, ONNXWeightForm.permute(try elements(kernel), dimensions, axes))
    } else {
      weights = emit("Transpose", [try plain(kernel)], ["perm": .integers([3, 2, 0, 1])])
    }
    let window = (
      (geometry.kernelHeight - 1) * geometry.dilation.0 + 1, (geometry.kernelWidth - 1) * geometry.dilation.1 + 1
    )
    let attributes: [String: ONNXAttribute] = [
      "group": .integer(geometry.groups), "kernel_shape": .integers([geometry.kernelHeight, geometry.kernelWidth]),
      "strides": .integers([geometry.stride.0, geometry.stride.1]),
      "dilations": .integers([geometry.dilation.0, geometry.dilation.1]),
      "pads": pads(node, window: window, stride: geometry.stride, top: geometry.top, left: geometry.left),
    ]
    let inputs = [try first(node.operands[0]), weights]
    if let bias = bias(of: id) {
      record(emit("Conv", inputs + [try plain(bias.operand)], attributes), bias.sum, channelsFirst: true)
    } else {
      record(emit("Conv", inputs, attributes), id, channelsFirst: true)
    }
  }

  private mutating func addPooling(_ pooling: Pooling, _ id: Int) throws {
    let node = graph.nodes[id]
    var attributes: [String: ONNXAttribute] = [
      "kernel_shape": .integers([pooling.window.0, pooling.window.1]),
      "strides": .integers([pooling.stride.0, pooling.stride.1]),
      "pads": pads(node, window: pooling.window, stride: pooling.stride, top: pooling.top, left: pooling.left),
    ]
    if pooling.rule == .average(countsPadding: true) { attributes["count_include_pad"] = .integer(1) }
    let op = pooling.rule == .maximum ? "MaxPool" : "AveragePool"
    record(emit(op, [try first(node.operands[0])], attributes), id, channelsFirst: true)
  }

  /// The cells beyond each edge, as many as the windows reach.
  private func pads(
    _ node: Graph.Node, window: (Int, Int), stride: (Int, Int), top: Int, left: Int
  ) -> ONNXAttribute {
    let image = graph.nodes[node.operands[0]].shape
    let bottom = max(0, (node.shape[1] - 1) * stride.0 + window.0 - image[1] - top)
    let right = max(0, (node.shape[2] - 1) * stride.1 + window.1 - image[2] - left)
    return .integers([top, left, bottom, right])
  }

  /// Whether `reader` takes a parameter in a form of its own, which it writes itself.
  func isConverted(_ parameter: Int, by reader: Int) -> Bool {
    if case .kernel(let operation) = graph.nodes[reader].op, operation is Convolution {
      guard case .parameter = graph.nodes[parameter].op else { return false }
      return readers[parameter].count == 1 && graph.nodes[reader].operands[1] == parameter
    }
    return isCellWeight(parameter, reader)
  }
}
