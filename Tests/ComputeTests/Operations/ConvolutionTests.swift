// Convolutions at every level against Float64 loops and central differences: edges, strides, dilations and groups that do
// not fit each other well.
import Testing

@testable import Compute

extension Convolution: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    var y = [Double](repeating: 0, count: result.count)
    y.withUnsafeMutableBufferPointer { y in
      x[0].withUnsafeBufferPointer { image in
        x[1].withUnsafeBufferPointer { kernel in
          geometry.forEachProduct { place, cell, tap, count in
            for o in 0..<count { y[place + o] += image[cell] * kernel[tap + o] }
          }
        }
      }
    }
    return y
  }
}

extension ConvolutionGeometry {
  /// Calls `body` for all products of the definition: the places of y, x and the kernel, and how many filters from there
  /// on see the same element of x.
  fileprivate func forEachProduct(_ body: (_ y: Int, _ x: Int, _ kernel: Int, _ count: Int) -> Void) {
    let inner = channels / groups, outer = filters / groups
    for (row, column) in cells(outHeight, outWidth) {
      for (v, h) in cells(kernelHeight, kernelWidth) {
        let r = row * stride.0 + v * dilation.0 - top
        let q = column * stride.1 + h * dilation.1 - left
        guard r >= 0, r < height, q >= 0, q < width else { continue }
        for b in 0..<batch {
          let y = ((b * outHeight + row) * outWidth + column) * filters
          let x = ((b * height + r) * width + q) * channels
          for (group, c) in cells(groups, inner) {
            let kernel = ((v * kernelWidth + h) * inner + c) * filters
            body(y + group * outer, x + group * inner + c, kernel + group * outer, outer)
          }
        }
      }
    }
  }
}

/// The pairs below two lengths, row by row.
func cells(_ rows: Int, _ columns: Int) -> [(Int, Int)] {
  (0..<rows).flatMap { row in (0..<columns).map { (row, $0) } }
}

/// One convolution, written as in its test's name.
private struct Case: Sendable {
  let image, kernel: Shape
  var stride = (1, 1)
  var dilation = (1, 1)
  var padding = Padding.same
  var groups = 1

  var name: String {
    "convolution \(image) by \(kernel), stride \(stride), dilation \(dilation), \(padding), \(groups) groups"
  }
  func build(_ graph: inout Graph, _ x: Value, _ kernel: Value) throws -> Value {
    try graph.convolution(x, kernel, stride: stride, dilation: dilation, padding: padding, groups: groups)
  }
}

private let cases: [Case] = [
  Case(image: [1, 1, 1, 1], kernel: [1, 1, 1, 1]),
  Case(image: [2, 3, 5, 7], kernel: [1, 1, 7, 17]),
  Case(image: [2, 3, 5, 7], kernel: [1, 1, 7, 17], padding: .explicit(top: 1, bottom: 0, left: 0, right: 2)),
  Case(image: [2, 5, 7, 6], kernel: [1, 1, 6, 33], stride: (2, 3)),
  Case(image: [3, 4, 3, 5], kernel: [4, 3, 5, 19], padding: .valid),
  Case(image: [1, 5, 5, 1], kernel: [3, 3, 1, 1]),
  Case(image: [2, 8, 8, 3], kernel: [3, 3, 3, 32], stride: (2, 2)),
  Case(image: [3, 7, 9, 4], kernel: [3, 3, 4, 16], stride: (2, 2)),
  Case(image: [2, 6, 5, 3], kernel: [3, 2, 3, 17], padding: .valid),
  Case(image: [2, 2, 3, 5], kernel: [5, 7, 5, 6]),
  Case(image: [1, 11, 13, 2], kernel: [2, 3, 2, 9], stride: (3, 5), padding: .valid),
  Case(image: [1, 9, 10, 2], kernel: [2, 2, 2, 3], stride: (4, 3)),
  Case(image: [2, 9, 8, 3], kernel: [3, 3, 3, 5], dilation: (2, 3)),
  Case(image: [1, 13, 12, 3], kernel: [3, 4, 3, 5], stride: (2, 4), dilation: (3, 2)),
  Case(image: [1, 10, 9, 2], kernel: [3, 3, 2, 4], stride: (4, 2), dilation: (2, 2), padding: .valid),
  Case(
    image: [1, 6, 7, 3], kernel: [4, 3, 3, 7], stride: (2, 1), padding: .explicit(top: 5, bottom: 2, left: 0, right: 4)),
  Case(image: [2, 6, 5, 6], kernel: [3, 3, 2, 9], stride: (2, 1), groups: 3),
  Case(image: [1, 6, 5, 4], kernel: [3, 3, 1, 8], groups: 4),
  Case(image: [2, 7, 11, 5], kernel: [3, 3, 1, 5], groups: 5),
  Case(image: [2, 8, 7, 33], kernel: [3, 5, 1, 33], stride: (2, 3), padding: .valid, groups: 33),
  Case(image: [1, 9, 12, 18], kernel: [3, 3, 1, 18], dilation: (2, 3), groups: 18),
  Case(image: [1, 2, 2, 3], kernel: [5, 5, 1, 3], stride: (3, 1), groups: 3),
  // Longer than a slab of the inner axis, by taps and by channels; more rows than are counted at once.
  Case(image: [1, 4, 4, 130], kernel: [2, 3, 130, 6]),
  Case(image: [1, 3, 3, 300], kernel: [3, 2, 300, 3], stride: (2, 1)),
  Case(image: [1, 19, 23, 2], kernel: [3, 3, 2, 5]),
]

@Suite("Convolution")
struct ConvolutionTests {
  static let matrix =
    cases.map { test in
      OperationCase(name: test.name, shapes: [[test.image, test.kernel]]) { try test.build(&$0, $1[0], $1[1]) }
    }
    + [
      OperationCase(name: "convolution with bias and relu", shapes: layers) { graph, x in
        try graph.relu(graph.add(graph.convolution(x[0], x[1], stride: (2, 2)), x[2]))
      },
      OperationCase(name: "two convolutions with relu between", shapes: stacks) { graph, x in
        let hidden = try graph.relu(graph.add(graph.convolution(x[0], x[1], stride: (2, 1)), x[2]))
        return try graph.convolution(hidden, x[3], stride: (1, 3), groups: hidden.shape[3] / x[3].shape[2])
      },
    ]

  private static let layers: [[Shape]] = [
    [[2, 7, 6, 3], [3, 3, 3, 17], [17]], [[1, 5, 5, 32], [2, 2, 32, 16], [16]], [[2, 4, 4, 5], [1, 1, 5, 3], [3]],
  ]
  // A plain second convolution with a stride beyond its kernel, and a depthwise one.
  private static let stacks: [[Shape]] = [
    [[2, 7, 6, 3], [3, 3, 3, 17], [17], [3, 2, 17, 4]], [[2, 7, 6, 3], [3, 3, 3, 17], [17], [3, 2, 1, 17]],
  ]

  @Test("results are those of loops in Float64", arguments: matrix)
  func forward(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: matrix, [false, true])
  func gradient(_ test: OperationCase, kept: Bool) throws { try test.checkGradients(kept: kept) }

  @Test("images that are not padded in one piece, and several that are")
  func bands() throws {
    for (image, kernel, stride): (Shape, Shape, (Int, Int)) in [
      ([2, 24, 45, 33], [3, 2, 33, 3], (2, 3)), ([1, 13, 9, 2], [3, 3, 2, 310], (1, 1)),
      ([70, 9, 9, 6], [2, 3, 6, 5], (2, 2)),
    ] {
      var graph = Graph()
      let x = try graph.parameter("x", image), k = try graph.parameter("kernel", kernel)
      let y = try graph.convolution(x, k, stride: stride)
      graph.output("y", y)
      let weights = try graph.input("weights", y.shape)
      let loss = try graph.sum(graph.multiply(y, weights))
      let experiment = Experiment(graph, loss: loss)
      guard case .kernel(let node) = experiment.graph.nodes[y.id].op, let convolution = node as? Convolution else {
        Issue.record("no convolution")
        continue
      }
      let floats = experiment.bindings.floats
      let xs = floats["x"]!, ks = floats["kernel"]!, dy = floats["weights"]!
      var dx = xs.map { _ in 0.0 }, dk = ks.map { _ in 0.0 }
      convolution.geometry.forEachProduct { place, cell, tap, count in
        for o in 0..<count {
          dx[cell] += dy[place + o] * ks[tap + o]
          dk[tap + o] += dy[place + o] * xs[cell]
        }
      }
      let expected = [convolution.reference([xs, ks], [image, kernel], y.shape), dx, dk]
      for level in CPULevel.supported {
        let plan = try Plan(experiment.graph, differentiating: loss, level: level)
        let (executor, parameters) = experiment.prepare(plan)
        let gradients = AlignedBuffer(floats: plan.parameterLayout.floats)
        executor.run(parameters: parameters.pointer, gradients: gradients.pointer)
        let tensors = plan.parameterLayout.tensors
        let got =
          [Array(executor.output("y"))]
          + tensors.map { Array(UnsafeBufferPointer(start: gradients.pointer + $0.offset, count: $0.count)) }
        for (result, reference) in zip(got, expected) {
          let scale = reference.map { abs($0) }.max()!
          let error = zip(result, reference).map { abs(Double($0) - $1) }.max()!
          #expect(error < 4e-6 * scale, "\(image) by \(kernel) at \(level)")
        }
      }
    }
  }

  @Test("bias, relu and relu's gradient cost no step of their own")
  func fusion() throws {
    var graph = Graph()
    let images = try graph.input("images", [2, 8, 8, 3])
    var x = images
    for (layer, filters) in [(0, 16), (1, 32)] {
      let kernel = try graph.parameter("kernel\(layer)", [3, 3, x.shape[3], filters])
      let bias = try graph.parameter("bias\(layer)", [filters])
      x = try graph.relu(graph.add(graph.convolution(x, kernel, stride: (2, 2)), bias))
    }
    let loss = try graph.mean(x)
    graph.output("loss", loss)
    let steps = try Plan(graph, differentiating: loss).steps
    #expect(steps.contains("convolution [2, 4, 4, 16] + bias, relu"))
    #expect(steps.contains("convolution [2, 2, 2, 32] + bias, relu"))
    #expect(steps.contains("convolution input gradient [2, 4, 4, 16], relu gradient"))
    #expect(!steps.contains { $0.hasPrefix("convolution input gradient [2, 8, 8, 3]") })
  }

  @Test("an output cell that sees one input cell, or all, is a product")
  func products() throws {
    var graph = Graph()
    let x = try graph.input("x", [2, 4, 5, 6])
    let pointwise = try graph.convolution(x, graph.parameter("a", [1, 1, 6, 7]))
    let whole = try graph.convolution(x, graph.parameter("b", [4, 5, 6, 7]), padding: .valid)
    #expect(pointwise.shape == [2, 4, 5, 7] && whole.shape == [2, 1, 1, 7])
    graph.output("pointwise", pointwise)
    graph.output("whole", whole)
    #expect(try Plan(graph).steps == ["product [40, 6] x [6, 7]", "product [2, 120] x [120, 7]"])
  }

  @Test("lengths that do not fit are refused with what was expected")
  func refusals() throws {
    var graph = Graph()
    let x = try graph.input("x", [1, 4, 4, 6])
    func refused(_ kernel: Shape, _ build: (inout Graph, Value) throws -> Value) -> String? {
      var copy = graph
      do {
        _ = try build(&copy, copy.parameter("kernel", kernel))
        return nil
      } catch { return "\(error)" }
    }
    #expect(refused([3, 3, 6, 2]) { try $0.convolution(x, $1) } == nil)
    #expect(refused([3, 3, 5, 2]) { try $0.convolution(x, $1) }?.contains("[kh, kw, 6, O]") == true)
    #expect(refused([3, 3, 3, 3]) { try $0.convolution(x, $1, groups: 2) }?.contains("multiple of 2") == true)
    #expect(refused([3, 3, 6, 2]) { try $0.convolution(x, $1, groups: 4) }?.contains("divides the 6") == true)
    #expect(refused([3, 3, 6, 2]) { try $0.convolution(x, $1, stride: (0, 1)) }?.contains("stride") == true)
    #expect(
      refused([3, 3, 6, 2]) { try $0.convolution(x, $1, dilation: (1, Int.max)) }?.contains("dilation") == true)
    #expect(refused([5, 3, 6, 2]) { try $0.convolution(x, $1, padding: .valid) }?.contains("at most 4") == true)
    let below = Padding.explicit(top: -1, bottom: 0, left: 0, right: 0)
    #expect(refused([3, 3, 6, 2]) { try $0.convolution(x, $1, padding: below) }?.contains("padding") == true)
    let far = Padding.explicit(top: 65536, bottom: 65536, left: 65536, right: 65536)
    #expect(refused([1, 1, 6, 2]) { try $0.convolution(x, $1, padding: far) }?.contains("elements") == true)
    #expect(refused([3, 3, 6, 2]) { try $0.convolution(x, $1, dilation: (1, 40000)) }?.contains("dilated") == true)
    #expect(refused([6, 2]) { try $0.convolution(x, $1) }?.contains("kernel") == true)
  }
}
