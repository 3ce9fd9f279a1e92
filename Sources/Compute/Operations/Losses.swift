// Losses: those that are compositions of other operations, which fusion runs in one or two passes. CrossEntropy.swift has
// the ones with kernels of their own.

extension Graph {
  /// The mean over all elements of (prediction - target)^2; the shapes must be equal.
  public mutating func meanSquaredError(_ prediction: Value, target: Value) throws -> Value {
    try equal("meanSquaredError", "prediction", prediction, "target", target)
    return try mean(square(subtract(prediction, target)))
  }

  /// The mean over all elements of softplus(x) - x t: -log of the probability that sigmoid(x) gives to t, in nats.
  ///
  /// Targets lie in 0...1 and have the shape of the logits; they may be probabilities, such as the grey levels of an image.
  public mutating func bernoulliNegativeLogLikelihood(_ logits: Value, target: Value) throws -> Value {
    try equal("bernoulliNegativeLogLikelihood", "logits", logits, "target", target)
    return try mean(subtract(softplus(logits), multiply(logits, target)))
  }

  /// The mean over rows of KL(N(mean, exp(logDeviation)^2) || N(0, 1)), summed along the last axis, in nats: [.., Z].
  ///
  /// Each element gives (mean^2 + exp(2 logDeviation) - 1) / 2 - logDeviation (Kingma and Welling, arXiv 1312.6114).
  public mutating func gaussianKL(mean: Value, logDeviation: Value) throws -> Value {
    try equal("gaussianKL", "mean", mean, "logDeviation", logDeviation)
    let variance = try exp(scale(logDeviation, by: 2))
    let half = try affine(add(square(mean), variance), scale: 0.5, shift: -0.5)
    return try scale(self.mean(subtract(half, logDeviation)), by: Float(mean.shape.last))
  }

  /// The mean over all elements of -log N(x; mean, exp(logDeviation)^2), in nats; the shapes must be equal.
  public mutating func gaussianNegativeLogLikelihood(_ x: Value, mean: Value, logDeviation: Value) throws -> Value {
    try equal("gaussianNegativeLogLikelihood", "x", x, "mean", mean)
    try equal("gaussianNegativeLogLikelihood", "x", x, "logDeviation", logDeviation)
    let scaled = try multiply(subtract(x, mean), exp(negate(logDeviation)))
    // Half of log(2 pi).
    let half = try affine(square(scaled), scale: 0.5, shift: 0.918_938_533)
    return try self.mean(add(half, logDeviation))
  }

  private func equal(_ op: String, _ name: String, _ a: Value, _ other: String, _ b: Value) throws {
    guard a.shape == b.shape else {
      throw ComputeError(op: op, expected: "a \(other) of the \(name)'s shape \(a.shape)", got: "\(b.shape)")
    }
  }
}
