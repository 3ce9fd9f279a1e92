// Attention and recurrent cells in ONNX's operators. ONNXExport has the driver.
import Compute
import Foundation

extension ONNXExporter {
  // MARK: Attention

  mutating func addAttention(_ shape: AttentionShape, _ id: Int) throws {
    let node = graph.nodes[id]
    let q = emit("Transpose", [try plain(node.operands[0])], ["perm": .integers([0, 2, 1, 3])])
    let k = emit("Transpose", [try plain(node.operands[1])], ["perm": .integers([0, 2, 3, 1])])
    let v = emit("Transpose", [try plain(node.operands[2])], ["perm": .integers([0, 2, 1, 3])])
    record(attended(shape, q, k, v), id)
  }

  mutating func addPackedAttention(_ shape: AttentionShape, _ id: Int) throws {
    let name = try plain(graph.nodes[id].operands[0])
    let width = shape.heads * shape.keyWidth
    guard let rows = try lengths(id).first else { throw unfit("attention") }
    var parts: [String] = []
    for (part, axes) in [[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]].enumerated() {
      let slice = emit("Slice", [name, integers([part * width]), integers([(part + 1) * width]), integers([2])])
      let heads = try reshaped(slice, [rows, .fixed(shape.keys), .fixed(shape.heads), .fixed(shape.keyWidth)])
      parts.append(emit("Transpose", [heads], ["perm": .integers(axes)]))
    }
    record(try reshaped(attended(shape, parts[0], parts[1], parts[2]), lengths(id)), id)
  }

  /// softmax(scale q k + mask) v for q [B, H, S, D], k [B, H, D, T] and v [B, H, T, E]: [B, S, H, E].
  private mutating func attended(_ shape: AttentionShape, _ q: String, _ k: String, _ v: String) -> String {
    var scores = emit("MatMul", [emit("Mul", [q, number(shape.scale)]), k])
    if shape.causal {
      var mask = [Float](repeating: 0, count: shape.queries * shape.keys)
      for query in 0..<shape.queries {
        for key in 0..<shape.keys where key > query { mask[query * shape.keys + key] = -.infinity }
      }
      scores = emit("Add", [scores, initializer(fresh(), [shape.queries, shape.keys], mask)])
    }
    let weights = emit("Softmax", [scores], ["axis": .integer(-1)])
    return emit("Transpose", [emit("MatMul", [weights, v])], ["perm": .integers([0, 2, 1, 3])])
  }

  // MARK: Recurrences

  /// What a recurrent cell's kernel reads as x: a map of an input, taken back apart.
  private struct Projection {
    /// [B, T, I].
    let input: Int
    /// The parameter [I, G H], or nil where x is no such map: then it is its own input.
    let weights: Int?
    let bias: Int?
  }

  private func projection(_ x: Int) -> Projection {
    var product = x
    var bias: Int?
    if case .elementwise(.add) = graph.nodes[x].op {
      let operands = graph.nodes[x].operands
      guard case .parameter = graph.nodes[operands[1]].op, readers[operands[0]].count == 1,
        graph.nodes[operands[1]].shape == [graph.nodes[x].shape.last]
      else { return Projection(input: x, weights: nil, bias: nil) }
      (product, bias) = (operands[0], operands[1])
    }
    guard case .matmul(false, false) = graph.nodes[product].op else {
      return Projection(input: x, weights: nil, bias: nil)
    }
    let operands = graph.nodes[product].operands
    guard case .parameter = graph.nodes[operands[1]].op, readers[operands[1]].count == 1,
      graph.nodes[operands[0]].shape.rank == 3
    else {
      return Projection(input: x, weights: nil, bias: nil)
    }
    return Projection(input: operands[0], weights: operands[1], bias: bias)
  }

  /// The operands that hold a recurrent cell's own weights; nil for other nodes.
  private func hiddenWeights(_ id: Int) -> [Int]? {
    guard case .kernel(let operation) = graph.nodes[id].op else { return nil }
    switch operation {
    case is LSTM, is VanillaRNN: return [graph.nodes[id].operands[1]]
    case is GRU: return Array(graph.nodes[id].operands[1...2])
    default: return nil
    }
  }

  /// The nodes that are part of a recurrent cell in the file: the map before it, and parts that are cut from its weights.
  func nodesOfCells() -> Set<Int> {
    var result: Set<Int> = []
    for id in graph.nodes.indices {
      guard let weights = hiddenWeights(id) else { continue }
      for weight in weights where readers[weight] == [id] {
        if case .kernel(let operation) = graph.nodes[weight].op, operation is Slice { result.insert(weight) }
      }
      let x = graph.nodes[id].operands[0], map = projection(x)
      guard let matrix = map.weights, readers[x] == [id] else { continue }
      result.insert(x)
      if map.bias != nil { result.insert(readers[matrix][0]) }
    }
    return result
  }

  /// Whether a recurrent cell, or what is part of it, reads a parameter at `reader`.
  func isCellWeight(_ parameter: Int, _ reader: Int) -> Bool {
    absorbed.contains(reader) || hiddenWeights(reader)?.contains(parameter) == true
  }

  /// The node of a cell. `gates[i]` is the place among ours of the file's gate i; those in `negated` change their sign.
  private mutating func addCell(
    _ op: String, _ id: Int, gates: [Int], negated: Set<Int> = [], recurrent: [[Float]], shift: [Float],
    states: [Int?], attributes: [String: ONNXAttribute]
  ) throws {
    let node = graph.nodes[id]
    let hidden = node.shape.last, width = gates.count * hidden
    let x = node.operands[0]
    let projection = absorbed.contains(x) ? projection(x) : Projection(input: x, weights: nil, bias: nil)
    let inputLengths = try lengths(projection.input)
    let columns = graph.nodes[projection.input].shape.last
    /// [K, G H] to [1, G H, K], gates in the file's order.
    func turned(_ matrix: [Float], _ rows: Int) -> [Float] {
      var out: [Float] = []
      out.reserveCapacity(matrix.count)
      for (gate, place) in gates.enumerated() {
        let sign: Float = negated.contains(gate) ? -1 : 1
        for unit in 0..<hidden {
          for row in 0..<rows { out.append(sign * matrix[row * width + place * hidden + unit]) }
        }
      }
      return out
    }
    var weights: [Float]
    if let source = projection.weights {
      weights = try elements(source)
    } else {
      weights = [Float](repeating: 0, count: width * width)
      for index in 0..<width { weights[index * width + index] = 1 }
    }
    func name(_ id: Int?) -> String? {
      guard var id else { return nil }
      if absorbed.contains(id), let source = graph.nodes[id].operands.first { id = source }
      guard case .parameter(let name) = graph.nodes[id].op,
        readers[id].allSatisfy({ isConverted(id, by: $0) })
      else { return nil }
      return name
    }
    let w = initializer(name(projection.weights) ?? fresh(), [1, width, columns], turned(weights, columns))
    var joined = [Float](repeating: 0, count: hidden * width)
    var column = 0
    for part in recurrent {
      let partWidth = part.count / hidden
      for row in 0..<hidden {
        for index in 0..<partWidth { joined[row * width + column + index] = part[row * partWidth + index] }
      }
      column += partWidth
    }
    let r = initializer(name(node.operands[1]) ?? fresh(), [1, width, hidden], turned(joined, hidden))
    var bias = try projection.bias.map { try elements($0) } ?? [Float](repeating: 0, count: width)
    for index in shift.indices { bias[index] += shift[index] }
    let b = initializer(
      name(projection.bias) ?? fresh(), [1, 2 * width], turned(bias, 1) + [Float](repeating: 0, count: width))

    let input = emit("Transpose", [try plain(projection.input)], ["perm": .integers([1, 0, 2])])
    guard inputLengths.count == 3 else { throw unfit("a recurrence over \(graph.nodes[projection.input].shape)") }
    var inputs = [input, w, r, b]
    if states.contains(where: { $0 != nil }) {
      inputs.append("")
      for state in states {
        guard let state else {
          let zeros = [Length.fixed(1), inputLengths[0], .fixed(hidden)]
          inputs.append(emit("Expand", [number(0), try shape(zeros)]))
          continue
        }
        inputs.append(try reshaped(plain(state), [.fixed(1), inputLengths[0], .fixed(hidden)]))
      }
    }
    var all = attributes
    all["hidden_size"] = .integer(hidden)
    let states = emit(op, inputs, all)
    let squeezed = emit("Squeeze", [states, integers([1])])
    record(emit("Transpose", [squeezed], ["perm": .integers([1, 0, 2])]), id)
  }

  /// The elements of weights that a cell reads: a parameter, or columns of one.
  private func weights(_ id: Int) throws -> [Float] {
    let node = graph.nodes[id]
    if case .kernel(let operation) = node.op, let slice = operation as? Slice, slice.axis == 1, node.shape.rank == 2 {
      let all = try elements(node.operands[0]), width = graph.nodes[node.operands[0]].shape.last
      return (0..<node.shape[0]).flatMap { row in
        all[row * width + slice.from..<row * width + slice.from + node.shape[1]]
      }
    }
    guard case .parameter = node.op else { throw unfit("recurrent weights that are computed") }
    return try elements(id)
  }

  mutating func addLSTM(_ shape: LSTMShape, _ id: Int) throws {
    let operands = graph.nodes[id].operands
    // The file has input, output, forget, candidate.
    let quarters = shape.gates.quarters
    let places = [quarters[0], quarters[3], quarters[1], quarters[2]]
    var shift = [Float](repeating: 0, count: 4 * shape.hidden)
    for unit in 0..<shape.hidden { shift[quarters[1] * shape.hidden + unit] = shape.forgetBias }
    var rest = Array(operands.dropFirst(4))
    let hidden = shape.hasHidden ? rest.removeFirst() : nil
    let cell = shape.hasCell ? rest.removeFirst() : nil
    try addCell(
      "LSTM", id, gates: places, recurrent: [weights(operands[1])], shift: shift,
      states: hidden == nil && cell == nil ? [] : [hidden, cell], attributes: [:])
  }

  mutating func addGRU(_ shape: GRUShape, _ id: Int) throws {
    let operands = graph.nodes[id].operands
    // The file's update gate keeps the old state, ours takes the new one.
    try addCell(
      "GRU", id, gates: [0, 1, 2], negated: [0], recurrent: [weights(operands[1]), weights(operands[2])], shift: [],
      states: shape.hasHidden ? [operands[5]] : [], attributes: ["linear_before_reset": .integer(0)])
  }

  mutating func addRNN(_ rnn: VanillaRNN, _ id: Int) throws {
    let operands = graph.nodes[id].operands
    try addCell(
      "RNN", id, gates: [0], recurrent: [weights(operands[1])], shift: [], states: rnn.hasHidden ? [operands[3]] : [],
      attributes: ["activations": .strings([rnn.activation == .tanh ? "Tanh" : "Relu"])])
  }
}
