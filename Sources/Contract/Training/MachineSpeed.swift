// How fast a worker's core is, as measured when the worker starts, so that the server can say what a step will take.
// Compute's SpeedProbe measures; ModelCost turns a model's arithmetic into seconds.
import Foundation

/// What one core of a worker does in a second, everything in its cache but where said.
public struct MachineSpeed: Sendable, Hashable {
  /// Floating-point operations of large matrix products.
  public var productFlopsPerSecond: Double
  /// Elements of a transcendental function (gelu).
  public var functionsPerSecond: Double
  /// Bytes read and written over memory that no cache holds.
  public var bytesPerSecond: Double

  public init(productFlopsPerSecond: Double, functionsPerSecond: Double, bytesPerSecond: Double) {
    self.productFlopsPerSecond = productFlopsPerSecond
    self.functionsPerSecond = functionsPerSecond
    self.bytesPerSecond = bytesPerSecond
  }

  public var json: JSON {
    [
      "product_flops_per_s": .number(productFlopsPerSecond.rounded()),
      "functions_per_s": .number(functionsPerSecond.rounded()), "bytes_per_s": .number(bytesPerSecond.rounded()),
    ]
  }
}
