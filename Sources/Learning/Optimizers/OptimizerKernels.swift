// OptimizerKernels: with the files OptimizerKernels+*.swift the one place of this target that calls C kernels. Optimizers
// hold one of these values; the rules they follow are in their own files, the kernels in CKernels/optimizer_*.
import CKernels
import Compute

/// The optimizers' C kernels at one CPU level.
struct OptimizerKernels: @unchecked Sendable {
  // @unchecked: the table is constant data of the program.
  let table: UnsafePointer<ck_optimizer>

  /// The kernels of `level`; traps where the machine or this build lacks it, which `CPULevel.selected` has refused.
  init(level: CPULevel) {
    guard level <= CPULevel.best, let table = ck_optimizer_table(level.rawLevel) else {
      preconditionFailure("OptimizerKernels: this machine cannot run level \(level)")
    }
    self.table = table
  }

  /// Runs kernels with denormal numbers taken as zero, which is what they are timed and tested with.
  @inline(__always)
  func flushingDenormals(_ body: () -> Void) {
    let saved = ck_denormals_flush()
    body()
    ck_denormals_restore(saved)
  }

  func sgd(_ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, count: Int, rate: Float) {
    flushingDenormals { table.pointee.sgd(p, g, Int64(count), rate) }
  }

  func momentum(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>, count: Int,
    rate: Float, decay: Float
  ) {
    flushingDenormals { table.pointee.momentum(p, g, m, Int64(count), rate, decay) }
  }

  func adam(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
    _ v: UnsafeMutablePointer<Float>, count: Int, _ configuration: Adam.Configuration, rate: Float, correction: Float
  ) {
    flushingDenormals {
      table.pointee.adam(
        p, g, m, v, Int64(count), configuration.beta1, configuration.beta2, rate, correction, configuration.epsilon,
        configuration.epsilonRoot)
    }
  }

  /// The sum of squares of `count` floats.
  func squares(_ x: UnsafePointer<Float>, count: Int) -> Double { table.pointee.squares(x, Int64(count)) }

  /// Whether none of `count` floats is infinite or not a number.
  func areFinite(_ x: UnsafePointer<Float>, count: Int) -> Bool { table.pointee.are_finite(x, Int64(count)) }

  /// g = clamp(g, -bound, bound), where NaN stays.
  func clamp(_ g: UnsafeMutablePointer<Float>, count: Int, bound: Float) {
    table.pointee.clamp(g, Int64(count), bound)
  }

  /// g = scale * g + share * p.
  func blend(_ g: UnsafeMutablePointer<Float>, _ p: UnsafePointer<Float>, count: Int, scale: Float, share: Float) {
    flushingDenormals { table.pointee.blend(g, p, Int64(count), scale, share) }
  }
}
