// RecurrenceGRU: the gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) scanned over time; see RecurrenceLSTM.
import CKernels

/// The lengths of a GRU scan.
package struct GRUShape: Sendable {
  package let batch, steps, hidden: Int
  package let hasHidden: Bool

  package var lengths: [Int] { [batch, steps, hidden, hasHidden ? 1 : 0] }
}

/// (x [B, S, 3H], U [H, 2H], V [H, H], workspaces for what each step computed and started from, initial hidden).
package struct GRU: KernelOperation {
  package let shape: GRUShape

  package var name: String { "gru" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.gru, lengths: shape.lengths, scratchFloats: 4 * shape.batch * shape.hidden,
      flops: result.count * (6 * shape.hidden + 9))
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let x = operands[0], u = operands[1], v = operands[2], saved = operands[3], states = operands[4]
    let slopes = try graph.workspace([shape.batch, shape.hidden])
    let dx = try graph.append(GRUBackward(shape: shape), [dy, u, v, saved, states, slopes], x.shape)
    // The weights' gradients are products of the states that each step multiplied with columns of dx.
    func weights(_ skip: Int, _ column: Int, _ shape: Shape) throws -> Value {
      try graph.append(ColumnProduct(skip: skip, column: column, rows: dx.shape.rows), [states, dx], shape)
    }
    var amounts = [
      (x.id, dx), (u.id, try weights(0, 0, u.shape)), (v.id, try weights(y.shape.count, 2 * shape.hidden, v.shape)),
    ]
    if shape.hasHidden { amounts.append((operands[5].id, try graph.sideResult(slopes, of: dx, slopes.shape))) }
    return amounts
  }
}

/// (dy, U, V, what each step computed and started from, workspace for the initial state's gradient): the gradient of x.
struct GRUBackward: KernelOperation {
  let shape: GRUShape

  var name: String { "gru gradient" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let (b, h) = (shape.batch, shape.hidden)
    return KernelWork(
      kernel: kernels.table.pointee.gru_backward, lengths: shape.lengths, scratchFloats: 3 * h * h + 4 * b * h,
      flops: result.count * (2 * h + 6))
  }
}

/// (a, b [.., C]): A' B, with A the [rows, M] that begins `skip` floats into a, and B the columns of b from `column` on.
struct ColumnProduct: KernelOperation {
  let skip: Int
  let column: Int
  let rows: Int

  var name: String { "product of columns" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    KernelWork(
      kernel: kernels.table.pointee.column_product,
      lengths: [result[0], result[1], rows, result[0], operands[1].last, skip, column], flops: 2 * result.count * rows)
  }
}

extension Graph {
  /// All hidden states of a gated recurrent unit over time, with x already multiplied by the input weights:
  /// x [B, S, 3H] (z, r, a), hiddenGates [H, 2H] (z, r), hiddenCandidate [H, H] -> [B, S, H].
  ///
  /// z, r = sigmoid(x + h hiddenGates), a = tanh(x + (r h) hiddenCandidate) and h' = (1 - z) h + z a. The initial state
  /// [B, H] is zero where it is nil. Throws where a shape does not fit.
  public mutating func gru(
    _ x: Value, hiddenGates: Value, hiddenCandidate: Value, initialHidden: Value? = nil
  ) throws -> Value {
    let (batch, steps, width) = try checkRecurrence(
      "gru", x, parts: 3, weights: [(hiddenGates, 2), (hiddenCandidate, 1)], initial: [initialHidden])
    let shape = GRUShape(batch: batch, steps: steps, hidden: width, hasHidden: initialHidden != nil)
    let workspaces = try [workspace([steps, batch, 3 * width]), workspace([2, batch, steps, width])]
    return try append(
      GRU(shape: shape), [x, hiddenGates, hiddenCandidate] + workspaces + [initialHidden].compactMap { $0 },
      [batch, steps, width])
  }
}
