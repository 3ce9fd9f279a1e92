// BLAS: OpenBLAS, loaded at run time for the large products. Plan asks for it when Kernels prefers it.
import CKernels

/// The OpenBLAS library of this process.
public struct BLAS: Sendable, Hashable {
  /// The core type whose kernels the library runs, such as `SkylakeX`; record it with measurements.
  public let core: String

  /// Loads OpenBLAS with the kernels that suit `level`, on one thread.
  ///
  /// The library can be given a core type only while it is loaded: the first load of a process decides, and later
  /// calls return what it chose. Setting up goes through environment variables, so load before starting threads that
  /// read the environment. Throws `ComputeError` where the library is missing.
  public static func load(level: CPULevel) throws -> BLAS {
    if let problem = ck_blas_load(level.rawLevel) {
      throw ComputeError(op: "OpenBLAS", expected: "a loadable library", got: String(cString: problem))
    }
    guard let core = ck_blas_core() else {
      throw ComputeError(op: "OpenBLAS", expected: "a library that names its core type", got: "no name")
    }
    return BLAS(core: String(cString: core))
  }
}
