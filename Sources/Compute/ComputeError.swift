// ComputeError: the one error type of Compute. Graph, Gradient, Plan, Kernels and BLAS throw it.

/// An impossible request: which operation or setting it concerns, what was expected and what came.
public struct ComputeError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The operation or setting at fault, such as `matmul` or `TRAINYARD_CPU`.
  public let op: String
  /// What would have been right.
  public let expected: String
  /// What was given.
  public let got: String

  /// Makes an error from its three facts.
  public init(op: String, expected: String, got: String) {
    self.op = op
    self.expected = expected
    self.got = got
  }

  /// The facts as one sentence.
  public var description: String { "\(op): expected \(expected), got \(got)" }
}
