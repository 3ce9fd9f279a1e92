// RecurrenceLSTM: the long short-term memory cell (Hochreiter and Schmidhuber 1997) scanned over time. RecurrenceGRU and
// RecurrenceVanilla are its relatives.
import CKernels

/// The order of the gates in an LSTM's last axis: input, forget, candidate (g) and output.
public enum LSTMGates: String, Sendable, Hashable {
  case ifgo, igfo

  /// Which quarter holds i, f, g and o.
  package var quarters: [Int] { self == .ifgo ? [0, 1, 2, 3] : [0, 2, 1, 3] }
}

/// The lengths and rules of an LSTM scan, the same forward and backward.
package struct LSTMShape: Sendable {
  package let batch, steps, hidden: Int
  package let gates: LSTMGates
  package let forgetBias: Float
  package let hasHidden, hasCell: Bool

  package var lengths: [Int] { [batch, steps, hidden] + gates.quarters + [hasHidden ? 1 : 0, hasCell ? 1 : 0] }
}

/// (x [B, S, 4H], U [H, 4H], workspaces for what each step computed and started from, initial hidden, initial cell).
package struct LSTM: KernelOperation {
  package let shape: LSTMShape

  package var name: String { "lstm" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.lstm, lengths: shape.lengths, numbers: [shape.forgetBias],
      scratchFloats: 5 * shape.batch * shape.hidden, flops: result.count * (8 * shape.hidden + 13))
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], u = operands[1], saved = operands[2], previous = operands[3]
    let initial = Array(operands[4...])
    let state: Shape = [shape.batch, shape.hidden]
    let slopes = try graph.workspace([2, shape.batch, shape.hidden])
    let dx = try graph.append(
      LSTMBackward(shape: shape), [dy, u, saved, slopes] + (shape.hasCell ? [initial.last!] : []), x.shape)
    var amounts = [(x.id, dx), (u.id, try graph.product(previous, dx, true, false))]
    if shape.hasHidden { amounts.append((initial[0].id, try graph.sideResult(slopes, of: dx, state))) }
    if shape.hasCell {
      amounts.append((initial.last!.id, try graph.sideResult(slopes, of: dx, first: state.count, state)))
    }
    return amounts
  }
}

/// (dy, U, what each step computed, workspace for the gradients of the initial state, initial cell): the gradient of x.
struct LSTMBackward: KernelOperation {
  let shape: LSTMShape

  var name: String { "lstm gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let (b, h) = (shape.batch, shape.hidden)
    return KernelWork(
      kernel: kernels.table.pointee.lstm_backward, lengths: shape.lengths, numbers: [shape.forgetBias],
      scratchFloats: 4 * h * h + 4 * b * h, flops: result.count * (2 * h + 7))
  }
}

extension Graph {
  /// All hidden states of a long short-term memory over time, with x already multiplied by the input weights:
  /// x [B, S, 4H], hidden [H, 4H] -> [B, S, H].
  ///
  /// c' = sigmoid(f + forgetBias) c + sigmoid(i) tanh(g) and h' = sigmoid(o) tanh(c'), where the quarters i, f, g, o of
  /// x + h hidden lie as `gates` says. The initial states [B, H] are zero where they are nil. Throws where a shape does
  /// not fit.
  public mutating func lstm(
    _ x: Value, hidden: Value, initialHidden: Value? = nil, initialCell: Value? = nil, gates: LSTMGates = .ifgo,
    forgetBias: Float = 1
  ) throws -> Value {
    let (batch, steps, width) = try checkRecurrence(
      "lstm", x, parts: 4, weights: [(hidden, 4)], initial: [initialHidden, initialCell])
    let shape = LSTMShape(
      batch: batch, steps: steps, hidden: width, gates: gates, forgetBias: forgetBias, hasHidden: initialHidden != nil,
      hasCell: initialCell != nil)
    let workspaces = try [workspace([steps, batch, 6 * width]), workspace([batch, steps, width])]
    return try append(
      LSTM(shape: shape), [x, hidden] + workspaces + [initialHidden, initialCell].compactMap { $0 },
      [batch, steps, width])
  }

  /// B, S and H of a recurrence over x [B, S, parts H] with weights [H, part H] and initial states [B, H]; throws where
  /// they do not fit together.
  func checkRecurrence(
    _ op: String, _ x: Value, parts: Int, weights: [(value: Value, parts: Int)], initial: [Value?]
  ) throws -> (batch: Int, steps: Int, hidden: Int) {
    let states = initial.compactMap { $0 }
    try floats(op, [x] + weights.map(\.value) + states)
    guard x.shape.rank == 3, x.shape.last % parts == 0 else {
      throw ComputeError(op: op, expected: "x [B, S, \(parts == 1 ? "" : "\(parts) ")H]", got: "\(x.shape)")
    }
    let width = x.shape.last / parts
    for weight in weights where weight.value.shape != [width, weight.parts * width] {
      throw ComputeError(
        op: op, expected: "weights [\(width), \(weight.parts * width)] for x \(x.shape)", got: "\(weight.value.shape)")
    }
    for state in states where state.shape != [x.shape[0], width] {
      throw ComputeError(op: op, expected: "an initial state [\(x.shape[0]), \(width)]", got: "\(state.shape)")
    }
    return (x.shape[0], x.shape[1], width)
  }
}
