// A quadratic in Float64, for tests of optimizers that evaluate the batch at other parameters.
import Compute
import Learning

/// L(x) = 1/2 x'Ax + b'x in Float64, rounded once.
struct Quadratic {
  let layout: ParameterLayout
  let hessian: [[Double]]
  let slope: [Double]

  /// A symmetric matrix with numbers in [-1, 1] and `diagonal` added to its diagonal.
  init(_ layout: ParameterLayout, diagonal: Double, seed: UInt64 = 7) {
    var numbers = Numbers(seed: seed)
    let count = layout.elements
    var matrix = (0..<count).map { _ in (0..<count).map { _ in Double(numbers.next()) / 4 } }
    for row in 0..<count {
      for column in 0..<row { matrix[row][column] = matrix[column][row] }
      matrix[row][row] += diagonal
    }
    self.layout = layout
    hessian = matrix
    slope = (0..<count).map { _ in Double(numbers.next()) }
  }

  func vector(_ memory: UnsafePointer<Float>) -> [Double] {
    layout.tensors.flatMap { tensor in (0..<tensor.count).map { Double(memory[tensor.offset + $0]) } }
  }

  func gradient(_ x: [Double]) -> [Double] {
    zip(hessian, slope).map { row, own in zip(row, x).reduce(own) { $0 + $1.0 * $1.1 } }
  }

  func loss(_ x: [Double]) -> Double {
    zip(x, zip(gradient(x), slope)).reduce(0) { $0 + $1.0 * ($1.1.0 + $1.1.1) / 2 }
  }

  var problem: BatchProblem {
    BatchProblem(
      loss: { Float(loss(vector($0))) },
      evaluate: { point, gradients in
        let x = vector(point)
        for (place, value) in zip(places, gradient(x)) { gradients[place] = Float(value) }
        return Float(loss(x))
      })
  }

  /// Where the elements lie in memory.
  var places: [Int] { layout.tensors.flatMap { $0.offset..<$0.offset + $0.count } }
}
