// Attention, both forms, against the plain formula in Float64; at one token, one head, widths that are no multiple of a
// vector, several blocks of queries, and more keys than queries.
import Foundation
import Testing

@testable import Compute

extension AttentionShape {
  /// The plain formula; `at` gives an element of q, k or v (0, 1, 2) by example, token, head and place.
  fileprivate func reference(_ at: (_ part: Int, _ b: Int, _ token: Int, _ h: Int, _ place: Int) -> Double) -> [Double]
  {
    var result: [Double] = []
    for b in 0..<batch {
      for s in 0..<queries {
        for h in 0..<heads {
          let scores = (0...(causal ? s : keys - 1)).map { t in
            Double(scale) * (0..<keyWidth).reduce(0) { $0 + at(0, b, s, h, $1) * at(1, b, t, h, $1) }
          }
          let weights = scores.map { Foundation.exp($0 - scores.max()!) }
          let total = weights.reduce(0, +)
          for e in 0..<valueWidth {
            result.append(weights.indices.reduce(0) { $0 + weights[$1] / total * at(2, b, $1, h, e) })
          }
        }
      }
    }
    return result
  }
}

extension Attention: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    shape.reference { part, b, token, h, place in
      let own = shapes[part]
      return x[part][((b * own[1] + token) * own[2] + h) * own[3] + place]
    }
  }
}

extension PackedAttention: ReferenceOperation {
  func reference(_ x: [[Double]], _ shapes: [Shape], _ result: Shape) -> [Double] {
    shape.reference { part, b, token, h, place in
      x[0][((b * shape.queries + token) * 3 + part) * shape.heads * shape.keyWidth + h * shape.keyWidth + place]
    }
  }
}

private func shapes(_ b: Int, _ s: Int, _ t: Int, _ h: Int, _ d: Int, _ e: Int) -> [Shape] {
  [[b, s, h, d], [b, t, h, d], [b, t, h, e]]
}

private let square = [
  shapes(1, 1, 1, 1, 1, 1), shapes(2, 5, 5, 3, 7, 4), shapes(1, 9, 9, 1, 32, 16), shapes(1, 33, 33, 1, 3, 19),
  shapes(1, 67, 67, 1, 2, 2),
]

private let cases =
  [
    OperationCase(name: "attention", shapes: square + [shapes(2, 3, 18, 2, 5, 6), shapes(1, 70, 3, 1, 2, 2)]) {
      try $0.attention($1[0], $1[1], $1[2], causal: false)
    },
    OperationCase(name: "causal attention", shapes: square) {
      try $0.attention($1[0], $1[1], $1[2], causal: true, scale: 0.7)
    },
  ]
  + [false, true].map { causal in
    OperationCase(
      name: "packed attention\(causal ? ", causal" : "")",
      shapes: [(1, 1, 1), (2, 6, 5), (1, 19, 16), (1, 65, 1)].map { b, s, d in [[b, s, 3 * 2 * d]] }
    ) { try $0.attention(packed: $1[0], heads: 2, causal: causal) }
  }

@Suite("Attention")
struct AttentionTests {
  @Test("results are those of loops in Float64", arguments: cases)
  func results(_ test: OperationCase) throws { try test.checkResults() }

  @Test("gradients are central differences", arguments: cases)
  func gradients(_ test: OperationCase) throws { try test.checkGradients(kept: false) }

  @Test("scores far beyond the range of exp give the value of the best key", arguments: CPULevel.supported)
  func extremes(_ level: CPULevel) throws {
    var graph = Graph()
    let q = try graph.input("q", [1, 1, 1, 2])
    let k = try graph.input("k", [1, 3, 1, 2])
    let v = try graph.input("v", [1, 3, 1, 1])
    graph.output("y", try graph.attention(q, k, v, causal: false, scale: -1))
    let executor = Executor(try Plan(graph, level: level))
    _ = executor.floats("q").update(fromContentsOf: [1000, -1000])
    _ = executor.floats("k").update(fromContentsOf: [1, 0, 0, 1, -1, 1])
    _ = executor.floats("v").update(fromContentsOf: [2, 3, 5])
    executor.run(parameters: AlignedBuffer(floats: 16).pointer)
    #expect(executor.output("y")[0] == 5)
  }

  @Test("shapes that do not fit are refused")
  func refusals() throws {
    var graph = Graph()
    let q = try graph.input("q", [2, 3, 4, 5])
    let k = try graph.input("k", [2, 7, 4, 5])
    let v = try graph.input("v", [2, 7, 4, 6])
    let odd = try graph.input("odd", [2, 3, 13])
    #expect(throws: ComputeError.self) { try graph.attention(q, k, v, causal: true) }
    #expect(throws: ComputeError.self) { try graph.attention(q, v, k, causal: false) }
    #expect(throws: ComputeError.self) { try graph.attention(q, k, q, causal: false) }
    #expect(throws: ComputeError.self) { try graph.attention(q, k, v, causal: false, scale: .nan) }
    #expect(throws: ComputeError.self) { try graph.attention(packed: odd, heads: 4, causal: false) }
    #expect(throws: ComputeError.self) { try graph.attention(packed: odd, heads: 0, causal: false) }
  }
}
