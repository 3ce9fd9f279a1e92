// The translation of layers that keep state or weights of several parts: batch normalisation, attention, recurrent cells.
import Compute
import Contract

extension ModelGraph {
  /// Batch normalisation: by the batch in training, which also puts out what it measured; by running averages otherwise.
  mutating func normalise(_ step: ResolvedModel.Step, _ x: Value, epsilon: Float) throws -> Value {
    let scale = parameter(step, "scale"), offset = parameter(step, "offset")
    let meanName = "\(step.name)/mean", varianceName = "\(step.name)/variance"
    guard isTraining else {
      return try graph.batchNormInference(
        x, scale: scale, offset: offset, mean: graph.input(meanName, [x.shape.last]),
        variance: graph.input(varianceName, [x.shape.last]), epsilon: epsilon)
    }
    let mean = try graph.mean(x, over: .leading)
    graph.output(meanName, mean)
    graph.output(varianceName, try graph.mean(graph.square(graph.subtract(x, mean)), over: .leading))
    return try graph.batchNorm(x, scale: scale, offset: offset, epsilon: epsilon)
  }

  /// One map to queries, keys and values, attention, one map back.
  mutating func attend(_ step: ResolvedModel.Step, _ layer: Layer.Attention, _ x: Value) throws -> Value {
    let packed = try graph.add(graph.matmul(x, parameter(step, "qkv/w")), parameter(step, "qkv/b"))
    let attended = try graph.attention(packed: packed, heads: layer.heads, causal: layer.causal)
    return try graph.add(graph.matmul(attended, parameter(step, "out/w")), parameter(step, "out/b"))
  }

  /// One map of all positions, then the cell over them.
  mutating func recur(_ step: ResolvedModel.Step, _ layer: Layer.Recurrent, _ x: Value) throws -> Value {
    let mapped = try graph.add(graph.matmul(x, parameter(step, "w")), parameter(step, "b"))
    let u = parameter(step, "u")
    var hidden: Value?
    if layer.learnsInitialState { hidden = try initialState(step, "initial_hidden", layer.units) }
    let states: Value
    switch layer.cell {
    case .vanilla, .irnn: states = try graph.vanillaRNN(mapped, hidden: u, initialHidden: hidden, activation: .relu)
    case .lstm:
      var cell: Value?
      if layer.learnsInitialState { cell = try initialState(step, "initial_cell", layer.units) }
      states = try graph.lstm(mapped, hidden: u, initialHidden: hidden, initialCell: cell, forgetBias: 1)
    case .gru:
      states = try graph.gru(
        mapped, hiddenGates: u, hiddenCandidate: parameter(step, "u_candidate"), initialHidden: hidden)
    }
    guard layer.returns == .last else { return states }
    let last = try graph.slice(states, axis: 1, from: step.input[0] - 1, count: 1)
    return try graph.reshape(last, to: batch(step.output))
  }

  private mutating func initialState(_ step: ResolvedModel.Step, _ name: String, _ units: Int) throws -> Value {
    try graph.broadcast(graph.reshape(parameter(step, name), to: [1, units]), to: [rows, units])
  }
}
