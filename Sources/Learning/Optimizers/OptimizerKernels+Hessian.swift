// The kernels that AdaHessian calls; OptimizerKernels.swift has what they share with the others.
import CKernels
import Compute

extension OptimizerKernels {
  /// out = x + size * z, each z 1 or -1 by the bits of the key's words in order; `count` is a multiple of 16.
  func scatter(
    _ out: UnsafeMutablePointer<Float>, around x: UnsafePointer<Float>, count: Int, key: RandomKey, size: Float
  ) {
    table.pointee.scatter(out, x, Int64(count), UInt64(key.low) | UInt64(key.high) << 32, size)
  }

  /// Takes in the curvature of a tensor seen as rows and columns; the divisors of its columns come to stand in the first
  /// row of `above`. `scale` turns differences of gradients into second derivatives.
  func curvature(
    _ above: UnsafeMutablePointer<Float>, _ below: UnsafePointer<Float>, _ v: UnsafeMutablePointer<Float>,
    _ view: (rows: Int, columns: Int), scale: Double, _ rule: AdaHessian.Configuration, correction: Float
  ) {
    flushingDenormals {
      table.pointee.curvature(
        above, below, v, Int64(view.rows), Int64(view.columns), scale, rule.beta2, correction, rule.power,
        rule.epsilon)
    }
  }

  /// m' = b1 m + (1 - b1) g; p' = kept p - rate m' / divisor.
  func dividedStep(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
    _ divisor: UnsafePointer<Float>, _ view: (rows: Int, columns: Int), beta1: Float, rate: Float, kept: Float
  ) {
    flushingDenormals {
      table.pointee.divided_step(p, g, m, divisor, Int64(view.rows), Int64(view.columns), beta1, rate, kept)
    }
  }
}
