// Products of batches of matrices against loops in Float64, with every combination of transposes.
import Testing

@testable import Compute

extension BatchedProduct: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let m = result[result.rank - 2], n = result.last, k = x[0].count * n / result.count
    return (0..<result.count).map { index in
      let b = index / (m * n), i = index / n % m, j = index % n
      return (0..<k).reduce(0) { sum, l in
        sum + x[0][b * m * k + (transposeLeft ? l * m + i : i * k + l)]
          * x[1][b * k * n + (transposeRight ? j * k + l : l * n + j)]
      }
    }
  }
}

private let cases =
  [(false, false), (true, false), (false, true), (true, true)].map { left, right in
    OperationCase(
      name: "batchedMatmul\(left ? ", left transposed" : "")\(right ? ", right transposed" : "")",
      shapes: [(1, 1, 1, 1), (3, 5, 7, 2), (2, 17, 33, 19), (4, 16, 16, 32), (2, 1, 40, 3)].map { batch, m, n, k in
        [Shape([batch] + (left ? [k, m] : [m, k])), Shape([batch] + (right ? [n, k] : [k, n]))]
      }
    ) { try $0.batchedMatmul($1[0], $1[1], transposeLeft: left, transposeRight: right) }
  } + [
    OperationCase(name: "batchedMatmul over several axes", shapes: [[[2, 3, 4, 5], [2, 3, 5, 6]]]) {
      try $0.batchedMatmul($1[0], $1[1])
    }
  ]

@Suite("Batched products")
struct BatchedProductTests {
  @Test("results are those of loops in Float64", arguments: cases)
  func results(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: cases)
  func gradients(_ test: OperationCase) throws { try test.checkGradients(kept: false) }

  @Test("operands that do not fit are refused with their shapes")
  func refusals() throws {
    var graph = Graph()
    let a = try graph.input("a", [2, 3, 4])
    for (index, shape) in [Shape([2, 5, 3]), [3, 4, 5], [4, 5], [1, 2, 4, 5]].enumerated() {
      let b = try graph.input("b\(index)", shape)
      let error = #expect(throws: ComputeError.self) { try graph.batchedMatmul(a, b) }
      #expect(error?.op == "batchedMatmul" && error?.got.contains("\(shape)") == true)
    }
  }
}
