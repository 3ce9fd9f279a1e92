// RecurrenceVanilla: the plain recurrent cell (Elman 1990) scanned over time; see RecurrenceLSTM.
import CKernels

/// What a vanilla recurrent cell does to its sum.
public enum RecurrentActivation: String, Sendable, Hashable {
  case relu, tanh
}

/// (x [B, S, H], U [H, H], workspace for what each step started from, initial hidden).
package struct VanillaRNN: KernelOperation {
  package let activation: RecurrentActivation
  package let hasHidden: Bool

  package var name: String { "vanillaRNN" }

  /// The kernels' lengths for hidden states of this shape.
  func lengths(_ shape: Shape) -> [Int] { shape.dimensions + [activation == .tanh ? 1 : 0, hasHidden ? 1 : 0] }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.vanilla_rnn, lengths: lengths(result), scratchFloats: 2 * result[0] * result[2],
      flops: result.count * (2 * result[2] + 2))
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], u = operands[1], previous = operands[2]
    let slopes = try graph.workspace([x.shape[0], x.shape[2]])
    let dx = try graph.append(VanillaRNNBackward(forward: self), [dy, u, y, slopes], x.shape)
    var amounts = [(x.id, dx), (u.id, try graph.product(previous, dx, true, false))]
    if hasHidden { amounts.append((operands[3].id, try graph.sideResult(slopes, of: dx, slopes.shape))) }
    return amounts
  }
}

/// (dy, U, y, workspace for the initial state's gradient): the gradient of x.
struct VanillaRNNBackward: KernelOperation {
  let forward: VanillaRNN

  var name: String { "vanillaRNN gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.vanilla_rnn_backward, lengths: forward.lengths(result),
      scratchFloats: (result[2] + result[0]) * result[2], flops: result.count * (2 * result[2] + 3))
  }
}

extension Graph {
  /// All hidden states of a plain recurrent cell over time, with x already multiplied by the input weights:
  /// x [B, S, H], hidden [H, H] -> [B, S, H], h' = activation(x + h hidden).
  ///
  /// The initial state [B, H] is zero where it is nil. Throws where a shape does not fit.
  public mutating func vanillaRNN(
    _ x: Value, hidden: Value, initialHidden: Value? = nil, activation: RecurrentActivation
  ) throws -> Value {
    let (batch, steps, width) = try checkRecurrence(
      "vanillaRNN", x, parts: 1, weights: [(hidden, 1)], initial: [initialHidden])
    return try append(
      VanillaRNN(activation: activation, hasHidden: initialHidden != nil),
      [x, hidden, workspace([batch, steps, width])] + [initialHidden].compactMap { $0 }, [batch, steps, width])
  }
}
