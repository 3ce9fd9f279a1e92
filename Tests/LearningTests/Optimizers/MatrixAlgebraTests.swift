// MatrixAlgebra against plain Float64 loops, at every level and at sizes around the kernels' tiles and strips.
import Compute
import Foundation
import Testing

@testable import Learning

/// A matrix of Float64 for plain loops.
struct Plain {
  let rows: Int
  let columns: Int
  var values: [Double]

  init(_ rows: Int, _ columns: Int, _ values: [Double]) {
    self.rows = rows
    self.columns = columns
    self.values = values
  }
  init(_ rows: Int, _ columns: Int, _ values: [Float]) { self.init(rows, columns, values.map(Double.init)) }
  static func identity(_ n: Int) -> Plain {
    Plain(n, n, (0..<n * n).map { $0 / n == $0 % n ? 1.0 : 0.0 })
  }

  subscript(_ i: Int, _ j: Int) -> Double {
    get { values[i * columns + j] }
    set { values[i * columns + j] = newValue }
  }
  var transposed: Plain {
    Plain(columns, rows, (0..<rows * columns).map { self[$0 % rows, $0 / rows] })
  }
  static func * (a: Plain, b: Plain) -> Plain {
    var out = [Double](repeating: 0, count: a.rows * b.columns)
    // Pointers, because these loops run in debug builds.
    out.withUnsafeMutableBufferPointer { out in
      a.values.withUnsafeBufferPointer { left in
        b.values.withUnsafeBufferPointer { right in
          var i = 0
          while i < a.rows {
            var k = 0
            while k < a.columns {
              let factor = left[i * a.columns + k]
              var j = 0
              while j < b.columns {
                out[i * b.columns + j] += factor * right[k * b.columns + j]
                j += 1
              }
              k += 1
            }
            i += 1
          }
        }
      }
    }
    return Plain(a.rows, b.columns, out)
  }
  static func * (a: Double, b: Plain) -> Plain { Plain(b.rows, b.columns, b.values.map { a * $0 }) }
  static func + (a: Plain, b: Plain) -> Plain { Plain(a.rows, a.columns, zip(a.values, b.values).map { $0 + $1 }) }
  func distance(_ other: [Float]) -> Double {
    // A NaN must count as far.
    zip(values, other).reduce(0) { max($0, abs($1.0 - Double($1.1)).isNaN ? .infinity : abs($1.0 - Double($1.1))) }
  }

  /// Muon's orthogonalization.
  func orthogonalized(iterations: Int = 5, epsilon: Double = 1e-8) -> Plain {
    let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
    var x = (1 / (norm + epsilon)) * (rows > columns ? transposed : self)
    for _ in 0..<iterations {
      let a = x * x.transposed
      let b = -4.7750 * a + 2.0315 * (a * a)
      x = 3.4445 * x + b * x
    }
    return rows > columns ? x.transposed : x
  }

  /// Eigenvalues, descending, and their vectors as columns, by Jacobi's rotations.
  var eigen: (values: [Double], vectors: Plain) {
    let n = rows
    var a = self
    var vectors = Plain.identity(n)
    for _ in 0..<12 {
      for i in 0..<n {
        for j in (i + 1)..<max(n, i + 1) where abs(a[i, j]) > 1e-300 {
          let angle = 0.5 * atan2(2 * a[i, j], a[i, i] - a[j, j])
          let (c, s) = (cos(angle), sin(angle))
          for k in 0..<n { (a[k, i], a[k, j]) = (c * a[k, i] + s * a[k, j], c * a[k, j] - s * a[k, i]) }
          for k in 0..<n { (a[i, k], a[j, k]) = (c * a[i, k] + s * a[j, k], c * a[j, k] - s * a[i, k]) }
          for k in 0..<n {
            (vectors[k, i], vectors[k, j]) = (
              c * vectors[k, i] + s * vectors[k, j], c * vectors[k, j] - s * vectors[k, i]
            )
          }
        }
      }
    }
    let order = (0..<n).sorted { a[$0, $0] > a[$1, $1] }
    return (order.map { a[$0, $0] }, Plain(n, n, (0..<n * n).map { vectors[$0 / n, order[$0 % n]] }))
  }
}

@Suite("Linear algebra of optimizers")
struct MatrixAlgebraTests {
  /// Memory that says when something was written behind its end.
  private final class Memory {
    let buffer: AlignedBuffer
    let count: Int
    init(_ count: Int, _ values: [Float]? = nil) {
      self.count = count
      buffer = AlignedBuffer(floats: count + 16)
      buffer.pointer.update(repeating: .nan, count: count)
      for index in count..<count + 16 { buffer.pointer[index] = 7 }
      if let values { for (index, value) in values.enumerated() { buffer.pointer[index] = value } }
    }
    var pointer: UnsafeMutablePointer<Float> { buffer.pointer }
    var values: [Float] { Array(buffer.buffer[0..<count]) }
    deinit { precondition((count..<count + 16).allSatisfy { buffer.pointer[$0] == 7 }, "written behind the end") }
  }

  private func numbers(_ count: Int, seed: UInt64) -> [Float] {
    var numbers = Numbers(seed: seed)
    return (0..<count).map { _ in numbers.next() }
  }

  /// A symmetric matrix with eigenvalues from 1 to `smallest`.
  private func statistic(_ n: Int, seed: UInt64, rank: Int) -> Plain {
    let x = Plain(rank, n, numbers(rank * n, seed: seed))
    let gram = x.transposed * x
    // As float32 holds it.
    return Plain(n, n, gram.values.map { Double(Float($0 / Double(n))) })
  }

  @Test("orthogonalizes as plain loops do, whatever the shape and the level")
  func newtonSchulz() {
    for (rows, columns) in [(1, 1), (1, 9), (7, 1), (3, 3), (17, 32), (32, 17), (65, 70), (130, 20)] {
      let start = numbers(rows * columns, seed: UInt64(rows * 1000 + columns))
      let plain = Plain(rows, columns, start).orthogonalized()
      for level in availableLevels {
        let x = Memory(rows * columns, start)
        let scratch = Memory(MatrixAlgebra.orthogonalizeScratch(rows: rows, columns: columns))
        MatrixAlgebra(level: level).orthogonalize(
          x.pointer, rows: rows, columns: columns, iterations: 5, epsilon: 1e-8, scratch: scratch.pointer)
        #expect(plain.distance(x.values) < 2e-5, "\(rows) x \(columns) at \(level)")
      }
    }
  }

  @Test("nothing becomes nothing", arguments: availableLevels)
  func zeros(level: CPULevel) {
    let algebra = MatrixAlgebra(level: level)
    let zeros = Memory(12, [Float](repeating: 0, count: 12))
    let scratch = Memory(MatrixAlgebra.orthogonalizeScratch(rows: 3, columns: 4))
    algebra.orthogonalize(zeros.pointer, rows: 3, columns: 4, iterations: 5, epsilon: 1e-8, scratch: scratch.pointer)
    #expect(zeros.values.allSatisfy { $0 == 0 })
  }

  @Test("sums and multiplies along every axis", arguments: availableLevels)
  func axes(level: CPULevel) {
    let algebra = MatrixAlgebra(level: level)
    for dimensions in [[5], [7, 3], [3, 19], [2, 17, 4], [4, 3, 70], [3, 2, 5, 6], [1, 8]] {
      let count = dimensions.reduce(1, *)
      let values = numbers(count, seed: UInt64(count))
      for axis in dimensions.indices {
        let size = dimensions[axis]
        let along = MatrixAlgebra.Axis(axis, of: dimensions)
        let inner = dimensions[(axis + 1)...].reduce(1, *)
        /// [size, everything else].
        let unfolded = Plain(
          size, count / size,
          (0..<count).map { index in
            let (j, rest) = (index / (count / size), index % (count / size))
            return Double(values[(rest / inner * size + j) * inner + rest % inner])
          })
        let x = Memory(count, values)
        let scratch = Memory(along.scratchFloats)
        let old = numbers(size * size, seed: 5)
        let gram = Memory(size * size, old)
        algebra.accumulateGram(
          of: x.pointer, along: along, into: gram.pointer, keep: 0.9, share: 0.25, scratch: scratch.pointer)
        let expected = Double(Float(0.9)) * Plain(size, size, old) + 0.25 * (unfolded * unfolded.transposed)
        // A Gram matrix is symmetric by construction; what was there before need not be, and the upper part stands.
        for i in 0..<size {
          for j in i..<size {
            #expect(abs(expected[i, j] - Double(gram.values[i * size + j])) < 1e-5, "\(dimensions) along \(axis)")
          }
        }
        let matrix = numbers(size * size, seed: 8)
        for transposed in [false, true] {
          let factor = Memory(size * size, matrix)
          let out = Memory(count)
          algebra.multiply(
            x.pointer, along: along, by: factor.pointer, transposed: transposed, into: out.pointer,
            scratch: scratch.pointer)
          let plain = Plain(size, size, matrix)
          let product = (transposed ? plain.transposed : plain) * unfolded
          let folded = (0..<count).map { index -> Double in
            let (outer, j, i) = (index / inner / size, index / inner % size, index % inner)
            return product[j, outer * inner + i]
          }
          #expect(Plain(1, count, folded).distance(out.values) < 1e-5, "\(dimensions) along \(axis), \(transposed)")
        }
      }
    }
  }

  @Test("inverse roots, multiplied with themselves and what they are of, give one", arguments: availableLevels)
  func inverseRoot(level: CPULevel) {
    let algebra = MatrixAlgebra(level: level, factorizing: true)
    for (n, rank, root) in [(1, 1, 2), (4, 9, 2), (12, 40, 4), (33, 70, 6)] {
      let statistic = statistic(n, seed: UInt64(n), rank: rank)
      let x = Memory(n * n, statistic.values.map(Float.init)), out = Memory(n * n)
      let scratch = Memory(MatrixAlgebra.eigenScratch(size: n))
      let ridge = 1e-3
      #expect(
        algebra.inverseRoot(
          of: x.pointer, size: n, root: Double(root), ridge: ridge, floor: 1e-6, into: out.pointer,
          scratch: scratch.pointer))
      var product = statistic + (ridge * statistic.eigen.values[0]) * Plain.identity(n)
      for _ in 0..<root { product = product * Plain(n, n, out.values) }
      #expect(Plain.identity(n).distance(product.values.map(Float.init)) < 2e-3, "\(n), root \(root)")
    }
  }

  @Test("eigenbases are orthonormal, make the statistic diagonal, and do not depend on rounding where it is zero")
  func eigenbasis() {
    let algebra = MatrixAlgebra(level: .scalar, factorizing: true)
    for (n, rank) in [(1, 1), (5, 9), (12, 3), (40, 17), (9, 1), (6, 0)] {
      let statistic = statistic(n, seed: UInt64(n + rank), rank: rank)
      let bases = [0, 1].map { noise -> [Float] in
        let values = statistic.values.enumerated().map { index, value -> Float in
          // A rounding error, the same on both sides of the diagonal.
          let (i, j) = (min(index / n, index % n), max(index / n, index % n))
          return Float(value) * (1 + Float(noise * ((i * 7 + j * 3) % 5 - 2)) * 6e-8)
        }
        let x = Memory(n * n, values), out = Memory(n * n)
        let scratch = Memory(MatrixAlgebra.eigenScratch(size: n))
        #expect(algebra.eigenbasis(of: x.pointer, size: n, into: out.pointer, scratch: scratch.pointer))
        return out.values
      }
      let basis = Plain(n, n, bases[0])
      #expect((basis * basis.transposed).distance(Plain.identity(n).values.map(Float.init)) < 1e-5)
      let turned = basis * statistic * basis.transposed
      for i in 0..<n {
        for j in 0..<n where i != j { #expect(abs(turned[i, j]) < 1e-5) }
        if i > 0 { #expect(turned[i, i] <= turned[i - 1, i - 1] + 1e-6) }
      }
      // Vectors of zero eigenvalues are the same in both; of the others each may have changed sign.
      for i in rank..<max(n, rank) where rank < n {
        for j in 0..<n { #expect(abs(bases[0][i * n + j] - bases[1][i * n + j]) < 1e-3, "\(n), \(rank), row \(i)") }
      }
    }
  }

  @Test("rows become orthonormal and keep their spans")
  func orthonormalize() {
    let algebra = MatrixAlgebra(level: .scalar, factorizing: true)
    for n in [1, 2, 7, 33, 70] {
      let start = numbers(n * n, seed: UInt64(n))
      let x = Memory(n * n, start), scratch = Memory(MatrixAlgebra.orthonormalizeScratch(size: n))
      #expect(algebra.orthonormalize(x.pointer, size: n, scratch: scratch.pointer))
      let q = Plain(n, n, x.values)
      #expect((q * q.transposed).distance(Plain.identity(n).values.map(Float.init)) < 1e-5)
      // Row i of the start has no part along later rows.
      let parts = Plain(n, n, start) * q.transposed
      for i in 0..<n { for j in (i + 1)..<max(n, i + 1) { #expect(abs(parts[i, j]) < 1e-5) } }
    }
  }

  @Test("damped systems are solved, within a larger matrix too")
  func solve() {
    let algebra = MatrixAlgebra(level: .scalar, factorizing: true)
    for n in [1, 3, 20] {
      let gram = statistic(n, seed: UInt64(n), rank: n + 2)
      let row = n + 3
      var values = [Float](repeating: .nan, count: n * row)
      for i in 0..<n { for j in 0..<n { values[i * row + j] = Float(gram[i, j]) } }
      let x = Memory(n * row, values), y = Memory(n), scratch = Memory(MatrixAlgebra.solveScratch(size: n))
      #expect(
        algebra.solve(
          gram: x.pointer, rowFloats: row, damping: 0.1, size: n, unit: n - 1, into: y.pointer,
          scratch: scratch.pointer))
      let back = (gram + 0.1 * Plain.identity(n)) * Plain(n, 1, y.values)
      #expect(back.distance((0..<n).map { $0 == n - 1 ? 1 : 0 }) < 1e-4)
    }
  }

  @Test("what is not finite is refused and nothing written")
  func refusals() {
    let algebra = MatrixAlgebra(level: .scalar, factorizing: true)
    let x = Memory(9, [1, 0, 0, 0, .nan, 0, 0, 0, 1]), out = Memory(9, [Float](repeating: 3, count: 9))
    let scratch = Memory(MatrixAlgebra.eigenScratch(size: 3) + MatrixAlgebra.solveScratch(size: 3))
    #expect(
      !algebra.inverseRoot(
        of: x.pointer, size: 3, root: 2, ridge: 1e-6, floor: 1e-6, into: out.pointer, scratch: scratch.pointer))
    #expect(!algebra.eigenbasis(of: x.pointer, size: 3, into: out.pointer, scratch: scratch.pointer))
    #expect(
      !algebra.solve(
        gram: x.pointer, rowFloats: 3, damping: 1, size: 3, unit: 0, into: out.pointer, scratch: scratch.pointer))
    #expect(!algebra.orthonormalize(x.pointer, size: 3, scratch: scratch.pointer))
    #expect(out.values.allSatisfy { $0 == 3 })
  }
}
