// ONNXRecurrences: recurrent cells over time. Their weights become parameters in the order and form that our kernels take.
// ONNXOperators joins the tables.
import Compute

extension ONNXOperator {
  private static let limits =
    "one direction, forward; default activations (RNN: Tanh or Relu); no sequence lengths, clip or final cell state"

  static let recurrences: [ONNXOperator] = [
    ONNXOperator("LSTM", limits + ", peepholes or input_forget", lstm),
    ONNXOperator("GRU", limits, gru),
    ONNXOperator("RNN", limits, rnn),
  ]

  /// What all three have in common.
  private struct Cell {
    /// [B, T, I].
    let x: Value
    let hidden: Int
    let timeFirst: Bool

    init(_ translation: inout ONNXTranslation, _ site: ONNXSite, parts: Int, activations: [[String]]) throws {
      guard try site.string("direction", "forward") == "forward" else {
        throw ONNXRefusal("only the direction forward is supported")
      }
      guard site.node.attributes["clip"] == nil, site.optional(4) == nil else {
        throw ONNXRefusal("clip and sequence lengths are not supported")
      }
      if case .strings(let names)? = site.node.attributes["activations"], !activations.contains(names) {
        throw ONNXRefusal("the activations \(names) are not supported")
      }
      timeFirst = try site.integer("layout", 0) == 0
      let input = try translation.plain(site.input(0))
      let recurrent = try site.weight(2).dimensions, weights = try site.weight(1).dimensions
      guard input.shape.rank == 3, recurrent.count == 3, weights.count == 3, recurrent[0] == 1, weights[0] == 1,
        recurrent[1] == parts * recurrent[2], weights[1] == recurrent[1], weights[2] == input.shape.last
      else {
        throw ONNXRefusal(
          "its input \(input.shape), W \(weights) and R \(recurrent) do not fit together in one direction")
      }
      hidden = recurrent[2]
      if let bias = site.optional(3), bias.dimensions != [1, 2 * parts * hidden] {
        throw ONNXRefusal("expected a B of shape [1, \(2 * parts * hidden)], got \(bias.dimensions)")
      }
      x = timeFirst ? try translation.turn(input, [1, 0, 2]) : input
    }

    /// x W' + b with the gates in the order `gates`.
    func projected(
      _ translation: inout ONNXTranslation, _ site: ONNXSite, gates: [Int], negated: Set<Int> = [], recurrentBias: Bool
    ) throws -> Value {
      let weights = try translation.parameter(
        site.weight(1), ONNXRecurrentForm.matrix(site.weight(1), gates: gates, negated: negated))
      let product = try translation.graph.matmul(x, weights)
      guard site.optional(3) != nil else { return product }
      let bias = try translation.parameter(
        site.weight(3),
        ONNXRecurrentForm.bias(site.weight(3), hidden: hidden, gates: gates, negated: negated, summed: recurrentBias))
      let input =
        recurrentBias ? bias : try translation.graph.slice(bias, axis: 0, from: 0, count: gates.count * hidden)
      return try translation.graph.add(product, input)
    }

    /// An initial state [B, H], where the node has one.
    func state(_ translation: inout ONNXTranslation, _ site: ONNXSite, _ index: Int) throws -> Value? {
      guard let operand = site.optional(index) else { return nil }
      return try translation.graph.reshape(translation.plain(operand), to: [x.shape[0], hidden])
    }

    /// Y and Y_h of all hidden states [B, T, H].
    func results(_ translation: inout ONNXTranslation, _ states: Value) throws -> [ONNXOperand] {
      let (batch, steps) = (states.shape[0], states.shape[1])
      let last = try translation.graph.slice(states, axis: 1, from: steps - 1, count: 1)
      if !timeFirst {
        return [
          .value(try translation.graph.reshape(states, to: [batch, steps, 1, hidden]), .plain), .value(last, .plain),
        ]
      }
      let all = try translation.turn(states, [1, 0, 2])
      return [
        .value(try translation.graph.reshape(all, to: [steps, 1, batch, hidden]), .plain),
        .value(try translation.graph.reshape(last, to: [1, batch, hidden]), .plain),
      ]
    }
  }

  private static func lstm(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    guard site.optional(7) == nil, try site.integer("input_forget", 0) == 0 else {
      throw ONNXRefusal("peepholes and input_forget are not supported")
    }
    let cell = try Cell(&translation, site, parts: 4, activations: [["Sigmoid", "Tanh", "Tanh"]])
    // The file has input, output, forget and candidate; ours are input, forget, candidate and output.
    let gates = [0, 2, 3, 1]
    let projected = try cell.projected(&translation, site, gates: gates, recurrentBias: true)
    let hidden = try translation.parameter(site.weight(2), ONNXRecurrentForm.matrix(site.weight(2), gates: gates))
    let initialHidden = try cell.state(&translation, site, 5), initialCell = try cell.state(&translation, site, 6)
    let states = try translation.graph.lstm(
      projected, hidden: hidden, initialHidden: initialHidden, initialCell: initialCell, gates: .ifgo, forgetBias: 0)
    return try cell.results(&translation, states)
  }

  private static func gru(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let cell = try Cell(&translation, site, parts: 3, activations: [["Sigmoid", "Tanh"]])
    if try site.integer("linear_before_reset", 0) != 0 { return try unrolledGRU(&translation, site, cell) }
    // The file's update gate keeps the old state, ours takes the new one: sigmoid(-z) = 1 - sigmoid(z).
    let projected = try cell.projected(&translation, site, gates: [0, 1, 2], negated: [0], recurrentBias: true)
    let hidden = try translation.parameter(
      site.weight(2), ONNXRecurrentForm.matrix(site.weight(2), gates: [0, 1, 2], negated: [0]))
    let gates = try translation.graph.slice(hidden, axis: 1, from: 0, count: 2 * cell.hidden)
    let candidate = try translation.graph.slice(hidden, axis: 1, from: 2 * cell.hidden, count: cell.hidden)
    let initial = try cell.state(&translation, site, 5)
    let states = try translation.graph.gru(
      projected, hiddenGates: gates, hiddenCandidate: candidate, initialHidden: initial)
    return try cell.results(&translation, states)
  }

  /// The variant whose reset gate comes after the hidden map, step by step: no kernel of ours has it.
  private static func unrolledGRU(
    _ translation: inout ONNXTranslation, _ site: ONNXSite, _ cell: Cell
  ) throws -> [ONNXOperand] {
    let width = cell.hidden, rows = cell.x.shape[0]
    let projected = try cell.projected(&translation, site, gates: [0, 1, 2], recurrentBias: false)
    let hidden = try translation.parameter(site.weight(2), ONNXRecurrentForm.matrix(site.weight(2), gates: [0, 1, 2]))
    let initial = try cell.state(&translation, site, 5)
    var bias: Value?
    if let both = try site.optional(3) == nil ? nil : site.weight(3) {
      bias = try translation.graph.slice(
        translation.parameters[both.name]!.value, axis: 0, from: 3 * width, count: 3 * width)
    }
    if initial == nil { try translation.spend(rows * width) }
    var state =
      try initial ?? translation.graph.constant([Float](repeating: 0, count: rows * width), [rows, width])
    var states: [Value] = []
    var graph = translation.graph
    for step in 0..<cell.x.shape[1] {
      let input = try graph.reshape(
        graph.slice(projected, axis: 1, from: step, count: 1), to: [rows, 3 * width])
      var map = try graph.matmul(state, hidden)
      if let bias { map = try graph.add(map, bias) }
      func part(_ value: Value, _ gate: Int, _ graph: inout Graph) throws -> Value {
        try graph.slice(value, axis: 1, from: gate * width, count: width)
      }
      let update = try graph.sigmoid(graph.add(part(input, 0, &graph), part(map, 0, &graph)))
      let reset = try graph.sigmoid(graph.add(part(input, 1, &graph), part(map, 1, &graph)))
      let candidate = try graph.tanh(
        graph.add(part(input, 2, &graph), graph.multiply(reset, part(map, 2, &graph))))
      state = try graph.add(candidate, graph.multiply(update, graph.subtract(state, candidate)))
      states.append(try graph.reshape(state, to: [rows, 1, width]))
    }
    let all = try graph.concatenate(states, axis: 1)
    translation.graph = graph
    return try cell.results(&translation, all)
  }

  private static func rnn(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let cell = try Cell(&translation, site, parts: 1, activations: [["Tanh"], ["Relu"]])
    var activation = RecurrentActivation.tanh
    if case .strings(["Relu"])? = site.node.attributes["activations"] { activation = .relu }
    let projected = try cell.projected(&translation, site, gates: [0], recurrentBias: true)
    let hidden = try translation.parameter(site.weight(2), ONNXRecurrentForm.matrix(site.weight(2), gates: [0]))
    let initial = try cell.state(&translation, site, 5)
    let states = try translation.graph.vanillaRNN(
      projected, hidden: hidden, initialHidden: initial, activation: activation)
    return try cell.results(&translation, states)
  }
}

/// How the weights of recurrent cells become ours: gates in another order, matrices the other way round.
enum ONNXRecurrentForm {
  /// [1, G H, K] to [K, G H] with the gates in the order `gates`, those in `negated` with their sign turned.
  static func matrix(_ tensor: ONNXTensor, gates: [Int], negated: Set<Int> = []) -> ONNXWeightForm {
    let columns = tensor.dimensions[2], rows = tensor.dimensions[1], hidden = rows / gates.count
    return ONNXWeightForm(key: "matrix \(gates) \(negated.sorted())", dimensions: [columns, rows]) { elements in
      var out = [Float](repeating: 0, count: elements.count)
      for (place, gate) in gates.enumerated() {
        let sign: Float = negated.contains(gate) ? -1 : 1
        for unit in 0..<hidden {
          for column in 0..<columns {
            out[column * rows + place * hidden + unit] = sign * elements[(gate * hidden + unit) * columns + column]
          }
        }
      }
      return out
    }
  }

  /// [1, 2 G H], the bias of the input and that of the state, to their sum [G H] or, apart, to [2 G H].
  static func bias(
    _ tensor: ONNXTensor, hidden: Int, gates: [Int], negated: Set<Int>, summed: Bool
  ) -> ONNXWeightForm {
    let half = gates.count * hidden
    return ONNXWeightForm(
      key: "bias \(gates) \(negated.sorted()) \(summed)", dimensions: [summed ? half : 2 * half]
    ) { elements in
      guard summed else { return elements }
      return gates.flatMap { gate in
        (gate * hidden..<(gate + 1) * hidden).map { index in
          (negated.contains(gate) ? -1 : 1) * (elements[index] + elements[half + index])
        }
      }
    }
  }
}
