// Pooling at every level against Float64 loops and central differences, and what padding, ties and NaN do.
import Testing

@testable import Compute

extension Pooling: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let image = shapes[0]
    var y: [Double] = []
    for b in 0..<result[0] {
      for (row, column) in cells(result[1], result[2]) {
        for c in 0..<result[3] {
          var inside: [Double] = []
          for (v, h) in cells(window.0, window.1) {
            let r = row * stride.0 + v - top, q = column * stride.1 + h - left
            guard (0..<image[1]).contains(r), (0..<image[2]).contains(q) else { continue }
            inside.append(x[0][((b * image[1] + r) * image[2] + q) * image[3] + c])
          }
          switch rule {
          case .maximum: y.append(inside.max()!)
          case .average(let countsPadding):
            y.append(inside.reduce(0, +) / Double(countsPadding ? window.0 * window.1 : inside.count))
          }
        }
      }
    }
    return y
  }
}

private struct Windows: Sendable {
  let image: Shape
  let window, stride: (Int, Int)
  var padding = Padding.same
}

private let windows: [Windows] = [
  Windows(image: [1, 1, 1, 1], window: (1, 1), stride: (1, 1)),
  Windows(image: [2, 4, 6, 16], window: (2, 2), stride: (2, 2)),
  Windows(image: [2, 5, 7, 3], window: (3, 2), stride: (2, 1)),
  Windows(image: [1, 5, 7, 33], window: (3, 3), stride: (1, 2), padding: .valid),
  Windows(image: [3, 2, 3, 5], window: (5, 7), stride: (1, 1)),
  Windows(image: [1, 7, 11, 17], window: (1, 2), stride: (3, 4)),
  Windows(
    image: [2, 6, 5, 4], window: (3, 4), stride: (2, 3), padding: .explicit(top: 2, bottom: 1, left: 3, right: 0)),
]

@Suite("Pooling")
struct PoolingTests {
  static let matrix =
    windows.flatMap { w in
      let name = "\(w.window) every \(w.stride), \(w.padding), of \(w.image)"
      return [
        OperationCase(name: "maximum \(name)", shapes: [[w.image]]) {
          try $0.maxPool($1[0], window: w.window, stride: w.stride, padding: w.padding)
        },
        OperationCase(name: "average \(name)", shapes: [[w.image]]) {
          try $0.averagePool($1[0], window: w.window, stride: w.stride, padding: w.padding)
        },
        OperationCase(name: "average with padding \(name)", shapes: [[w.image]]) {
          try $0.averagePool($1[0], window: w.window, stride: w.stride, padding: w.padding, countsPadding: true)
        },
      ]
    }
    + [
      OperationCase(
        name: "global average", shapes: [[[1, 1, 1, 1]], [[2, 3, 5, 7]], [[3, 4, 4, 64]], [[1, 2, 9, 33]]]
      ) {
        try $0.globalAveragePool($1[0])
      }
    ]

  @Test("results are those of loops in Float64", arguments: matrix)
  func forward(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: matrix, [false, true])
  func gradient(_ test: OperationCase, kept: Bool) throws { try test.checkGradients(kept: kept) }

  @Test("padding never wins, NaN does, and a tie's gradient goes to the first cell", arguments: CPULevel.supported)
  func edges(_ level: CPULevel) throws {
    var graph = Graph()
    let x = try graph.parameter("x", [1, 3, 3, 1])
    let y = try graph.maxPool(x, window: (2, 2), stride: (2, 2))
    graph.output("y", y)
    let loss = try graph.sum(y)
    let plan = try Plan(graph, differentiating: loss, level: level)
    let executor = Executor(plan)
    let values = AlignedBuffer(floats: plan.parameterLayout.floats)
    let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
    func run(_ cells: [Float]) -> (y: [Float], dx: [Float]) {
      for (i, cell) in cells.enumerated() { values.pointer[i] = cell }
      executor.run(parameters: values.pointer, gradients: gradients.pointer)
      return (Array(executor.output("y")), (0..<9).map { gradients.pointer[$0] })
    }
    let negative = run([-4, -3, -9, -3, -8, -7, -6, -5, -1])
    #expect(negative.y == [-3, -7, -5, -1])
    #expect(negative.dx == [0, 1, 0, 0, 0, 1, 0, 1, 1])
    let broken = run([1, 2, 3, 4, .nan, 6, 7, 8, 9])
    #expect(broken.y[0].isNaN && broken.y[1...] == [6, 8, 9])
    #expect(broken.dx == [0, 0, 0, 0, 1, 1, 0, 1, 1])
  }

  @Test("a window beyond the image is refused")
  func refusals() throws {
    var graph = Graph()
    let x = try graph.input("x", [1, 4, 4, 2])
    let wide = Padding.explicit(top: 2, bottom: 0, left: 0, right: 0)
    #expect(throws: ComputeError.self) { try graph.maxPool(x, window: (2, 2), stride: (1, 1), padding: wide) }
    #expect(throws: ComputeError.self) { try graph.averagePool(x, window: (5, 2), stride: (1, 1), padding: .valid) }
    #expect(throws: ComputeError.self) { try graph.averagePool(x, window: (2, 2), stride: (1, 0)) }
    #expect(throws: ComputeError.self) { try graph.globalAveragePool(graph.input("flat", [4, 2])) }
  }
}
