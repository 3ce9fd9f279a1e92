// LSTM, GRU and vanilla recurrences against a plain loop over time in Float64, with and without initial states.
import Foundation
import Testing

@testable import Compute

private func logistic(_ x: Double) -> Double { 1 / (1 + Foundation.exp(-x)) }

/// Runs `cell(x of the step, state) -> state` over time for each example; the first H numbers of a state are the output.
private func scan(
  _ x: [Double], _ shape: Shape, _ start: (_ example: Int) -> [Double], hidden: Int,
  _ cell: (_ x: [Double], _ state: [Double]) -> [Double]
) -> [Double] {
  var y: [Double] = []
  for b in 0..<shape[0] {
    var state = start(b)
    for t in 0..<shape[1] {
      let row = (b * shape[1] + t) * shape[2]
      state = cell(Array(x[row..<row + shape[2]]), state)
      y += state[..<hidden]
    }
  }
  return y
}

/// x + h U, element by element of x.
private func stepped(_ x: ArraySlice<Double>, _ h: [Double], _ u: [Double]) -> [Double] {
  x.enumerated().map { j, value in h.indices.reduce(value) { $0 + h[$1] * u[$1 * x.count + j] } }
}

/// Row `example` of an optional state.
private func initial(_ state: [Double]?, _ example: Int, _ hidden: Int) -> [Double] {
  state.map { Array($0[example * hidden..<(example + 1) * hidden]) } ?? [Double](repeating: 0, count: hidden)
}

extension LSTM: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let h = shape.hidden, q = shape.gates == .ifgo ? [0, 1, 2, 3] : [0, 2, 1, 3]
    func start(_ b: Int) -> [Double] {
      initial(shape.hasHidden ? x[4] : nil, b, h) + initial(shape.hasCell ? x.last! : nil, b, h)
    }
    return scan(x[0], shapes[0], start, hidden: h) { row, state in
      let sums = stepped(row[...], Array(state[..<h]), x[1])
      let cells = (0..<h).map { j in
        logistic(sums[q[1] * h + j] + Double(shape.forgetBias)) * state[h + j]
          + logistic(sums[q[0] * h + j]) * Foundation.tanh(sums[q[2] * h + j])
      }
      return (0..<h).map { logistic(sums[q[3] * h + $0]) * Foundation.tanh(cells[$0]) } + cells
    }
  }
}

extension GRU: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let h = shape.hidden
    func start(_ b: Int) -> [Double] { initial(shape.hasHidden ? x[5] : nil, b, h) }
    return scan(x[0], shapes[0], start, hidden: h) { row, state in
      let gates = stepped(row[..<(2 * h)], state, x[1]).map(logistic)
      let candidate = stepped(row[(2 * h)...], (0..<h).map { gates[h + $0] * state[$0] }, x[2]).map {
        Foundation.tanh($0)
      }
      return (0..<h).map { (1 - gates[$0]) * state[$0] + gates[$0] * candidate[$0] }
    }
  }
}

extension VanillaRNN: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let h = shapes[0].last
    return scan(x[0], shapes[0], { initial(hasHidden ? x[3] : nil, $0, h) }, hidden: h) { row, state in
      stepped(row[...], state, x[1]).map { activation == .tanh ? Foundation.tanh($0) : max($0, 0) }
    }
  }
}

/// B, S and H around one, primes and vector widths.
private let lengths = [(1, 1, 1), (2, 5, 3), (3, 2, 17), (9, 2, 16), (1, 3, 33)]

private func shapes(parts: Int, weights: [Int], states: Int) -> [[Shape]] {
  lengths.map { b, s, h in
    [[b, s, parts * h]] + weights.map { [h, $0 * h] } + (0..<states).map { _ in [b, h] }
  }
}

/// Smaller than a standard normal, so that sums over 33 states stay where the gates have slopes.
private let small: @Sendable (Float) -> Float = { 0.5 * $0 }

private let cases: [OperationCase] = [
  OperationCase(name: "lstm", shapes: shapes(parts: 4, weights: [4], states: 0), values: small) {
    try $0.lstm($1[0], hidden: $1[1])
  },
  OperationCase(name: "lstm from a state", shapes: shapes(parts: 4, weights: [4], states: 2), values: small) {
    try $0.lstm($1[0], hidden: $1[1], initialHidden: $1[2], initialCell: $1[3], gates: .igfo, forgetBias: 0.25)
  },
  OperationCase(name: "lstm from hidden states", shapes: shapes(parts: 4, weights: [4], states: 1), values: small) {
    try $0.lstm($1[0], hidden: $1[1], initialHidden: $1[2])
  },
  OperationCase(name: "lstm from cells", shapes: shapes(parts: 4, weights: [4], states: 1), values: small) {
    try $0.lstm($1[0], hidden: $1[1], initialCell: $1[2])
  },
  OperationCase(name: "gru", shapes: shapes(parts: 3, weights: [2, 1], states: 0), values: small) {
    try $0.gru($1[0], hiddenGates: $1[1], hiddenCandidate: $1[2])
  },
  OperationCase(name: "gru from a state", shapes: shapes(parts: 3, weights: [2, 1], states: 1), values: small) {
    try $0.gru($1[0], hiddenGates: $1[1], hiddenCandidate: $1[2], initialHidden: $1[3])
  },
  OperationCase(name: "vanillaRNN", shapes: shapes(parts: 1, weights: [1], states: 0), values: small) {
    try $0.vanillaRNN($1[0], hidden: $1[1], activation: .tanh)
  },
  OperationCase(
    name: "vanillaRNN with relu from a state", shapes: shapes(parts: 1, weights: [1], states: 1), values: small
  ) {
    try $0.vanillaRNN($1[0], hidden: $1[1], initialHidden: $1[2], activation: .relu)
  },
]

@Suite("Recurrences")
struct RecurrenceTests {
  @Test("results are those of loops in Float64", arguments: cases)
  func results(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: cases)
  func gradients(_ test: OperationCase) throws { try test.checkGradients(kept: false) }

  @Test("weights and states that do not fit are refused")
  func refusals() throws {
    var graph = Graph()
    let x = try graph.input("x", [2, 3, 12])
    let u = try graph.input("u", [3, 12])
    let v = try graph.input("v", [4, 8])
    let state = try graph.input("state", [3, 3])
    #expect(throws: ComputeError.self) { try graph.lstm(x, hidden: v) }
    #expect(throws: ComputeError.self) { try graph.lstm(x, hidden: u, initialHidden: state) }
    #expect(throws: ComputeError.self) { try graph.lstm(u, hidden: u) }
    #expect(throws: ComputeError.self) { try graph.gru(x, hiddenGates: v, hiddenCandidate: v) }
    #expect(throws: ComputeError.self) { try graph.vanillaRNN(x, hidden: u, activation: .tanh) }
  }
}
