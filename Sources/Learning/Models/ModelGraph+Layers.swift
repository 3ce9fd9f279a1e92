// The translation of each kind of layer to operations. Shapes have been checked by Contract; a batch axis comes first.
import Compute
import Contract

extension ModelGraph {
  /// Adds one layer to the graph.
  mutating func emit(_ step: ResolvedModel.Step, index: Int, _ inputs: [Value]) throws -> Value {
    let x = inputs[0]
    switch step.layer.kind {
    case .dense(let layer):
      let product = try graph.matmul(x, parameter(step, "w"))
      return try apply(layer.activation, to: layer.bias ? graph.add(product, parameter(step, "b")) : product)
    case .activation(let layer): return try apply(layer.activation, to: x, slope: layer.slope)
    case .flatten, .reshape: return try graph.reshape(x, to: batch(step.output))
    case .dropout(let layer):
      guard isTraining, layer.rate > 0 else { return x }
      return try graph.dropout(x, rate: Float(layer.rate), key: randomKey(), stream: UInt32(index))
    case .conv(let layer):
      let product = try graph.convolution(
        image(x), parameter(step, "w"), stride: layer.stride.pair, dilation: layer.dilation.pair,
        padding: layer.padding.form, groups: layer.groups)
      return try apply(layer.activation, to: layer.bias ? graph.add(product, parameter(step, "b")) : product)
    case .depthwiseConv(let layer):
      let image = try image(x)
      let product = try graph.convolution(
        image, parameter(step, "w"), stride: layer.stride.pair, dilation: layer.dilation.pair,
        padding: layer.padding.form, groups: image.shape.last)
      return try apply(layer.activation, to: layer.bias ? graph.add(product, parameter(step, "b")) : product)
    case .maxPool(let layer):
      return try graph.maxPool(
        image(x), window: layer.window.pair, stride: layer.stride.pair, padding: layer.padding.form)
    case .averagePool(let layer):
      return try graph.averagePool(
        image(x), window: layer.window.pair, stride: layer.stride.pair, padding: layer.padding.form)
    case .globalAveragePool: return try graph.globalAveragePool(image(x))
    case .batchNorm(let layer): return try normalise(step, x, epsilon: Float(layer.epsilon))
    case .layerNorm(let layer):
      return try graph.layerNorm(
        x, scale: parameter(step, "scale"), offset: parameter(step, "offset"), epsilon: Float(layer.epsilon))
    case .rmsNorm(let layer):
      return try graph.rmsNorm(x, scale: parameter(step, "scale"), epsilon: Float(layer.epsilon))
    case .groupNorm(let layer):
      return try graph.groupNorm(
        x, groups: layer.groups, scale: parameter(step, "scale"), offset: parameter(step, "offset"),
        epsilon: Float(layer.epsilon))
    case .embedding: return try graph.embedding(parameter(step, "w"), x)
    case .positionEmbedding: return try graph.add(x, parameter(step, "w"))
    case .classToken:
      let width = step.output[1]
      let token = try graph.reshape(parameter(step, "w"), to: [1, 1, width])
      return try graph.concatenate([graph.broadcast(token, to: [rows, 1, width]), x], axis: 1)
    case .attention(let layer): return try attend(step, layer, x)
    case .rnn(let layer): return try recur(step, layer, x)
    case .transpose(let layer): return try graph.transpose(x, [0] + layer.axes.map { $0 + 1 })
    case .take(let layer):
      let axis = (layer.axis < 0 ? layer.axis + step.input.count : layer.axis) + 1
      let place = layer.index < 0 ? layer.index + x.shape[axis] : layer.index
      return try graph.reshape(graph.slice(x, axis: axis, from: place, count: 1), to: batch(step.output))
    case .mean(let layer):
      let axes = Set(layer.axes.map { ($0 < 0 ? $0 + step.input.count : $0) + 1 })
      return try graph.reshape(graph.mean(x, axes: axes.sorted()), to: batch(step.output))
    case .add: return try inputs.dropFirst().reduce(x) { try graph.add($0, $1) }
    case .multiply: return try inputs.dropFirst().reduce(x) { try graph.multiply($0, $1) }
    case .concat(let layer):
      return try graph.concatenate(inputs, axis: (layer.axis < 0 ? layer.axis + step.input.count : layer.axis) + 1)
    case .latent(let layer):
      let mean = try graph.slice(x, axis: 1, from: 0, count: layer.size)
      let logDeviation = try graph.slice(x, axis: 1, from: layer.size, count: layer.size)
      latents.append((mean, logDeviation))
      let noise = try graph.normal(key: randomKey(), shape: mean.shape, stream: UInt32(index))
      return try graph.add(mean, graph.multiply(graph.exp(logDeviation), noise))
    }
  }

  /// A grey image gets its channel axis.
  private mutating func image(_ x: Value) throws -> Value {
    x.shape.rank == 4 ? x : try graph.reshape(x, to: Shape(x.shape.dimensions + [1]))
  }
}

extension Sides {
  fileprivate var pair: (Int, Int) { (height, width) }
}

extension Layer.Padding {
  fileprivate var form: Compute.Padding {
    switch self {
    case .same: .same
    case .valid: .valid
    }
  }
}
