// CrossEntropy: softmax cross-entropy of classes, weighted positions or probabilities. Fusion computes the loss and its
// gradient in one step where both are needed. Losses.swift has the losses made of other operations.
import CKernels

/// (logits [.., C], labels [..] and perhaps weights [..], or targets [.., C]): a mean of -sum(target log softmax).
package struct CrossEntropy: KernelOperation {
  /// What the second and third operands are.
  package enum Form: Sendable, Hashable {
    case labels, weightedLabels, targets
  }

  package let form: Form

  package var name: String { "softmaxCrossEntropy" }

  package func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    let table = kernels.table.pointee
    return KernelWork(
      kernel: form == .targets ? table.soft_cross_entropy : table.cross_entropy,
      lengths: [operands[0].rows, operands[0].last], flops: 5 * operands[0].count)
  }

  package func pullback(
    _ graph: inout Graph, operands: [Value], y: Value, dy: Value, wants: (Value) -> Bool
  ) throws -> [(Int, Value)] {
    let logits = operands[0]
    var amounts: [(Int, Value)] = []
    if wants(logits) {
      amounts.append((logits.id, try graph.append(CrossEntropyBackward(loss: self), operands + [dy], logits.shape)))
    }
    if form == .targets, wants(operands[1]) {
      let slope = try graph.multiply(graph.logSoftmax(logits), dy)
      amounts.append((operands[1].id, try graph.scale(slope, by: -1 / Float(logits.shape.rows))))
    }
    if form == .weightedLabels, wants(operands[2]) {
      throw ComputeError(op: name, expected: "weights that are not trained", got: "weights with a gradient")
    }
    return amounts
  }
}

/// (operands of the loss .., upstream scalar): the gradient with respect to the logits.
struct CrossEntropyBackward: KernelOperation {
  let loss: CrossEntropy

  var name: String { "softmaxCrossEntropyBackward" }

  func work(_ operands: [Shape], result: Shape, kernels: Kernels) -> KernelWork {
    loss.work(operands, result: result, kernels: kernels)
  }
}

extension Graph {
  /// The mean over all rows of -log softmax(logits)[label], in nats: logits [.., C], int32 labels [..] -> scalar.
  ///
  /// A label outside 0..<C makes the loss NaN.
  public mutating func softmaxCrossEntropy(_ logits: Value, labels: Value) throws -> Value {
    try check(logits, "labels", labels, .int32)
    return try append(CrossEntropy(form: .labels), [logits, labels], .scalar)
  }

  /// The mean of -log softmax(logits)[label] over positions, weighted: sum(loss weight) / sum(weight).
  ///
  /// Logits [.., C], int32 labels [..], float weights [..] -> scalar. A position of weight 0 counts for nothing, whatever
  /// its logits and label hold; weights that are all 0 give 0. Another label outside 0..<C makes the loss NaN.
  public mutating func softmaxCrossEntropy(_ logits: Value, labels: Value, weights: Value) throws -> Value {
    try check(logits, "labels", labels, .int32)
    try check(logits, "weights", weights, .float32)
    return try append(CrossEntropy(form: .weightedLabels), [logits, labels, weights], .scalar)
  }

  /// The mean over all rows of -sum(target log softmax(logits)), in nats: logits and targets [.., C] -> scalar.
  ///
  /// Targets are probabilities, but their sum need not be 1.
  public mutating func softmaxCrossEntropy(_ logits: Value, targets: Value) throws -> Value {
    try floats("softmaxCrossEntropy", [logits, targets])
    guard logits.shape.rank >= 1, targets.shape == logits.shape else {
      throw ComputeError(
        op: "softmaxCrossEntropy", expected: "logits and targets [.., C]",
        got: "\(logits.shape) and \(targets.shape)")
    }
    return try append(CrossEntropy(form: .targets), [logits, targets], .scalar)
  }

  private func check(_ logits: Value, _ name: String, _ rows: Value, _ type: ElementType) throws {
    try floats("softmaxCrossEntropy", [logits])
    guard rows.type == type else {
      throw ComputeError(op: "softmaxCrossEntropy", expected: "\(type.rawValue) \(name)", got: rows.type.rawValue)
    }
    guard logits.shape.rank >= 2, rows.shape.dimensions.elementsEqual(logits.shape.dimensions.dropLast()) else {
      throw ComputeError(
        op: "softmaxCrossEntropy", expected: "logits [.., C] and \(name) [..]",
        got: "\(logits.shape) and \(rows.shape)")
    }
  }
}
