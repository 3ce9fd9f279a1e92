// Kernels: the CPU levels and the table of C kernels of one level. Plan chooses kernels from it, Executor runs them;
// BLAS is the other source of products.
import CKernels

/// A set of processor instructions that the kernels were compiled for, in ascending order.
public enum CPULevel: String, Sendable, Hashable, CaseIterable, Comparable {
  /// The compiler's baseline: SSE2 on x86-64, NEON on arm64.
  case scalar
  /// 256-bit vectors with fused multiply-add.
  case avx2
  /// 512-bit vectors.
  case avx512

  /// The number the C side knows the level by.
  public var rawLevel: Int32 {
    switch self {
    case .scalar: Int32(CK_SCALAR)
    case .avx2: Int32(CK_AVX2)
    case .avx512: Int32(CK_AVX512)
    }
  }

  /// Whether `a` is a lower level than `b`.
  public static func < (a: CPULevel, b: CPULevel) -> Bool { a.rawLevel < b.rawLevel }

  /// The highest level that this machine and its operating system support.
  public static var best: CPULevel {
    let level = ck_cpu_best_level()
    return allCases.last { $0.rawLevel <= level } ?? .scalar
  }

  /// All levels that this machine supports, lowest first.
  public static var supported: [CPULevel] { allCases.filter { $0 <= best } }

  /// The level a process should run at: `TRAINYARD_CPU` of `environment` where it is set, else `best`.
  ///
  /// Throws `ComputeError` for a name that is no level and for a level that the machine lacks.
  public static func selected(environment: [String: String]) throws -> CPULevel {
    guard let name = environment["TRAINYARD_CPU"], !name.isEmpty else { return best }
    let names = supported.map(\.rawValue).joined(separator: ", ")
    guard let level = CPULevel(rawValue: name) else {
      throw ComputeError(op: "TRAINYARD_CPU", expected: "one of \(names)", got: name)
    }
    guard level <= best else {
      throw ComputeError(op: "TRAINYARD_CPU", expected: "a level this machine has (\(names))", got: name)
    }
    return level
  }
}

/// The C kernels of one CPU level.
package struct Kernels: @unchecked Sendable {
  // @unchecked: the table is constant data of the program.

  let level: CPULevel
  let table: UnsafePointer<ck_compute>

  /// Throws `ComputeError` where the machine lacks the level.
  init(level: CPULevel) throws {
    guard level.rawLevel <= ck_cpu_best_level(), let table = ck_compute_table(level.rawLevel) else {
      throw ComputeError(
        op: "CPU level", expected: CPULevel.supported.map(\.rawValue).joined(separator: " or "),
        got: level.rawValue)
    }
    self.level = level
    self.table = table
  }

  /// Whether OpenBLAS does the product [m, k] x [k, n] faster than our own kernel.
  ///
  /// Measured on a Zen 5 core (FMA peak 270 GFLOP/s at AVX-512, 137 at AVX2) against OpenBLAS 0.3.21 with the kernels of
  /// the same level: with a right operand of up to 512 x 1024 elements ours is ahead by 1 to 50 % for 64 rows or more
  /// and its epilogue is free (128 x 128 x 784: 270 against 226 GFLOP/s; 64 x 10 x 32: 125 against 118; behind only on
  /// results narrower than a vector, by less than a microsecond). It does not pack that operand, which is read again
  /// for each few rows, so that from 1024 x 1024 on OpenBLAS is ahead by 15 % (AVX-512) to 40 % (AVX2).
  func prefersBLAS(m: Int, n: Int, k: Int) -> Bool {
    n * k > 512 * 1024 && m >= 64 && n >= 64 && k >= 64 && m <= Int(Int32.max) && n <= Int(Int32.max)
      && k <= Int(Int32.max)
  }

  /// Points operands at memory that has moved to `base`; allocates nothing.
  static func move(_ operands: UnsafeMutableBufferPointer<ck_operand>, to base: UnsafePointer<Float>) {
    ck_move(operands.baseAddress, Int64(operands.count), base)
  }

  /// Runs `count` calls in order; allocates nothing.
  static func run(_ calls: UnsafePointer<ck_call>, count: Int) { ck_run(calls, Int64(count)) }
}
