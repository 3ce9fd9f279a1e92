// Layer, RMS and group normalisation against their formulas in Float64.
import Testing

@testable import Compute

/// The elements at `places` shifted to mean 0 where `centred` and divided by their root mean square.
private func normalised(_ x: [Double], _ places: [Int], centred: Bool, epsilon: Float) -> [Double] {
  let count = Double(places.count)
  let mean = centred ? places.reduce(0) { $0 + x[$1] } / count : 0
  let variance = places.reduce(0) { $0 + (x[$1] - mean) * (x[$1] - mean) } / count
  return places.map { (x[$0] - mean) / (variance + Double(epsilon)).squareRoot() }
}

extension LayerNorm: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    (0..<result.rows).flatMap { row in
      normalised(x[0], Array(row * result.last..<(row + 1) * result.last), centred: true, epsilon: epsilon)
        .enumerated().map { $1 * x[1][$0] + x[2][$0] }
    }
  }
}

extension RMSNorm: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    (0..<result.rows).flatMap { row in
      normalised(x[0], Array(row * result.last..<(row + 1) * result.last), centred: false, epsilon: epsilon)
        .enumerated().map { $1 * x[1][$0] }
    }
  }
}

extension GroupNorm: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    let channels = result.last, wide = channels / groups, size = result.count / result[0]
    var y = [Double](repeating: 0, count: result.count)
    for b in 0..<result[0] {
      for g in 0..<groups {
        let places = (b * size..<(b + 1) * size).filter { $0 % channels / wide == g }
        for (place, z) in zip(places, normalised(x[0], places, centred: true, epsilon: epsilon)) {
          y[place] = z * x[1][place % channels] + x[2][place % channels]
        }
      }
    }
    return y
  }
}

private let rows: [Shape] = [[1], [3], [5, 7], [4, 16], [2, 3, 33], [3, 129], [9, 1], [2, 700]]

private let cases = [
  OperationCase(name: "layerNorm", shapes: rows.map { [$0, [$0.last], [$0.last]] }) {
    try $0.layerNorm($1[0], scale: $1[1], offset: $1[2], epsilon: 0.01)
  },
  OperationCase(name: "rmsNorm", shapes: rows.map { [$0, [$0.last]] }) {
    try $0.rmsNorm($1[0], scale: $1[1], epsilon: 0.01)
  },
  OperationCase(
    name: "groupNorm of 3 groups",
    shapes: [[2, 3], [2, 5, 6], [1, 4, 3, 21], [3, 7, 51]].map { [$0, [$0.last], [$0.last]] }
  ) { try $0.groupNorm($1[0], groups: 3, scale: $1[1], offset: $1[2], epsilon: 0.01) },
  OperationCase(
    name: "groupNorm of 1 group", shapes: [[1, 1], [2, 5, 6], [1, 4, 37]].map { [$0, [$0.last], [$0.last]] }
  ) {
    try $0.groupNorm($1[0], groups: 1, scale: $1[1], offset: $1[2], epsilon: 0.01)
  },
]

@Suite("Normalisation")
struct NormTests {
  @Test("results are those of loops in Float64", arguments: cases)
  func results(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: cases, [false, true])
  func gradients(_ test: OperationCase, kept: Bool) throws { try test.checkGradients(kept: kept) }

  @Test("a mean a thousand times the deviation costs few digits", arguments: CPULevel.supported)
  func offsets(_ level: CPULevel) throws {
    var graph = Graph()
    let x = try graph.input("x", [2, 64])
    let one = try graph.input("one", [64])
    let zero = try graph.input("zero", [64])
    graph.output("rows", try graph.layerNorm(x, scale: one, offset: zero))
    graph.output("groups", try graph.groupNorm(x, groups: 1, scale: one, offset: zero))
    let executor = Executor(try Plan(graph, level: level))
    executor.floats("one").update(repeating: 1)
    for i in 0..<128 { executor.floats("x")[i] = 1000 + (i % 2 == 0 ? 1 : -1) }
    executor.run(parameters: AlignedBuffer(floats: 16).pointer)
    for name in ["rows", "groups"] {
      for (i, y) in executor.output(name).enumerated() { #expect(abs(y - (i % 2 == 0 ? 1 : -1)) < 1e-4, "\(name)") }
    }
  }

  @Test("weights, groups and epsilons that do not fit are refused")
  func refusals() throws {
    var graph = Graph()
    let x = try graph.input("x", [2, 6])
    let good = try graph.input("good", [6])
    let bad = try graph.input("bad", [5])
    #expect(throws: ComputeError.self) { try graph.layerNorm(x, scale: good, offset: bad) }
    #expect(throws: ComputeError.self) { try graph.layerNorm(x, scale: good, offset: good, epsilon: 0) }
    #expect(throws: ComputeError.self) { try graph.rmsNorm(x, scale: bad) }
    #expect(throws: ComputeError.self) { try graph.groupNorm(x, groups: 4, scale: good, offset: good) }
    #expect(throws: ComputeError.self) { try graph.groupNorm(x, groups: 0, scale: good, offset: good) }
    #expect(throws: ComputeError.self) { try graph.groupNorm(good, groups: 1, scale: good, offset: good) }
  }
}
