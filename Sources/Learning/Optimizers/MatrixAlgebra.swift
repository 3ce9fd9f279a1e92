// MatrixAlgebra: what Muon, Shampoo, SOAP, M-FAC and Celo2 need of linear algebra, on memory of the caller's: products
// along an axis of a tensor, Gram matrices, Newton-Schulz, inverse roots, eigenbases, damped solutions. Products are our
// own kernels at the CPU level, factorisations the LAPACK inside OpenBLAS; the C side is CKernels/matrix_*.
import CKernels
import Compute

/// Linear algebra at one CPU level. Nothing here allocates; scratch memory is sized by the functions named `…Scratch`.
struct MatrixAlgebra: @unchecked Sendable {
  // @unchecked: the table is constant data of the program.
  private let table: UnsafePointer<ck_matrix>

  /// - Parameter factorizing: whether inverse roots, eigenbases or solutions will be asked for, which need OpenBLAS.
  ///   Traps where it is missing: `trainyard doctor` says how to install it.
  init(level: CPULevel, factorizing: Bool = false) {
    guard level <= CPULevel.best, let table = ck_matrix_table(level.rawLevel) else {
      preconditionFailure("MatrixAlgebra: this machine cannot run level \(level)")
    }
    self.table = table
    if factorizing, let problem = ck_lapack_load(level.rawLevel) {
      preconditionFailure("MatrixAlgebra: \(String(cString: problem))")
    }
  }

  @inline(__always)
  private func flushingDenormals<Result>(_ body: () -> Result) -> Result {
    let saved = ck_denormals_flush()
    defer { ck_denormals_restore(saved) }
    return body()
  }

  // MARK: Newton-Schulz

  /// The constants of Muon's polynomial (Jordan et al. 2024).
  static let newtonSchulzCoefficients: (Float, Float, Float) = (3.4445, -4.7750, 2.0315)

  static func orthogonalizeScratch(rows: Int, columns: Int) -> Int {
    Int(ck_newton_schulz_scratch(Int64(rows), Int64(columns)))
  }

  /// Moves the singular values of x[rows, columns] towards 1, in place.
  func orthogonalize(
    _ x: UnsafeMutablePointer<Float>, rows: Int, columns: Int, iterations: Int, epsilon: Float,
    scratch: UnsafeMutablePointer<Float>
  ) {
    withUnsafePointer(to: Self.newtonSchulzCoefficients) { coefficients in
      coefficients.withMemoryRebound(to: Float.self, capacity: 3) { coefficients in
        flushingDenormals {
          table.pointee.newton_schulz(
            Int64(rows), Int64(columns), x, coefficients, Int32(iterations), epsilon, scratch)
        }
      }
    }
  }

  // MARK: Along an axis of a tensor

  /// A contiguous tensor seen along one of its axes: [outer, size, inner].
  struct Axis: Sendable, Hashable {
    let outer: Int
    let size: Int
    let inner: Int

    init(_ axis: Int, of dimensions: [Int]) {
      outer = dimensions[..<axis].reduce(1, *)
      size = dimensions[axis]
      inner = dimensions[(axis + 1)...].reduce(1, *)
    }

    /// Scratch floats of `accumulateGram` and `multiply`.
    var scratchFloats: Int { max(inner > 1 ? outer * size * inner : 0, size * size) }
  }

  /// statistic[size, size] = keep * statistic + share * sum over the other axes of x x^T.
  func accumulateGram(
    of x: UnsafePointer<Float>, along axis: Axis, into statistic: UnsafeMutablePointer<Float>, keep: Float,
    share: Float, scratch: UnsafeMutablePointer<Float>
  ) {
    guard share != 0 else { return }
    flushingDenormals {
      var rows = x
      if axis.inner > 1 {
        for slice in 0..<axis.outer {
          let from = slice * axis.size * axis.inner
          table.pointee.transpose(
            Int64(axis.size), Int64(axis.inner), x + from, Int64(axis.inner), scratch + from, Int64(axis.size))
        }
        rows = UnsafePointer(scratch)
      }
      let count = axis.size * axis.size
      for index in 0..<count { statistic[index] *= keep / share }
      table.pointee.gram(Int64(axis.outer * axis.inner), Int64(axis.size), rows, statistic, true)
      for index in 0..<count { statistic[index] *= share }
    }
  }

  /// out[o, l, i] = sum over j of matrix[l, j] x[o, j, i], or of matrix[j, l] where `transposed`.
  func multiply(
    _ x: UnsafePointer<Float>, along axis: Axis, by matrix: UnsafePointer<Float>, transposed: Bool,
    into out: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
  ) {
    let size = Int64(axis.size)
    flushingDenormals {
      if axis.inner == 1 {
        var right = matrix
        if !transposed {
          table.pointee.transpose(size, size, matrix, size, scratch, size)
          right = UnsafePointer(scratch)
        }
        table.pointee.product(Int64(axis.outer), size, size, x, size, 1, right, size, out, size, false)
        return
      }
      let inner = Int64(axis.inner)
      for slice in 0..<axis.outer {
        let from = slice * axis.size * axis.inner
        table.pointee.product(
          size, inner, size, matrix, transposed ? 1 : size, transposed ? size : 1, x + from, inner, out + from, inner,
          false)
      }
    }
  }

  // MARK: Factorisations

  static func eigenScratch(size: Int) -> Int { Int(ck_eigen_scratch(Int32(size))) }

  /// out = (statistic + ridge * max(largest eigenvalue, floor) * I)^(-1/root). False, and nothing written, where the
  /// statistic is not finite.
  func inverseRoot(
    of statistic: UnsafePointer<Float>, size: Int, root: Double, ridge: Double, floor: Double,
    into out: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
  ) -> Bool {
    flushingDenormals { ck_inverse_root(table, Int32(size), statistic, root, ridge, floor, out, scratch) }
  }

  /// The rows of `out` become the statistic's eigenvectors, by descending eigenvalue. False, and nothing written, where
  /// the statistic is not finite.
  func eigenbasis(
    of statistic: UnsafePointer<Float>, size: Int, into out: UnsafeMutablePointer<Float>,
    scratch: UnsafeMutablePointer<Float>
  ) -> Bool {
    flushingDenormals { ck_eigenbasis(Int32(size), statistic, out, scratch) }
  }

  static func orthonormalizeScratch(size: Int) -> Int { Int(ck_orthonormalize_scratch(Int32(size))) }

  /// Makes the rows of x[size, size] orthonormal, one after another. False, and x lost, where it is not finite.
  func orthonormalize(_ x: UnsafeMutablePointer<Float>, size: Int, scratch: UnsafeMutablePointer<Float>) -> Bool {
    flushingDenormals { ck_orthonormalize(Int32(size), x, scratch) }
  }

  static func solveScratch(size: Int) -> Int { Int(ck_damped_solve_scratch(Int32(size))) }

  /// solution = (gram + damping * I)^-1 e, e the unit vector `unit`; gram[size, size] has rows `rowFloats` apart. False,
  /// and nothing written, where that is not positive definite.
  func solve(
    gram: UnsafePointer<Float>, rowFloats: Int, damping: Double, size: Int, unit: Int,
    into solution: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
  ) -> Bool {
    flushingDenormals {
      ck_damped_solve(Int32(size), gram, Int64(rowFloats), damping, Int32(unit), solution, scratch)
    }
  }
}

extension ParameterLayout {
  /// A part of flat memory of at least that many floats, so that the next one starts as a tensor does.
  static func padded(_ floats: Int) -> Int { (floats + alignment - 1) / alignment * alignment }
}
