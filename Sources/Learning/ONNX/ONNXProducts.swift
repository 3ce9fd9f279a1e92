// ONNXProducts: matrix products. ONNXOperators joins the tables.
import Compute

extension ONNXOperator {
  static let products: [ONNXOperator] = [
    ONNXOperator("Gemm", "", gemm),
    ONNXOperator("MatMul", "operands of rank 2 or more", matmul),
  ]

  private static func gemm(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let a = try translation.plain(site.input(0)), b = try translation.plain(site.input(1))
    let alpha = try site.float("alpha", 1), beta = try site.float("beta", 1)
    guard a.shape.rank == 2, b.shape.rank == 2 else {
      throw ONNXRefusal("expected two matrices, got the shapes \(a.shape) and \(b.shape)")
    }
    var result = try translation.graph.matmul(
      a, b, transposeLeft: site.integer("transA", 0) != 0, transposeRight: site.integer("transB", 0) != 0)
    if alpha != 1 { result = try translation.graph.scale(result, by: alpha) }
    guard let offset = site.optional(2) else { return [.value(result, .plain)] }
    var c = try translation.plain(offset)
    if beta != 1 { c = try translation.graph.scale(c, by: beta) }
    return [.value(try translation.graph.add(result, c), .plain)]
  }

  private static func matmul(_ translation: inout ONNXTranslation, _ site: ONNXSite) throws -> [ONNXOperand] {
    let a = try translation.plain(site.input(0)), b = try translation.plain(site.input(1))
    guard a.shape.rank >= 2, b.shape.rank >= 2 else {
      throw ONNXRefusal("expected operands of rank 2 or more, got the shapes \(a.shape) and \(b.shape)")
    }
    if b.shape.rank == 2 { return [.value(try translation.graph.matmul(a, b), .plain)] }
    let stack = try Self.leading(a.shape, b.shape)
    let left = try translation.graph.broadcast(a, to: Shape(stack + a.shape.dimensions.suffix(2)))
    let right = try translation.graph.broadcast(b, to: Shape(stack + b.shape.dimensions.suffix(2)))
    return [.value(try translation.graph.batchedMatmul(left, right), .plain)]
  }

  /// The leading axes of a product of stacks of matrices, where lengths of 1 are repeated.
  private static func leading(_ a: Shape, _ b: Shape) throws -> [Int] {
    let count = max(a.rank, b.rank) - 2
    func padded(_ shape: Shape) -> [Int] {
      [Int](repeating: 1, count: count - shape.rank + 2) + shape.dimensions.dropLast(2)
    }
    return try zip(padded(a), padded(b)).map { one, other in
      guard one == other || one == 1 || other == 1 else {
        throw ONNXRefusal("stacks of matrices of the shapes \(a) and \(b) do not fit together")
      }
      return one == 1 ? other : one
    }
  }
}
