// OptimizerKernels: the one place of this target that calls C kernels. Optimizers hold one of these values; the rules
// they follow are in their own files, the kernels in CKernels/optimizer_*.
import CKernels
import Compute

/// The optimizers' C kernels at one CPU level.
struct OptimizerKernels: @unchecked Sendable {
  // @unchecked: the table is constant data of the program.
  private let table: UnsafePointer<ck_optimizer>

  /// The kernels of `level`; traps where this build has none, which `CPULevel` never offers.
  init(level: CPULevel) {
    guard let table = ck_optimizer_table(Int32(level.rawValue)) else {
      preconditionFailure("OptimizerKernels: this build has no kernels for level \(level)")
    }
    self.table = table
  }

  func sgd(_ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, count: Int, rate: Float) {
    table.pointee.sgd(p, g, Int64(count), rate)
  }

  func momentum(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>, count: Int,
    rate: Float, decay: Float
  ) {
    table.pointee.momentum(p, g, m, Int64(count), rate, decay)
  }

  func adam(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
    _ v: UnsafeMutablePointer<Float>, count: Int, _ configuration: Adam.Configuration, rate: Float, correction: Float
  ) {
    table.pointee.adam(
      p, g, m, v, Int64(count), configuration.beta1, configuration.beta2, rate, correction, configuration.epsilon,
      configuration.epsilonRoot)
  }
}
